/* group_gather_case.c: the group_gather family: tables, check, run, dense equations, bounds, fill (doc/case-format.md, semantics.md 7.5). */
#include "case/algorithms.h"
#include "case/family.h"
#include "case/internal.h"
#include "case/round.h"
#include "core/ctx.h"
#include "dense/batch_norm_dense.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const pfc_param_spec params[] = {
    { "num_sync_devices", PFC_PARAM_INT, NULL, NULL, "ranks of a sub-group" },
    { "num_groups", PFC_PARAM_INT, NULL, NULL, "1: whole machines are summed; more: sub-groups" },
    { "local_size", PFC_PARAM_INT, "", NULL, "ranks of a machine; default the number of ranks" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

static const pfc_tensor_spec inputs[] = {
    { "input", PFC_KIND_REAL, "P,M", PFC_DIST_RANK, 'P', false, "a vector of each rank" },
    { "grad_output", PFC_KIND_REAL, "P,M", PFC_DIST_RANK, 'P', false, "gradient of each rank's output" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec outputs[] = {
    { "output", PFC_KIND_REAL, "P,M", PFC_DIST_RANK, 'P', false, "sum over the rank's group" },
    { "grad_input", PFC_KIND_REAL, "P,M", PFC_DIST_RANK, 'P', false, "sum of the gradients over the rank's group" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec steps[] = { { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL } };

enum { PAIRS = 2 };
static const char *const FROM[PAIRS] = { "input", "grad_output" }, *const TO[PAIRS] = { "output", "grad_input" };

static int check(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    int ranks = 1;
    MPI_Comm_size(comm, &ranks);
    if (!pfc_param_present(c, "local_size")) pfc_param_resolve_int(c, "local_size", ranks);
    int64_t devices = pfc_param_int(c, "num_sync_devices"), groups = pfc_param_int(c, "num_groups"), local = pfc_param_int(c, "local_size");
    c->depends_on_world = true;
    if (groups < 1)
        pfc_case_fail(c, diag, "/param/num_groups", "found %lld, expected 1 or more", (long long)groups);
    else if (local < 1 || ranks % local != 0)
        pfc_case_fail(c, diag, "/param/local_size", "found %lld, expected a divisor of the number of ranks, %d", (long long)local, ranks);
    else if (groups > 1 && (devices < 1 || local % devices != 0))
        pfc_case_fail(c, diag, "/param/num_sync_devices", "found %lld, expected a divisor of local_size, %lld, with num_groups above 1", (long long)devices,
                      (long long)local);
    else if (groups > 1 && groups != local / devices)
        pfc_case_fail(c, diag, "/param/num_groups", "found %lld, expected 1 (whole machines) or local_size / num_sync_devices = %lld", (long long)groups,
                      (long long)(local / devices));
    return pfc_diag_agree(comm, diag);
}

static pfc_view vector(const pfc_tensor *t) { return pfc_view_make(t->data, t->dtype, pfc_tensor_local(t), 1); }

static int run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag)
{
    (void)want_steps;
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    for (int i = 0; i < PAIRS; i++) pfc_case_add_out(ctx, c, TO[i], -1, NULL, diag);
    if (pfc_diag_agree(ctx->comm.mpi, diag)) return diag->exit_status;
    for (int i = 0; i < PAIRS && !diag->exit_status; i++) {
        pfc_status st = pfc_group_gather(ctx, pfc_param_int(c, "num_sync_devices"), pfc_param_int(c, "num_groups"), pfc_param_int(c, "local_size"),
                                         vector(pfc_tensor_find(&c->in, FROM[i])), vector(pfc_tensor_find(&c->out, TO[i])));
        pfc_case_status(diag, st, ctx, c);
    }
    if (!pfc_diag_agree(ctx->comm.mpi, diag)) pfc_case_canonical(c, NULL);
    return diag->exit_status;
}

static int dense(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag)
{
    int ranks;
    MPI_Comm_size(comm, &ranks);
    for (int i = 0; i < PAIRS; i++) {
        double *in;
        int64_t m = c->size['M' - 'A'], dims[2] = { ranks, m };
        if (pfc_case_gather_reals(comm, c, FROM[i], &in, diag)) return diag->exit_status;
        pfc_tensor *t = pfc_tensor_add(comm, out, TO[i], PFC_F64, 2, dims, PFC_DIST_NONE, 0);
        if (!t) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense group_gather: out of memory");
        if (t && in)
            pfc_dense_group_gather(ranks, pfc_param_int(c, "num_sync_devices"), pfc_param_int(c, "num_groups"), pfc_param_int(c, "local_size"), m, in, t->data);
        free(in);
        if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    }
    return 0;
}

/* A sum of d float32 numbers in any order: d - 1 roundings of partial sums, each at most the sum of magnitudes. */
static void bound_sums(int64_t ranks, int64_t d, int64_t m, const double *in, double *value, double *e)
{
    for (int64_t r = 0; r < ranks; r++)
        for (int64_t i = 0; i < m; i++) {
            double size = 0, sum = 0;
            for (int64_t q = r / d * d; q < r / d * d + d; q++) {
                size += in[q * m + i] < 0 ? -in[q * m + i] : in[q * m + i];
                sum += in[q * m + i];
            }
            value[r * m + i] = sum;
            e[r * m + i] = pfc_bound_settle(sum, px_finite(size) && size > 0x1.fffffep127, (double)d / 2 * PFC_BOUND_EPS * size + 0x1p-149);
        }
}

/* The same with inputs in T, in every way that a port may round: known numbers, so is what they change. False: out of memory. */
static bool bound_roundings(const pfc_precision *p, int64_t ranks, int64_t d, int64_t m, const double *in, double *bound)
{
    int64_t n = ranks * m;
    double *rounded = malloc((size_t)(4 * n + 1) * sizeof *rounded), *want = rounded + n, *value = want + n, *e = value + n;
    if (!rounded) return false;
    bound_sums(ranks, d, m, in, want, bound);
    for (pfc_rounding how = 0; how < PFC_ROUNDINGS; how++) {
        if (!pfc_round_inputs(p, how, in, n, rounded)) continue;
        bound_sums(ranks, d, m, rounded, value, e);
        pfc_round_widen(bound, want, value, e, n);
    }
    free(rounded);
    return true;
}

static int bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag)
{
    MPI_Comm comm = ctx->comm.mpi;
    if (pfc_bounds_begin(comm, c, diag)) return diag->exit_status;
    int64_t d = pfc_param_int(c, pfc_param_int(c, "num_groups") > 1 ? "num_sync_devices" : "local_size");
    for (int i = 0; i < PAIRS; i++) {
        double *in;
        if (pfc_case_gather_reals(comm, c, FROM[i], &in, diag)) return diag->exit_status;
        if (in && !bound_roundings(precision, ctx->comm.ranks, d, c->size['M' - 'A'], in, pfc_tensor_find(&c->bound_out, TO[i])->data))
            pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory for the bounds", c->name);
        free(in);
    }
    return pfc_bounds_share(comm, c, diag);
}

/* normal: g; lattice: whole numbers -4..4; hard: by element mod 4: 0 g; 1 g 2^(48 u - 24); 2 +-(2 - 2^-23); 3 g + 2^20 (-1)^rank, which nearly cancels.
 * Functions of (seed, tensor 0 or 1, global index) as in batch_norm_fill.c. */
static double element(int kind, int64_t seed, int tensor, int64_t i, int64_t m)
{
    double g = pfc_normal(seed, i, (uint32_t)tensor, PFC_STREAM_FILL), u = pfc_uniform(seed, i, (uint32_t)tensor + 32, PFC_STREAM_FILL);
    if (kind == 1) return floor(u * 9.0) - 4.0;
    if (kind == 0 || i % m % 4 == 0) return g;
    if (i % m % 4 == 1) return ldexp(g, (int)(u * 48.0) - 24);
    if (i % m % 4 == 2) return u < 0.5 ? -0x1.fffffep0 : 0x1.fffffep0;
    return g + (i / m % 2 ? -0x1p20 : 0x1p20);
}

static int fill(MPI_Comm comm, pfc_case *c, const char *name, int64_t seed, pfc_diag *diag)
{
    static const char *const kinds[] = { "normal", "lattice", "hard", NULL };
    int kind = 0, ranks;
    int64_t m = c->size['M' - 'A'];
    MPI_Comm_size(comm, &ranks);
    while (kinds[kind] && strcmp(kinds[kind], name)) kind++;
    if (!kinds[kind]) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--fill %s: unknown, expected normal, lattice or hard", name);
    if (m < 1) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: group_gather needs M, 1 or more");
    for (int k = 0; k < PAIRS; k++) {
        int64_t dims[2] = { ranks, m };
        pfc_tensor *t = pfc_tensor_add(comm, &c->in, FROM[k], PFC_F32, 2, dims, PFC_DIST_RANK, 0);
        if (!t) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for the generated inputs");
        for (int64_t i = 0; t && i < m; i++) ((float *)t->data)[i] = (float)element(kind, seed, k, pfc_tensor_global_index(t, i), m);
    }
    return pfc_diag_agree(comm, diag);
}

static int any_ranks(pfc_case *c, int ranks, pfc_diag *diag)
{
    (void)ranks;
    c->size['M' - 'A'] = 11;
    if (!pfc_case_set_param(c, "num_sync_devices", "1", diag)) pfc_case_set_param(c, "num_groups", "1", diag);
    return diag->exit_status;
}

/* Every rank adds the vectors of its group: one of its own to each of the others. */
static void bench_cost(const pfc_case *c, int ranks, pfc_dtype real, double *flops, double *bytes)
{
    double m = (double)c->size['M' - 'A'];
    (void)real;
    *flops = 2.0 * m * (double)ranks * (double)(ranks - 1);
    *bytes = 2.0 * 8.0 * m * (double)ranks;
}

static const char *const narrow[] = { "input", "grad_output", NULL };

const pfc_algorithm pfc_algorithm_group_gather = {
    .name = "group_gather",
    .help = "sum of a vector over a group of ranks, and its backward",
    .params = params,
    .in = inputs,
    .out = outputs,
    .step = steps,
    .narrow = narrow,
    .check = check,
    .run = run,
    .dense = dense,
    .bounds = bounds,
    .fill = fill,
    .sizes = "M",
    .any_ranks = any_ranks,
    .bench_cost = bench_cost,
};
