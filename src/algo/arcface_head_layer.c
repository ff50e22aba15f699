/* arcface_head_layer.c: the head object: configuration, and the constants of the margins. */
#include "algo/arcface_head.h"

#include "core/px.h"

#include <math.h>
#include <stdlib.h>

static const double MAX_FACTOR = 1e100, MAX_ANGLE = 1048576.0; /* px_sincos is good to 2^20 */

pfc_arcface_config pfc_arcface_defaults(void)
{
    return (pfc_arcface_config){ .num_subcenters = 1, .scale = 64.0, .margin = 0.5, .feature_norm = 1, .weight_norm = 1, .loss_weight = 1.0 };
}

static pfc_status check_config(pfc_ctx *ctx, const pfc_arcface_config *c)
{
    const int64_t counts[3] = { c->num_classes, c->embedding_size, c->num_subcenters };
    static const char *const names[3] = { "num_classes", "embedding_size", "num_subcenters" };
    for (int i = 0; i < 3; i++)
        if (counts[i] < 1) return pfc_fail(ctx, PFC_ERR_ARG, "%s: found %lld, expected 1 or more", names[i], (long long)counts[i]);
    if (c->num_subcenters > INT32_MAX || c->num_classes > INT64_MAX / c->num_subcenters)
        return pfc_fail(ctx, PFC_ERR_ARG, "num_subcenters: found %lld, which is too many", (long long)c->num_subcenters);
    PFC_TRY(pfc_check_terms(ctx, PFC_ERR_ARG, "num_classes x num_subcenters", c->num_classes, c->num_subcenters));
    PFC_TRY(pfc_check_terms(ctx, PFC_ERR_ARG, "embedding_size", c->embedding_size, 1));
    if (!(fabs(c->scale) <= MAX_FACTOR)) return pfc_fail(ctx, PFC_ERR_ARG, "scale: found %g, expected a number up to %g", c->scale, MAX_FACTOR);
    if (!(fabs(c->loss_weight) <= MAX_FACTOR))
        return pfc_fail(ctx, PFC_ERR_ARG, "loss_weight: found %g, expected a number up to %g", c->loss_weight, MAX_FACTOR);
    if (!(fabs(c->margin) <= MAX_ANGLE)) return pfc_fail(ctx, PFC_ERR_ARG, "margin: found %g, expected a number up to %g", c->margin, MAX_ANGLE);
    return PFC_OK;
}

/* cos m, sin m, threshold, m sin m (exact-v1 8.1). */
static void constants(double m, pfc_margin_constants formulas, double out[4])
{
    double sine, cosine, s, c;
    px_sincos(m, &sine, &cosine);
    px_sincos(0x1.921fb54442d18p+1 - m, &s, &c); /* pi - m */
    out[0] = cosine;
    out[1] = sine;
    out[2] = formulas == PFC_MARGIN_INIT ? c : -cosine;
    out[3] = formulas == PFC_MARGIN_INIT ? s * m : sine * m;
}

static double margin_at(pfc_view v, int64_t c) { return ((const double *)v.data)[v.rows == 1 ? 0 : c * v.ld]; }

/* The constants of this rank's classes in memory of their own: nothing of the head changes before all of them are there. */
static pfc_status make_constants(pfc_arcface *head, pfc_view margins, pfc_margin_constants formulas, pfc_view *out)
{
    pfc_backend *be = head->ctx->be;
    int64_t classes = head->shard.count;
    size_t bytes = (size_t)classes * 4 * pfc_dtype_size(be->ops->real);
    void *host = malloc(bytes + 1);
    if (!host) return pfc_fail(head->ctx, PFC_ERR_NOMEM, "margins: out of memory");
    for (int64_t c = 0; c < classes; c++) {
        double value[4];
        constants(margin_at(margins, c), formulas, value);
        for (int i = 0; i < 4; i++) {
            if (be->ops->real == PFC_F32)
                ((float *)host)[4 * c + i] = (float)value[i];
            else
                ((double *)host)[4 * c + i] = value[i];
        }
    }
    pfc_status st = pfc_ws_view(head->ctx, be->ops->real, classes, 4, out);
    if (st == PFC_OK && classes) st = be->ops->upload(be, out->data, host, bytes);
    free(host);
    return st;
}

pfc_status pfc_arcface_set_margins(pfc_arcface *head, pfc_view margins, pfc_margin_constants formulas)
{
    pfc_ctx *ctx = head->ctx;
    int64_t classes = head->shard.count;
    if (margins.dtype != PFC_F64 || margins.cols != 1 || (margins.rows != 1 && margins.rows != classes) || (margins.rows > 0 && !margins.data))
        return pfc_fail(ctx, PFC_ERR_SHAPE, "margins: found (%lld,%lld), expected (%lld,1) or (1,1) float64", (long long)margins.rows, (long long)margins.cols,
                        (long long)classes);
    for (int64_t c = 0; c < classes; c++)
        if (isfinite(margin_at(margins, c)) && fabs(margin_at(margins, c)) > MAX_ANGLE)
            return pfc_fail(ctx, PFC_ERR_ARG, "margins: class %lld: found %g, expected a number up to %g", (long long)(head->shard.start + c),
                            margin_at(margins, c), MAX_ANGLE);
    pfc_view made = { 0 };
    pfc_status st = make_constants(head, margins, formulas, &made);
    pfc_view *unused = st == PFC_OK ? &head->constant : &made;
    pfc_ws_free(ctx, unused);
    if (st == PFC_OK) head->constant = made;
    return st;
}

pfc_status pfc_arcface_create(pfc_ctx *ctx, const pfc_arcface_config *cfg, pfc_arcface **out)
{
    *out = NULL;
    PFC_TRY(pfc_agree(ctx, check_config(ctx, cfg)));
    pfc_arcface *head = calloc(1, sizeof *head);
    pfc_status st = head ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    if (head) {
        double margin = cfg->margin;
        head->ctx = ctx;
        head->cfg = *cfg;
        head->shard = pfc_shard_of(cfg->num_classes, ctx->comm.ranks, ctx->comm.rank);
        st = pfc_arcface_set_margins(head, pfc_view_make(&margin, PFC_F64, 1, 1), cfg->margin_constants);
    }
    st = pfc_agree(ctx, st);
    if (st != PFC_OK) {
        pfc_arcface_destroy(&head);
        return st;
    }
    *out = head;
    return PFC_OK;
}

void pfc_arcface_destroy(pfc_arcface **head)
{
    if (!head || !*head) return;
    pfc_ws_free((*head)->ctx, &(*head)->constant);
    free(*head);
    *head = NULL;
}
