/* partial_fc_taps.c: the named intermediate results of a step, for goldens and for reading along. Nothing here is needed by the step itself. */
#include "algo/partial_fc.h"

#include <math.h>
#include <stdlib.h>

enum { TAP_COSINE, TAP_LOGITS, TAP_DLOGITS };

static void fill_nan(pfc_view v)
{
    for (int64_t i = 0; i < v.rows * v.cols; i++) {
        if (v.dtype == PFC_F64)
            ((double *)v.data)[i] = NAN;
        else
            ((float *)v.data)[i] = NAN;
    }
}

/* (classes, N) of the sampled positions [c0, c0 + rows) into columns of (N, C_r). */
static void transpose(const pfc_step *s, pfc_view block, int64_t c0, pfc_view out)
{
    for (int64_t c = 0; c < block.rows; c++) {
        int64_t col = s->sampled.index ? s->sampled.index[c0 + c] : c0 + c;
        for (int64_t n = 0; n < block.cols; n++) {
            if (out.dtype == PFC_F64)
                ((double *)out.data)[n * out.ld + col] = ((const double *)block.data)[c * block.ld + n];
            else
                ((float *)out.data)[n * out.ld + col] = ((const float *)block.data)[c * block.ld + n];
        }
    }
}

static pfc_status make_block(pfc_step *s, int which, pfc_view z, int64_t c0, pfc_view out)
{
    const pfc_head *head = &s->layer->head;
    if (which == TAP_LOGITS) return s->ops->logits(s->be, 0, head, z, c0, &s->rows, out);
    if (which == TAP_DLOGITS) return s->ops->dlogits(s->be, 0, head, z, c0, &s->rows, out);
    return PFC_OK;
}

/* cosine, logits or dlogits as (N, C_r), NaN where a class was not sampled. */
static pfc_status tap_classes(pfc_step *s, const char *name, int which)
{
    pfc_dtype real = s->ops->real;
    int64_t classes = s->layer->shard.count, block = s->ops->block_classes;
    pfc_view out = pfc_view_make(malloc((size_t)(s->N * classes) * 8 + 8), real, s->N, classes);
    pfc_view host = pfc_view_make(malloc((size_t)(s->N * block) * 8 + 8), real, block, s->N);
    pfc_status st = out.data && host.data ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) fill_nan(out);
    for (int64_t c0 = 0; st == PFC_OK && c0 < s->sampled.count; c0 += block) {
        int64_t count = s->sampled.count - c0 < block ? s->sampled.count - c0 : block;
        pfc_view z;
        st = pfc_partial_fc_cosines(s, c0, count, &z);
        if (st != PFC_OK) break;
        pfc_view made = which == TAP_COSINE ? z : pfc_view_rows(s->H, 0, count);
        st = make_block(s, which, z, c0, made);
        host.rows = count;
        if (st == PFC_OK) st = s->ops->download(s->be, host.data, made.data, (size_t)(count * s->N) * pfc_dtype_size(real));
        if (st == PFC_OK) transpose(s, host, c0, out);
    }
    st = pfc_agree(s->ctx, st);
    if (st == PFC_OK) s->ctx->tap(s->ctx->tap_user, name, out, PFC_CLASS_COLS);
    free(out.data);
    free(host.data);
    return st;
}

/* (N,1), the same on every rank. */
static pfc_status tap_rows(pfc_step *s, const char *name, pfc_view v)
{
    pfc_view host = pfc_view_make(malloc((size_t)s->N * 8 + 8), v.dtype, s->N, 1);
    pfc_status st = host.data ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = s->ops->download(s->be, host.data, v.data, (size_t)s->N * pfc_dtype_size(v.dtype));
    st = pfc_agree(s->ctx, st);
    if (st == PFC_OK) s->ctx->tap(s->ctx->tap_user, name, host, PFC_REPLICATED);
    free(host.data);
    return st;
}

/* The target probabilities are doubles in host memory; they go out in the storage of the mode, like every result. */
static pfc_status tap_prob(pfc_step *s)
{
    pfc_view v = pfc_view_make(s->prob, PFC_F64, s->N, 1);
    float *narrow = s->ops->real == PFC_F32 ? malloc((size_t)s->N * sizeof *narrow + 8) : NULL;
    pfc_status st = s->ops->real == PFC_F32 && !narrow ? pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory") : PFC_OK;
    st = pfc_agree(s->ctx, st);
    for (int64_t i = 0; narrow && i < s->N; i++) narrow[i] = (float)s->prob[i];
    if (narrow) v = pfc_view_make(narrow, PFC_F32, s->N, 1);
    if (st == PFC_OK) s->ctx->tap(s->ctx->tap_user, "prob_target", v, PFC_REPLICATED);
    free(narrow);
    return st;
}

pfc_status pfc_partial_fc_taps(pfc_step *s)
{
    if (!s->ctx->tap) return PFC_OK;
    if (s->sampled.keys)
        s->ctx->tap(s->ctx->tap_user, "sample_keys", pfc_view_make((double *)s->sampled.keys, PFC_F64, s->layer->shard.count, 1), PFC_CLASS_ROWS);
    PFC_TRY(tap_classes(s, "cosine", TAP_COSINE));
    PFC_TRY(tap_classes(s, "logits", TAP_LOGITS));
    PFC_TRY(tap_rows(s, "row_max", s->max));
    PFC_TRY(tap_rows(s, "row_sum", s->sum));
    PFC_TRY(tap_prob(s));
    return tap_classes(s, "dlogits", TAP_DLOGITS);
}
