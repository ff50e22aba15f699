/* moco_shuffle_case.c: a moco_shuffle case: through the library, through the plain formulas, its inputs and bounds. */
#include "case/moco_case.h"
#include "case/round.h"
#include "core/ctx.h"
#include "dense/moco_dense.h"

#include <stdlib.h>
#include <string.h>

pfc_view pfc_moco_rows_view(const pfc_tensor *t)
{
    int64_t m = 1;
    for (int k = 1; k < t->ndim; k++) m *= t->dims[k];
    return pfc_view_make(t->data, t->dtype, t->count, m);
}

/* ---- run ---- */

/* Results are of the mode's type: moved float32 numbers, as they are or widened; x stays float32 on the way. */
static void store(pfc_view rows, pfc_tensor *out)
{
    int64_t n = rows.rows * rows.cols;
    if (out->dtype == PFC_F32)
        memcpy(out->data, rows.data, (size_t)n * sizeof(float));
    else
        for (int64_t i = 0; i < n; i++) ((double *)out->data)[i] = (double)((const float *)rows.data)[i];
}

static pfc_status shuffle_and_back(pfc_ctx *ctx, const pfc_case *c, pfc_view rows, pfc_view back)
{
    const pfc_tensor *x = pfc_tensor_find(&c->in, "x"), *permutation = pfc_tensor_find(&c->in, "permutation");
    pfc_moco_shuffle *s = NULL;
    PFC_TRY(pfc_moco_shuffle_create(ctx, x->count, permutation ? permutation->data : NULL, pfc_param_int(c, "seed"), pfc_param_int(c, "step"), &s));
    pfc_status st = pfc_moco_shuffle_rows(s, pfc_moco_rows_view(x), rows);
    if (st == PFC_OK) store(rows, pfc_tensor_find(&c->out, "shuffled"));
    if (st == PFC_OK) st = pfc_moco_unshuffle_rows(s, rows, back);
    if (st == PFC_OK) store(back, pfc_tensor_find(&c->out, "unshuffled"));
    if (st == PFC_OK) memcpy(pfc_tensor_find(&c->out, "inverse")->data, pfc_moco_shuffle_inverse(s), (size_t)pfc_moco_shuffle_total(s) * sizeof(int64_t));
    pfc_moco_shuffle_destroy(&s);
    return st;
}

int pfc_moco_shuffle_run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag)
{
    const pfc_tensor *x = pfc_tensor_find(&c->in, "x");
    pfc_view in = pfc_moco_rows_view(x), rows = in, back = in;
    size_t bytes = (size_t)(in.rows * in.cols) * sizeof(float) + 8;
    (void)want_steps; /* there are none */
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    pfc_case_add_out(ctx, c, "shuffled", x->ndim, x->dims, diag);
    pfc_case_add_out(ctx, c, "inverse", 1, x->dims, diag);
    pfc_case_add_out(ctx, c, "unshuffled", x->ndim, x->dims, diag);
    rows.data = malloc(bytes);
    back.data = malloc(bytes);
    if (!rows.data || !back.data) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", c->name);
    if (!pfc_diag_agree(ctx->comm.mpi, diag)) pfc_case_status(diag, shuffle_and_back(ctx, c, rows, back), ctx, c);
    free(rows.data);
    free(back.data);
    return pfc_diag_agree(ctx->comm.mpi, diag); /* nothing is computed: zeros and NaN stay as they are */
}

/* ---- the plain formulas ---- */

static void dense(const pfc_case *c, const double *x, int64_t *permutation, int64_t m, pfc_tensor_list *out)
{
    int64_t n = c->size['N' - 'A'], *inverse = pfc_tensor_find(out, "inverse")->data;
    double *shuffled = pfc_tensor_find(out, "shuffled")->data, *unshuffled = pfc_tensor_find(out, "unshuffled")->data;
    if (!pfc_tensor_find(&c->in, "permutation")) pfc_dense_moco_permutation(pfc_param_int(c, "seed"), (uint32_t)pfc_param_int(c, "step"), n, permutation);
    for (int64_t j = 0; j < n; j++) inverse[permutation[j]] = j;
    pfc_dense_moco_pick(x, permutation, n, m, shuffled);
    pfc_dense_moco_pick(shuffled, inverse, n, m, unshuffled);
}

int pfc_moco_shuffle_dense(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag)
{
    const pfc_tensor *t = pfc_tensor_find(&c->in, "x");
    int64_t *permutation = NULL, n = t->dims[0];
    double *x = NULL;
    int rank;
    MPI_Comm_rank(comm, &rank);
    bool ok = pfc_tensor_add(comm, out, "shuffled", PFC_F64, t->ndim, t->dims, PFC_DIST_NONE, 0) != NULL;
    ok = pfc_tensor_add(comm, out, "inverse", PFC_I64, 1, &n, PFC_DIST_NONE, 0) && ok;
    ok = pfc_tensor_add(comm, out, "unshuffled", PFC_F64, t->ndim, t->dims, PFC_DIST_NONE, 0) && ok;
    if (!ok) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense moco_shuffle: out of memory");
    if (!pfc_diag_agree(comm, diag)) pfc_case_gather_reals(comm, c, "x", &x, diag);
    if (!pfc_diag_agree(comm, diag)) pfc_case_gather_ints(comm, c, "permutation", &permutation, diag);
    if (rank == 0 && !permutation && !(permutation = malloc((size_t)n * sizeof *permutation)))
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense moco_shuffle: out of memory");
    if (!pfc_diag_agree(comm, diag) && rank == 0) dense(c, x, permutation, pfc_tensor_elements(t) / n, out);
    free(x);
    free(permutation);
    return diag->exit_status;
}

/* Moved numbers have no error but that of x in T. */
static void bound(const pfc_precision *p, const pfc_tensor *moved, const double *want, double *e)
{
    for (int64_t i = 0; i < pfc_tensor_elements(moved); i++)
        for (pfc_rounding how = 0; how < PFC_ROUNDINGS; how++) {
            double zero = 0, x;
            if (pfc_round_inputs(p, how, &want[i], 1, &x)) pfc_round_widen(&e[i], &want[i], &x, &zero, 1);
        }
}

int pfc_moco_shuffle_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag)
{
    static const char *const names[] = { "shuffled", "unshuffled" };
    MPI_Comm comm = ctx->comm.mpi;
    if (pfc_bounds_begin(comm, c, diag)) return diag->exit_status;
    for (int i = 0; i < 2; i++) {
        const pfc_tensor *moved = pfc_tensor_find(&c->out, names[i]);
        void *whole = NULL;
        if (pfc_tensor_gather(comm, moved, &whole, diag)) return diag->exit_status;
        if (whole) bound(precision, moved, whole, pfc_tensor_find(&c->bound_out, names[i])->data);
        free(whole);
    }
    return pfc_bounds_share(comm, c, diag);
}
