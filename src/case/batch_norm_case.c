/* batch_norm_case.c: runs a batch_norm case through the library. */
#include "case/batch_norm_case.h"
#include "case/family.h"
#include "core/ctx.h"

#include <stdlib.h>
#include <string.h>

typedef struct run {
    pfc_ctx *ctx;
    pfc_case *c;
    MPI_Comm comm;
    int64_t samples, channels, inner; /* of this rank */
    bool training, move;              /* move: the ranks have their own numbers of rows */
    pfc_batch_norm *bn;
    void *x, *g, *y, *x_grad; /* this rank's samples; the tensors' own memory unless move */
} run;

/* ---- tensors ---- */

static size_t sample_bytes(const run *r, pfc_dtype dtype) { return (size_t)(r->channels * r->inner) * pfc_dtype_size(dtype); }

static void *room(run *r, pfc_dtype dtype, pfc_diag *diag)
{
    void *p = calloc((size_t)r->samples + 1, sample_bytes(r, dtype));
    if (!p) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", r->c->name);
    return p;
}

static int take(run *r, const char *name, void **data, pfc_diag *diag)
{
    pfc_tensor *t = pfc_tensor_find(&r->c->in, name);
    *data = t ? t->data : NULL;
    if (!t || !r->move) return 0;
    *data = room(r, t->dtype, diag);
    if (pfc_diag_agree(r->comm, diag)) return diag->exit_status;
    return pfc_batch_norm_case_move(r->comm, r->c, t->data, *data, sample_bytes(r, t->dtype), false, diag);
}

static int give(run *r, const char *name, const void *data, pfc_diag *diag)
{
    pfc_tensor *t = pfc_tensor_find(&r->c->out, name);
    if (!t || !r->move) return 0;
    return pfc_batch_norm_case_move(r->comm, r->c, data, t->data, sample_bytes(r, t->dtype), true, diag);
}

/* Statistics of the splits, in doubles whatever the mode is, have no input that shows their size. */
static int check_memory(const run *r, pfc_diag *diag)
{
    enum { VECTORS = 12 }; /* of a layer, its step and the results */
    double ranks = pfc_ctx_ranks(r->ctx), doubles = VECTORS * ranks * (double)r->channels * (double)pfc_param_int(r->c, "num_splits"),
           samples = pfc_tensor_find(&r->c->in, "grad_y") ? 4.0 : 2.0, elements = (double)r->c->size['N' - 'A'] * (double)r->channels * (double)r->inner;
    bool sub = pfc_param_choice(r->c, "kind") == PFC_BN_SUB;
    if (sub && pfc_case_check_memory(r->ctx, r->c, "/param/num_splits", "statistics of the splits",
                                     doubles * (8.0 / (double)pfc_dtype_size(pfc_ctx_real(r->ctx))), diag))
        return diag->exit_status;
    return pfc_case_check_memory(r->ctx, r->c, "/in/x", "results and work", samples * elements, diag);
}

static int add_outputs(run *r, pfc_diag *diag)
{
    static const char *const per_rank[] = { "running_mean", "running_var", "weight_grad", "bias_grad" };
    pfc_case *c = r->c;
    const pfc_tensor *x = pfc_tensor_find(&c->in, "x");
    bool back = pfc_tensor_find(&c->in, "grad_y") != NULL;
    int64_t split[2] = { pfc_ctx_ranks(r->ctx), r->channels * pfc_param_int(c, "num_splits") };
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    pfc_case_add_out(r->ctx, c, "y", x->ndim, x->dims, diag);
    for (int i = 0; i < 4; i++)
        if (i < 2 || back) pfc_case_add_out(r->ctx, c, per_rank[i], -1, NULL, diag);
    if (back) pfc_case_add_out(r->ctx, c, "x_grad", x->ndim, x->dims, diag);
    if (pfc_param_choice(c, "kind") == PFC_BN_SUB) {
        pfc_case_add_out(r->ctx, c, "split_running_mean", 2, split, diag);
        pfc_case_add_out(r->ctx, c, "split_running_var", 2, split, diag);
    }
    return pfc_diag_agree(r->comm, diag);
}

static int open_tensors(run *r, pfc_diag *diag)
{
    pfc_tensor *y = pfc_tensor_find(&r->c->out, "y"), *x_grad = pfc_tensor_find(&r->c->out, "x_grad");
    if (take(r, "x", &r->x, diag) || take(r, "grad_y", &r->g, diag)) return diag->exit_status;
    r->y = r->move ? room(r, y->dtype, diag) : y->data;
    if (x_grad) r->x_grad = r->move ? room(r, x_grad->dtype, diag) : x_grad->data;
    return pfc_diag_agree(r->comm, diag);
}

static void close_tensors(run *r)
{
    void *all[] = { r->x, r->g, r->y, r->x_grad };
    for (int i = 0; i < 4 && r->move; i++) free(all[i]);
}

/* ---- the layer ---- */

/* A vector of this rank; without data if there is no such tensor. */
static pfc_view vector(const pfc_tensor_list *list, const char *name)
{
    const pfc_tensor *t = pfc_tensor_find(list, name);
    return t ? pfc_view_make(t->data, t->dtype, pfc_tensor_local(t), 1) : pfc_view_make(NULL, PFC_F32, 0, 0);
}

static pfc_status set_state(const run *r)
{
    const pfc_tensor_list *in = &r->c->in;
    const pfc_batch_norm_state state = { vector(in, "weight"),
                                         vector(in, "bias"),
                                         vector(in, "running_mean"),
                                         vector(in, "running_var"),
                                         vector(in, "split_running_mean"),
                                         vector(in, "split_running_var"),
                                         pfc_param_int(r->c, "num_batches_tracked") };
    return pfc_agree(r->ctx, pfc_batch_norm_set_state(r->bn, &state));
}

static pfc_status get_state(const run *r)
{
    const pfc_tensor_list *out = &r->c->out;
    pfc_batch_norm_state state = { .running_mean = vector(out, "running_mean"),
                                   .running_var = vector(out, "running_var"),
                                   .split_mean = vector(out, "split_running_mean"),
                                   .split_var = vector(out, "split_running_var") };
    return pfc_agree(r->ctx, pfc_batch_norm_get_state(r->bn, &state));
}

static pfc_view tensor(const run *r, void *data, pfc_dtype dtype) { return pfc_view_make(data, dtype, r->samples * r->channels, r->inner); }

static pfc_status step(const run *r)
{
    pfc_dtype real = pfc_ctx_real(r->ctx);
    pfc_status st = PFC_OK;
    if (!r->training && pfc_param_int(r->c, "aggregate")) st = pfc_batch_norm_aggregate(r->bn);
    PFC_TRY(pfc_agree(r->ctx, st));
    PFC_TRY(pfc_batch_norm_forward(r->bn, tensor(r, r->x, PFC_F32), r->training, tensor(r, r->y, real)));
    if (r->training) st = pfc_batch_norm_aggregate(r->bn);
    PFC_TRY(pfc_agree(r->ctx, st));
    PFC_TRY(get_state(r));
    if (!r->g) return PFC_OK;
    pfc_batch_norm_result result = { .x_grad = tensor(r, r->x_grad, real),
                                     .weight_grad = vector(&r->c->out, "weight_grad"),
                                     .bias_grad = vector(&r->c->out, "bias_grad") };
    return pfc_batch_norm_backward(r->bn, tensor(r, r->x, PFC_F32), tensor(r, r->g, PFC_F32), &result);
}

static int step_dims(const pfc_case *c, const char *name, int64_t dims[PFC_MAX_DIMS])
{
    bool splits = pfc_param_choice(c, "kind") == PFC_BN_SUB && pfc_param_int(c, "training");
    const pfc_tensor *running = pfc_tensor_find(&c->out, "running_mean");
    (void)name;
    dims[0] = running->dims[0];
    dims[1] = running->dims[1] * (splits ? pfc_param_int(c, "num_splits") : 1);
    return 2;
}

/* Running statistics that no batch and no aggregation changed were moved, not computed: their -0 stays. */
static void canonical(const run *r)
{
    static const char *const all[] = { "running_mean", "running_var", "split_running_mean", "split_running_var", NULL };
    static const char *const splits[] = { "split_running_mean", "split_running_var", NULL };
    bool tracked = pfc_param_int(r->c, "track_running_stats") != 0,
         aggregated = pfc_param_int(r->c, "aggregate") && pfc_param_choice(r->c, "kind") == PFC_BN_SUB;
    pfc_case_canonical(r->c, tracked && r->training ? NULL : tracked && aggregated ? splits : all);
}

/* Everything but the layer's step. */
static int start(run *r, pfc_ctx *ctx, pfc_case *c, pfc_diag *diag)
{
    *r = (run){ .ctx = ctx, .c = c, .comm = ctx->comm.mpi, .channels = c->size['C' - 'A'], .inner = pfc_batch_norm_case_inner(c) };
    r->samples = pfc_batch_norm_case_rows(c, pfc_ctx_ranks(ctx), pfc_ctx_rank(ctx));
    r->training = pfc_param_int(c, "training") != 0;
    r->move = pfc_tensor_find(&c->in, "rows") != NULL;
    pfc_batch_norm_config cfg = pfc_batch_norm_case_config(c);
    if (check_memory(r, diag) || add_outputs(r, diag) || open_tensors(r, diag)) return diag->exit_status;
    pfc_status st = pfc_batch_norm_create(ctx, &cfg, &r->bn);
    if (st == PFC_OK) st = set_state(r);
    return pfc_case_status(diag, st, ctx, c);
}

static void stop(run *r)
{
    pfc_batch_norm_destroy(&r->bn);
    close_tensors(r);
}

int pfc_batch_norm_run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag)
{
    run r;
    pfc_capture capture;
    if (!start(&r, ctx, c, diag)) {
        if (want_steps) pfc_capture_begin(&capture, ctx, c, step_dims);
        pfc_case_status(diag, step(&r), ctx, c);
        if (want_steps) pfc_capture_end(&capture, diag);
        if (!pfc_diag_agree(r.comm, diag) && !give(&r, "y", r.y, diag)) give(&r, "x_grad", r.x_grad, diag);
        if (!diag->exit_status) canonical(&r);
    }
    stop(&r);
    return diag->exit_status;
}

/* ---- bench: forward and backward of a layer that is there ---- */

void *pfc_batch_norm_bench_open(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag)
{
    run *r = calloc(1, sizeof *r);
    if (!r) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", c->name);
    if (!pfc_diag_agree(ctx->comm.mpi, diag) && !start(r, ctx, c, diag)) {
        pfc_tensor_list_align(&c->in);
        pfc_tensor_list_align(&c->out);
        if (r->move || !open_tensors(r, diag)) return r;
    }
    if (r && r->ctx) stop(r);
    free(r);
    return NULL;
}

int pfc_batch_norm_bench_step(void *bench, pfc_diag *diag)
{
    const run *r = bench;
    return pfc_case_status(diag, step(r), r->ctx, r->c);
}

void pfc_batch_norm_bench_close(void *bench)
{
    stop(bench);
    free(bench);
}
