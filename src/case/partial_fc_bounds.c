/* partial_fc_bounds.c: the bounds of a partial_fc case's results and intermediate results (doc/numerics.md).
 *
 * Rank 0 goes through the steps again with an error beside every number and hands the finished bounds to the other ranks. */
#include "case/partial_fc_bounds.h"
#include "core/ctx.h"
#include "dense/dense.h"

#include <string.h>

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
    pfc_bound_put(&c->bound_out, "loss", &s->eloss, t, 1);
    pfc_bound_put(&c->bound_out, "x_grad", s->xg.e, t * s->n * s->d, s->n * s->d);
}

/* All steps on rank 0; the last step's bounds into the tensors. */
static void compute(const pfc_partial_fc_inputs *in, const pfc_precision *precision, pfc_case *c, pfc_diag *diag)
{
    pfc_bound_step s;
    pfc_dense_partial_fc *sampler = pfc_dense_partial_fc_new(&in->cfg, in->ranks, in->n);
    if (!sampler || !pfc_bound_step_new(&s, in, precision)) {
        pfc_dense_partial_fc_free(sampler);
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "bounds: out of memory");
        return;
    }
    int64_t nc = s.n * s.c, cd = s.c * s.d;
    memcpy(s.w.v, in->weight, (size_t)cd * sizeof(double));
    memcpy(s.m.v, in->momentum, (size_t)cd * sizeof(double));
    for (int64_t t = 0; t < in->steps; t++) run_step(&s, in, sampler, t, c);
    pfc_bound_put(&c->bound_out, "weight_grad", s.wg.e, 0, cd);
    pfc_bound_put(&c->bound_out, "weight", s.w.e, 0, cd);
    pfc_bound_put(&c->bound_out, "weight_momentum", s.m.e, 0, cd);
    put_keys(&c->bound_step, s.c);
    pfc_bound_put(&c->bound_step, "cosine", s.z.e, 0, nc);
    pfc_bound_put(&c->bound_step, "logits", s.l.e, 0, nc);
    pfc_bound_put(&c->bound_step, "row_max", s.top.e, 0, s.n);
    pfc_bound_put(&c->bound_step, "row_sum", s.sum.e, 0, s.n);
    pfc_bound_put(&c->bound_step, "prob_target", s.prob.e, 0, s.n);
    pfc_bound_put(&c->bound_step, "dlogits", s.g.e, 0, nc);
    pfc_bound_step_free(&s);
    pfc_dense_partial_fc_free(sampler);
}

int pfc_partial_fc_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag)
{
    MPI_Comm comm = ctx->comm.mpi;
    pfc_partial_fc_inputs in;
    if (pfc_partial_fc_inputs_gather(comm, c, &in, diag)) return diag->exit_status;
    if (!pfc_bounds_begin(comm, c, diag) && pfc_ctx_rank(ctx) == 0) compute(&in, precision, c, diag);
    pfc_partial_fc_inputs_free(&in);
    return pfc_bounds_share(comm, c, diag);
}
