/* swav_case.c: the swav family as tables, its run and bench. */
#include "case/algorithms.h"
#include "case/family.h"
#include "case/swav_case.h"
#include "core/ctx.h"
#include "core/px.h"

#include <stdlib.h>

static const pfc_param_spec params[] = {
    { "crops", PFC_PARAM_INT, NULL, NULL, "crops V of every sample" },
    { "temperature", PFC_PARAM_REAL, "0.1", NULL, "of the softmax over prototypes" },
    PFC_SINKHORN_PARAMS,
    { "freeze_prototypes", PFC_PARAM_INT, "0", "0|1", "1: the prototypes get no gradient" },
    { "use_the_queue", PFC_PARAM_INT, "0", "0|1", "the queue's flag before the step" },
    { "log_softmax", PFC_PARAM_WORD, "source", "source|stable", "source: log of the softmax for v1, log-softmax for the others" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

static const pfc_tensor_spec inputs[] = {
    { "embedding", PFC_KIND_REAL, "P,V*bs,D", PFC_DIST_RANK, 'P', false, "before normalisation, crop-major inside a rank" },
    { "prototypes", PFC_KIND_REAL, "K,D", PFC_DIST_NONE, 0, false, "before projection" },
    { "crops_for_assign", PFC_KIND_INT, "A", PFC_DIST_NONE, 0, false, "crops whose assignments are the targets" },
    { "queue", PFC_KIND_REAL, "P,A,L,D", PFC_DIST_RANK, 'P', true, "earlier embeddings of each rank, newest first" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec outputs[] = {
    { "loss", PFC_KIND_REAL, "P", PFC_DIST_RANK, 'P', false, "of each rank" },
    { "assignment", PFC_KIND_REAL, "P,A,bs,K", PFC_DIST_RANK, 'P', false, "targets of the assigned crops" },
    { "embedding_grad", PFC_KIND_REAL, "P,V*bs,D", PFC_DIST_RANK, 'P', false, "of each rank's own loss" },
    { "prototypes", PFC_KIND_REAL, "K,D", PFC_DIST_NONE, 0, false, "after projection" },
    { "prototypes_grad", PFC_KIND_REAL, "K,D", PFC_DIST_NONE, 0, false, "averaged over ranks, zeros when frozen" },
    { "queue", PFC_KIND_REAL, "P,A,L,D", PFC_DIST_RANK, 'P', true, "after the fill" },
    { "use_the_queue", PFC_KIND_INT, "", PFC_DIST_NONE, 0, false, "the flag after the step" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec steps[] = {
    { "scores", PFC_KIND_REAL, "P,V*bs,K", PFC_DIST_RANK, 'P', false, "of every crop with every prototype" },
    { "dscores", PFC_KIND_REAL, "P,V*bs,K", PFC_DIST_RANK, 'P', false, "gradient of each rank's loss" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

pfc_swav_config pfc_case_swav_config(const pfc_case *c, const int64_t *crops)
{
    pfc_swav_config cfg = pfc_swav_defaults();
    cfg.num_prototypes = c->size['K' - 'A'];
    cfg.embedding_size = c->size['D' - 'A'];
    cfg.crops = pfc_param_int(c, "crops");
    cfg.num_assign = c->size['A' - 'A'];
    cfg.crops_for_assign = crops;
    cfg.temperature = pfc_param_real(c, "temperature");
    cfg.sinkhorn = pfc_case_sinkhorn_config(c);
    cfg.log_softmax = (pfc_log_softmax)pfc_param_choice(c, "log_softmax");
    return cfg;
}

int64_t pfc_swav_case_samples(const pfc_case *c) { return pfc_tensor_find(&c->in, "embedding")->dims[1] / pfc_param_int(c, "crops"); }

/* ---- results ---- */

typedef struct results {
    pfc_tensor *loss, *assignment, *embedding_grad, *prototypes, *prototypes_grad, *queue, *use;
} results;

/* Scores of all crops and their gradient, assignments; scores and assignment of one position with its queue. */
static int check_memory(pfc_ctx *ctx, const pfc_case *c, pfc_diag *diag)
{
    const pfc_tensor *embedding = pfc_tensor_find(&c->in, "embedding"), *queue = pfc_tensor_find(&c->in, "queue");
    double bs = (double)pfc_swav_case_samples(c), L = queue ? (double)queue->dims[2] : 0.0, A = (double)c->size['A' - 'A'];
    double rows = 2.0 * (double)embedding->dims[1] + A * bs + 2.0 * (L + bs);
    return pfc_case_check_memory(ctx, c, "/in/prototypes", "scores and assignments", rows * (double)c->size['K' - 'A'] * pfc_ctx_ranks(ctx), diag);
}

static int add_results(pfc_ctx *ctx, pfc_case *c, results *r, pfc_diag *diag)
{
    const pfc_tensor *embedding = pfc_tensor_find(&c->in, "embedding"), *queue = pfc_tensor_find(&c->in, "queue");
    int64_t q[4] = { pfc_ctx_ranks(ctx), c->size[0], pfc_swav_case_samples(c), c->size['K' - 'A'] };
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    if (check_memory(ctx, c, diag)) return diag->exit_status;
    r->loss = pfc_case_add_out(ctx, c, "loss", -1, NULL, diag);
    r->assignment = pfc_case_add_out(ctx, c, "assignment", 4, q, diag);
    r->embedding_grad = pfc_case_add_out(ctx, c, "embedding_grad", 3, embedding->dims, diag);
    r->prototypes = pfc_case_add_out(ctx, c, "prototypes", -1, NULL, diag);
    r->prototypes_grad = pfc_case_add_out(ctx, c, "prototypes_grad", -1, NULL, diag);
    r->queue = queue ? pfc_case_add_out(ctx, c, "queue", 4, queue->dims, diag) : NULL;
    r->use = pfc_case_add_out(ctx, c, "use_the_queue", 0, NULL, diag);
    return pfc_diag_agree(ctx->comm.mpi, diag);
}

/* Rows that the fill moved keep their zeros; those it wrote were computed. */
static void canonical(pfc_case *c, pfc_tensor *queue)
{
    static const char *const moved[] = { "queue", NULL };
    pfc_case_canonical(c, moved);
    if (!queue) return;
    int64_t D = queue->dims[3], L = queue->dims[2], filled = pfc_swav_case_samples(c);
    for (int64_t i = 0; i < pfc_tensor_local(queue); i++) {
        double x = pfc_tensor_get(queue, i);
        if (px_nan(x) || (x == 0.0 && i / D % L < filled)) pfc_tensor_set(queue, i, px_nan(x) ? PX_NAN : 0.0);
    }
}

/* ---- run ---- */

static pfc_status set_state(pfc_ctx *ctx, const pfc_case *c, pfc_swav *layer)
{
    pfc_status st = pfc_swav_set_prototypes(layer, pfc_case_input_view(c, "prototypes"), (pfc_view){ 0 });
    if (st == PFC_OK) st = pfc_swav_set_queue(layer, pfc_case_input_view(c, "queue"), (int)pfc_param_int(c, "use_the_queue"));
    return pfc_agree(ctx, st);
}

static pfc_status run_layer(pfc_ctx *ctx, pfc_case *c, pfc_swav *layer, results *r)
{
    int use = 0;
    pfc_swav_result out = { .assignment = pfc_tensor_view(r->assignment),
                            .embedding_grad = pfc_tensor_view(r->embedding_grad),
                            .prototypes_grad = pfc_tensor_view(r->prototypes_grad) };
    PFC_TRY(set_state(ctx, c, layer));
    PFC_TRY(pfc_swav_step(layer, pfc_case_input_view(c, "embedding"), (int)pfc_param_int(c, "freeze_prototypes"), &out));
    pfc_status st = pfc_swav_get_prototypes(layer, pfc_tensor_view(r->prototypes), (pfc_view){ 0 });
    if (st == PFC_OK) st = pfc_swav_get_queue(layer, r->queue ? pfc_tensor_view(r->queue) : (pfc_view){ 0 }, &use);
    pfc_tensor_set(r->loss, 0, out.loss);
    pfc_tensor_set(r->use, 0, use);
    return pfc_agree(ctx, st);
}

static int run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag)
{
    results r;
    pfc_capture capture;
    pfc_swav *layer = NULL;
    pfc_swav_config cfg = pfc_case_swav_config(c, pfc_tensor_find(&c->in, "crops_for_assign")->data);
    if (add_results(ctx, c, &r, diag)) return diag->exit_status;
    if (want_steps) pfc_capture_begin(&capture, ctx, c, NULL);
    pfc_status status = pfc_swav_create(ctx, &cfg, &layer);
    if (status == PFC_OK) status = run_layer(ctx, c, layer, &r);
    if (want_steps) pfc_capture_end(&capture, diag);
    pfc_case_status(diag, status, ctx, c);
    pfc_swav_destroy(&layer);
    if (!pfc_diag_agree(ctx->comm.mpi, diag)) canonical(c, r.queue);
    return diag->exit_status;
}

static int any_ranks(pfc_case *c, int ranks, pfc_diag *diag)
{
    static const char letter[] = "BKDAL";
    static const int64_t size[] = { 4, 11, 8, 2, 8 };
    (void)ranks;
    for (int i = 0; i < 5; i++) c->size[letter[i] - 'A'] = size[i];
    pfc_case_set_param(c, "crops", "3", diag);
    return diag->exit_status;
}

/* ---- bench ---- */

typedef struct bench {
    pfc_ctx *ctx;
    pfc_case *c;
    pfc_swav *layer;
    results r;
} bench;

static void bench_close(void *bench_)
{
    bench *b = bench_;
    pfc_swav_destroy(&b->layer);
    free(b);
}

static void *bench_open(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag)
{
    bench *b = calloc(1, sizeof *b);
    pfc_swav_config cfg = pfc_case_swav_config(c, pfc_tensor_find(&c->in, "crops_for_assign")->data);
    if (b) *b = (bench){ .ctx = ctx, .c = c };
    if (!b) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "bench: out of memory");
    if (pfc_diag_agree(ctx->comm.mpi, diag) || add_results(ctx, c, &b->r, diag)) {
        free(b);
        return NULL;
    }
    pfc_status status = pfc_swav_create(ctx, &cfg, &b->layer);
    if (status == PFC_OK) status = set_state(ctx, c, b->layer);
    if (pfc_case_status(diag, status, ctx, c)) {
        bench_close(b);
        b = NULL;
    }
    return b;
}

static int bench_step(void *bench_, pfc_diag *diag)
{
    bench *b = bench_;
    pfc_swav_result out = { .assignment = pfc_tensor_view(b->r.assignment),
                            .embedding_grad = pfc_tensor_view(b->r.embedding_grad),
                            .prototypes_grad = pfc_tensor_view(b->r.prototypes_grad) };
    return pfc_case_status(diag, pfc_swav_step(b->layer, pfc_case_input_view(b->c, "embedding"), (int)pfc_param_int(b->c, "freeze_prototypes"), &out), b->ctx,
                           b->c);
}

/* Three products of all crops with the prototypes, and one of the queue. Bytes: scores and their gradient, written and read once. */
static void bench_cost(const pfc_case *c, int ranks, pfc_dtype real, double *flops, double *bytes)
{
    const pfc_tensor *embedding = pfc_tensor_find(&c->in, "embedding"), *queue = pfc_tensor_find(&c->in, "queue");
    double rows = (double)ranks * (double)embedding->dims[1], K = (double)c->size['K' - 'A'], D = (double)c->size['D' - 'A'];
    double queued = queue ? (double)ranks * (double)(queue->dims[1] * queue->dims[2]) : 0.0;
    *flops = 2.0 * K * D * (3.0 * rows + queued);
    *bytes = (double)pfc_dtype_size(real) * K * (4.0 * rows + 4.0 * queued);
}

const pfc_algorithm pfc_algorithm_swav = {
    .name = "swav",
    .help = "SwAV: one iteration of assignment, multi-crop loss, queue and gradients",
    .params = params,
    .in = inputs,
    .out = outputs,
    .step = steps,
    .check = pfc_swav_case_check,
    .run = run,
    .dense = pfc_swav_case_dense,
    .bounds = pfc_swav_case_bounds,
    .fill = pfc_swav_case_fill,
    .sizes = "B rows of a rank, K D; optional A crops for assignment (2), L rows of the queue (none)",
    .any_ranks = any_ranks,
    .bench_open = bench_open,
    .bench_step = bench_step,
    .bench_close = bench_close,
    .bench_cost = bench_cost,
};
