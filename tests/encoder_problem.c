/* encoder_problem.c: see encoder_problem.h. */
#include "encoder_problem.h"

#include "pfc_test.h"

#include <string.h>

pfc_ctx *encoder_ctx(MPI_Comm comm, pfc_mode mode) { return pfc_test_ctx(comm, (pfc_options){ .mode = mode }); }

pfc_encoder_config encoder_config(int64_t layers)
{
    static const int64_t widths[] = { IN, 7, 6, OUT };
    pfc_encoder_config c = pfc_encoder_defaults();
    c.layers = layers;
    memcpy(c.widths, widths, (size_t)layers * sizeof *widths);
    c.widths[layers] = OUT;
    c.weight_decay = 0.01;
    c.norm.momentum = 0.25;
    c.norm.eps = 0.125;
    c.seed = 5;
    return c;
}

pfc_encoder *encoder_make(pfc_ctx *ctx, const pfc_encoder_config *c)
{
    pfc_encoder *e = NULL;
    pfc_status st = pfc_encoder_create(ctx, c, &e);
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
    return e;
}

double encoder_input(int64_t i) { return (float)pfc_normal(3, i, 0, PFC_STREAM_FILL); }
double encoder_gradient(int64_t i) { return (float)pfc_normal(4, i, 0, PFC_STREAM_FILL); }

void encoder_forward(pfc_ctx *ctx, pfc_encoder *e, int step, int64_t first, int64_t b, int training, double *y)
{
    double x[DENSE_SIZE], out[DENSE_SIZE];
    pfc_dtype real = pfc_ctx_real(ctx);
    for (int64_t i = 0; i < b * IN; i++) x[i] = encoder_input(step * N * IN + first * IN + i);
    pfc_status st = pfc_encoder_forward(e, pfc_view_make(x, PFC_F64, b, IN), training, pfc_view_make(out, real, b, OUT));
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
    for (int64_t i = 0; i < b * OUT; i++) y[i] = real == PFC_F64 ? out[i] : ((float *)out)[i];
}

void encoder_step(pfc_ctx *ctx, pfc_encoder *e, int number, int64_t first, int64_t b, encoder_results *r)
{
    double g[DENSE_SIZE], out[DENSE_SIZE];
    pfc_dtype real = pfc_ctx_real(ctx);
    int64_t n = pfc_encoder_params(e);
    for (int64_t i = 0; i < b * OUT; i++) g[i] = encoder_gradient(number * N * OUT + first * OUT + i);
    encoder_forward(ctx, e, number, first, b, 1, r->y);
    pfc_status st = pfc_encoder_backward(e, pfc_view_make(g, PFC_F64, b, OUT), 3.0, pfc_view_make(out, real, b, IN));
    if (st == PFC_OK) st = pfc_encoder_get_grads(e, pfc_view_make(r->grad, PFC_F64, 1, n));
    if (st == PFC_OK) st = pfc_encoder_update(e, 0.5);
    if (st == PFC_OK) st = pfc_encoder_get_params(e, pfc_view_make(r->param, PFC_F64, 1, n));
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
    for (int64_t i = 0; i < b * IN; i++) r->x_grad[i] = real == PFC_F64 ? out[i] : ((float *)out)[i];
}

pfc_encoder_config encoder_config_of(int64_t layers, int kind, int ranks)
{
    pfc_encoder_config c = encoder_config(layers);
    const pfc_bn_kind kinds[KINDS] = { PFC_BN_SYNC, PFC_BN_PLAIN, PFC_BN_SUB, PFC_BN_SYNC };
    c.norm.kind = kinds[kind];
    if (kind == 2) c.norm.num_splits = DENSE_SPLITS;
    if (kind == 3) c.norm.num_sync_devices = ranks % 2 ? 1 : 2; /* groups */
    return c;
}
