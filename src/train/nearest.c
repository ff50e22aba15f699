/* nearest.c: the class whose centre is nearest to a feature, over the classes of all ranks. */
#include "train/nearest.h"
#include "algo/host_rows.h"
#include "algo/matrix.h"

#include <pfc/shard.h>
#include <math.h>
#include <stdlib.h>

enum { ROWS = 1024 };      /* features of all ranks in a round, at most */
enum { CHUNK = 1024 };     /* centres whose products with them are in memory */
enum { SLICE = 128 };      /* features a thread takes at a time */
#define NOT_HERE INT64_MIN /* below every negated class */

typedef struct search {
    pfc_ctx *ctx;
    const pfc_centres *centres;
    pfc_shard classes;   /* of this rank */
    int64_t b, N, D;     /* features of a round: here, on all ranks */
    pfc_view unit;       /* (C_r*k, D) the centres in the table's place, by length if cosine */
    pfc_matrix prepared; /* unit with what products need */
    float *features;     /* (b + N, D): this rank's, all */
    pfc_view z;          /* (CHUNK, N) products in the table's place */
    void *host;          /* z in host memory */
    double *mine, *best; /* N: the largest product of this rank, of all */
    int64_t *at;         /* N: its centre; its class, negated: of equal products the first class wins */
} search;

/* Rows to length 1, in place. */
static pfc_status unit_rows(pfc_ctx *ctx, pfc_view v)
{
    pfc_matrix m;
    PFC_TRY(pfc_matrix_make(ctx, v, &m));
    pfc_status st = ctx->be->ops->normalise(ctx->be, v, m.norm, v);
    pfc_matrix_free(ctx, &m);
    return st;
}

static pfc_status open_search(search *s)
{
    pfc_ctx *ctx = s->ctx;
    pfc_dtype real = ctx->be->ops->real;
    pfc_view rows = s->centres->rows;
    size_t n = (size_t)s->N;
    s->features = malloc((size_t)(s->b + s->N) * (size_t)s->D * sizeof *s->features + 1);
    s->host = malloc(CHUNK * n * pfc_dtype_size(real));
    s->mine = malloc(n * sizeof *s->mine);
    s->best = malloc(n * sizeof *s->best);
    s->at = malloc(n * sizeof *s->at);
    if (!s->features || !s->host || !s->mine || !s->best || !s->at) return pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    PFC_TRY(pfc_ws_view(ctx, real, CHUNK, s->N, &s->z));
    PFC_TRY(pfc_ws_view(ctx, real, rows.rows, s->D, &s->unit));
    PFC_TRY(pfc_host_in(ctx, rows, false, s->unit));
    if (s->centres->cosine) PFC_TRY(unit_rows(ctx, s->unit));
    return pfc_matrix_make(ctx, s->unit, &s->prepared);
}

static void close_search(search *s)
{
    pfc_matrix_free(s->ctx, &s->prepared);
    pfc_ws_free(s->ctx, &s->unit);
    pfc_ws_free(s->ctx, &s->z);
    free(s->features);
    free(s->host);
    free(s->mine);
    free(s->best);
    free(s->at);
}

/* This rank's features [first, first + b), zeros beyond its last one; then those of all. */
static pfc_status gather_features(search *s, pfc_view from, int64_t first)
{
    float *to = s->features;
    for (int64_t i = 0; i < s->b; i++)
        for (int64_t j = 0; j < s->D; j++) {
            int64_t at = (first + i) * from.ld + j;
            bool here = first + i < from.rows;
            to[i * s->D + j] = !here ? 0.0f : from.dtype == PFC_F64 ? (float)((const double *)from.data)[at] : ((const float *)from.data)[at];
        }
    return pfc_comm_allgather(&s->ctx->comm, to, s->b * s->D, PFC_F32, to + s->b * s->D);
}

/* The largest of `count` products of every feature, z (count, N), and which it is: the first of equal ones; a NaN. At -O2 GCC vectorises only what says so. */
#define DEFINE_LARGEST(name, type)                                                                             \
    static void name(const type *z, int64_t N, int64_t count, int64_t width, double top[SLICE], int at[SLICE]) \
    {                                                                                                          \
        type best[SLICE];                                                                                      \
        for (int64_t n = 0; n < width; n++) best[n] = z[n], at[n] = 0;                                         \
        for (int c = 1; c < (int)count; c++) {                                                                 \
            const type *row = z + c * N;                                                                       \
            _Pragma("omp simd") for (int64_t n = 0; n < width; n++)                                            \
            {                                                                                                  \
                bool more = row[n] > best[n] || row[n] != row[n];                                              \
                best[n] = more ? row[n] : best[n];                                                             \
                at[n] = more ? c : at[n];                                                                      \
            }                                                                                                  \
        }                                                                                                      \
        for (int64_t n = 0; n < width; n++) top[n] = best[n];                                                  \
    }
DEFINE_LARGEST(largest_f64, double)
DEFINE_LARGEST(largest_f32, float)

/* mine, at <- with centres [first, first + count). */
static pfc_status search_chunk(search *s, const pfc_matrix *features, int64_t first, int64_t count)
{
    pfc_ctx *ctx = s->ctx;
    pfc_view z = pfc_view_rows(s->z, 0, count);
    pfc_matrix part = { pfc_view_rows(s->unit, first, count), pfc_view_rows(s->prepared.norm, first, count), pfc_view_rows(s->prepared.expo, first, count) };
    PFC_TRY(pfc_product_nt(ctx, &part, features, z));
    PFC_TRY(ctx->be->ops->download(ctx->be, s->host, z.data, (size_t)(count * s->N) * pfc_dtype_size(z.dtype)));
#pragma omp parallel for schedule(static) num_threads(ctx->be->threads)
    for (int64_t n = 0; n < s->N; n += SLICE) {
        int64_t width = s->N - n < SLICE ? s->N - n : SLICE;
        double top[SLICE];
        int at[SLICE];
        if (z.dtype == PFC_F64)
            largest_f64((const double *)s->host + n, s->N, count, width, top, at);
        else
            largest_f32((const float *)s->host + n, s->N, count, width, top, at);
        for (int64_t i = 0; i < width; i++)
            if (s->at[n + i] < 0 || top[i] > s->mine[n + i] || isnan(top[i])) s->mine[n + i] = top[i], s->at[n + i] = first + at[i];
    }
    return PFC_OK;
}

/* mine, at <- with all centres of this rank. */
static pfc_status search_here(search *s)
{
    pfc_ctx *ctx = s->ctx;
    pfc_host_rows rows = { 0 };
    pfc_matrix features = { 0 };
    for (int64_t n = 0; n < s->N; n++) s->mine[n] = -INFINITY, s->at[n] = -1;
    pfc_status st = pfc_host_take(ctx, pfc_view_make(s->features + s->b * s->D, PFC_F32, s->N, s->D), false, &rows);
    if (st == PFC_OK && s->centres->cosine) st = unit_rows(ctx, rows.v);
    if (st == PFC_OK) st = pfc_matrix_make(ctx, rows.v, &features);
    for (int64_t c = 0; c < s->unit.rows && st == PFC_OK; c += CHUNK) st = search_chunk(s, &features, c, s->unit.rows - c < CHUNK ? s->unit.rows - c : CHUNK);
    pfc_matrix_free(ctx, &features);
    pfc_host_release(ctx, &rows);
    return st;
}

/* at <- the negated class of every feature of the round, over all ranks. */
static pfc_status search_round(search *s)
{
    pfc_comm *comm = &s->ctx->comm;
    PFC_TRY(pfc_agree(s->ctx, search_here(s)));
    for (int64_t n = 0; n < s->N; n++) {
        s->best[n] = s->mine[n];
        s->at[n] = s->at[n] < 0 ? NOT_HERE : -(s->classes.start + s->at[n] / s->centres->subcenters);
    }
    PFC_TRY(pfc_comm_max(comm, s->best, s->N, PFC_F64));
    for (int64_t n = 0; n < s->N; n++)
        if (!(s->mine[n] == s->best[n])) s->at[n] = NOT_HERE; /* a NaN of any rank is nobody's */
    return pfc_comm_max(comm, s->at, s->N, PFC_I64);
}

static pfc_status check_shapes(pfc_ctx *ctx, const pfc_centres *c, pfc_shard classes, pfc_view features)
{
    bool centres = c->rows.rows == classes.count * c->subcenters && (c->rows.dtype == PFC_F32 || c->rows.dtype == PFC_F64);
    if (!centres || (c->rows.rows && !c->rows.data))
        return pfc_fail(ctx, PFC_ERR_SHAPE, "centres: found (%lld,%lld), expected (%lld,%lld) float", (long long)c->rows.rows, (long long)c->rows.cols,
                        (long long)(classes.count * c->subcenters), (long long)c->rows.cols);
    if (features.rows && (features.cols != c->rows.cols || (features.dtype != PFC_F32 && features.dtype != PFC_F64) || !features.data))
        return pfc_fail(ctx, PFC_ERR_SHAPE, "features: found (%lld,%lld), expected (%lld,%lld) float", (long long)features.rows, (long long)features.cols,
                        (long long)features.rows, (long long)c->rows.cols);
    return PFC_OK;
}

pfc_status pfc_nearest(pfc_ctx *ctx, const pfc_centres *centres, pfc_view features, int64_t *classes)
{
    int ranks = pfc_ctx_ranks(ctx);
    int64_t most = features.rows; /* of a rank */
    search s = { .ctx = ctx, .centres = centres, .D = centres->rows.cols };
    s.classes = pfc_shard_of(centres->classes, ranks, pfc_ctx_rank(ctx));
    PFC_TRY(pfc_agree(ctx, check_shapes(ctx, centres, s.classes, features)));
    PFC_TRY(pfc_comm_max(&ctx->comm, &most, 1, PFC_I64));
    if (most == 0) return PFC_OK;
    s.b = ranks < ROWS ? ROWS / ranks : 1;
    if (s.b > most) s.b = most;
    s.N = s.b * ranks;
    pfc_status st = pfc_agree(ctx, open_search(&s));
    for (int64_t first = 0; first < most && st == PFC_OK; first += s.b) {
        st = gather_features(&s, features, first);
        if (st == PFC_OK) st = search_round(&s);
        const int64_t *mine = s.at + pfc_ctx_rank(ctx) * s.b;
        for (int64_t i = 0; i < s.b && st == PFC_OK && first + i < features.rows; i++) classes[first + i] = mine[i] == NOT_HERE ? -1 : -mine[i];
    }
    close_search(&s);
    return pfc_agree(ctx, st);
}
