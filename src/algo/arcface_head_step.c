/* arcface_head_step.c: around a step: checks, gathering the batch, memory; arcface_head.c has the algorithm itself. */
#include "algo/arcface_head.h"

#include <stdlib.h>
#include <string.h>

/* ---- checks ---- */

typedef struct wanted {
    const char *name;
    pfc_view view;
    int64_t rows, cols;
    pfc_dtype dtype; /* PFC_F32: either float */
    bool optional;
} wanted;

/* Shapes and types; `real` results are of the mode's storage. */
static pfc_status check_view(pfc_ctx *ctx, const wanted *w)
{
    pfc_view v = w->view;
    bool type = v.dtype == w->dtype || (w->dtype == PFC_F32 && v.dtype == PFC_F64);
    if (!v.data && (w->optional || w->rows == 0)) return PFC_OK;
    if (v.data && v.rows == w->rows && v.cols == w->cols && v.ld >= v.cols && type) return PFC_OK;
    return pfc_fail(ctx, PFC_ERR_SHAPE, "%s: found (%lld,%lld)%s, expected (%lld,%lld) %s", w->name, v.data ? (long long)v.rows : 0LL,
                    v.data ? (long long)v.cols : 0LL, type ? "" : " of another type", (long long)w->rows, (long long)w->cols,
                    w->dtype == PFC_I64 ? "int64" : "float");
}

static pfc_status check_result(pfc_arcface_run *s, const char *name, pfc_view v, int64_t rows, int64_t cols, pfc_dtype dtype)
{
    if (!v.data || (v.rows == rows && v.cols == cols && v.ld >= cols && v.dtype == dtype)) return PFC_OK;
    return pfc_fail(s->ctx, PFC_ERR_SHAPE, "%s: wrong shape or type", name);
}

static pfc_status check_views(pfc_arcface_run *s, bool train)
{
    const pfc_arcface_input *in = s->in;
    const pfc_arcface_result *r = s->result;
    int64_t rows = s->classes * s->k;
    const wanted list[] = { { "features", in->features, s->b, s->D, PFC_F32, false },
                            { "labels", in->labels, s->b, 1, PFC_I64, !train },
                            { "weight", in->weight, rows, s->D, PFC_F32, false },
                            { "bias", in->bias, rows, 1, PFC_F32, true },
                            { "soft_targets", in->soft_targets, s->N, s->classes, PFC_F32, true },
                            { "class_weight", in->class_weight, s->classes, 1, PFC_F32, true } };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) PFC_TRY(check_view(s->ctx, &list[i]));
    PFC_TRY(check_result(s, "logits", r->logits, s->N, s->classes, s->ops->real));
    PFC_TRY(check_result(s, "subcenter", r->subcenter, s->N, s->classes, PFC_I64));
    if (!train) return PFC_OK;
    PFC_TRY(check_result(s, "x_grad", r->x_grad, s->b, s->D, s->ops->real));
    PFC_TRY(check_result(s, "weight_grad", r->weight_grad, rows, s->D, s->ops->real));
    return check_result(s, "bias_grad", r->bias_grad, rows, 1, s->ops->real);
}

/* The same number of rows everywhere, and an optional input on all ranks that have classes or on none. Collective. */
static pfc_status check_alike(pfc_arcface_run *s)
{
    const void *optional[3] = { s->in->bias.data, s->in->soft_targets.data, s->in->class_weight.data };
    static const char *const names[3] = { "bias", "soft_targets", "class_weight" };
    int64_t most[8] = { s->b, -s->b, -2, -2, -2, -2, -2, -2 };
    for (int i = 0; s->classes > 0 && i < 3; i++) {
        most[2 + 2 * i] = optional[i] != NULL;
        most[3 + 2 * i] = -(optional[i] != NULL);
    }
    PFC_TRY(pfc_comm_max(&s->ctx->comm, most, 8, PFC_I64));
    if (most[0] != -most[1])
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "features: every rank needs the same number of rows; found %lld to %lld", -(long long)most[1],
                        (long long)most[0]);
    if (s->b < 1) return pfc_fail(s->ctx, PFC_ERR_SHAPE, "features: an empty batch");
    PFC_TRY(pfc_check_terms(s->ctx, PFC_ERR_SHAPE, "features: rows of all ranks", s->b, s->ctx->comm.ranks));
    for (int i = 0; i < 3; i++)
        if (most[2 + 2 * i] != -most[3 + 2 * i]) return pfc_fail(s->ctx, PFC_ERR_ARG, "%s: given on some ranks only", names[i]);
    return PFC_OK;
}

/* ---- 1: the batch of all ranks ---- */

static pfc_status gather_labels(pfc_arcface_run *s)
{
    int64_t classes = s->head->cfg.num_classes, *mine = malloc((size_t)(s->b + s->N) * sizeof *mine);
    s->labels = malloc((size_t)s->N * sizeof *s->labels);
    pfc_status st = pfc_agree(s->ctx, mine && s->labels ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_NOMEM, "labels: out of memory"));
    for (int64_t i = 0; st == PFC_OK && i < s->b; i++) mine[i] = ((const int64_t *)s->in->labels.data)[i * s->in->labels.ld];
    if (st == PFC_OK) st = pfc_comm_allgather(&s->ctx->comm, mine, s->b, PFC_I64, s->labels);
    for (int64_t i = 0; st == PFC_OK && i < s->N; i++)
        if (s->labels[i] < 0 || s->labels[i] >= classes)
            st = pfc_fail(s->ctx, PFC_ERR_DATA, "labels: row %lld: found %lld, expected 0 to %lld", (long long)i, (long long)s->labels[i],
                          (long long)classes - 1);
    int64_t *target = mine ? mine + s->b : NULL, start = s->head->shard.start;
    for (int64_t i = 0; st == PFC_OK && i < s->N; i++) target[i] = s->labels[i] >= start && s->labels[i] < start + s->classes ? s->labels[i] - start : -1;
    if (st == PFC_OK) st = s->ops->upload(s->be, s->target, target, (size_t)s->N * sizeof *target);
    free(mine);
    return pfc_agree(s->ctx, st);
}

static pfc_status gather_features(pfc_arcface_run *s)
{
    size_t part = (size_t)(s->b * s->D);
    float *mine = malloc((part + (size_t)(s->N * s->D)) * sizeof *mine);
    pfc_status st = pfc_agree(s->ctx, mine ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_NOMEM, "features: out of memory"));
    pfc_view x = s->in->features;
    for (int64_t i = 0; st == PFC_OK && i < s->b; i++)
        for (int64_t j = 0; j < s->D; j++)
            mine[i * s->D + j] = x.dtype == PFC_F64 ? (float)((const double *)x.data)[i * x.ld + j] : ((const float *)x.data)[i * x.ld + j];
    if (st == PFC_OK) st = pfc_comm_allgather(&s->ctx->comm, mine, s->b * s->D, PFC_F32, mine + part);
    if (st == PFC_OK) st = pfc_arcface_upload(s->ctx, pfc_view_make(mine + part, PFC_F32, s->N, s->D), s->N, s->D, false, &s->X);
    free(mine);
    return pfc_agree(s->ctx, st);
}

/* ---- memory ---- */

static pfc_status allocate_training(pfc_arcface_run *s)
{
    pfc_ctx *ctx = s->ctx;
    pfc_dtype real = s->ops->real;
    int64_t lane_rows = s->be->lanes * s->lane_rows;
    PFC_TRY(pfc_ws_view(ctx, real, s->N, 1, &s->aims.total));
    PFC_TRY(pfc_ws_view(ctx, real, lane_rows, s->D, &s->dW));
    PFC_TRY(pfc_ws_view(ctx, real, lane_rows, 1, &s->db));
    if (s->in->soft_targets.data) PFC_TRY(pfc_arcface_upload(ctx, s->in->soft_targets, s->classes, s->N, true, &s->aims.soft));
    if (s->in->class_weight.data) PFC_TRY(pfc_arcface_upload(ctx, s->in->class_weight, s->classes, 1, false, &s->aims.class_weight));
    PFC_TRY(s->ops->acc_create(s->be, PFC_ACC_SCALAR, s->N, 1, &s->sum_acc));
    PFC_TRY(s->ops->acc_create(s->be, PFC_ACC_SCALAR, s->N, 1, &s->total_acc));
    PFC_TRY(s->ops->acc_create(s->be, PFC_ACC_SCALAR, s->N, 1, &s->loss_acc));
    PFC_TRY(s->ops->acc_create(s->be, PFC_ACC_PRODUCT, s->N, s->D, &s->feature_acc));
    s->row_loss = malloc((size_t)s->N * sizeof *s->row_loss);
    return s->row_loss ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
}

/* What is known of the rows: targets (filled later), all of them valid, statistics. */
static pfc_status allocate_rows(pfc_arcface_run *s)
{
    pfc_dtype real = s->ops->real;
    void *target = NULL;
    unsigned char *ones = malloc((size_t)s->N);
    pfc_status st = ones ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = pfc_ws_view(s->ctx, PFC_U8, s->N, 1, &s->valid);
    if (st == PFC_OK) st = s->ops->upload(s->be, s->valid.data, memset(ones, 1, (size_t)s->N), (size_t)s->N);
    free(ones);
    PFC_TRY(st);
    PFC_TRY(s->ops->alloc(s->be, (size_t)s->N * sizeof *s->target, &target));
    s->target = target;
    PFC_TRY(pfc_ws_view(s->ctx, real, s->N, 1, &s->target_logit));
    PFC_TRY(pfc_ws_view(s->ctx, real, s->N, 1, &s->max));
    PFC_TRY(pfc_ws_view(s->ctx, real, s->N, 1, &s->sum));
    s->rows = (pfc_rows_info){ s->target, s->valid.data, s->target_logit, s->max, s->sum, (double)s->N };
    return PFC_OK;
}

static pfc_status allocate(pfc_arcface_run *s, bool train)
{
    pfc_ctx *ctx = s->ctx;
    pfc_dtype real = s->ops->real;
    int64_t rows = s->classes * s->k, fit = s->ops->block_classes / s->k;
    s->block_classes = fit > 1 ? fit : 1; /* a class stays in one block */
    s->lane_rows = (s->block_classes < s->classes ? s->block_classes : s->classes) * s->k;
    int64_t lane_rows = s->be->lanes * s->lane_rows;
    PFC_TRY(allocate_rows(s));
    PFC_TRY(pfc_arcface_upload(ctx, s->in->weight, rows, s->D, false, &s->W));
    if (s->in->bias.data) PFC_TRY(pfc_arcface_upload(ctx, s->in->bias, rows, 1, false, &s->bias));
    PFC_TRY(pfc_ws_view(ctx, real, s->N, 1, &s->xnorm));
    PFC_TRY(pfc_ws_view(ctx, real, rows, 1, &s->wnorm));
    PFC_TRY(pfc_ws_view(ctx, real, s->classes, s->N, &s->cosine));
    PFC_TRY(pfc_ws_view(ctx, real, s->classes, s->N, &s->L));
    PFC_TRY(pfc_ws_view(ctx, PFC_I32, s->classes, s->N, &s->winner));
    if (s->head->cfg.weight_norm) PFC_TRY(pfc_ws_view(ctx, real, lane_rows, s->D, &s->U));
    PFC_TRY(pfc_ws_view(ctx, real, lane_rows, 1, &s->unorm));
    PFC_TRY(pfc_ws_view(ctx, PFC_I32, lane_rows, 1, &s->uexpo));
    PFC_TRY(pfc_ws_view(ctx, real, lane_rows, s->N, &s->Z));
    return train ? allocate_training(s) : PFC_OK;
}

static void release(pfc_arcface_run *s)
{
    pfc_view *views[] = { &s->valid,
                          &s->X,
                          &s->xnorm,
                          &s->W,
                          &s->wnorm,
                          &s->bias,
                          &s->cosine,
                          &s->L,
                          &s->winner,
                          &s->U,
                          &s->unorm,
                          &s->uexpo,
                          &s->Z,
                          &s->dW,
                          &s->db,
                          &s->target_logit,
                          &s->max,
                          &s->sum,
                          &s->aims.total,
                          &s->aims.soft,
                          &s->aims.class_weight };
    pfc_acc *accs[] = { s->sum_acc, s->total_acc, s->loss_acc, s->feature_acc };
    if (s->operand) s->ops->operand_destroy(s->be, s->operand);
    pfc_matrix_free(s->ctx, &s->x);
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) pfc_ws_free(s->ctx, views[i]);
    for (size_t i = 0; i < sizeof accs / sizeof *accs; i++) s->ops->acc_destroy(s->be, accs[i]);
    if (s->target) s->ops->free(s->be, s->target);
    free(s->labels);
    free(s->row_loss);
}

/* ---- the calls ---- */

static pfc_status run(pfc_arcface *head, const pfc_arcface_input *in, pfc_arcface_result *result, bool train)
{
    pfc_ctx *ctx = head->ctx;
    pfc_arcface_run s = { .head = head,
                          .ctx = ctx,
                          .ops = ctx->be->ops,
                          .be = ctx->be,
                          .in = in,
                          .result = result,
                          .b = in->features.rows,
                          .N = in->features.rows * ctx->comm.ranks,
                          .D = head->cfg.embedding_size,
                          .k = head->cfg.num_subcenters,
                          .classes = head->shard.count };
    s.angular = (pfc_angular){ head->cfg.scale, train, head->cfg.easy_margin, head->cfg.cos_clamp, head->constant };
    s.aims.factor = head->cfg.loss_weight / (double)s.N;
    PFC_TRY(check_alike(&s));
    PFC_TRY(pfc_agree(ctx, check_views(&s, train)));
    pfc_status st = pfc_agree(ctx, allocate(&s, train));
    if (st == PFC_OK && train) st = gather_labels(&s);
    if (st == PFC_OK) st = gather_features(&s);
    if (st == PFC_OK) st = train ? pfc_arcface_train(&s) : pfc_arcface_forward(&s);
    st = pfc_agree(ctx, st);
    release(&s);
    return st;
}

pfc_status pfc_arcface_step(pfc_arcface *head, const pfc_arcface_input *in, pfc_arcface_result *result) { return run(head, in, result, true); }

pfc_status pfc_arcface_eval(pfc_arcface *head, const pfc_arcface_input *in, pfc_arcface_result *result) { return run(head, in, result, false); }
