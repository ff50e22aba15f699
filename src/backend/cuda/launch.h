/* launch.h (internal): the two parallel loops that everything on the device is made of.
 *
 *    each(d, n, f)    f(i) for i in [0, n), every one in a thread of its own
 *    teams(d, n, f)   f(t, i) for i in [0, n): a team of t.size threads works on i; t.rank is the thread's place, t.join(s) the sum of all threads' s
 *
 * and, made of these, columns(): sums down the columns of a matrix. Sums of integers and maxima do not depend on the order; those of floating-point
 * numbers are taken in an order that depends on the shape alone, so that a device gives the same bits in every run. There are no atomics.
 *
 * What is summed is a struct with a member join(const S &) and a constructor that makes nothing. */
#ifndef PFC_CUDA_LAUNCH_H
#define PFC_CUDA_LAUNCH_H

#include "backend/cuda/state.h"

#ifdef __CUDACC__
#define ON_DEVICE __device__
#else /* a compiler for hosts runs the loops one after the other; tests/cuda_host */
#define ON_DEVICE
#endif

enum { TEAM = 256 };

struct team {
    int rank, size;
    template <class S> ON_DEVICE S join(S mine) const;
};

#ifdef __CUDACC__
/* Pairs at distance 128, 64, ... 1: a fixed tree. Every thread gets the result. */
template <class S> __device__ S team::join(S mine) const
{
    __shared__ alignas(16) unsigned char memory[sizeof(S) * TEAM];
    S *all = reinterpret_cast<S *>(memory);
    __syncthreads(); /* the last result has been read */
    all[rank] = mine;
    for (int half = TEAM / 2; half > 0; half /= 2) {
        __syncthreads();
        if (rank < half) all[rank].join(all[rank + half]);
    }
    __syncthreads();
    return all[0];
}

template <class F> __global__ void each_kernel(int64_t n, F f)
{
    int64_t stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) f(i);
}

template <class F> __global__ void teams_kernel(int64_t n, F f)
{
    const team t = { (int)threadIdx.x, TEAM };
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) f(t, i);
}

enum { MOST_BLOCKS = 1 << 20 };

template <class F> void each(cuda &d, int64_t n, F f)
{
    int64_t blocks = (n + TEAM - 1) / TEAM;
    if (n <= 0 || d.failed) return;
    each_kernel<<<(unsigned)(blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS), TEAM, 0, d.stream>>>(n, f);
    note(d, cudaGetLastError());
}

template <class F> void teams(cuda &d, int64_t n, F f)
{
    if (n <= 0 || d.failed) return;
    teams_kernel<<<(unsigned)(n < MOST_BLOCKS ? n : MOST_BLOCKS), TEAM, 0, d.stream>>>(n, f);
    note(d, cudaGetLastError());
}
#else
template <class S> S team::join(S mine) const { return mine; }

template <class F> void each(cuda &d, int64_t n, F f)
{
    for (int64_t i = 0; i < n && !d.failed; i++) f(i);
}

template <class F> void teams(cuda &d, int64_t n, F f)
{
    const team t = { 0, 1 };
    for (int64_t i = 0; i < n && !d.failed; i++) f(t, i);
}
#endif

/* f(r, c) for every element. */
template <class F> void each_element(cuda &d, int64_t rows, int64_t cols, F f)
{
    each(d, rows * cols, [=] ON_DEVICE(int64_t i) { f(i / cols, i % cols); });
}

/* For every column c: f(s, r, c) adds the element of row r to s, and g(c, s) takes the sum over all rows. Rows are dealt to `parts` threads a column. */
template <class S, class F, class G> void columns(cuda &d, int64_t rows, int64_t cols, F f, G g)
{
    int64_t parts = rows / 32 < 1 ? 1 : rows / 32 > 1024 ? 1024 : rows / 32;
    S *part = (S *)scratch(d, SCRATCH_COLUMNS, parts * cols * (int64_t)sizeof(S));
    if (!part) return;
    each(d, parts * cols, [=] ON_DEVICE(int64_t i) {
        S s;
        for (int64_t r = i / cols; r < rows; r += parts) f(s, r, i % cols);
        part[i] = s;
    });
    teams(d, cols, [=] ON_DEVICE(team t, int64_t c) {
        S s;
        for (int64_t p = t.rank; p < parts; p += t.size) s.join(part[p * cols + c]);
        s = t.join(s);
        if (t.rank == 0) g(c, s);
    });
}

#endif
