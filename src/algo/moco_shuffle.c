/* moco_shuffle.c: the batch shuffle of MoCo: which images share a batch norm, changed without a trace in the result.
 *
 * He et al., CVPR 2020, section 3.3 "Shuffling BN"; VISSL moco_hooks.py _batch_shuffle_ddp and _batch_unshuffle_ddp (semantics.md 6.3, A.8).
 * moco_shuffle_gather.c has the source's own way, which gathers the whole batch on every rank; here only the rows that a rank needs come to it.
 *
 * P ranks, r this rank, b_r rows on rank r, N = sum b_r, start_r = b_0 + ... + b_(r-1), m bytes of a row; owner(g): the rank that holds global row g.
 *
 *   step                                                                             holds afterwards         moved per rank
 *   1  permutation    row numbers sorted by (tag, row), or the caller's; checked     idx (N)                  -  (16 bytes to compare)
 *   2  inverse        inv[idx[j]] = j                                                inv (N)                  -
 *   3  plan           row idx[start_r + i] of owner(.) comes to place i              lists of rows            -
 *   4  shuffle        out_i = X[idx[start_r + i]]                                    out (b_r,m)              (1 - 1/P) b_r m in and out
 *   5  unshuffle      out_i = Y[inv[start_r + i]], Y the shuffled batch              out (b_r,m)              (1 - 1/P) b_r m in and out
 *
 * What is moved is the mean over all permutations. The source moves (P-1) b m in step 4 and in step 5, and N numbers from rank 0. */
#include "algo/moco_shuffle.h"

#include "core/rng_order.h"

#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = (1 << 30) - 1 }; /* of a batch: MPI counts are int */

pfc_status pfc_moco_rows_of_ranks(pfc_ctx *ctx, int64_t rows, int64_t **start)
{
    int ranks = ctx->comm.ranks;
    *start = calloc((size_t)ranks + 1, sizeof **start);
    pfc_status st = *start ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    if (rows < 0) st = pfc_fail(ctx, PFC_ERR_ARG, "rows: found %lld, expected 0 or more", (long long)rows);
    st = pfc_agree(ctx, st);
    if (st == PFC_OK) st = pfc_comm_allgather(&ctx->comm, &rows, 1, PFC_I64, *start + 1);
    for (int r = 0; st == PFC_OK && r < ranks; r++) (*start)[r + 1] += (*start)[r];
    if (st == PFC_OK && (*start)[ranks] == 0) st = pfc_fail(ctx, PFC_ERR_SHAPE, "an empty batch");
    if (st == PFC_OK && (*start)[ranks] > MAX_ROWS)
        st = pfc_fail(ctx, PFC_ERR_SHAPE, "a batch of %lld rows, expected at most %d", (long long)(*start)[ranks], MAX_ROWS);
    return st; /* the same on all ranks */
}

/* ---- 1: the permutation ---- */

static pfc_status draw(pfc_moco_shuffle *s, int64_t n, int64_t seed, int64_t step)
{
    bool drawn = pfc_random_order(seed, (uint32_t)step, PFC_STREAM_SHUFFLE_KEY, n, s->permutation);
    return drawn ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
}

/* ---- 2: its inverse; every row number must occur, so each occurs once ---- */

static pfc_status invert(pfc_moco_shuffle *s, int64_t n)
{
    for (int64_t j = 0; j < n; j++) s->inverse[j] = -1;
    for (int64_t j = 0; j < n; j++) {
        int64_t row = s->permutation[j];
        if (row < 0 || row >= n)
            return pfc_fail(s->ctx, PFC_ERR_DATA, "permutation: found %lld at (%lld), expected 0 to %lld", (long long)row, (long long)j, (long long)n - 1);
        if (s->inverse[row] >= 0)
            return pfc_fail(s->ctx, PFC_ERR_DATA, "permutation: found %lld at (%lld) and at (%lld), expected every row once", (long long)row,
                            (long long)s->inverse[row], (long long)j);
        s->inverse[row] = j;
    }
    return PFC_OK;
}

/* The ranks must have the same one, or rows would be waited for that nobody sends. FNV-1a over the numbers, 62 bits. */
static pfc_status compare_over_ranks(pfc_moco_shuffle *s, int64_t n)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (int64_t j = 0; j < n; j++) hash = (hash ^ (uint64_t)s->permutation[j]) * 0x100000001b3u;
    int64_t h = (int64_t)(hash >> 2), both[2] = { h, -h };
    PFC_TRY(pfc_comm_max(&s->ctx->comm, both, 2, PFC_I64));
    return both[0] == -both[1] ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_DATA, "permutation: not the same on all ranks");
}

/* ---- 3: who sends what where ---- */

static int owner(const int64_t *start, int ranks, int64_t row)
{
    int low = 0, high = ranks; /* start[low] <= row < start[high] */
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (start[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Places in rising order for every sender, and rows in the order of those places for every receiver: the two lists of a pair match. */
static pfc_status plan(const pfc_moco_shuffle *s, const int64_t *numbers, pfc_row_plan *p)
{
    int ranks = s->ctx->comm.ranks, me = s->ctx->comm.rank;
    const int64_t *start = s->start;
    int64_t first = start[me], mine = start[me + 1] - first, sent = 0;
    p->send_start = calloc(2 * ((size_t)ranks + 1), sizeof(int64_t));
    p->send_row = malloc((2 * (size_t)mine + 1) * sizeof(int64_t));
    if (!p->send_start || !p->send_row) return pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
    p->recv_start = p->send_start + ranks + 1;
    p->recv_row = p->send_row + mine;

    for (int peer = 0; peer < ranks; peer++) {
        for (int64_t j = start[peer]; j < start[peer + 1]; j++)
            if (numbers[j] >= first && numbers[j] < first + mine) p->send_row[sent++] = numbers[j] - first;
        p->send_start[peer + 1] = sent;
    }
    for (int64_t i = 0; i < mine; i++) p->recv_start[owner(start, ranks, numbers[first + i]) + 1]++;
    for (int peer = 0; peer < ranks; peer++) p->recv_start[peer + 1] += p->recv_start[peer];
    for (int64_t i = 0; i < mine; i++) p->recv_row[p->recv_start[owner(start, ranks, numbers[first + i])]++] = i;
    for (int peer = ranks; peer > 0; peer--) p->recv_start[peer] = p->recv_start[peer - 1]; /* placing moved them one on */
    p->recv_start[0] = 0;
    return PFC_OK;
}

static void plan_free(pfc_row_plan *p)
{
    free(p->send_start);
    free(p->send_row);
}

static pfc_status prepare(pfc_moco_shuffle *s, const int64_t *permutation, int64_t seed, int64_t step)
{
    int64_t n = pfc_moco_shuffle_total(s);
    s->permutation = malloc((size_t)n * sizeof *s->permutation);
    s->inverse = malloc((size_t)n * sizeof *s->inverse);
    pfc_status st = s->permutation && s->inverse ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
    if (!permutation && (step < 0 || step > UINT32_MAX)) st = pfc_fail(s->ctx, PFC_ERR_ARG, "step: found %lld, expected 0 to 2^32 - 1", (long long)step);
    if (st == PFC_OK && permutation) memcpy(s->permutation, permutation, (size_t)n * sizeof *permutation);
    if (st == PFC_OK && !permutation) st = draw(s, n, seed, step); /* 1 */
    if (st == PFC_OK) st = invert(s, n);                           /* 2 */
    PFC_TRY(pfc_agree(s->ctx, st));
    PFC_TRY(compare_over_ranks(s, n));
    st = plan(s, s->permutation, &s->there); /* 3 */
    if (st == PFC_OK) st = plan(s, s->inverse, &s->back);
    return pfc_agree(s->ctx, st);
}

pfc_status pfc_moco_shuffle_create(pfc_ctx *ctx, int64_t rows, const int64_t *permutation, int64_t seed, int64_t step, pfc_moco_shuffle **out)
{
    *out = NULL;
    pfc_moco_shuffle *s = calloc(1, sizeof *s);
    PFC_TRY(pfc_agree(ctx, s ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory")));
    s->ctx = ctx;
    pfc_status st = pfc_moco_rows_of_ranks(ctx, rows, &s->start);
    if (st == PFC_OK) st = prepare(s, permutation, seed, step);
    st = pfc_agree(ctx, st);
    if (st == PFC_OK)
        *out = s;
    else
        pfc_moco_shuffle_destroy(&s);
    return st;
}

void pfc_moco_shuffle_destroy(pfc_moco_shuffle **shuffle)
{
    if (!shuffle || !*shuffle) return;
    pfc_moco_shuffle *s = *shuffle;
    plan_free(&s->there);
    plan_free(&s->back);
    free(s->start);
    free(s->permutation);
    free(s->inverse);
    free(s);
    *shuffle = NULL;
}

int64_t pfc_moco_shuffle_total(const pfc_moco_shuffle *s) { return s->start[s->ctx->comm.ranks]; }
const int64_t *pfc_moco_shuffle_permutation(const pfc_moco_shuffle *s) { return s->permutation; }
const int64_t *pfc_moco_shuffle_inverse(const pfc_moco_shuffle *s) { return s->inverse; }

/* ---- 4, 5: the rows ---- */

static pfc_status check_views(const pfc_moco_shuffle *s, pfc_view x, pfc_view out)
{
    pfc_ctx *ctx = s->ctx;
    int64_t mine = s->start[ctx->comm.rank + 1] - s->start[ctx->comm.rank], bytes = x.cols * (int64_t)pfc_dtype_size(x.dtype), both[2] = { bytes, -bytes };
    pfc_status st = PFC_OK;
    if (x.rows != mine || x.cols < 1 || (mine && !x.data)) /* a rank without rows still says how long they are */
        st = pfc_fail(ctx, PFC_ERR_SHAPE, "x: found (%lld,%lld), expected %lld rows", (long long)x.rows, (long long)x.cols, (long long)mine);
    else if (out.rows != mine || out.cols != x.cols || out.dtype != x.dtype || (mine && !out.data))
        st = pfc_fail(ctx, PFC_ERR_SHAPE, "out: found (%lld,%lld), expected the shape and type of x, (%lld,%lld)", (long long)out.rows, (long long)out.cols,
                      (long long)x.rows, (long long)x.cols);
    PFC_TRY(pfc_agree(ctx, st));
    PFC_TRY(pfc_comm_max(&ctx->comm, both, 2, PFC_I64));
    if (both[0] == -both[1]) return PFC_OK;
    return pfc_fail(ctx, PFC_ERR_SHAPE, "x: rows of %lld to %lld bytes, expected the same on all ranks", -(long long)both[1], (long long)both[0]);
}

static pfc_status move(const pfc_moco_shuffle *s, const pfc_row_plan *p, pfc_view x, pfc_view out)
{
    size_t size = pfc_dtype_size(x.dtype);
    PFC_TRY(check_views(s, x, out));
    return pfc_agree(s->ctx, pfc_comm_exchange_rows(&s->ctx->comm, p, x.data, (size_t)x.ld * size, out.data, (size_t)out.ld * size, (size_t)x.cols * size));
}

pfc_status pfc_moco_shuffle_rows(const pfc_moco_shuffle *s, pfc_view x, pfc_view out) { return move(s, &s->there, x, out); }
pfc_status pfc_moco_unshuffle_rows(const pfc_moco_shuffle *s, pfc_view x, pfc_view out) { return move(s, &s->back, x, out); }
