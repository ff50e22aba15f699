/* registry.c: which backends exist, and choosing one. Asking for what cannot run is an error, never a silent fallback. */
#include "backend/backend.h"
#include "backend/checked/checked.h"
#include "backend/cpu/exact.h"
#include "backend/cpu/fast.h"
#include "backend/cpu/fast_bf16.h"
#include "backend/cpuid.h"
#include "backend/cuda_module.h"
#include "backend/emulate/emulate.h"

#include <omp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Instruction sets by what they demand of the machine, as PFC_MAX_ISA calls them. The last two make products only. */
static const char *const names[] = { "scalar", "avx2", "avx512", "ifma", "amx" };
enum { ISA_SCALAR, ISA_AVX2, ISA_AVX512, ISA_IFMA, ISA_AMX };

/* PFC_MAX_ISA as one of these; -1 and a reason: not one of them. */
static int isa_cap(char *why, size_t size)
{
    const char *asked = getenv("PFC_MAX_ISA");
    if (!asked || !*asked) return ISA_AMX;
    for (int cap = 0; cap <= ISA_AMX; cap++)
        if (strcmp(asked, names[cap]) == 0) return cap;
    snprintf(why, size, "PFC_MAX_ISA is '%s'; expected scalar, avx2, avx512, ifma or amx", asked);
    return -1;
}

static bool allowed(int isa, char *why, size_t size)
{
    int cap = isa_cap(why, size);
    if (cap >= 0 && cap < isa) snprintf(why, size, "PFC_MAX_ISA is %s", names[cap]);
    return cap >= isa;
}

bool pfc_cpu_ifma(char *why, size_t size)
{
    if (!allowed(ISA_IFMA, why, size)) return false;
#ifdef PFC_HAVE_IFMA
    if (pfc_cpu_has_ifma()) return true;
    snprintf(why, size, "the CPU has no AVX512-IFMA, or the operating system does not save its registers");
#else
    snprintf(why, size, "this build has no AVX512-IFMA kernels");
#endif
    return false;
}

bool pfc_cpu_amx(pfc_tile_kind kind, char *why, size_t size)
{
    if (!allowed(ISA_AMX, why, size)) return false;
#ifdef PFC_HAVE_AMX
    return pfc_cpu_has_amx(kind, why, size);
#else
    (void)kind;
    snprintf(why, size, "this build has no AMX kernels");
    return false;
#endif
}

const char *pfc_cpu_isa(char *why, size_t size)
{
    int best = ISA_SCALAR, cap = isa_cap(why, size);
    if (cap < 0) return NULL;
#ifdef PFC_HAVE_AVX2
    if (pfc_cpu_has_avx2()) best = ISA_AVX2;
#endif
#ifdef PFC_HAVE_AVX512
    if (best == ISA_AVX2 && pfc_cpu_has_avx512()) best = ISA_AVX512;
#endif
    return names[best < cap ? best : cap];
}

typedef struct cpu_tables {
    const char *isa;
    const pfc_ops *exact, *fast;
    const pfc_exact_kernels *kernels;
} cpu_tables;

static const cpu_tables tables[] = {
    { "scalar", &pfc_ops_exact_scalar, &pfc_ops_fast_scalar, &pfc_exact_kernels_scalar },
#ifdef PFC_HAVE_AVX2
    { "avx2", &pfc_ops_exact_avx2, &pfc_ops_fast_avx2, &pfc_exact_kernels_avx2 },
#endif
#ifdef PFC_HAVE_AVX512
    { "avx512", &pfc_ops_exact_avx512, &pfc_ops_fast_avx512, &pfc_exact_kernels_avx512 },
#endif
    { NULL, NULL, NULL, NULL },
};

/* What every table must have, and what exact ones must. A new required operation is one more name here. */
/* clang-format off */
#define OP(name) { #name, offsetof(pfc_ops, name), false }
#define EXACT(name) { #name, offsetof(pfc_ops, name), true }
static const struct {
    const char *name;
    size_t at;
    bool exact_only; /* finds grids, or sums on them */
} required[] = {
    /* every family, partial_fc */
    OP(alloc), OP(free), OP(upload), OP(download), OP(sync), OP(for_lanes), OP(row_norms), OP(round_state),
    OP(operand_create), OP(operand_destroy), OP(cosines), OP(row_max), OP(row_max_fold), EXACT(row_sum), OP(target_prob), OP(mean_loss),
    OP(logits), OP(dlogits), EXACT(grad_expo), EXACT(acc_expo_fold), OP(logit_grad), OP(feature_grad), OP(weight_grad), OP(feature_grad_finish), OP(sgd_rows),
    OP(normalise), OP(normalise_backward), OP(softmax_rows), EXACT(column_expo), OP(acc_create), OP(acc_destroy), OP(acc_fold),
    OP(acc_value),
    /* arcface_head */
    OP(subcenter_max), OP(angular_logits), OP(softmax_prob), EXACT(aims_expo), OP(aims_sum), OP(subcenter_grad),
    /* sinkhorn, swav */
    OP(sinkhorn_create), OP(sinkhorn_destroy), OP(sinkhorn_exp), EXACT(sinkhorn_expo), EXACT(sinkhorn_sums), EXACT(sinkhorn_total), OP(sinkhorn_divide),
    OP(sinkhorn_add), OP(sinkhorn_scale), OP(sinkhorn_finish), OP(sinkhorn_log_max),
    OP(sinkhorn_log_sums), OP(sinkhorn_log_scale), OP(copy_rows), OP(zero), OP(divide), OP(swav_row_loss),
    OP(swav_dlogits), OP(scale), OP(decay_scale),
    /* moco */
    OP(momentum_update), OP(positive_logits), OP(positive_max), OP(positive_sum), OP(positive_grad),
    /* batch_norm, group_gather */
    OP(bn_grid), OP(bn_sums), OP(bn_moments), OP(bn_normalise), EXACT(bn_grad_grid), OP(bn_grad_sums), OP(bn_values), OP(bn_backward),
    EXACT(gather_expo), OP(gather_add),
};
#undef OP
#undef EXACT
/* clang-format on */

const char *pfc_ops_missing(const pfc_ops *ops)
{
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        void (*operation)(void); /* whatever its type is, it is as large as this one */
        memcpy(&operation, (const char *)ops + required[i].at, sizeof operation);
        if (!operation && (ops->mode == PFC_EXACT || !required[i].exact_only)) return required[i].name;
    }
    if (ops->mode == PFC_EXACT || ops->sinkhorn_own_sums) return NULL;
    return !ops->sinkhorn_sums ? "sinkhorn_sums" : !ops->sinkhorn_total ? "sinkhorn_total" : NULL;
}

/* option, else environment, else default. */
static const char *pick(const char *option, const char *variable, const char *def)
{
    const char *env = getenv(variable);
    return option ? option : env && *env ? env : def;
}

/* What --engine or PFC_ENGINE asks for. */
static const char *engine_of(const pfc_options *options) { return pick(options->engine, "PFC_ENGINE", "auto"); }

static bool self_check_of(const pfc_options *options)
{
    const char *check = getenv("PFC_SELF_CHECK");
    return options->self_check > 0 || (options->self_check == 0 && check && *check && strcmp(check, "0") != 0);
}

static pfc_status complete(pfc_backend *be)
{
    const char *missing = pfc_ops_missing(be->ops);
    if (!missing) return PFC_OK;
    snprintf(be->error, sizeof be->error, "backend %s lacks the operation %s", be->ops->name, missing);
    return PFC_ERR_UNSUPPORTED;
}

/* Fast mode on the cpu: its own products, or bf16x6. The names of exact mode's engines choose nothing here, so that one PFC_ENGINE serves both modes. */
static pfc_status open_cpu_fast(pfc_backend *be, const char *engine)
{
    char why[160];
    if (strcmp(engine, "bf16x6") != 0) {
        if (strcmp(engine, "auto") == 0 || pfc_engine_find(engine)) return PFC_OK;
        snprintf(be->error, sizeof be->error, "unknown product engine '%s'; fast mode knows auto and bf16x6", engine);
        return PFC_ERR_UNSUPPORTED;
    }
    if (!pfc_bf16_usable(why, sizeof why)) {
        snprintf(be->error, sizeof be->error, "product engine bf16x6 cannot run here: %s", why);
        return PFC_ERR_UNSUPPORTED;
    }
#ifdef PFC_HAVE_AMX
    be->ops = &pfc_ops_fast_bf16x6;
    be->engine = "bf16x6";
#endif
    return PFC_OK;
}

static pfc_status open_cpu(pfc_backend *be, const pfc_options *options)
{
    const char *isa = pfc_cpu_isa(be->error, sizeof be->error);
    const cpu_tables *t = tables;
    if (!isa) return PFC_ERR_UNSUPPORTED;
    while (strcmp(t->isa, isa) != 0) t++;
    be->ops = options->mode == PFC_EXACT ? t->exact : t->fast;
    if (options->mode == PFC_FAST) PFC_TRY(open_cpu_fast(be, engine_of(options)));
    be->threads = options->threads > 0 ? options->threads : omp_get_max_threads();
    be->lanes = be->ops->lanes ? be->ops->lanes : be->threads;
    be->self_check = self_check_of(options);
    PFC_TRY(complete(be));
    be->close = options->mode == PFC_EXACT ? pfc_exact_close : pfc_fast_state_destroy;
    return options->mode == PFC_EXACT ? pfc_exact_open(be, engine_of(options), t->kernels) : pfc_fast_state_create(be);
}

static pfc_status open_cuda(pfc_backend *be, const pfc_options *options)
{
    be->self_check = self_check_of(options);
    PFC_TRY(pfc_cuda_load(be, options->mode, engine_of(options)));
    return complete(be);
}

/* The checked backend around the cpu backend of the same options. */
static pfc_status open_checked(pfc_backend *be, const pfc_options *options)
{
    pfc_options cpu = *options;
    pfc_backend *inner;
    cpu.backend = "cpu";
    PFC_TRY(pfc_backend_open(&cpu, &inner, be->error, sizeof be->error));
    return pfc_checked_open(be, inner);
}

static const struct {
    const char *name;
    pfc_status (*open)(pfc_backend *be, const pfc_options *options);
} backends[] = { { "cpu", open_cpu }, { "checked", open_checked }, { "cuda", open_cuda } };
enum { BACKENDS = sizeof backends / sizeof *backends };

static void say_unknown(const char *name, char *why, size_t size)
{
    snprintf(why, size, "backend '%s' is not in this build; available:", name);
    for (int i = 0; i < BACKENDS; i++) {
        size_t n = strlen(why);
        snprintf(why + n, size - n, "%s %s", i ? "," : "", backends[i].name);
    }
}

pfc_status pfc_backend_open(const pfc_options *options, pfc_backend **out, char *why, size_t size)
{
    const pfc_site site = { 0, true, false };
    return pfc_backend_open_at(options, site, out, why, size);
}

pfc_status pfc_backend_open_at(const pfc_options *options, pfc_site site, pfc_backend **out, char *why, size_t size)
{
    static const pfc_options defaults = { PFC_EXACT, NULL, NULL, 0, 0 };
    if (!options) options = &defaults;
    const char *name = pick(options->backend, "PFC_BACKEND", "cpu");
    int which = 0;
    *out = NULL;
    while (which < BACKENDS && strcmp(name, backends[which].name) != 0) which++;
    if (which == BACKENDS) {
        say_unknown(name, why, size);
        return PFC_ERR_UNSUPPORTED;
    }
    pfc_backend *be = calloc(1, sizeof *be);
    if (!be) {
        snprintf(why, size, "out of memory");
        return PFC_ERR_NOMEM;
    }
    be->site = site;
    pfc_status st = backends[which].open(be, options);
    if (st != PFC_OK) {
        snprintf(why, size, "%s", be->error);
        pfc_backend_close(be);
        return st;
    }
    *out = be;
    return PFC_OK;
}

pfc_status pfc_backend_finish(pfc_backend *be, char *why, size_t size)
{
    if (!be) return PFC_OK;
    be->error[0] = 0;
    pfc_emulate_end(be);
    if (be->close) be->close(be);
    pfc_status st = be->error[0] ? PFC_ERR_RUNTIME : PFC_OK;
    if (st != PFC_OK) snprintf(why, size, "%s", be->error);
    free(be);
    return st;
}

void pfc_backend_close(pfc_backend *be)
{
    char why[256];
    pfc_backend_finish(be, why, sizeof why);
}
