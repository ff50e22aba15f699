/* moco_check.c: conditions of moco_shuffle and moco that the tables cannot say. */
#include "case/moco_case.h"

#include <math.h>
#include <stdlib.h>

static int bad(pfc_diag *diag, const pfc_case *c, const char *item, double found, const char *expected)
{
    return pfc_case_fail(c, diag, item, "found %.17g, expected %s", found, expected);
}

/* Every row number once. Every rank holds all of it. */
static int check_permutation(const pfc_case *c, const pfc_tensor *t, pfc_diag *diag)
{
    int64_t n = pfc_tensor_elements(t), *place = malloc((size_t)(n + 1) * sizeof *place);
    const int64_t *row = t->data;
    if (!place) return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", c->name);
    for (int64_t j = 0; j < n; j++) place[j] = -1;
    for (int64_t j = 0; j < n && !diag->exit_status; j++) {
        if (row[j] < 0 || row[j] >= n)
            pfc_case_fail(c, diag, "/in/permutation", "found %lld at (%lld), expected 0 to %lld", (long long)row[j], (long long)j, (long long)n - 1);
        else if (place[row[j]] >= 0)
            pfc_case_fail(c, diag, "/in/permutation", "found %lld at (%lld) and at (%lld), expected every row once", (long long)row[j],
                          (long long)place[row[j]], (long long)j);
        else
            place[row[j]] = j;
    }
    free(place);
    return diag->exit_status;
}

int pfc_moco_shuffle_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    const pfc_tensor *permutation = pfc_tensor_find(&c->in, "permutation");
    int64_t step = pfc_param_int(c, "step");
    if (step < 0 || step > UINT32_MAX) bad(diag, c, "/param/step", (double)step, "0 to 2^32 - 1");
    if (!diag->exit_status && permutation) check_permutation(c, permutation, diag);
    return pfc_diag_agree(comm, diag);
}

static int check_queue(const pfc_case *c, pfc_diag *diag)
{
    int64_t n = c->size['N' - 'A'], k = c->size['K' - 'A'], ptr = pfc_param_int(c, "queue_ptr");
    bool wrap = pfc_param_int(c, "queue_wrap") == 1;
    if (ptr < 0 || ptr >= k)
        return pfc_case_fail(c, diag, "/param/queue_ptr", "found %lld, expected 0 to %lld, a row of the queue", (long long)ptr, (long long)k - 1);
    if (!wrap && k % n)
        return pfc_case_fail(c, diag, "/in/queue", "found K = %lld, expected a multiple of N = %lld with queue_wrap=0", (long long)k, (long long)n);
    if (!wrap && ptr + n > k)
        return pfc_case_fail(c, diag, "/param/queue_ptr", "found %lld, expected at most %lld: N = %lld keys have to fit with queue_wrap=0", (long long)ptr,
                             (long long)(k - n), (long long)n);
    return 0;
}

int pfc_moco_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    const pfc_tensor *q = pfc_tensor_find(&c->in, "params_q"), *k = pfc_tensor_find(&c->in, "params_k");
    double mu = pfc_param_real(c, "momentum"), tau = fabs(pfc_param_real(c, "temperature"));
    if (!isfinite(mu)) bad(diag, c, "/param/momentum", mu, "a finite number");
    if (!(tau >= 1e-100 && tau <= 1e100)) bad(diag, c, "/param/temperature", pfc_param_real(c, "temperature"), "a magnitude of 1e-100 to 1e100");
    if (q->dims[0] != k->dims[0])
        pfc_case_fail(c, diag, "/in/params_k", "found shape (%lld), expected that of params_q, (%lld)", (long long)k->dims[0], (long long)q->dims[0]);
    if (!diag->exit_status) check_queue(c, diag);
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    c->depends_on_world = true; /* a loss for each rank */
    return 0;
}
