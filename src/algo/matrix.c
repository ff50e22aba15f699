/* matrix.c: products of whole matrices, by blocks of rows over the lanes of the backend. */
#include "algo/matrix.h"

#include "algo/blocks.h"

pfc_status pfc_matrix_make(pfc_ctx *ctx, pfc_view v, pfc_matrix *out)
{
    const pfc_ops *ops = ctx->be->ops;
    pfc_rowset rows = { v, NULL, 0, v.rows };
    *out = (pfc_matrix){ .v = v };
    pfc_status st = pfc_ws_view(ctx, ops->real, v.rows, 1, &out->norm);
    if (st == PFC_OK) st = pfc_ws_view(ctx, PFC_I32, v.rows, 1, &out->expo);
    if (st == PFC_OK) st = ops->row_norms(ctx->be, rows, out->norm, out->expo.data);
    if (st != PFC_OK) pfc_matrix_free(ctx, out);
    return st;
}

void pfc_matrix_free(pfc_ctx *ctx, pfc_matrix *m)
{
    pfc_ws_free(ctx, &m->norm);
    pfc_ws_free(ctx, &m->expo);
}

/* ---- blocks of rows ---- */

typedef struct product {
    pfc_backend *be;
    pfc_view a, out;
    const pfc_matrix *m;  /* a with its lengths (nt), or the right operand (tn) */
    pfc_operand *operand; /* the right operand of nt and nn, prepared */
    pfc_acc *acc;         /* tn */
} product;

static pfc_status for_rows(pfc_ctx *ctx, product *p, pfc_block_fn fn) { return pfc_for_blocks(ctx, p->a.rows, ctx->be->ops->block_classes, fn, p); }

static pfc_rowset rows_of(pfc_view v, int64_t first, int64_t count) { return (pfc_rowset){ v, NULL, first, count }; }
static const int32_t *expo_at(const pfc_matrix *m, int64_t first) { return (const int32_t *)m->expo.data + first; }

/* ---- a b^T ---- */

static pfc_status nt_block(void *arg, int lane, int64_t first, int64_t count)
{
    const product *p = arg;
    return p->be->ops->cosines(p->be, lane, p->operand, rows_of(p->a, first, count), pfc_view_rows(p->m->norm, first, count), expo_at(p->m, first), 0,
                               pfc_view_rows(p->out, first, count));
}

pfc_status pfc_product_nt(pfc_ctx *ctx, const pfc_matrix *a, const pfc_matrix *b, pfc_view out)
{
    const pfc_ops *ops = ctx->be->ops;
    product p = { .be = ctx->be, .a = a->v, .out = out, .m = a };
    PFC_TRY(ops->operand_create(ctx->be, b->v, b->norm, b->expo.data, &p.operand));
    pfc_status st = for_rows(ctx, &p, nt_block);
    ops->operand_destroy(ctx->be, p.operand);
    return st;
}

/* ---- a b ---- */

static pfc_status nn_block(void *arg, int lane, int64_t first, int64_t count)
{
    const product *p = arg;
    pfc_view none = { 0 };
    return p->be->ops->weight_grad(p->be, lane, p->operand, pfc_view_rows(p->a, first, count), rows_of(none, first, count), none, none, 0,
                                   pfc_view_rows(p->out, first, count));
}

pfc_status pfc_product_nn(pfc_ctx *ctx, pfc_view a, const pfc_matrix *b, pfc_view out)
{
    const pfc_ops *ops = ctx->be->ops;
    product p = { .be = ctx->be, .a = a, .out = out };
    PFC_TRY(ops->operand_create(ctx->be, b->v, b->norm, b->expo.data, &p.operand));
    pfc_status st = for_rows(ctx, &p, nn_block);
    ops->operand_destroy(ctx->be, p.operand);
    return st;
}

/* ---- a^T b ---- */

static pfc_status tn_scale(void *arg, int lane, int64_t first, int64_t count)
{
    const product *p = arg;
    return p->be->ops->column_expo(p->be, lane, pfc_view_rows(p->a, first, count), expo_at(p->m, first), p->acc);
}

static pfc_status tn_block(void *arg, int lane, int64_t first, int64_t count)
{
    const product *p = arg;
    return p->be->ops->feature_grad(p->be, lane, pfc_view_rows(p->a, first, count), rows_of(p->m->v, first, count), pfc_view_rows(p->m->norm, first, count),
                                    expo_at(p->m, first), 0, p->acc);
}

/* The accumulator on one grid, filled and added. */
static pfc_status tn_sum(pfc_ctx *ctx, product *p, bool over_ranks)
{
    const pfc_ops *ops = ctx->be->ops;
    pfc_status st = PFC_OK;
    if (ops->column_expo) {
        st = for_rows(ctx, p, tn_scale);
        if (st == PFC_OK) st = ops->acc_expo_fold(ctx->be, p->acc);
        if (over_ranks) st = pfc_agree(ctx, st);
        if (st == PFC_OK && over_ranks) st = pfc_comm_max(&ctx->comm, p->acc->expo, p->acc->rows, PFC_I32);
    }
    if (st == PFC_OK) st = for_rows(ctx, p, tn_block);
    if (st == PFC_OK) st = ops->acc_fold(ctx->be, p->acc, NULL);
    if (!over_ranks) return st;
    PFC_TRY(pfc_agree(ctx, st));
    return pfc_comm_sum_acc(&ctx->comm, ctx->be, p->acc);
}

pfc_status pfc_product_tn(pfc_ctx *ctx, pfc_view a, const pfc_matrix *b, bool over_ranks, pfc_view out)
{
    const pfc_ops *ops = ctx->be->ops;
    product p = { .be = ctx->be, .a = a, .m = b };
    pfc_status st = ops->acc_create(ctx->be, PFC_ACC_PRODUCT, a.cols, b->v.cols, &p.acc);
    if (over_ranks) st = pfc_agree(ctx, st);
    if (st == PFC_OK) st = tn_sum(ctx, &p, over_ranks);
    if (st == PFC_OK) st = ops->acc_value(ctx->be, p.acc, 0, a.cols, out);
    if (p.acc) ops->acc_destroy(ctx->be, p.acc);
    return over_ranks ? pfc_agree(ctx, st) : st;
}
