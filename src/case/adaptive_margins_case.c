/* adaptive_margins_case.c: the adaptive_margins family: tables, check, run, dense equations, bounds, generated counts (semantics 8.6). */
#include "case/algorithms.h"
#include "case/family.h"
#include "case/internal.h"
#include "core/ctx.h"
#include "dense/arcface_head_dense.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const pfc_param_spec params[] = {
    { "power", PFC_PARAM_REAL, "-0.25", NULL, "exponent of the class counts" },
    { "margin_min", PFC_PARAM_REAL, "0.05", NULL, "margin of the most frequent class" },
    { "margin_max", PFC_PARAM_REAL, "0.5", NULL, "margin of the rarest class" },
    { "equal_counts", PFC_PARAM_WORD, "source", "source|min", "all counts alike: the source's 0/0, or margin_min" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

static const pfc_tensor_spec inputs[] = {
    { "class_counts", PFC_KIND_INT, "C", PFC_DIST_NONE, 0, false, "training rows of each class; 0 counts as 1" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec outputs[] = {
    { "margins", PFC_KIND_REAL, "C", PFC_DIST_NONE, 0, false, "margin of each class" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec steps[] = { { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL } };

static pfc_adaptive_margins_config config(const pfc_case *c)
{
    return (pfc_adaptive_margins_config){ pfc_param_real(c, "power"), pfc_param_real(c, "margin_min"), pfc_param_real(c, "margin_max"),
                                          (pfc_equal_counts)pfc_param_choice(c, "equal_counts") };
}

static int check(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    const pfc_tensor *counts = pfc_tensor_find(&c->in, "class_counts");
    for (int i = 0; i < 3; i++) {
        double value = pfc_param_real(c, params[i].name);
        char item[PFC_MAX_NAME];
        snprintf(item, sizeof item, "/param/%s", params[i].name);
        if (!(fabs(value) <= 1e100)) pfc_case_fail(c, diag, item, "found %g, expected a number up to 1e100 in magnitude", value);
    }
    for (int64_t i = 0; i < counts->count && !diag->exit_status; i++) {
        int64_t n = ((const int64_t *)counts->data)[i];
        if (n < 0) pfc_case_fail(c, diag, "/in/class_counts", "found %lld at (%lld), expected 0 or more", (long long)n, (long long)i);
    }
    return pfc_diag_agree(comm, diag);
}

static int run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag)
{
    const pfc_tensor *counts = pfc_tensor_find(&c->in, "class_counts");
    pfc_adaptive_margins_config cfg = config(c);
    char why[256];
    (void)want_steps;
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    double *margins = malloc((size_t)counts->count * sizeof *margins);
    pfc_tensor *out = pfc_case_add_out(ctx, c, "margins", -1, NULL, diag);
    if (!margins) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", c->name);
    if (!diag->exit_status && pfc_adaptive_margins(&cfg, counts->data, counts->count, margins, why, sizeof why) != PFC_OK)
        pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: %s", c->path[0] ? c->path : c->name, why);
    if (!pfc_diag_agree(ctx->comm.mpi, diag)) {
        for (int64_t i = 0; i < counts->count; i++) pfc_tensor_set(out, i, margins[i]);
        pfc_case_canonical(c, NULL);
    }
    free(margins);
    return diag->exit_status;
}

static int dense(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag)
{
    const pfc_tensor *counts = pfc_tensor_find(&c->in, "class_counts");
    pfc_adaptive_margins_config cfg = config(c);
    pfc_tensor *margins = pfc_case_add_like(comm, &c->out, out, "margins", diag);
    if (!pfc_diag_agree(comm, diag)) pfc_dense_adaptive_margins(&cfg, counts->data, counts->count, margins->data);
    return diag->exit_status;
}

/* f = n^power by exp(power log n) in float32 is off by U f (2 + |power| log n); the rest follows the formula (doc/numerics.md 13). */
static void margin_bounds(const pfc_adaptive_margins_config *cfg, const int64_t *counts, int64_t classes, const double *margin, double *bound)
{
    double least = PX_INF, most = -PX_INF, eleast = 0, emost = 0, spread = fabs(cfg->margin_max - cfg->margin_min);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < classes; i++) {
            double n = counts[i] > 1 ? (double)counts[i] : 1, f = px_pow(n, cfg->power), ef = PFC_BOUND_EPS * f * (2 + fabs(cfg->power) * px_log(n));
            double range = most - least;
            if (f < least) least = f, eleast = ef;
            if (f > most) most = f, emost = ef;
            if (pass == 0) continue;
            double share = (f - least) / range, eshare = (ef + eleast + share * (emost + eleast)) / range + 4 * PFC_BOUND_EPS * share;
            double e = spread * eshare + 2 * PFC_BOUND_EPS * (fabs(cfg->margin_min) + fabs(cfg->margin_max));
            bool open = range > 0 && !(2 * (eleast + emost) < range); /* a port may find all counts alike */
            bound[i] = pfc_bound_settle(margin[i], open || (range > 0 && !(f < 1e38 && most < 1e38)), range == 0 ? PFC_BOUND_EPS * fabs(margin[i]) : e);
        }
}

static int bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag)
{
    (void)precision; /* no product of matrices, no long sum: every type computes this in float32 */
    const pfc_tensor *counts = pfc_tensor_find(&c->in, "class_counts");
    pfc_adaptive_margins_config cfg = config(c);
    if (pfc_bounds_begin(ctx->comm.mpi, c, diag)) return diag->exit_status;
    margin_bounds(&cfg, counts->data, counts->count, pfc_tensor_find(&c->out, "margins")->data, pfc_tensor_find(&c->bound_out, "margins")->data);
    return pfc_bounds_share(ctx->comm.mpi, c, diag);
}

/* normal: counts floor(1 / u^2), most classes rare, a few frequent, up to 10^6; lattice: powers of 16, c mod 4; hard: zeros, ones and 2^53 beside normal. */
static int fill(MPI_Comm comm, pfc_case *c, const char *name, int64_t seed, pfc_diag *diag)
{
    static const char *const kinds[] = { "normal", "lattice", "hard", NULL };
    int64_t classes = c->size['C' - 'A'];
    int kind = 0;
    while (kinds[kind] && strcmp(kinds[kind], name)) kind++;
    if (!kinds[kind]) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--fill %s: unknown, expected normal, lattice or hard", name);
    if (classes < 1) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: adaptive_margins needs C, 1 or more");
    pfc_tensor *t = pfc_tensor_add(comm, &c->in, "class_counts", PFC_I64, 1, &classes, PFC_DIST_NONE, 0);
    if (!t) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for the generated inputs");
    for (int64_t i = 0; t && i < classes; i++) {
        double u = pfc_uniform(seed, i, 0, PFC_STREAM_FILL), n = 1 / (u * u + 1e-6);
        int64_t count = kind == 1 ? (int64_t)1 << 4 * (i % 4) : (int64_t)n;
        if (kind == 2 && i % 4) count = i % 4 == 3 ? (int64_t)1 << 53 : i % 4 - 1;
        ((int64_t *)t->data)[i] = count;
    }
    return pfc_diag_agree(comm, diag);
}

static int any_ranks(pfc_case *c, int ranks, pfc_diag *diag)
{
    (void)ranks, (void)diag;
    c->size['C' - 'A'] = 37;
    return 0;
}

/* A power of some 80 operations for every class, counts read and margins written. */
static void bench_cost(const pfc_case *c, int ranks, pfc_dtype real, double *flops, double *bytes)
{
    (void)ranks;
    double classes = (double)c->size['C' - 'A'];
    *flops = 80.0 * classes;
    *bytes = (8.0 + (double)pfc_dtype_size(real)) * classes;
}

const pfc_algorithm pfc_algorithm_adaptive_margins = {
    .name = "adaptive_margins",
    .help = "margins of the ArcFace head from the class counts",
    .params = params,
    .in = inputs,
    .out = outputs,
    .step = steps,
    .check = check,
    .run = run,
    .dense = dense,
    .bounds = bounds,
    .fill = fill,
    .sizes = "C",
    .any_ranks = any_ranks,
    .bench_cost = bench_cost,
};
