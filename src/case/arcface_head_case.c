/* arcface_head_case.c: an arcface_head case through the library. */
#include "case/arcface_head_case.h"
#include "case/family.h"
#include "core/ctx.h"

#include <stdlib.h>

pfc_arcface_config pfc_arcface_case_config(const pfc_case *c)
{
    pfc_arcface_config cfg = pfc_arcface_defaults();
    cfg.num_classes = c->size['C' - 'A'];
    cfg.embedding_size = c->size['D' - 'A'];
    cfg.num_subcenters = pfc_param_int(c, "num_subcenters");
    cfg.scale = pfc_param_real(c, "scale");
    cfg.margin = pfc_param_real(c, "margin");
    cfg.margin_constants = (pfc_margin_constants)pfc_param_choice(c, "margin_constants");
    cfg.easy_margin = (int)pfc_param_int(c, "easy_margin");
    cfg.feature_norm = (int)pfc_param_int(c, "feature_norm");
    cfg.weight_norm = (int)pfc_param_int(c, "weight_norm");
    cfg.loss_weight = pfc_param_real(c, "loss_weight");
    cfg.cos_clamp = (int)pfc_param_int(c, "cos_clamp");
    return cfg;
}

/* This rank's block as (rows, cols) of its cut or only column; without data where there is no tensor. */
static pfc_view block(const pfc_tensor *t)
{
    if (!t) return pfc_view_make(NULL, PFC_F32, 0, 0);
    if (t->ndim == 1) return pfc_view_make(t->data, t->dtype, t->count, 1);
    return t->axis == 0 ? pfc_view_make(t->data, t->dtype, t->count, t->dims[1]) : pfc_view_make(t->data, t->dtype, t->dims[0], t->count);
}

static pfc_view input(const pfc_case *c, const char *name) { return block(pfc_tensor_find(&c->in, name)); }

static pfc_view add_output(pfc_ctx *ctx, pfc_case *c, const char *name, pfc_diag *diag)
{
    pfc_tensor *t = pfc_case_add_out(ctx, c, name, -1, NULL, diag);
    return block(t);
}

/* The library's head with the case's margins. Collective. */
static pfc_status make_head(pfc_ctx *ctx, const pfc_case *c, pfc_arcface **out)
{
    pfc_arcface_config cfg = pfc_arcface_case_config(c);
    pfc_view margins = input(c, "margins");
    PFC_TRY(pfc_arcface_create(ctx, &cfg, out));
    return pfc_agree(ctx, margins.data ? pfc_arcface_set_margins(*out, margins, cfg.margin_constants) : PFC_OK);
}

static pfc_arcface_input inputs_of(const pfc_case *c)
{
    return (pfc_arcface_input){ input(c, "features"), input(c, "labels"),       input(c, "weight"),
                                input(c, "bias"),     input(c, "soft_targets"), input(c, "class_weight") };
}

static pfc_arcface_result results_of(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag)
{
    pfc_arcface_result r = { 0 };
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    /* Logits and winners, and the library's cosines, logits and winners by class: larger than the inputs where D is small. */
    double numbers = (double)c->size['N' - 'A'] * (double)c->size['C' - 'A'];
    if (pfc_case_check_memory(ctx, c, "/in/weight", "logits and sub-centers", 4.5 * numbers, diag)) return r;
    r.logits = add_output(ctx, c, "logits", diag);
    r.subcenter = add_output(ctx, c, "subcenter", diag);
    if (pfc_param_int(c, "eval")) return r;
    pfc_case_add_out(ctx, c, "loss", -1, NULL, diag);
    r.x_grad = add_output(ctx, c, "x_grad", diag);
    r.weight_grad = add_output(ctx, c, "weight_grad", diag);
    if (pfc_tensor_find(&c->in, "bias")) r.bias_grad = add_output(ctx, c, "bias_grad", diag);
    return r;
}

int pfc_arcface_run_case(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag)
{
    bool eval = pfc_param_int(c, "eval") != 0;
    pfc_arcface *head = NULL;
    pfc_capture capture;
    pfc_arcface_input in = inputs_of(c);
    pfc_arcface_result r = results_of(ctx, c, diag);
    if (pfc_diag_agree(ctx->comm.mpi, diag)) return diag->exit_status;
    pfc_status st = make_head(ctx, c, &head);
    if (st == PFC_OK && want_steps) pfc_capture_begin(&capture, ctx, c, NULL);
    if (st == PFC_OK) st = eval ? pfc_arcface_eval(head, &in, &r) : pfc_arcface_step(head, &in, &r);
    pfc_case_status(diag, st, ctx, c);
    if (head && want_steps) pfc_capture_end(&capture, diag);
    pfc_arcface_destroy(&head);
    if (pfc_diag_agree(ctx->comm.mpi, diag)) return diag->exit_status;
    if (!eval) pfc_tensor_set(pfc_tensor_find(&c->out, "loss"), 0, r.loss);
    pfc_case_canonical(c, NULL);
    return 0;
}

/* ---- bench: a head that is made once ---- */

typedef struct bench {
    pfc_ctx *ctx;
    pfc_case *c;
    pfc_arcface *head;
    pfc_arcface_input in;
    pfc_arcface_result result;
} bench;

void *pfc_arcface_bench_open(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag)
{
    bench *b = calloc(1, sizeof *b);
    if (!b) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", c->name);
    if (b) *b = (bench){ ctx, c, NULL, inputs_of(c), results_of(ctx, c, diag) };
    if (!pfc_diag_agree(ctx->comm.mpi, diag)) pfc_case_status(diag, make_head(ctx, c, &b->head), ctx, c);
    if (!pfc_diag_agree(ctx->comm.mpi, diag)) return b;
    pfc_arcface_bench_close(b);
    return NULL;
}

int pfc_arcface_bench_step(void *bench_, pfc_diag *diag)
{
    bench *b = bench_;
    bool eval = pfc_param_int(b->c, "eval") != 0;
    return pfc_case_status(diag, eval ? pfc_arcface_eval(b->head, &b->in, &b->result) : pfc_arcface_step(b->head, &b->in, &b->result), b->ctx, b->c);
}

void pfc_arcface_bench_close(void *bench_)
{
    bench *b = bench_;
    if (b) pfc_arcface_destroy(&b->head);
    free(b);
}
