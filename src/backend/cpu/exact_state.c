/* exact_state.c: opening and closing the exact cpu backend, scratch, engines, and its tables. */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/exact.h"
#include "backend/mean_loss.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

static const pfc_engine *const engines[] = { &pfc_engine_dgemm, &pfc_engine_int128, &pfc_engine_ifma, &pfc_engine_amx, NULL };

const pfc_engine *pfc_engine_find(const char *name)
{
    for (int i = 0; engines[i]; i++)
        if (strcmp(engines[i]->name, name) == 0) return engines[i];
    return NULL;
}

/* ---- scratch ---- */

double *pfc_exact_scratch(exact_lane *lane, int which, int64_t count)
{
    exact_scratch *b = &lane->buffer[which];
    size_t bytes = ((size_t)count * sizeof(double) + 4096) / 64 * 64;
    if (b->bytes >= bytes) return b->p;
    free(b->p);
    b->p = aligned_alloc(64, bytes);
    b->bytes = b->p ? bytes : 0;
    return b->p;
}

pfc_status pfc_exact_environment(exact_lane *lane)
{
#if defined(__SSE2__)
    const unsigned denormals_are_zero = 0x40;
    if (_mm_getcsr() & (_MM_ROUND_MASK | _MM_FLUSH_ZERO_MASK | denormals_are_zero)) {
        snprintf(lane->error, sizeof lane->error, "the floating-point environment of a thread is not IEEE round-to-nearest with subnormals");
        return PFC_ERR_RUNTIME;
    }
#endif
    lane->error[0] = 0;
    return PFC_OK;
}

/* ---- failing ---- */

pfc_status pfc_exact_fail(pfc_backend *be, int lane, pfc_status status)
{
    const char *text = exact_of(be)->lane[lane].error;
    if (status != PFC_OK) snprintf(be->error, sizeof be->error, "%s", text[0] ? text : "out of memory");
    return status;
}

pfc_status pfc_exact_finish(pfc_backend *be, int lane) { return pfc_exact_fail(be, lane, pfc_exact_environment(&exact_of(be)->lane[lane])); }

pfc_status pfc_exact_check_failed(exact_lane *lane, const char *who, int64_t m, int64_t n, int64_t k)
{
    snprintf(lane->error, sizeof lane->error, "self-check: %s did not return the exact integers (%lld x %lld x %lld)", who, (long long)m, (long long)n,
             (long long)k);
    return PFC_ERR_RUNTIME;
}

/* ---- opening and closing ---- */

static bool engine_usable(const pfc_engine *engine, char *why, size_t size)
{
    if (engine == &pfc_engine_amx) return pfc_engine_amx_usable(why, size);
    if (engine == &pfc_engine_ifma) return pfc_engine_ifma_usable(why, size);
    return true;
}

static const pfc_engine *best_engine(void)
{
    char why[160];
    if (pfc_engine_amx_usable(why, sizeof why)) return &pfc_engine_amx;
    return pfc_engine_ifma_usable(why, sizeof why) ? &pfc_engine_ifma : &pfc_engine_dgemm;
}

pfc_status pfc_exact_open(pfc_backend *be, const char *engine, const pfc_exact_kernels *k)
{
    pfc_exact *ex = calloc(1, sizeof *ex);
    if (!ex) return pfc_cpu_nomem(be, sizeof *ex);
    be->state = ex;
    ex->k = k;
    ex->lanes = be->lanes;
    char why[160];
    ex->engine = strcmp(engine, "auto") == 0 ? best_engine() : pfc_engine_find(engine);
    if (!ex->engine) {
        snprintf(be->error, sizeof be->error, "%s product engine '%s'; expected auto, amx, ifma, dgemm or int128",
                 strcmp(engine, "bf16x6") == 0 ? "only fast mode has the" : "unknown", engine);
        return PFC_ERR_UNSUPPORTED;
    }
    if (!engine_usable(ex->engine, why, sizeof why)) {
        snprintf(be->error, sizeof be->error, "product engine %s cannot run here: %s", ex->engine->name, why);
        return PFC_ERR_UNSUPPORTED;
    }
    be->engine = ex->engine->name;
    ex->lane = calloc((size_t)ex->lanes, sizeof *ex->lane);
    if (!ex->lane) return pfc_cpu_nomem(be, (size_t)ex->lanes * sizeof *ex->lane);
    for (int i = 0; i < ex->lanes; i++) {
        ex->lane[i].k = k;
        ex->lane[i].self_check = be->self_check;
    }
    return PFC_OK;
}

void pfc_exact_close(pfc_backend *be)
{
    pfc_exact *ex = be->state;
    if (!ex) return;
    for (int i = 0; ex->lane && i < ex->lanes; i++)
        for (int j = 0; j < SCRATCH_COUNT; j++) free(ex->lane[i].buffer[j].p);
    free(ex->lane);
    free(ex);
    be->state = NULL;
}

/* ---- the tables ---- */

#define FIELD(name, value) .name = value,
#define ENTRY(name) .name = pfc_exact_##name,
const pfc_ops pfc_ops_exact_scalar = {
    .isa = "scalar",
#include "backend/cpu/exact_ops.inc"
};
#ifdef PFC_HAVE_AVX2
const pfc_ops pfc_ops_exact_avx2 = {
    .isa = "avx2",
#include "backend/cpu/exact_ops.inc"
};
#endif
#ifdef PFC_HAVE_AVX512
const pfc_ops pfc_ops_exact_avx512 = {
    .isa = "avx512",
#include "backend/cpu/exact_ops.inc"
};
#endif
