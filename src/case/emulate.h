/* emulate.h (internal): runs of a case as a port in a narrow type would compute it, and how far such a port is from the exact results. */
#ifndef PFC_CASE_EMULATE_H
#define PFC_CASE_EMULATE_H

#include "case/case.h"

/* algorithm->run with matrix products of this precision's type, their results stored in it if `stored`, and with the inputs that the algorithm's `narrow` names
 * rounded to it; c->in stays as it is. For f32 the plain run. Collective. */
int pfc_case_run_emulated(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, bool stored, bool want_steps, pfc_diag *diag);

/* Sets `rms` of every tensor in c->bound_out and c->bound_step, after an exact run: the root mean square of what this emulation in exact mode, results stored,
 * differs from c->out and c->step, over the elements that are finite in both and whose bound is finite; 0 if there are none. ctx: exact. Collective. */
int pfc_case_bound_rms(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag);

#endif
