/* lr_schedule_case.c: the lr_schedule family: table, check, run, dense equations, bounds. It has no inputs. */
#include "case/algorithms.h"
#include "case/family.h"
#include "case/internal.h"
#include "core/ctx.h"
#include "dense/swav_dense.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const pfc_param_spec params[] = {
    { "base_lr", PFC_PARAM_REAL, NULL, NULL, "rate at the end of the warm-up" },
    { "final_lr", PFC_PARAM_REAL, NULL, NULL, "rate that the cosine approaches" },
    { "start_warmup", PFC_PARAM_REAL, NULL, NULL, "rate of the first step" },
    { "warmup_epochs", PFC_PARAM_INT, NULL, NULL, "0 to epochs" },
    { "epochs", PFC_PARAM_INT, NULL, NULL, "1 or more" },
    { "steps_per_epoch", PFC_PARAM_INT, NULL, NULL, "1 or more" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

static const pfc_tensor_spec inputs[] = { { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL } };

static const pfc_tensor_spec outputs[] = {
    { "lr", PFC_KIND_REAL, "epochs*steps_per_epoch", PFC_DIST_NONE, 0, false, "learning rate of every step" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec steps[] = { { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL } };

static pfc_lr_config config(const pfc_case *c)
{
    return (pfc_lr_config){ .base_lr = pfc_param_real(c, "base_lr"),
                            .final_lr = pfc_param_real(c, "final_lr"),
                            .start_warmup = pfc_param_real(c, "start_warmup"),
                            .warmup_epochs = pfc_param_int(c, "warmup_epochs"),
                            .epochs = pfc_param_int(c, "epochs"),
                            .steps_per_epoch = pfc_param_int(c, "steps_per_epoch") };
}

static int check(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    (void)comm;
    static const char *const rates[] = { "base_lr", "final_lr", "start_warmup" };
    pfc_lr_config cfg = config(c);
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < 3; i++)
        if (!isfinite(pfc_param_real(c, rates[i]))) {
            char item[PFC_MAX_NAME + 16];
            snprintf(item, sizeof item, "/param/%s", rates[i]);
            return pfc_case_fail(c, diag, item, "found %g, expected a finite number", pfc_param_real(c, rates[i]));
        }
    if (cfg.epochs < 1) return pfc_case_fail(c, diag, "/param/epochs", "found %lld, expected 1 or more", (long long)cfg.epochs);
    if (cfg.steps_per_epoch < 1) return pfc_case_fail(c, diag, "/param/steps_per_epoch", "found %lld, expected 1 or more", (long long)cfg.steps_per_epoch);
    if (cfg.warmup_epochs < 0 || cfg.warmup_epochs > cfg.epochs)
        return pfc_case_fail(c, diag, "/param/warmup_epochs", "found %lld, expected 0 to %lld (epochs)", (long long)cfg.warmup_epochs, (long long)cfg.epochs);
    if (8.0 * (double)cfg.epochs * (double)cfg.steps_per_epoch > memory)
        return pfc_case_fail(c, diag, "/param/epochs", "found %lld: %.3g steps do not fit into this machine's memory", (long long)cfg.epochs,
                             (double)cfg.epochs * (double)cfg.steps_per_epoch);
    return 0;
}

static int run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag)
{
    (void)want_steps;
    pfc_lr_config cfg = config(c);
    int64_t count = cfg.epochs * cfg.steps_per_epoch;
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    pfc_tensor *lr = pfc_case_add_out(ctx, c, "lr", 1, &count, diag);
    double *rate = malloc((size_t)count * sizeof *rate);
    if (!rate) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", c->name);
    if (!diag->exit_status && pfc_lr_schedule(&cfg, rate) != PFC_OK) pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: not a schedule", c->name);
    for (int64_t i = 0; !diag->exit_status && i < count; i++) pfc_tensor_set(lr, i, rate[i]);
    free(rate);
    if (!pfc_diag_agree(ctx->comm.mpi, diag)) pfc_case_canonical(c, NULL);
    return diag->exit_status;
}

static int dense(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag)
{
    pfc_lr_config cfg = config(c);
    int64_t count = cfg.epochs * cfg.steps_per_epoch;
    pfc_tensor *lr = pfc_tensor_add(comm, out, "lr", PFC_F64, 1, &count, PFC_DIST_NONE, 0);
    if (!lr) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense lr_schedule: out of memory");
    if (!pfc_diag_agree(comm, diag)) pfc_dense_lr_schedule(&cfg, lr->data);
    return diag->exit_status;
}

/* A few roundings of the largest number that takes part; the same in every precision: there are no inputs that a type could hold. */
static int bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag)
{
    (void)precision;
    pfc_lr_config cfg = config(c);
    if (pfc_bounds_begin(ctx->comm.mpi, c, diag)) return diag->exit_status;
    pfc_tensor *bound = pfc_tensor_find(&c->bound_out, "lr");
    double e = PFC_BOUND_EPS * (fabs(cfg.base_lr) + fabs(cfg.final_lr) + fabs(cfg.start_warmup));
    for (int64_t i = 0; bound && i < pfc_tensor_local(bound); i++) pfc_tensor_set(bound, i, 2 * e);
    return pfc_bounds_share(ctx->comm.mpi, c, diag);
}

static int fill(MPI_Comm comm, pfc_case *c, const char *name, int64_t seed, pfc_diag *diag)
{
    (void)comm, (void)c, (void)name, (void)seed;
    return diag->exit_status;
}

static int any_ranks(pfc_case *c, int ranks, pfc_diag *diag)
{
    static const char *const settings[][2] = { { "base_lr", "4.8" },     { "final_lr", "0.0048" }, { "start_warmup", "0.3" },
                                               { "warmup_epochs", "2" }, { "epochs", "7" },        { "steps_per_epoch", "11" } };
    (void)ranks;
    for (int i = 0; i < 6; i++) pfc_case_set_param(c, settings[i][0], settings[i][1], diag);
    return diag->exit_status;
}

/* A cosine of some 40 operations for every step. */
static void bench_cost(const pfc_case *c, int ranks, pfc_dtype real, double *flops, double *bytes)
{
    (void)ranks;
    double count = (double)pfc_param_int(c, "epochs") * (double)pfc_param_int(c, "steps_per_epoch");
    *flops = 40.0 * count;
    *bytes = (double)pfc_dtype_size(real) * count;
}

const pfc_algorithm pfc_algorithm_lr_schedule = {
    .name = "lr_schedule",
    .help = "learning rate of every step: linear warm-up, half a cosine",
    .params = params,
    .in = inputs,
    .out = outputs,
    .step = steps,
    .check = check,
    .run = run,
    .dense = dense,
    .bounds = bounds,
    .fill = fill,
    .any_ranks = any_ranks,
    .bench_cost = bench_cost,
};
