/* batch_norm_fill.c: generated inputs of a batch_norm case, for `golden batch_norm --size N=..,C=..[,T=..][,H=..,W=..] --fill ...` and bench.
 *
 * Every element is a pure function of (seed, tensor, global index), see fill.h. "u" is uniform, "g" normal.
 *
 *   normal   x = offset + scale g, offset = g of the channel, scale = 1/2 + u of the channel; grad_y g; weight 1 + g/4; bias g/4;
 *            running_mean g/4, running_var 1/2 + u, and the same of the splits
 *   lattice  x and grad_y whole numbers -4 .. 4; weight +-1; bias whole: every sum of a float32 port is exact. No running statistics
 *   hard     x by channel mod 6: 0 as normal; 1 mean 1000, deviation 1; 2 all the same; 3 wide, g 2^(32 u - 16); 4 all +-(2 - 2^-23), the largest integers
 *            of exact-v1; 5 mean 2^14, deviation 1/64, so that float32 holds few digits of it. grad_y by channel mod 6 as well: 3 wide, 4 +-(2 - 2^-23)
 *
 * All are rounded to float32. */
#include "case/batch_norm_case.h"
#include "case/fill.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { X = 0, GRAD = 1, WEIGHT = 2, BIAS = 3, OFFSET = 4, SCALE = 5, RUNNING = 6, SPLIT = 8 };

typedef struct fill {
    int kind;
    int64_t seed, channels, inner;
} fill;

static double uniform(const fill *f, int tensor, int64_t i) { return pfc_fill_uniform(f->seed, tensor, i); }
static double normal(const fill *f, int tensor, int64_t i) { return pfc_fill_normal(f->seed, tensor, i); }
static double largest(const fill *f, int tensor, int64_t i) { return pfc_fill_sign(f->seed, tensor, i) * PFC_FILL_LARGEST; }
static double wide(const fill *f, int tensor, int64_t i) { return ldexp(normal(f, tensor, i), (int)(uniform(f, tensor + PFC_FILL_WIDE, i) * 32.0) - 16); }
static double whole(const fill *f, int tensor, int64_t i) { return floor(uniform(f, tensor, i) * 9.0) - 4.0; }

static double x_at(const fill *f, int64_t i)
{
    int64_t c = i / f->inner % f->channels, variant = f->kind == PFC_FILL_HARD ? c % 6 : 0;
    if (f->kind == PFC_FILL_LATTICE) return whole(f, X, i);
    if (variant == 1) return 1000.0 + normal(f, X, i);
    if (variant == 2) return normal(f, OFFSET, c);
    if (variant == 3) return wide(f, X, i);
    if (variant == 4) return largest(f, X, i);
    if (variant == 5) return 16384.0 + normal(f, X, i) / 64.0;
    return normal(f, OFFSET, c) + (0.5 + uniform(f, SCALE, c)) * normal(f, X, i);
}

static double grad_at(const fill *f, int64_t i)
{
    int64_t variant = f->kind == PFC_FILL_HARD ? i / f->inner % f->channels % 6 : 0;
    if (f->kind == PFC_FILL_LATTICE) return whole(f, GRAD, i);
    return variant == 3 ? wide(f, GRAD, i) : variant == 4 ? largest(f, GRAD, i) : normal(f, GRAD, i);
}

static int no_memory(pfc_diag *diag) { return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for the generated inputs"); }

typedef double (*element_fn)(const fill *f, int64_t i);

static int add(MPI_Comm comm, pfc_case *c, const fill *f, const char *name, int ndim, const int64_t *dims, pfc_dist dist, element_fn at, pfc_diag *diag)
{
    pfc_tensor *t = pfc_tensor_add(comm, &c->in, name, PFC_F32, ndim, dims, dist, 0);
    if (!t) return no_memory(diag);
    for (int64_t i = 0; i < pfc_tensor_local(t); i++) ((float *)t->data)[i] = (float)at(f, pfc_tensor_global_index(t, i));
    return 0;
}

static double weight_at(const fill *f, int64_t i)
{
    return f->kind == PFC_FILL_LATTICE ? (uniform(f, WEIGHT, i) < 0.5 ? -1.0 : 1.0) : 1.0 + normal(f, WEIGHT, i) / 4;
}
static double bias_at(const fill *f, int64_t i) { return f->kind == PFC_FILL_LATTICE ? whole(f, BIAS, i) : normal(f, BIAS, i) / 4; }
static double running_mean_at(const fill *f, int64_t i) { return normal(f, RUNNING, i) / 4; }
static double running_var_at(const fill *f, int64_t i) { return 0.5 + uniform(f, RUNNING + 1, i); }
static double split_mean_at(const fill *f, int64_t i) { return normal(f, SPLIT, i) / 4; }
static double split_var_at(const fill *f, int64_t i) { return 0.5 + uniform(f, SPLIT + 1, i); }

static int fill_all(MPI_Comm comm, pfc_case *c, const fill *f, int ndim, const int64_t *dims, int64_t splits, pfc_diag *diag)
{
    int ranks;
    MPI_Comm_size(comm, &ranks);
    int64_t per_rank[2] = { ranks, f->channels }, split[2] = { ranks, f->channels * splits };
    if (add(comm, c, f, "x", ndim, dims, PFC_DIST_CLASS, x_at, diag)) return diag->exit_status;
    if (add(comm, c, f, "grad_y", ndim, dims, PFC_DIST_CLASS, grad_at, diag)) return diag->exit_status;
    if (add(comm, c, f, "weight", 1, &f->channels, PFC_DIST_NONE, weight_at, diag)) return diag->exit_status;
    if (add(comm, c, f, "bias", 1, &f->channels, PFC_DIST_NONE, bias_at, diag)) return diag->exit_status;
    if (f->kind == PFC_FILL_LATTICE) return 0;
    if (add(comm, c, f, "running_mean", 2, per_rank, PFC_DIST_RANK, running_mean_at, diag)) return diag->exit_status;
    if (add(comm, c, f, "running_var", 2, per_rank, PFC_DIST_RANK, running_var_at, diag)) return diag->exit_status;
    if (splits < 1) return 0;
    if (add(comm, c, f, "split_running_mean", 2, split, PFC_DIST_RANK, split_mean_at, diag)) return diag->exit_status;
    return add(comm, c, f, "split_running_var", 2, split, PFC_DIST_RANK, split_var_at, diag);
}

/* Inputs in float32 and results in float64. */
static bool fits_memory(double elements)
{
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    return elements * (2 * 4 + 4 * 8) <= memory;
}

int pfc_batch_norm_fill(MPI_Comm comm, pfc_case *c, const char *name, int64_t seed, pfc_diag *diag)
{
    fill f = { .kind = pfc_fill_kind(name, diag), .seed = seed, .channels = c->size['C' - 'A'], .inner = 1 };
    int64_t dims[PFC_MAX_DIMS] = { c->size['N' - 'A'], f.channels }, splits = pfc_param_int(c, "num_splits");
    int ndim = 2, ranks = 1;
    bool sub = strcmp(pfc_param_word(c, "kind"), "sub") == 0, h = c->size['H' - 'A'] >= 0, w = c->size['W' - 'A'] >= 0;
    MPI_Comm_size(comm, &ranks);
    if (diag->exit_status) return diag->exit_status;
    for (const char *axis = "THW"; *axis; axis++)
        if (c->size[*axis - 'A'] >= 0) dims[ndim++] = c->size[*axis - 'A'];
    if (h != w) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: batch_norm needs N and C, and of T, H and W none, T, H and W, or all");
    double elements = 1;
    for (int k = 0; k < ndim; k++) {
        if (dims[k] < 1) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: batch_norm needs N and C, and any other size, 1 or more");
        elements *= (double)dims[k];
        if (k >= 2) f.inner *= dims[k];
    }
    if (dims[0] % ranks)
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found N = %lld, expected a multiple of the number of ranks, %d", c->name, (long long)dims[0], ranks);
    if (!fits_memory(elements)) pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: the case is larger than the memory of this machine", c->name);
    if (sub && splits < 1) splits = 1; /* defaults come after the fill */
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    fill_all(comm, c, &f, ndim, dims, sub ? splits : 0, diag);
    return pfc_diag_agree(comm, diag);
}
