/* family.h: what the case layer of every family needs: results by their table entry, intermediate results from taps, inputs as plain arrays, bounds.
 *
 * Functions with a diag that return a pointer return NULL on failure and say why in diag; the caller agrees on it (pfc_diag_agree) before the next
 * exchange. Every rank must make the same calls. */
#ifndef PFC_CASE_FAMILY_H
#define PFC_CASE_FAMILY_H

#include "case/case.h"
#include "core/px.h"

/* A library's status as diag, with the case's file or name; returns 0 for PFC_OK. Local. */
int pfc_case_status(pfc_diag *diag, pfc_status status, const pfc_ctx *ctx, const pfc_case *c);

/* ---- results ---- */

/* Status 3 if `numbers` reals of the mode, over all ranks together, are more than the memory of the machines: results and work that the inputs do not show.
 * item and what for the message: "/in/queue", "the logits". Call it before anything of that size is allocated. Collective. */
int pfc_case_check_memory(pfc_ctx *ctx, const pfc_case *c, const char *item, const char *what, double numbers, pfc_diag *diag);

/* Appends result `name` of the table to c->out, zero-filled, of the type and cut that the table says (PFC_KIND_REAL: the mode's real). Its shape:
 *   dims given    ndim and dims
 *   ndim < 0      the first alternative of the table whose axes are all known: letters bound by the inputs, P, integer parameters, numbers
 *   otherwise     the alternative with ndim axes
 * The first 64 tensors of a list stay where they are when others are added. */
pfc_tensor *pfc_case_add_out(pfc_ctx *ctx, pfc_case *c, const char *name, int ndim, const int64_t *dims, pfc_diag *diag);
/* This rank's block of a tensor as a matrix of its last axis's length: (everything before it, last axis); a scalar is (1,1). Local. */
pfc_view pfc_tensor_view(const pfc_tensor *t);
/* The same for an optional tensor: NULL is a view without data. Local. */
pfc_view pfc_case_input_view(const pfc_case *c, const char *name);
/* One number into element i of this rank's block, whatever its type. Local. */
void pfc_tensor_set(pfc_tensor *t, int64_t i, double value);
/* pfc_tensor_canonical for all of c->out and c->step but the names in `moved` (ends with NULL; may be NULL): data that was not computed. Local. */
void pfc_case_canonical(pfc_case *c, const char *const *moved);

/* ---- intermediate results ---- */

/* Copies what the library taps into c->step, by the table: type of the view, cut and shape of the entry. One axis that the table does not know may be
 * found from the size of the view, unless the tensor is cut by class; `dims` may give the shape instead. */
typedef struct pfc_capture {
    pfc_ctx *ctx;
    pfc_case *c;
    /* NULL, or the global shape of a tensor: returns the number of axes, -1: take the table. */
    int (*dims)(const pfc_case *c, const char *name, int64_t dims[PFC_MAX_DIMS]);
    pfc_diag diag; /* the first failure; of this rank */
} pfc_capture;

/* From here to pfc_capture_end every tap is kept. dims: see above. Local, on all ranks alike. */
void pfc_capture_begin(pfc_capture *k, pfc_ctx *ctx, pfc_case *c, int (*dims)(const pfc_case *c, const char *name, int64_t dims[PFC_MAX_DIMS]));
/* Takes the tap off; a failure goes to diag. Local. */
int pfc_capture_end(pfc_capture *k, pfc_diag *diag);

/* ---- inputs, for the dense equations and the bounds ---- */

/* An input, whole, on rank 0 in *out (caller frees); NULL on other ranks and for an absent one. Reals and integers both come as doubles in the first,
 * integers in the second. A failure is agreed. Collective. */
int pfc_case_gather_reals(MPI_Comm comm, const pfc_case *c, const char *name, double **out, pfc_diag *diag);
int pfc_case_gather_ints(MPI_Comm comm, const pfc_case *c, const char *name, int64_t **out, pfc_diag *diag);

/* A tensor like `name` of `of`, whole on every rank, zero: float64, or int64 if that one is: for c->bound_out, c->bound_step and the results of the
 * dense equations. NULL without a failure: there is no such tensor, nothing to do. */
pfc_tensor *pfc_case_add_like(MPI_Comm comm, const pfc_tensor_list *of, pfc_tensor_list *list, const char *name, pfc_diag *diag);

/* ---- bounds ---- */

/* The bound of a value that an operand left open (undecided), or else of about e: 0 for a NaN or infinity that any port must have too. */
static inline double pfc_bound_settle(double value, bool open, double e)
{
    if (open) return PX_INF;
    if (!px_finite(value)) return 0;
    return px_nan(e) ? PX_INF : e;
}

/* What quantising (exact-v1 1.2) may cost a product sum of `count` terms in the golden itself: both factors are rounded to 2^-62 of twice the largest
 * of their row. largest: of |a_k| times of |b_k|. Matters where everything else is tiny beside the largest. */
static inline double pfc_bound_grid(int64_t count, double largest) { return px_finite(largest) ? (double)count * 0x1p-60 * largest : 0.0; }

/* Empties c->bound_out and c->bound_step and adds a zero bound for every real tensor of c->out and c->step. */
int pfc_bounds_begin(MPI_Comm comm, pfc_case *c, pfc_diag *diag);
/* Copies `count` numbers to element `offset` of a tensor of the list; without effect if there is no such tensor. Local. */
void pfc_bound_put(pfc_tensor_list *list, const char *name, const double *e, int64_t offset, int64_t count);
/* Agrees on diag; then rank 0's numbers in both lists go to all ranks. Collective. */
int pfc_bounds_share(MPI_Comm comm, pfc_case *c, pfc_diag *diag);

#endif
