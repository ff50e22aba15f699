/* emulate.c: see emulate.h. */
#include "case/emulate.h"

#include "backend/emulate/emulate.h"
#include "case/family.h"
#include "core/ctx.h"

#include <math.h>
#include <stdlib.h>

/* ---- running ---- */

static void round_input(pfc_tensor *t, const pfc_format *f, bool truncate)
{
    for (int64_t i = 0; i < pfc_tensor_local(t); i++) pfc_tensor_set(t, i, pfc_format_round(f, truncate, pfc_tensor_get(t, i)));
}

/* The narrow inputs as they were, in the order of the names. */
enum { MOST_NARROW = 4 };

static void restore_inputs(pfc_case *c, void *saved[MOST_NARROW])
{
    const char *const *names = c->algorithm->narrow;
    for (int k = 0; names && k < MOST_NARROW && names[k]; k++) {
        pfc_tensor *t = pfc_tensor_find(&c->in, names[k]);
        if (!t || !saved[k]) continue;
        free(t->data);
        t->data = saved[k];
    }
}

static int narrow_inputs(MPI_Comm comm, pfc_case *c, const pfc_precision *p, void *saved[MOST_NARROW], pfc_diag *diag)
{
    const char *const *names = c->algorithm->narrow;
    for (int k = 0; names && k < MOST_NARROW && names[k]; k++) {
        pfc_tensor *t = pfc_tensor_find(&c->in, names[k]);
        size_t bytes = t ? (size_t)pfc_tensor_local(t) * pfc_dtype_size(t->dtype) : 0;
        void *copy = t ? malloc(bytes + 1) : NULL;
        if (!copy) {
            if (t) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory for the rounded input %s", c->name, names[k]);
            continue;
        }
        memcpy(copy, t->data, bytes);
        saved[k] = t->data;
        t->data = copy;
        round_input(t, pfc_format_find(p->type), p->truncates);
    }
    return pfc_diag_agree(comm, diag);
}

int pfc_case_run_emulated(pfc_ctx *ctx, pfc_case *c, const pfc_precision *p, bool stored, bool want_steps, pfc_diag *diag)
{
    int how = (p->truncates ? PFC_EMULATE_TRUNCATE : 0) | (stored ? PFC_EMULATE_STORE : 0);
    void *saved[MOST_NARROW] = { NULL };
    if (p->u == 0) return c->algorithm->run(ctx, c, want_steps, diag);
    if (pfc_case_status(diag, pfc_ctx_emulate(ctx, pfc_format_find(p->type), how), ctx, c)) return diag->exit_status;
    if (!narrow_inputs(ctx->comm.mpi, c, p, saved, diag)) c->algorithm->run(ctx, c, want_steps, diag);
    restore_inputs(c, saved);
    pfc_ctx_emulate(ctx, NULL, 0);
    return diag->exit_status;
}

/* ---- the distance from the exact results ---- */

/* Of whole tensors of float64, in the order of their elements, so that the number of ranks has no say. */
static double rms_of(const double *emulated, const double *exact, const double *bound, int64_t n)
{
    double squares = 0, count = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = emulated[i] - exact[i];
        if (!isfinite(e) || !isfinite(bound[i])) continue;
        squares += e * e;
        count++;
    }
    return count > 0 ? sqrt(squares / count) : 0.0;
}

/* bound: whole on every rank, float64, as pfc_bounds_begin makes it. */
static int bound_rms(MPI_Comm comm, const pfc_tensor_list *emulated, const pfc_tensor_list *exact, pfc_tensor *bound, pfc_diag *diag)
{
    const pfc_tensor *e = pfc_tensor_find(emulated, bound->name), *x = pfc_tensor_find(exact, bound->name);
    void *got = NULL, *want = NULL;
    if (!e || !x || e->dtype != PFC_F64 || x->dtype != PFC_F64 || pfc_tensor_elements(e) != pfc_tensor_elements(x)) return 0;
    if (!pfc_tensor_gather(comm, e, &got, diag) && !pfc_tensor_gather(comm, x, &want, diag) && got)
        bound->rms = rms_of(got, want, bound->data, pfc_tensor_elements(x));
    free(got);
    free(want);
    MPI_Bcast(&bound->rms, 1, MPI_DOUBLE, 0, comm);
    return diag->exit_status;
}

int pfc_case_bound_rms(pfc_ctx *ctx, pfc_case *c, const pfc_precision *p, pfc_diag *diag)
{
    const pfc_tensor_list out = c->out, step = c->step;
    c->out = c->step = (pfc_tensor_list){ 0 };
    pfc_case_run_emulated(ctx, c, p, true, c->bound_step.count > 0, diag);
    for (int k = 0; k < c->bound_out.count && !diag->exit_status; k++) bound_rms(ctx->comm.mpi, &c->out, &out, &c->bound_out.items[k], diag);
    for (int k = 0; k < c->bound_step.count && !diag->exit_status; k++) bound_rms(ctx->comm.mpi, &c->step, &step, &c->bound_step.items[k], diag);
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    c->out = out;
    c->step = step;
    return diag->exit_status;
}
