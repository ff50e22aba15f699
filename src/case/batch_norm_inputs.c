/* batch_norm_inputs.c: a batch_norm case gathered on rank 0 as the dense equations want it. */
#include "case/batch_norm_case.h"
#include "case/family.h"

#include <stdlib.h>
#include <string.h>

/* An absent input is `value` everywhere. */
static double *fill(double *given, int64_t n, double value)
{
    if (given) return given;
    double *v = malloc((size_t)(n + 1) * sizeof *v);
    for (int64_t i = 0; v && i < n; i++) v[i] = value;
    return v;
}

/* Memory of the results, rank 0. */
static bool make_results(pfc_dense_batch_norm *p, int64_t elements)
{
    size_t c = (size_t)(p->ranks * p->cfg.channels), units = (size_t)(p->ranks * p->cfg.channels * p->cfg.num_splits), ranks = (size_t)p->ranks;
    double **const want[] = { &p->y, &p->x_grad, &p->weight_grad, &p->bias_grad, &p->mean, &p->var, &p->sum_g, &p->sum_gx, &p->divisor, &p->count, &p->work };
    const size_t n[] = { (size_t)elements, (size_t)elements, c, c, units, units, units, units, ranks, ranks, 2 * units };
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        if (!(*want[i] = calloc(n[i] + 1, sizeof(double)))) return false;
    return p->x && p->weight && p->bias && p->running_mean && p->running_var && p->split_mean && p->split_var && p->rows;
}

int pfc_batch_norm_case_problem(MPI_Comm comm, const pfc_case *c, pfc_dense_batch_norm *p, pfc_diag *diag)
{
    int rank;
    double *x, *g, *weight, *bias;
    memset(p, 0, sizeof *p);
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &p->ranks);
    p->cfg = pfc_batch_norm_case_config(c);
    if (p->cfg.num_sync_devices <= 0) p->cfg.num_sync_devices = p->cfg.local_size;
    p->l = pfc_batch_norm_case_inner(c);
    p->training = pfc_param_int(c, "training") != 0;
    p->aggregate = pfc_param_int(c, "aggregate") != 0;
    p->batches = pfc_param_int(c, "num_batches_tracked");
    pfc_case_gather_reals(comm, c, "x", &x, diag);
    if (!diag->exit_status) pfc_case_gather_reals(comm, c, "grad_y", &g, diag);
    if (!diag->exit_status) pfc_case_gather_reals(comm, c, "weight", &weight, diag);
    if (!diag->exit_status) pfc_case_gather_reals(comm, c, "bias", &bias, diag);
    if (!diag->exit_status) pfc_case_gather_reals(comm, c, "running_mean", &p->running_mean, diag);
    if (!diag->exit_status) pfc_case_gather_reals(comm, c, "running_var", &p->running_var, diag);
    if (!diag->exit_status) pfc_case_gather_reals(comm, c, "split_running_mean", &p->split_mean, diag);
    if (!diag->exit_status) pfc_case_gather_reals(comm, c, "split_running_var", &p->split_var, diag);
    if (diag->exit_status) return diag->exit_status;
    p->x = x, p->g = g, p->weight = weight, p->bias = bias;
    if (rank == 0) {
        int64_t channels = p->cfg.channels, per_rank = p->ranks * channels, units = per_rank * p->cfg.num_splits,
                *rows = malloc((size_t)p->ranks * sizeof *rows);
        for (int r = 0; rows && r < p->ranks; r++) rows[r] = pfc_batch_norm_case_rows(c, p->ranks, r);
        p->rows = rows;
        p->weight = fill(weight, channels, 1.0);
        p->bias = fill(bias, channels, 0.0);
        p->running_mean = fill(p->running_mean, per_rank, 0.0);
        p->running_var = fill(p->running_var, per_rank, 1.0);
        p->split_mean = fill(p->split_mean, units, 0.0);
        p->split_var = fill(p->split_var, units, 1.0);
        if (!make_results(p, c->size['N' - 'A'] * channels * p->l)) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense batch_norm: out of memory");
    }
    if (pfc_diag_agree(comm, diag)) pfc_batch_norm_case_problem_free(p);
    return diag->exit_status;
}

void pfc_batch_norm_case_problem_free(pfc_dense_batch_norm *p)
{
    double *inputs[] = { (double *)p->x, (double *)p->g, (double *)p->weight, (double *)p->bias };
    double *others[] = { p->running_mean, p->running_var, p->split_mean, p->split_var, p->y,       p->x_grad, p->weight_grad, p->bias_grad,
                         p->mean,         p->var,         p->sum_g,      p->sum_gx,    p->divisor, p->count,  p->work };
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) free(inputs[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) free(others[i]);
    free((int64_t *)p->rows);
    memset(p, 0, sizeof *p);
}
