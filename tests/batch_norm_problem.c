/* batch_norm_problem.c: see batch_norm_problem.h. */
#include "batch_norm_problem.h"

#include "core/ctx.h"
#include "pfc_test.h"

#include <math.h>
#include <stdlib.h>

bool bn_near(double got, double want, double tolerance) { return fabs(got - want) <= tolerance; }
double bn_number(int64_t seed, int64_t i) { return (double)(float)pfc_normal(seed, i, 0, 77); }

pfc_ctx *bn_ctx(MPI_Comm comm, pfc_mode mode, int threads) { return pfc_test_ctx(comm, (pfc_options){ .mode = mode, .threads = threads }); }

pfc_batch_norm_config bn_config(pfc_bn_kind kind, int64_t channels)
{
    pfc_batch_norm_config cfg = pfc_batch_norm_defaults();
    cfg.kind = kind;
    cfg.channels = channels;
    return cfg;
}

static int64_t elements(const bn *b) { return b->n * b->channels * b->inner; }

void bn_open(bn *b, pfc_ctx *ctx, pfc_batch_norm_config cfg, int64_t n, int64_t inner)
{
    *b = (bn){ .ctx = ctx, .n = n, .inner = inner, .channels = cfg.channels };
    pfc_status st = pfc_batch_norm_create(ctx, &cfg, &b->layer);
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
    double **arrays[] = { &b->x, &b->g, &b->y, &b->dx, &b->dw, &b->db };
    for (int i = 0; i < 6; i++) {
        size_t size = (size_t)(i < 4 ? elements(b) : b->channels) + 1;
        *arrays[i] = calloc(size, sizeof(double));
        if (pfc_ctx_mode(ctx) == PFC_FAST) b->single[i] = calloc(size, sizeof(float));
        ck_assert(*arrays[i] && (b->single[i] || pfc_ctx_mode(ctx) == PFC_EXACT));
    }
}

void bn_close(bn *b)
{
    double *arrays[] = { b->x, b->g, b->y, b->dx, b->dw, b->db };
    for (int i = 0; i < 6; i++) free(arrays[i]), free(b->single[i]);
    pfc_batch_norm_destroy(&b->layer);
    pfc_ctx_destroy(&b->ctx);
}

void bn_fill(bn *b, int64_t first)
{
    int64_t start = first * b->channels * b->inner;
    for (int64_t i = 0; i < elements(b); i++) {
        b->x[i] = (double)(float)(bn_number(1, start + i) * (1.0 + (double)((start + i) % 7)));
        b->g[i] = bn_number(2, start + i);
    }
}

/* ---- calls ---- */

static pfc_view view(double *p, float *single, int64_t rows, int64_t cols)
{
    return single ? pfc_view_make(single, PFC_F32, rows, cols) : pfc_view_make(p, PFC_F64, rows, cols);
}

static pfc_view whole(const bn *b, double *p, float *single) { return view(p, single, b->n * b->channels, b->inner); }

static void narrow(const double *from, float *to, int64_t n)
{
    for (int64_t i = 0; to && i < n; i++) to[i] = (float)from[i];
}

static void widen(const float *from, double *to, int64_t n)
{
    for (int64_t i = 0; from && i < n; i++) to[i] = (double)from[i];
}

pfc_status bn_forward(bn *b, int training)
{
    narrow(b->x, b->single[0], elements(b));
    pfc_status st = pfc_batch_norm_forward(b->layer, whole(b, b->x, b->single[0]), training, whole(b, b->y, b->single[2]));
    if (st == PFC_OK) widen(b->single[2], b->y, elements(b));
    return st;
}

pfc_status bn_backward_part(bn *b, int results)
{
    pfc_batch_norm_result r = { 0 };
    if (results & BN_X_GRAD) r.x_grad = whole(b, b->dx, b->single[3]);
    if (results & BN_WEIGHT_GRAD) r.weight_grad = view(b->dw, b->single[4], b->channels, 1);
    if (results & BN_BIAS_GRAD) r.bias_grad = view(b->db, b->single[5], b->channels, 1);
    narrow(b->g, b->single[1], elements(b));
    pfc_status st = pfc_batch_norm_backward(b->layer, whole(b, b->x, b->single[0]), whole(b, b->g, b->single[1]), &r);
    widen(b->single[3], b->dx, elements(b));
    widen(b->single[4], b->dw, b->channels);
    widen(b->single[5], b->db, b->channels);
    return st;
}

pfc_status bn_backward(bn *b) { return bn_backward_part(b, BN_ALL); }

void bn_running(const bn *b, double *mean, double *var)
{
    pfc_batch_norm_state s = { .running_mean = pfc_view_make(mean, PFC_F64, b->channels, 1), .running_var = pfc_view_make(var, PFC_F64, b->channels, 1) };
    ck_assert(pfc_batch_norm_get_state(b->layer, &s) == PFC_OK);
}
