/* exact_state.c: opening and closing the exact cpu backend, scratch, engines, and its tables. */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/exact.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

static const pfc_engine *const engines[] = { &pfc_engine_dgemm, &pfc_engine_int128, &pfc_engine_amx, NULL };

const pfc_engine *pfc_engine_find(const char *name)
{
    for (int i = 0; engines[i]; i++)
        if (strcmp(engines[i]->name, name) == 0) return engines[i];
    return NULL;
}

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
    if (_mm_getcsr() & 0xe040u) { /* rounding control, flush to zero, denormals are zero */
        snprintf(lane->error, sizeof lane->error, "the floating-point environment of a thread is not IEEE round-to-nearest with subnormals");
        return PFC_ERR_RUNTIME;
    }
#endif
    lane->error[0] = 0;
    return PFC_OK;
}

pfc_status pfc_exact_open(pfc_backend *be, const char *engine, const pfc_exact_kernels *k)
{
    pfc_exact *ex = calloc(1, sizeof *ex);
    if (!ex) return pfc_cpu_nomem(be, sizeof *ex);
    be->state = ex;
    ex->k = k;
    ex->lanes = be->lanes;
    char why[160];
    if (strcmp(engine, "auto") == 0) engine = pfc_engine_amx_usable(why, sizeof why) ? "amx" : "dgemm";
    ex->engine = pfc_engine_find(engine);
    if (!ex->engine) {
        snprintf(be->error, sizeof be->error, "unknown product engine '%s'; expected auto, amx, dgemm or int128", engine);
        return PFC_ERR_UNSUPPORTED;
    }
    if (ex->engine == &pfc_engine_amx && !pfc_engine_amx_usable(why, sizeof why)) {
        snprintf(be->error, sizeof be->error, "product engine amx cannot run here: %s", why);
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

/* The tables differ in the kernels that pfc_exact_open is given, and in nothing else. */
#define EXACT_OPS(suffix)                                     \
    const pfc_ops pfc_ops_exact_##suffix = {                  \
        .name = "cpu",                                        \
        .isa = #suffix,                                       \
        .mode = PFC_EXACT,                                    \
        .real = PFC_F64,                                      \
        .place = PFC_HOST,                                    \
        .lanes = 0,                                           \
        .block_classes = EXACT_BLOCK,                         \
        .alloc = pfc_cpu_alloc,                               \
        .free = pfc_cpu_free,                                 \
        .upload = pfc_cpu_upload,                             \
        .download = pfc_cpu_download,                         \
        .sync = pfc_cpu_sync,                                 \
        .for_lanes = pfc_cpu_for_lanes,                       \
        .row_norms = pfc_exact_row_norms,                     \
        .round_state = pfc_exact_round_state,                 \
        .operand_create = pfc_exact_operand_create,           \
        .operand_destroy = pfc_exact_operand_destroy,         \
        .cosines = pfc_exact_cosines,                         \
        .row_max = pfc_exact_row_max,                         \
        .row_max_fold = pfc_exact_row_max_fold,               \
        .row_sum = pfc_exact_row_sum,                         \
        .target_prob = pfc_exact_target_prob,                 \
        .mean_loss = pfc_cpu_mean_loss,                       \
        .grad_expo = pfc_exact_grad_expo,                     \
        .acc_expo_fold = pfc_exact_acc_expo_fold,             \
        .logits = pfc_exact_logits,                           \
        .dlogits = pfc_exact_dlogits,                         \
        .logit_grad = pfc_exact_logit_grad,                   \
        .feature_grad = pfc_exact_feature_grad,               \
        .weight_grad = pfc_exact_weight_grad,                 \
        .feature_grad_finish = pfc_exact_feature_grad_finish, \
        .sgd_rows = pfc_exact_sgd_rows,                       \
        .acc_create = pfc_exact_acc_create,                   \
        .acc_destroy = pfc_exact_acc_destroy,                 \
        .acc_fold = pfc_exact_acc_fold,                       \
        .acc_value = pfc_exact_acc_value,                     \
    }

EXACT_OPS(scalar);
#ifdef PFC_HAVE_AVX2
EXACT_OPS(avx2);
#endif
#ifdef PFC_HAVE_AVX512
EXACT_OPS(avx512);
#endif
