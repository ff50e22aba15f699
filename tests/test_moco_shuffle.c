/* test_moco_shuffle.c: the batch shuffle: the exchange in use against the source's gather, every type, shape, permutation and rank count; uneven ranks. */
#include "algo/moco_shuffle.h"
#include "dense/moco_dense.h"
#include "pfc_test.h"

#include <pfc/pfc.h>
#include <stdlib.h>
#include <string.h>

static pfc_ctx *make_ctx(MPI_Comm comm) { return pfc_test_ctx(comm, (pfc_options){ .mode = PFC_EXACT, .threads = 1 }); }

/* Byte i of the global matrix: any pattern will do, so that NaN with payloads, -0 and subnormals occur. */
static unsigned char byte_at(int64_t i)
{
    uint64_t word = (uint64_t)(pfc_uniform(5, i / 4, 0, PFC_STREAM_FILL) * 0x1p53);
    return (unsigned char)(word >> (8 * (i % 4)));
}

/* A padded view filled with the rows [first, first + rows) of the global matrix; padding is 0xEE. */
static pfc_view filled(pfc_dtype type, int64_t first, int64_t rows, int64_t cols, int64_t ld, bool fill)
{
    size_t size = pfc_dtype_size(type);
    pfc_view v = pfc_view_make(malloc((size_t)(rows * ld) * size + 8), type, rows, cols);
    v.ld = ld;
    memset(v.data, 0xEE, (size_t)(rows * ld) * size);
    for (int64_t i = 0; fill && i < rows; i++)
        for (int64_t j = 0; j < cols * (int64_t)size; j++)
            ((unsigned char *)v.data)[i * ld * (int64_t)size + j] = byte_at((first + i) * cols * (int64_t)size + j);
    return v;
}

static bool same_rows(pfc_view a, pfc_view b)
{
    bool same = true;
    size_t size = pfc_dtype_size(a.dtype), row = (size_t)a.cols * size;
    for (int64_t i = 0; i < a.rows; i++)
        same = same && memcmp((char *)a.data + (size_t)(i * a.ld) * size, (char *)b.data + (size_t)(i * b.ld) * size, row) == 0;
    return same;
}

/* The padding between rows is not touched. */
static bool padding_kept(pfc_view v)
{
    bool kept = true;
    size_t size = pfc_dtype_size(v.dtype);
    for (int64_t i = 0; i < v.rows; i++)
        for (size_t j = (size_t)v.cols * size; j < (size_t)v.ld * size; j++) kept = kept && ((unsigned char *)v.data)[(size_t)(i * v.ld) * size + j] == 0xEE;
    return kept;
}

enum { IDENTITY, REVERSED, NEXT_RANK, STRIDED, DRAWN, PERMUTATIONS };

/* NULL: let the library draw. */
static int64_t *permutation_of(int kind, int64_t n, int64_t b)
{
    int64_t *p = malloc((size_t)n * sizeof *p);
    for (int64_t j = 0; j < n; j++) p[j] = kind == IDENTITY ? j : kind == REVERSED ? n - 1 - j : kind == NEXT_RANK ? (j + b) % n : j * (2 * n - 1) % n;
    if (kind == DRAWN) free(p);
    return kind == DRAWN ? NULL : p;
}

static void both_ways(pfc_ctx *ctx, pfc_dtype type, int64_t b, int64_t cols, int kind)
{
    int64_t n = b * pfc_ctx_ranks(ctx), first = b * pfc_ctx_rank(ctx), *given = permutation_of(kind, n, b);
    pfc_moco_shuffle *s = NULL;
    bool ok = pfc_moco_shuffle_create(ctx, b, given, 11, 3, &s) == PFC_OK;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    pfc_view x = filled(type, first, b, cols, cols + 3, true), out = filled(type, 0, b, cols, cols + 1, false), want = filled(type, 0, b, cols, cols, false);
    pfc_view back = filled(type, 0, b, cols, cols, false);
    const int64_t *order = pfc_moco_shuffle_permutation(s), *inverse = pfc_moco_shuffle_inverse(s);
    ok = pfc_moco_shuffle_rows(s, x, out) == PFC_OK && pfc_moco_shuffle_by_gather(ctx, order, x, want) == PFC_OK;
    ok = ok && same_rows(out, want) && padding_kept(out);
    for (int64_t j = 0; j < n; j++) ok = ok && inverse[order[j]] == j && (!given || order[j] == given[j]);
    PFC_AGREE(MPI_COMM_WORLD, ok);
    ok = pfc_moco_unshuffle_rows(s, out, back) == PFC_OK && pfc_moco_shuffle_by_gather(ctx, inverse, out, want) == PFC_OK;
    PFC_AGREE(MPI_COMM_WORLD, ok && same_rows(back, want) && same_rows(back, x));
    free(x.data), free(out.data), free(want.data), free(back.data), free(given);
    pfc_moco_shuffle_destroy(&s);
}

START_TEST(exchange_is_the_gather)
{
    static const pfc_dtype types[] = { PFC_F32, PFC_F64, PFC_I64, PFC_I32, PFC_U8 };
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD);
    for (int t = 0; t < 5; t++)
        for (int kind = 0; kind < PERMUTATIONS; kind++) {
            both_ways(ctx, types[t], 1, 5, kind);
            both_ways(ctx, types[t], 6, 1, kind);
            both_ways(ctx, types[t], 7, 33, kind);
        }
    both_ways(ctx, PFC_F32, 3, 20000, REVERSED); /* long rows travel one by one */
    both_ways(ctx, PFC_F64, 4, 9001, DRAWN);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* Ranks with different numbers of rows, some with none: against the rows themselves. */
START_TEST(uneven_ranks)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD);
    int rank = pfc_ctx_rank(ctx), ranks = pfc_ctx_ranks(ctx);
    for (int which = 0; which < 4; which++) {
        int64_t first = 0, n = 0, rows = 0, cols = which == 3 ? 20000 : 3;
        for (int r = 0; r < ranks; r++) {
            int64_t here = which == 0 ? (r % 3) * 2 : which == 1 ? r == ranks - 1 ? 9 : 0 : 1 + r;
            if (which == 0 && ranks == 1) here = 4;
            if (r < rank) first += here;
            if (r == rank) rows = here;
            n += here;
        }
        pfc_moco_shuffle *s = NULL;
        bool ok = pfc_moco_shuffle_create(ctx, rows, NULL, 1, which, &s) == PFC_OK && pfc_moco_shuffle_total(s) == n;
        PFC_AGREE(MPI_COMM_WORLD, ok);
        pfc_view x = filled(PFC_F32, first, rows, cols, cols, true), out = filled(PFC_F32, 0, rows, cols, cols, false),
                 back = filled(PFC_F32, 0, rows, cols, cols, false);
        ok = pfc_moco_shuffle_rows(s, x, out) == PFC_OK;
        for (int64_t i = 0; i < rows; i++) {
            pfc_view want = filled(PFC_F32, pfc_moco_shuffle_permutation(s)[first + i], 1, cols, cols, true);
            ok = ok && same_rows(want, pfc_view_rows(out, i, 1));
            free(want.data);
        }
        PFC_AGREE(MPI_COMM_WORLD, ok);
        ok = pfc_moco_unshuffle_rows(s, out, back) == PFC_OK && same_rows(back, x);
        PFC_AGREE(MPI_COMM_WORLD, ok);
        free(x.data), free(out.data), free(back.data);
        pfc_moco_shuffle_destroy(&s);
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* The drawn permutation is that of the definition, whatever the number of ranks, and depends on seed and step. */
START_TEST(drawn_permutation)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD);
    int64_t n = 840, b = n / pfc_ctx_ranks(ctx), want[840];
    const int64_t seeds[] = { 0, -1, 0x123456789abcdef }, steps[] = { 0, 7, UINT32_MAX };
    for (int i = 0; i < 3; i++) {
        pfc_moco_shuffle *s = NULL;
        bool ok = pfc_moco_shuffle_create(ctx, b, NULL, seeds[i], steps[i], &s) == PFC_OK;
        pfc_dense_moco_permutation(seeds[i], (uint32_t)steps[i], n, want);
        int64_t fixed = 0;
        for (int64_t j = 0; j < n; j++) fixed += want[j] == j;
        PFC_AGREE(MPI_COMM_WORLD, ok && memcmp(pfc_moco_shuffle_permutation(s), want, sizeof want) == 0 && fixed < 10);
        pfc_moco_shuffle_destroy(&s);
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(what_is_refused)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD);
    int rank = pfc_ctx_rank(ctx), ranks = pfc_ctx_ranks(ctx);
    int64_t n = 2 * (int64_t)ranks, p[16];
    pfc_moco_shuffle *s = NULL;
    for (int64_t j = 0; j < n; j++) p[j] = j;
    p[n - 1] = n;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_shuffle_create(ctx, 2, p, 0, 0, &s) == PFC_ERR_DATA && !s && strstr(pfc_ctx_error(ctx), "permutation: found"));
    p[n - 1] = 0;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_shuffle_create(ctx, 2, p, 0, 0, &s) == PFC_ERR_DATA && strstr(pfc_ctx_error(ctx), "at (0) and at"));
    p[n - 1] = -1;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_shuffle_create(ctx, 2, p, 0, 0, &s) == PFC_ERR_DATA);
    for (int64_t j = 0; j < n; j++) p[j] = rank == ranks - 1 ? n - 1 - j : j;
    pfc_status st = pfc_moco_shuffle_create(ctx, 2, p, 0, 0, &s);
    PFC_AGREE(MPI_COMM_WORLD, ranks == 1 ? st == PFC_OK : st == PFC_ERR_DATA && strstr(pfc_ctx_error(ctx), "not the same on all ranks"));
    pfc_moco_shuffle_destroy(&s);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_shuffle_create(ctx, 2, NULL, 0, -1, &s) == PFC_ERR_ARG);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_shuffle_create(ctx, 2, NULL, 0, (int64_t)1 << 32, &s) == PFC_ERR_ARG);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_shuffle_create(ctx, rank ? 2 : -1, NULL, 0, 0, &s) == PFC_ERR_ARG);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_shuffle_create(ctx, 0, NULL, 0, 0, &s) == PFC_ERR_SHAPE && !s);

    float x[12] = { 0 }, y[12];
    pfc_view in = pfc_view_make(x, PFC_F32, 2, 3), out = pfc_view_make(y, PFC_F32, 2, 3), other = pfc_view_make(y, PFC_F32, 2, rank == 0 ? 4 : 3);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_shuffle_create(ctx, 2, NULL, 0, 0, &s) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_shuffle_rows(s, in, other) == PFC_ERR_SHAPE); /* on one rank only: all fail */
    in.cols = other.cols;
    in.ld = other.ld;
    st = pfc_moco_shuffle_rows(s, in, other); /* rows of different lengths */
    PFC_AGREE(MPI_COMM_WORLD, ranks == 1 ? st == PFC_OK : st == PFC_ERR_SHAPE);
    in.rows = 1;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_unshuffle_rows(s, in, out) == PFC_ERR_SHAPE);
    pfc_moco_shuffle_destroy(&s);
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(exchange_is_the_gather),
        PFC_ONCE(uneven_ranks),
        PFC_ONCE(drawn_permutation),
        PFC_ONCE(what_is_refused),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
