/* moco_case.c: runs a moco case through the library: state in, the hook, the step, results out.
 *
 * A file has no encoder: its key input holds the raw keys in natural order. The case calls the library's hook all the same, with these keys in the place of
 * the images and an encoder that hands them through, so the shuffle and the way back run as in training. */
#include "case/moco_case.h"
#include "core/ctx.h"

#include <stdlib.h>
#include <string.h>

pfc_moco_config pfc_moco_case_config(const pfc_case *c)
{
    pfc_moco_config cfg = pfc_moco_defaults();
    cfg.num_params = pfc_tensor_find(&c->in, "params_q")->dims[0];
    cfg.embedding_size = c->size['D' - 'A'];
    cfg.queue_size = c->size['K' - 'A'];
    cfg.momentum = pfc_param_real(c, "momentum");
    cfg.temperature = pfc_param_real(c, "temperature");
    cfg.queue_wrap = (int)pfc_param_int(c, "queue_wrap");
    return cfg;
}

int pfc_moco_hand_through(void *user, pfc_view params_k, pfc_view images, pfc_view keys)
{
    (void)user, (void)params_k;
    for (int64_t i = 0; i < images.rows * images.cols; i++) {
        if (keys.dtype == PFC_F64)
            ((double *)keys.data)[i] = (double)((const float *)images.data)[i];
        else
            ((float *)keys.data)[i] = ((const float *)images.data)[i];
    }
    return 0;
}

static pfc_view one_row(const pfc_tensor *t) { return pfc_view_make(t->data, t->dtype, 1, t->dims[0]); }

static pfc_status set_state(const pfc_case *c, pfc_moco *moco)
{
    if (!pfc_param_int(c, "first_call")) PFC_TRY(pfc_moco_set_params(moco, one_row(pfc_tensor_find(&c->in, "params_k"))));
    return pfc_moco_set_queue(moco, pfc_case_input_view(c, "queue"), pfc_param_int(c, "queue_ptr"));
}

static pfc_status get_state(pfc_case *c, pfc_moco *moco)
{
    PFC_TRY(pfc_moco_get_params(moco, one_row(pfc_tensor_find(&c->out, "params_k"))));
    return pfc_moco_get_queue(moco, pfc_tensor_view(pfc_tensor_find(&c->out, "queue")), pfc_tensor_find(&c->out, "queue_ptr")->data);
}

static pfc_status run(pfc_ctx *ctx, pfc_case *c)
{
    pfc_moco_config cfg = pfc_moco_case_config(c);
    pfc_view keys = pfc_tensor_view(pfc_tensor_find(&c->out, "key"));
    pfc_moco_result result = { .query_grad = pfc_tensor_view(pfc_tensor_find(&c->out, "query_grad")) };
    pfc_moco *moco = NULL;
    PFC_TRY(pfc_moco_create(ctx, &cfg, &moco));
    pfc_status st = pfc_agree(ctx, set_state(c, moco));
    if (st == PFC_OK)
        st = pfc_moco_hook(moco, one_row(pfc_tensor_find(&c->in, "params_q")), pfc_case_input_view(c, "key"), pfc_moco_hand_through, NULL, 1, 0, keys);
    if (st == PFC_OK) st = pfc_moco_step(moco, pfc_case_input_view(c, "query"), keys, &result);
    if (st == PFC_OK) st = pfc_agree(ctx, get_state(c, moco));
    if (st == PFC_OK) pfc_tensor_set(pfc_tensor_find(&c->out, "loss"), 0, result.loss);
    pfc_moco_destroy(&moco);
    return st;
}

/* Rows of the queue that stayed were moved, not computed: only the new ones are made canonical. The same for parameters that were copied. */
static void canonical(pfc_case *c)
{
    static const char *const moved[] = { "queue", "params_k", NULL };
    pfc_tensor *queue = pfc_tensor_find(&c->out, "queue"), *params = pfc_tensor_find(&c->out, "params_k");
    int64_t n = c->size['N' - 'A'], size = c->size['K' - 'A'], ptr = pfc_param_int(c, "queue_ptr"), kept = n < size ? n : size;
    pfc_case_canonical(c, moved);
    if (!pfc_param_int(c, "first_call")) pfc_tensor_canonical(params);
    for (int64_t i = n - kept; i < n; i++) {
        pfc_tensor row = *queue;
        int64_t at = (ptr + i) % size * queue->dims[1];
        row.dims[0] = row.count = 1;
        row.data = (char *)queue->data + (size_t)at * pfc_dtype_size(queue->dtype);
        pfc_tensor_canonical(&row);
    }
}

int pfc_moco_check_memory(pfc_ctx *ctx, const pfc_case *c, pfc_diag *diag)
{
    double n = (double)c->size['N' - 'A'], k = (double)c->size['K' - 'A'], d = (double)c->size['D' - 'A'];
    return pfc_case_check_memory(ctx, c, "/in/queue", "logits and queues", n * k + 2.0 * k * d * pfc_ctx_ranks(ctx), diag);
}

static void add_results(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag)
{
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    pfc_case_add_out(ctx, c, "params_k", 1, pfc_tensor_find(&c->in, "params_q")->dims, diag);
    static const char *const names[] = { "loss", "query_grad", "key", "queue", "queue_ptr" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) pfc_case_add_out(ctx, c, names[i], -1, NULL, diag);
}

static int step_dims(const pfc_case *c, const char *name, int64_t dims[PFC_MAX_DIMS])
{
    (void)name; /* there is one, the logits */
    dims[0] = c->size['N' - 'A'];
    dims[1] = 1 + c->size['K' - 'A'];
    return 2;
}

int pfc_moco_run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag)
{
    pfc_capture capture;
    if (pfc_moco_check_memory(ctx, c, diag)) return diag->exit_status;
    add_results(ctx, c, diag);
    if (pfc_diag_agree(ctx->comm.mpi, diag)) return diag->exit_status;
    if (want_steps) pfc_capture_begin(&capture, ctx, c, step_dims);
    pfc_case_status(diag, run(ctx, c), ctx, c);
    if (want_steps) pfc_capture_end(&capture, diag);
    if (!pfc_diag_agree(ctx->comm.mpi, diag)) canonical(c);
    return diag->exit_status;
}
