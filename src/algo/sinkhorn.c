/* sinkhorn.c: assigning samples to prototypes so that every prototype gets its share, over all ranks.
 *
 * Caron et al., NeurIPS 2020, arXiv:2006.09882, section 3.1 and appendix A: maximise Tr(Q^T scores) + epsilon H(Q) over matrices Q whose rows (prototypes)
 * have mass 1/K and whose columns (samples) have mass 1/N. Sources: swav main_swav.py distributed_sinkhorn (77f7185, 9a2dc80), vissl swav_loss.py
 * (09270ed). Doubles of exact mode: doc/exact-v1.md section 5.
 *
 * Letters: P ranks, n samples of this rank, N = n P, K prototypes. Q is the paper's (K,N) matrix; a rank holds its n columns, as rows of (n,K).
 *
 *    step                                             held by a rank        moved between ranks
 *    1  A = scores/epsilon ; M = its maximum          (n,K), one number     MAX, 16 B
 *    2  Q = exp(A - M), without stabilise exp(A)      (n,K)
 *       infinities replaced (v1, vissl)
 *    3  t = sum of Q ; Q = Q / t                      (K) sums              SUM, 16 K B exact, 8 (K + 1) B fast (exact also MAX, 4 K B)
 *    4  u_k = sum of row k ; vissl: if one is 0,      (K) sums              the same, each time
 *       Q = Q + 1e-12 and again
 *    5  Q_kj = Q_kj (1/K)/u_k, infinities of the      (n,K)
 *       factor replaced (v1, vissl) ;
 *       Q_kj = Q_kj (1/N)/sum_k Q_kj                                        columns are whole on a rank
 *       steps 4 and 5 `iterations` times
 *    6  assignment_jk = Q_kj / sum_k Q_kj             (n,K)
 *       v2: N Q_kj
 *
 * Log domain (A.6), where exp neither overflows nor vanishes: f = g = 0 ; then
 *    4' L_k = log sum_j exp(A_jk + g_j)               (K)                   MAX, 8 K B exact, 4 K B fast ; SUM, 16 K B exact, 8 K B fast
 *    5' f_k = -log K - L_k ; g_j = -log N - log sum_k exp(A_jk + f_k)
 *    6' assignment_jk = exp(A_jk + f_k - log sum_k' exp(A_jk' + f_k')) */
#include "algo/sinkhorn.h"

#include "algo/host_rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double VISSL_ADDS = 1e-12;

typedef struct run {
    pfc_ctx *ctx;
    const pfc_ops *ops;
    pfc_backend *be;
    const pfc_sinkhorn_config *cfg;
    pfc_sinkhorn_plan *plan;
    int64_t K;
    double *sums; /* (K) host: row sums of all ranks, and a place for their total */
    double total; /* t */
    pfc_view max; /* (K,1) log domain */
    bool tap;
} run;

pfc_sinkhorn_config pfc_sinkhorn_defaults(void) { return (pfc_sinkhorn_config){ .epsilon = 0.05, .iterations = 3, .stabilise = 1 }; }

pfc_status pfc_sinkhorn_check(pfc_ctx *ctx, const pfc_sinkhorn_config *cfg)
{
    if (!(cfg->epsilon > 0.0) || isinf(cfg->epsilon)) return pfc_fail(ctx, PFC_ERR_ARG, "epsilon: found %g, expected a number above 0", cfg->epsilon);
    if (cfg->iterations < 0) return pfc_fail(ctx, PFC_ERR_ARG, "iterations: found %lld, expected 0 or more", (long long)cfg->iterations);
    if (cfg->version < PFC_SINKHORN_V1 || cfg->version > PFC_SINKHORN_LOG)
        return pfc_fail(ctx, PFC_ERR_ARG, "version: found %d, expected v1, v2, vissl or log", (int)cfg->version);
    return PFC_OK;
}

pfc_status pfc_sinkhorn_check_size(pfc_ctx *ctx, int64_t n, int64_t K)
{
    PFC_TRY(pfc_check_terms(ctx, PFC_ERR_SHAPE, "scores: samples of all ranks", n, ctx->comm.ranks));
    return pfc_check_terms(ctx, PFC_ERR_SHAPE, "scores: prototypes", K, 1);
}

static pfc_status tap_sums(const run *s, int64_t iteration)
{
    char name[40];
    snprintf(name, sizeof name, "row_sum_%lld", (long long)iteration);
    return s->tap ? pfc_tap_numbers(s->ctx, name, s->sums, s->K) : PFC_OK;
}

/* Row sums over this rank's samples into acc, on a grid of all ranks where the mode has one. */
static pfc_status local_sums(run *s, pfc_acc *acc)
{
    if (s->ops->sinkhorn_expo) {
        PFC_TRY(pfc_agree(s->ctx, s->ops->sinkhorn_expo(s->be, s->plan, acc)));
        PFC_TRY(pfc_comm_max(&s->ctx->comm, acc->expo, s->K, PFC_I32));
    }
    PFC_TRY(s->ops->sinkhorn_sums(s->be, s->plan, acc));
    return s->ops->acc_fold(s->be, acc, NULL);
}

/* The same where the table hands out doubles: its K sums and their total, added in rank order. */
static pfc_status row_sums_as_doubles(run *s)
{
    PFC_TRY(pfc_agree(s->ctx, s->ops->sinkhorn_own_sums(s->be, s->plan, s->sums)));
    PFC_TRY(pfc_agree(s->ctx, pfc_comm_sum(&s->ctx->comm, s->sums, s->K + 1, PFC_F64)));
    s->total = s->sums[s->K];
    return PFC_OK;
}

/* 3, 4: sums = row sums of Q over all ranks, total = theirs. Collective. */
static pfc_status row_sums(run *s)
{
    pfc_acc *acc = NULL;
    if (s->ops->sinkhorn_own_sums) return row_sums_as_doubles(s);
    pfc_status st = pfc_agree(s->ctx, s->ops->acc_create(s->be, PFC_ACC_SCALAR, s->K, 1, &acc));
    if (st == PFC_OK) st = pfc_agree(s->ctx, local_sums(s, acc));
    if (st == PFC_OK) st = pfc_comm_sum_acc(&s->ctx->comm, s->be, acc);
    if (st == PFC_OK) st = s->ops->sinkhorn_total(s->be, acc, s->sums, &s->total);
    if (acc) s->ops->acc_destroy(s->be, acc);
    return pfc_agree(s->ctx, st);
}

static bool any_zero(const run *s)
{
    for (int64_t k = 0; k < s->K; k++)
        if (s->sums[k] == 0.0) return true;
    return false;
}

/* Steps 2 to 6. extremes: of all ranks. */
static pfc_status iterate(run *s, const double extremes[2])
{
    PFC_TRY(pfc_agree(s->ctx, s->ops->sinkhorn_exp(s->be, s->plan, extremes))); /* 2 */
    PFC_TRY(row_sums(s));                                                       /* 3 */
    pfc_status st = s->ops->sinkhorn_divide(s->be, s->plan, s->total);
    for (int64_t t = 0; t < s->cfg->iterations; t++) {
        PFC_TRY(pfc_agree(s->ctx, st));
        PFC_TRY(row_sums(s)); /* 4 */
        if (s->cfg->version == PFC_SINKHORN_VISSL && any_zero(s)) {
            PFC_TRY(pfc_agree(s->ctx, s->ops->sinkhorn_add(s->be, s->plan, VISSL_ADDS)));
            PFC_TRY(row_sums(s));
        }
        PFC_TRY(tap_sums(s, t));
        st = s->ops->sinkhorn_scale(s->be, s->plan, s->sums); /* 5 */
    }
    return st == PFC_OK ? s->ops->sinkhorn_finish(s->be, s->plan) : st; /* 6; the caller agrees */
}

/* 4': max and acc over all ranks, then 5'. */
static pfc_status log_iteration(run *s, pfc_acc *acc)
{
    PFC_TRY(pfc_agree(s->ctx, s->ops->sinkhorn_log_max(s->be, s->plan, s->max)));
    PFC_TRY(pfc_max_over_ranks(s->ctx, s->max));
    pfc_status st = s->ops->sinkhorn_log_sums(s->be, s->plan, s->max, acc);
    if (st == PFC_OK) st = s->ops->acc_fold(s->be, acc, NULL);
    PFC_TRY(pfc_agree(s->ctx, st));
    PFC_TRY(pfc_comm_sum_acc(&s->ctx->comm, s->be, acc));
    return pfc_agree(s->ctx, s->ops->sinkhorn_log_scale(s->be, s->plan, s->max, acc, s->sums));
}

static pfc_status iterate_log(run *s)
{
    pfc_status st = pfc_agree(s->ctx, pfc_ws_view(s->ctx, s->ops->real, s->K, 1, &s->max));
    for (int64_t t = 0; st == PFC_OK && t < s->cfg->iterations; t++) {
        pfc_acc *acc = NULL;
        st = pfc_agree(s->ctx, s->ops->acc_create(s->be, PFC_ACC_SCALAR, s->K, 1, &acc));
        if (st == PFC_OK) st = log_iteration(s, acc);
        if (st == PFC_OK) st = tap_sums(s, t);
        if (acc) s->ops->acc_destroy(s->be, acc);
    }
    if (st == PFC_OK) st = s->ops->sinkhorn_finish(s->be, s->plan); /* 6' */
    pfc_ws_free(s->ctx, &s->max);
    return st;
}

pfc_status pfc_sinkhorn_run(pfc_ctx *ctx, const pfc_sinkhorn_config *cfg, pfc_view scores, pfc_view q, bool tap)
{
    const pfc_ops *ops = ctx->be->ops;
    run s = { .ctx = ctx, .ops = ops, .be = ctx->be, .cfg = cfg, .K = scores.cols, .tap = tap };
    double extremes[2] = { 0.0, 0.0 };
    s.sums = malloc((size_t)(s.K + 1) * sizeof *s.sums);
    pfc_status st = s.sums ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = ops->sinkhorn_create(ctx->be, cfg, (double)scores.rows * ctx->comm.ranks, scores, q, extremes, &s.plan); /* 1 */
    st = pfc_agree(ctx, st);
    if (st == PFC_OK) st = pfc_comm_max(&ctx->comm, extremes, 2, PFC_F64);
    if (st == PFC_OK) st = cfg->version == PFC_SINKHORN_LOG ? iterate_log(&s) : iterate(&s, extremes);
    if (s.plan) ops->sinkhorn_destroy(ctx->be, s.plan);
    free(s.sums);
    return pfc_agree(ctx, st);
}

/* ---- for the caller ---- */

static bool real(pfc_view v) { return v.dtype == PFC_F32 || v.dtype == PFC_F64; }

static pfc_status check_views(pfc_ctx *ctx, pfc_view scores, pfc_view assignment)
{
    int64_t n = scores.rows, K = scores.cols, limits[4] = { n, -n, K, -K };
    PFC_TRY(pfc_comm_max(&ctx->comm, limits, 4, PFC_I64));
    if (limits[0] != -limits[1] || limits[2] != -limits[3])
        return pfc_fail(ctx, PFC_ERR_SHAPE, "scores: every rank needs the same shape; found %lld to %lld rows, %lld to %lld columns", -(long long)limits[1],
                        (long long)limits[0], -(long long)limits[3], (long long)limits[2]);
    if (n < 1 || K < 1) return pfc_fail(ctx, PFC_ERR_SHAPE, "scores: found (%lld,%lld), expected one row and column or more", (long long)n, (long long)K);
    PFC_TRY(pfc_sinkhorn_check_size(ctx, n, K));
    if (!scores.data || !real(scores) || !assignment.data || assignment.dtype != ctx->be->ops->real)
        return pfc_fail(ctx, PFC_ERR_ARG, "scores, assignment: expected matrices of float32 or float64, the assignment of pfc_ctx_real");
    if (assignment.rows != n || assignment.cols != K)
        return pfc_fail(ctx, PFC_ERR_SHAPE, "assignment: found (%lld,%lld), expected (%lld,%lld)", (long long)assignment.rows, (long long)assignment.cols,
                        (long long)n, (long long)K);
    return PFC_OK;
}

pfc_status pfc_sinkhorn(pfc_ctx *ctx, const pfc_sinkhorn_config *cfg, pfc_view scores, pfc_view assignment)
{
    pfc_host_rows s = { 0 }, q = { 0 };
    PFC_TRY(pfc_agree(ctx, pfc_sinkhorn_check(ctx, cfg)));
    PFC_TRY(pfc_agree(ctx, check_views(ctx, scores, assignment)));
    pfc_status st = pfc_host_take(ctx, scores, false, &s);
    if (st == PFC_OK) st = pfc_host_room(ctx, assignment, &q);
    st = pfc_agree(ctx, st);
    if (st == PFC_OK) st = pfc_sinkhorn_run(ctx, cfg, s.v, q.v, true);
    if (st == PFC_OK) st = pfc_agree(ctx, pfc_host_give(ctx, &q, assignment));
    pfc_host_release(ctx, &s);
    pfc_host_release(ctx, &q);
    return st;
}
