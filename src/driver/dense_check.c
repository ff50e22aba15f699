/* dense_check.c: results of exact mode against the textbook equations in double. */
#include "driver/driver.h"
#include <math.h>
#include <stdlib.h>

#define DENSE_TOLERANCE 1e-9

/* On rank 0, whole tensors: |got - want| <= 1e-9 max|want|. */
static int compare_whole(const pfc_tensor *got, const pfc_tensor *want, pfc_comparison *r, pfc_diag *diag)
{
    double largest = 0.0;
    int64_t n = pfc_tensor_elements(want);
    for (int64_t i = 0; i < n; i++) {
        double x = fabs(pfc_tensor_get(want, i));
        if (isfinite(x) && x > largest) largest = x;
    }
    double tolerance = DENSE_TOLERANCE * largest;
    pfc_tensor bound = { .dtype = PFC_F64, .ndim = 0, .count = 1, .data = &tolerance };
    return pfc_compare(MPI_COMM_SELF, got, want, want->dtype == PFC_I64 ? NULL : &bound, r, diag);
}

static int compare_one(MPI_Comm comm, const pfc_tensor *mine, const pfc_tensor *want, pfc_comparison *r, pfc_diag *diag)
{
    void *whole = NULL;
    *r = (pfc_comparison){ .verdict = PFC_MISSING, .worst_index = -1 };
    if (mine && pfc_tensor_gather(comm, mine, &whole, diag)) return diag->exit_status;
    if (whole) {
        pfc_tensor got = *mine;
        got.dist = PFC_DIST_NONE;
        got.axis = 0;
        got.start = 0;
        got.count = got.ndim ? got.dims[0] : 1;
        got.data = whole;
        compare_whole(&got, want, r, diag);
    }
    free(whole);
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    MPI_Bcast(r, (int)sizeof *r, MPI_BYTE, 0, comm);
    return 0;
}

int pfc_dense_compare(MPI_Comm comm, pfc_case *c, pfc_dense_fn each, void *user, pfc_diag *diag)
{
    pfc_tensor_list dense = { 0 };
    if (!c->algorithm->dense || c->algorithm->dense(comm, c, &dense, diag)) return diag->exit_status;
    for (int i = 0; i < dense.count; i++) {
        pfc_comparison r;
        if (compare_one(comm, pfc_tensor_find(&c->out, dense.items[i].name), &dense.items[i], &r, diag)) break;
        each(user, &dense.items[i], &r);
    }
    pfc_tensor_list_free(&dense);
    return diag->exit_status;
}
