/* group_gather.c: the sum of a vector over a group of ranks, forward and backward alike.
 *
 * Mirrors GroupGather (SlowFast, TimeSformer: distributed.py), semantics.md 7.5; values: doc/exact-v1.md 7.1. P ranks; ranks [i*G, (i+1)*G) are a
 * machine; M elements.
 *
 *   the source                                            here                                    moved per rank
 *   1  all-gather over the machine: (G, M)                1  the group, a communicator of its own -
 *   2  keep the d vectors of sub-group local_rank div d   2  exponents, allreduce MAX             4 M bytes (exact only)
 *   3  sum of what is kept                                3  allreduce SUM over the group         16 M exact, 8 M fast; the source: 4 M to each of G */
#include "algo/host_rows.h"

#include <pfc/batch_norm.h>
#include <stdlib.h>
#include <string.h>

static pfc_status check(pfc_ctx *ctx, int64_t devices, int64_t groups, int64_t local, pfc_view in, pfc_view out)
{
    int64_t ranks = ctx->comm.ranks;
    if (groups < 1) return pfc_fail(ctx, PFC_ERR_ARG, "num_groups: found %lld, expected 1 or more", (long long)groups);
    if (local < 1 || ranks % local != 0)
        return pfc_fail(ctx, PFC_ERR_SHAPE, "local_size: found %lld, expected a divisor of the number of ranks, %lld", (long long)local, (long long)ranks);
    if (groups > 1 && (devices < 1 || local % devices != 0))
        return pfc_fail(ctx, PFC_ERR_SHAPE, "num_sync_devices: found %lld, expected a divisor of local_size, %lld, with more than one group",
                        (long long)devices, (long long)local);
    if (!in.data || !out.data) return pfc_fail(ctx, PFC_ERR_ARG, "%s: found no data", in.data ? "out" : "in");
    if (in.cols != 1 || in.rows < 1 || (in.dtype != PFC_F32 && in.dtype != PFC_F64) || in.ld != 1)
        return pfc_fail(ctx, PFC_ERR_SHAPE, "in: expected (M,1) contiguous real numbers");
    if (out.rows != in.rows || out.cols != 1 || out.dtype != ctx->be->ops->real || out.ld != 1)
        return pfc_fail(ctx, PFC_ERR_SHAPE, "out: expected (%lld,1) of pfc_ctx_real", (long long)in.rows);
    return PFC_OK;
}

static pfc_status check_lengths(pfc_ctx *ctx, int64_t m)
{
    int64_t both[2] = { m, -m };
    pfc_status st = pfc_comm_max(&ctx->comm, both, 2, PFC_I64);
    if (st == PFC_OK && both[0] != -both[1])
        st = pfc_fail(ctx, PFC_ERR_SHAPE, "in: found %lld to %lld elements, expected the same on all ranks", (long long)-both[1], (long long)both[0]);
    return pfc_agree(ctx, st);
}

/* A vector as a matrix of one row: it is moved at once. */
static pfc_view lying(pfc_view v)
{
    v.cols = v.ld = v.rows;
    v.rows = 1;
    return v;
}

static pfc_view standing(pfc_view v)
{
    v.rows = v.cols;
    v.cols = v.ld = 1;
    return v;
}

/* 2, 3. */
static pfc_status sum_over(pfc_ctx *ctx, pfc_comm *group, pfc_view x, pfc_acc *acc)
{
    const pfc_ops *ops = ctx->be->ops;
    if (ops->gather_expo) {
        PFC_TRY(pfc_agree(ctx, ops->gather_expo(ctx->be, x, acc)));
        PFC_TRY(pfc_agree(ctx, pfc_comm_max(group, acc->expo, acc->rows, PFC_I32)));
    }
    pfc_status st = ops->gather_add(ctx->be, x, acc);
    if (st == PFC_OK) st = ops->acc_fold(ctx->be, acc, NULL);
    PFC_TRY(pfc_agree(ctx, st));
    return pfc_comm_sum_acc(group, ctx->be, acc);
}

pfc_status pfc_group_gather(pfc_ctx *ctx, int64_t num_sync_devices, int64_t num_groups, int64_t local_size, pfc_view in, pfc_view out)
{
    const pfc_ops *ops = ctx->be->ops;
    int64_t local = local_size ? local_size : ctx->comm.ranks;
    pfc_comm group = pfc_comm_none();
    pfc_host_rows x = { 0 }, sum = { 0 };
    pfc_acc *acc = NULL;
    PFC_TRY(pfc_agree(ctx, check(ctx, num_sync_devices, num_groups, local, in, out)));
    PFC_TRY(check_lengths(ctx, in.rows));
    /* 1: sub-groups of d ranks in a row, or whole machines */
    pfc_status st = pfc_comm_split(&ctx->comm, ctx->comm.rank / (int)(num_groups > 1 ? num_sync_devices : local), &group);
    if (st == PFC_OK) st = pfc_host_take(ctx, lying(in), true, &x);
    if (st == PFC_OK) st = pfc_host_room(ctx, lying(out), &sum);
    if (st == PFC_OK) st = ops->acc_create(ctx->be, PFC_ACC_SCALAR, in.rows, 1, &acc);
    st = pfc_agree(ctx, st);
    if (st == PFC_OK) st = sum_over(ctx, &group, standing(x.v), acc);
    if (st != PFC_OK && group.error[0]) memcpy(ctx->comm.error, group.error, sizeof group.error);
    if (st == PFC_OK) st = ops->acc_value(ctx->be, acc, 0, in.rows, standing(sum.v));
    if (st == PFC_OK) st = pfc_host_give(ctx, &sum, lying(out));
    if (acc) ops->acc_destroy(ctx->be, acc);
    pfc_host_release(ctx, &x);
    pfc_host_release(ctx, &sum);
    pfc_comm_close(&group);
    return pfc_agree(ctx, st);
}
