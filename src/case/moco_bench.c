/* moco_bench.c: one step of moco_shuffle and of moco for `pfc_ref bench`: the library's work alone. */
#include "case/moco_case.h"
#include "core/ctx.h"

#include <stdlib.h>

/* ---- moco_shuffle: there and back ---- */

typedef struct shuffle_bench {
    pfc_ctx *ctx;
    pfc_case *c;
    pfc_moco_shuffle *shuffle;
    pfc_view rows, back;
} shuffle_bench;

void *pfc_moco_shuffle_bench_open(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag)
{
    const pfc_tensor *x = pfc_tensor_find(&c->in, "x"), *permutation = pfc_tensor_find(&c->in, "permutation");
    shuffle_bench *b = calloc(1, sizeof *b);
    pfc_view in = pfc_moco_rows_view(x);
    if (b) *b = (shuffle_bench){ ctx, c, NULL, in, in };
    if (b) b->rows.data = malloc((size_t)(in.rows * in.cols) * sizeof(float) + 8);
    if (b) b->back.data = malloc((size_t)(in.rows * in.cols) * sizeof(float) + 8);
    if (!b || !b->rows.data || !b->back.data) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", c->name);
    if (!pfc_diag_agree(ctx->comm.mpi, diag))
        pfc_case_status(
            diag,
            pfc_moco_shuffle_create(ctx, x->count, permutation ? permutation->data : NULL, pfc_param_int(c, "seed"), pfc_param_int(c, "step"), &b->shuffle),
            ctx, c);
    return b;
}

int pfc_moco_shuffle_bench_step(void *bench, pfc_diag *diag)
{
    shuffle_bench *b = bench;
    pfc_status st = pfc_moco_shuffle_rows(b->shuffle, pfc_moco_rows_view(pfc_tensor_find(&b->c->in, "x")), b->rows);
    if (st == PFC_OK) st = pfc_moco_unshuffle_rows(b->shuffle, b->rows, b->back);
    return pfc_case_status(diag, st, b->ctx, b->c);
}

void pfc_moco_shuffle_bench_close(void *bench)
{
    shuffle_bench *b = bench;
    if (!b) return;
    pfc_moco_shuffle_destroy(&b->shuffle);
    free(b->rows.data);
    free(b->back.data);
    free(b);
}

/* Every row is read and written once, there and back. */
void pfc_moco_shuffle_bench_cost(const pfc_case *c, int ranks, pfc_dtype real, double *flops, double *bytes)
{
    (void)ranks, (void)real; /* x stays float32 */
    *flops = 0.0;
    *bytes = 2.0 * 2.0 * (double)pfc_tensor_elements(pfc_tensor_find(&c->in, "x")) * sizeof(float);
}

/* ---- moco: the momentum update of the hook, and the step ---- */

typedef struct moco_bench {
    pfc_ctx *ctx;
    pfc_case *c;
    pfc_moco *moco;
    pfc_view keys, grad;
} moco_bench;

static pfc_status hook(moco_bench *b)
{
    const pfc_tensor *q = pfc_tensor_find(&b->c->in, "params_q");
    return pfc_moco_hook(b->moco, pfc_view_make(q->data, q->dtype, 1, q->dims[0]), pfc_case_input_view(b->c, "key"), pfc_moco_hand_through, NULL, 1, 0,
                         b->keys);
}

void *pfc_moco_bench_open(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag)
{
    pfc_moco_config cfg = pfc_moco_case_config(c);
    if (pfc_moco_check_memory(ctx, c, diag)) return NULL;
    moco_bench *b = calloc(1, sizeof *b);
    pfc_view query = pfc_case_input_view(c, "query");
    size_t bytes = (size_t)(query.rows * query.cols) * sizeof(double) + 8;
    if (b) *b = (moco_bench){ ctx, c, NULL, query, query };
    if (b) b->keys = pfc_view_make(malloc(bytes), pfc_ctx_real(ctx), query.rows, query.cols);
    if (b) b->grad = pfc_view_make(malloc(bytes), pfc_ctx_real(ctx), query.rows, query.cols);
    if (!b || !b->keys.data || !b->grad.data) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", c->name);
    if (pfc_diag_agree(ctx->comm.mpi, diag)) return b;
    pfc_status st = pfc_moco_create(ctx, &cfg, &b->moco);
    if (st == PFC_OK) st = pfc_agree(ctx, pfc_moco_set_queue(b->moco, pfc_case_input_view(c, "queue"), pfc_param_int(c, "queue_ptr")));
    pfc_case_status(diag, st, ctx, c);
    return b;
}

int pfc_moco_bench_step(void *bench, pfc_diag *diag)
{
    moco_bench *b = bench;
    pfc_moco_result result = { .query_grad = b->grad };
    /* The case's pointer each time: with queue_wrap=0 a later one may not fit. */
    pfc_status st = pfc_moco_set_queue(b->moco, pfc_view_make(NULL, PFC_F32, 0, 0), pfc_param_int(b->c, "queue_ptr"));
    if (st == PFC_OK) st = hook(b);
    if (st == PFC_OK) st = pfc_moco_step(b->moco, pfc_case_input_view(b->c, "query"), b->keys, &result);
    return pfc_case_status(diag, st, b->ctx, b->c);
}

void pfc_moco_bench_close(void *bench)
{
    moco_bench *b = bench;
    if (!b) return;
    pfc_moco_destroy(&b->moco);
    free(b->keys.data);
    free(b->grad.data);
    free(b);
}

/* Two products of the queries with the queue; every rank reads the queue twice, and two sets of parameters, and writes one. */
void pfc_moco_bench_cost(const pfc_case *c, int ranks, pfc_dtype real, double *flops, double *bytes)
{
    double n = (double)c->size['N' - 'A'], k = (double)c->size['K' - 'A'], d = (double)c->size['D' - 'A'], size = (double)pfc_dtype_size(real);
    double params = (double)pfc_tensor_find(&c->in, "params_q")->dims[0];
    *flops = 4.0 * n * k * d + 3.0 * params * ranks;
    bytes[PFC_BYTES_READ] = ranks * 2.0 * k * d * size;
    bytes[PFC_BYTES_UPDATE] = ranks * 3.0 * params * size;
}
