/* partial_fc_bounds.c: the float32 bounds of a partial_fc case's results and intermediate results (doc/numerics.md).
 *
 * Rank 0 goes through the steps again with an error beside every number and hands the finished bounds to the other ranks. */
#include "case/partial_fc_bounds.h"
#include "core/ctx.h"
#include "dense/dense.h"

#include <string.h>

/* A bound like tensor `name` of `of`, whole on every rank; NULL if there is no such tensor (nothing to bound) or no memory (diag). */
static pfc_tensor *add_like(MPI_Comm comm, const pfc_tensor_list *of, pfc_tensor_list *list, const char *name, pfc_diag *diag)
{
    const pfc_tensor *t = pfc_tensor_find(of, name);
    if (!t) return NULL;
    pfc_tensor *bound = pfc_tensor_add(comm, list, name, PFC_F64, t->ndim, t->dims, PFC_DIST_NONE, 0);
    if (!bound) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "bounds of %s: out of memory", name);
    return bound;
}

static const char *const OUT[] = { "loss", "x_grad", "weight_grad", "weight", "weight_momentum" };
static const char *const STEP[] = { "sample_keys", "cosine", "logits", "row_max", "row_sum", "prob_target", "dlogits" };
enum { OUTS = sizeof OUT / sizeof OUT[0], STEPS = sizeof STEP / sizeof STEP[0] };

static void put(pfc_tensor_list *list, const char *name, const double *e, int64_t offset, int64_t count)
{
    pfc_tensor *t = pfc_tensor_find(list, name);
    if (t) memcpy((double *)t->data + offset, e, (size_t)count * sizeof(double));
}

/* Keys are random float64; a port may keep them in float32. */
static void put_keys(pfc_tensor_list *list, int64_t count)
{
    pfc_tensor *t = pfc_tensor_find(list, "sample_keys");
    for (int64_t j = 0; t && j < count; j++) ((double *)t->data)[j] = 0x1p-24;
}

/* What a port carries into the next step: the state as float32, off by the bound and one more rounding where it was touched at all. */
static void store_state(pfc_bound_pair *state, int64_t count)
{
    for (int64_t k = 0; k < count; k++) {
        state->v[k] = (double)(float)state->v[k];
        if (state->e[k] > 0) state->e[k] += 0x1p-23 * (state->v[k] < 0 ? -state->v[k] : state->v[k]);
    }
}

static void run_step(pfc_bound_step *s, const pfc_partial_fc_inputs *in, pfc_dense_partial_fc *sampler, int64_t t, pfc_case *c)
{
    s->x = pfc_partial_fc_inputs_x(in, t);
    s->labels = pfc_partial_fc_inputs_labels(in, t);
    s->moved = t > 0;
    sampler->steps = t;
    pfc_dense_partial_fc_sample(sampler, s->labels, pfc_partial_fc_inputs_keys(in, t));
    memcpy(s->sampled, sampler->sampled, (size_t)s->c * sizeof *s->sampled);
    if (t > 0) {
        store_state(&s->w, s->c * s->d);
        store_state(&s->m, s->c * s->d);
    }
    pfc_bound_step_run(s);
    put(&c->bound_out, "loss", &s->eloss, t, 1);
    put(&c->bound_out, "x_grad", s->xg.e, t * s->n * s->d, s->n * s->d);
}

/* All steps on rank 0; the last step's bounds into the tensors. */
static void compute(const pfc_partial_fc_inputs *in, pfc_case *c, pfc_diag *diag)
{
    pfc_bound_step s;
    pfc_dense_partial_fc *sampler = pfc_dense_partial_fc_new(&in->cfg, in->ranks, in->n);
    if (!sampler || !pfc_bound_step_new(&s, in)) {
        pfc_dense_partial_fc_free(sampler);
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "bounds: out of memory");
        return;
    }
    int64_t nc = s.n * s.c, cd = s.c * s.d;
    memcpy(s.w.v, in->weight, (size_t)cd * sizeof(double));
    memcpy(s.m.v, in->momentum, (size_t)cd * sizeof(double));
    for (int64_t t = 0; t < in->steps; t++) run_step(&s, in, sampler, t, c);
    put(&c->bound_out, "weight_grad", s.wg.e, 0, cd);
    put(&c->bound_out, "weight", s.w.e, 0, cd);
    put(&c->bound_out, "weight_momentum", s.m.e, 0, cd);
    put_keys(&c->bound_step, s.c);
    put(&c->bound_step, "cosine", s.z.e, 0, nc);
    put(&c->bound_step, "logits", s.l.e, 0, nc);
    put(&c->bound_step, "row_max", s.top.e, 0, s.n);
    put(&c->bound_step, "row_sum", s.sum.e, 0, s.n);
    put(&c->bound_step, "prob_target", s.prob.e, 0, s.n);
    put(&c->bound_step, "dlogits", s.g.e, 0, nc);
    pfc_bound_step_free(&s);
    pfc_dense_partial_fc_free(sampler);
}

/* Every rank holds all of a bound, in pieces that an int can count. */
static void share(MPI_Comm comm, pfc_tensor_list *list)
{
    const int64_t piece = 1 << 24;
    for (int k = 0; k < list->count; k++) {
        int64_t total = pfc_tensor_elements(&list->items[k]);
        double *data = list->items[k].data;
        for (int64_t at = 0; at < total; at += piece) MPI_Bcast(data + at, (int)(total - at < piece ? total - at : piece), MPI_DOUBLE, 0, comm);
    }
}

int pfc_partial_fc_bounds(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag)
{
    MPI_Comm comm = ctx->comm.mpi;
    pfc_partial_fc_inputs in;
    pfc_tensor_list_free(&c->bound_out);
    pfc_tensor_list_free(&c->bound_step);
    if (pfc_partial_fc_inputs_gather(comm, c, &in, diag)) return diag->exit_status;
    for (int k = 0; k < OUTS; k++) add_like(comm, &c->out, &c->bound_out, OUT[k], diag);
    for (int k = 0; k < STEPS; k++) add_like(comm, &c->step, &c->bound_step, STEP[k], diag);
    if (!pfc_diag_agree(comm, diag) && pfc_ctx_rank(ctx) == 0) compute(&in, c, diag);
    pfc_partial_fc_inputs_free(&in);
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    share(comm, &c->bound_out);
    share(comm, &c->bound_step);
    return 0;
}
