/* fast_ops.c: fast mode of the cpu backend: state, operations on whole rows, and the three tables. The block operations are in fast_block.c, the
 * accumulators in fast_acc.c, the inner loops in fast_<isa>.c. No vector instruction comes from these files. */
#include <config.h>

#include "backend/cpu/cpu_common.h"
#include "backend/cpu/fast.h"
#include "backend/mean_loss.h"
#include "core/px.h"

#include <malloc.h>
#include <stdlib.h>

/* ---- state ---- */

static const pfc_fast_kernels *kernels_for(const pfc_ops *ops)
{
#ifdef PFC_HAVE_AVX2
    if (ops == &pfc_ops_fast_avx2) return &pfc_fast_kernels_avx2;
#endif
#ifdef PFC_HAVE_AMX
    if (ops == &pfc_ops_fast_bf16x6) return &pfc_fast_kernels_avx512;
#endif
#ifdef PFC_HAVE_AVX512
    if (ops == &pfc_ops_fast_avx512) return &pfc_fast_kernels_avx512;
#endif
    return ops == &pfc_ops_fast_scalar ? &pfc_fast_kernels_scalar : NULL;
}

pfc_status pfc_fast_state_create(pfc_backend *be)
{
    const pfc_fast_kernels *k = kernels_for(be->ops);
    if (!k) return PFC_ERR_UNSUPPORTED;
    pfc_fast_state *state = calloc(1, sizeof *state);
    if (!state) return pfc_cpu_nomem(be, sizeof *state);
    state->k = k;
    be->state = state;
    return PFC_OK;
}

void pfc_fast_state_destroy(pfc_backend *be)
{
    pfc_fast_state *state = be->state;
    if (!state) return;
    for (int i = 0; i < FAST_LANES; i++) free(state->lane[i].memory), free(state->tiles[i].memory);
    for (int i = 0; i < state->kept; i++) free(state->block[i]);
    free(state);
    be->state = NULL;
}

/* ---- memory ---- */

/* Blocks between these sizes are kept when they are freed: a step asks for the same ones as the step before, and fresh pages cost more than its small
 * parts. */
enum { KEEP_FROM = 64 << 10, KEEP_TO = 4 << 20 };
#ifdef PFC_SANITIZE
enum { KEEP_ALL = 0 }; /* a use after free would not be seen */
#else
enum { KEEP_ALL = 24 << 20 };
#endif

/* The smallest kept block with room for bytes, if it is not much too large. */
static void *take_kept(pfc_fast_state *state, size_t bytes)
{
    int best = -1;
    for (int i = 0; i < state->kept; i++) {
        size_t size = malloc_usable_size(state->block[i]);
        if (size >= bytes && size <= bytes + bytes / 2 && (best < 0 || size < malloc_usable_size(state->block[best]))) best = i;
    }
    if (best < 0) return NULL;
    void *p = state->block[best];
    state->kept_bytes -= malloc_usable_size(p);
    state->block[best] = state->block[--state->kept];
    return p;
}

pfc_status pfc_fast_alloc(pfc_backend *be, size_t bytes, void **out)
{
    *out = NULL;
    if (be->state && bytes >= KEEP_FROM && bytes <= KEEP_TO) {
#pragma omp critical(pfc_fast_kept)
        *out = take_kept(be->state, bytes);
    }
    return *out ? PFC_OK : pfc_cpu_alloc(be, bytes, out);
}

void pfc_fast_free(pfc_backend *be, void *p)
{
    pfc_fast_state *state = be->state;
    size_t size = p ? malloc_usable_size(p) : 0;
    if (state && size >= KEEP_FROM && size <= KEEP_TO + KEEP_TO / 2) {
#pragma omp critical(pfc_fast_kept)
        if (state->kept < FAST_KEPT && state->kept_bytes + size <= KEEP_ALL) {
            state->block[state->kept++] = p;
            state->kept_bytes += size;
            p = NULL;
        }
    }
    pfc_cpu_free(be, p);
}

/* ---- rows ---- */

enum { ROWS_PARALLEL = 1 << 16, UPDATE_PARALLEL = 1 << 18 }; /* elements from which threads pay */

pfc_status pfc_fast_row_norms(pfc_backend *be, pfc_rowset a, pfc_view norm, int32_t *expo)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
    (void)expo;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (a.count * a.base.cols > ROWS_PARALLEL)
    for (int64_t i = 0; i < a.count; i++) *pfc_fast_at(norm, i) = (float)__builtin_sqrt(k->sum_squares(pfc_fast_row(a, i), a.base.cols));
    return PFC_OK;
}

pfc_status pfc_fast_round_state(pfc_backend *be, pfc_view state)
{
    (void)be, (void)state; /* it is float32 already */
    return PFC_OK;
}

pfc_status pfc_fast_target_prob(pfc_backend *be, const pfc_rows_info *rows, int64_t n_rows, double *prob)
{
    (void)be;
    for (int64_t i = 0; i < n_rows; i++) {
        prob[i] = 0.0;
        if (rows->target[i] >= 0)
            prob[i] = px_exp((double)*pfc_fast_at(rows->target_logit, i) - (double)*pfc_fast_at(rows->max, i)) / (double)*pfc_fast_at(rows->sum, i);
    }
    return PFC_OK;
}

/* v = F - (x/r)(q/r ...) as exact-v1 3.9, the quotients taken once per row. */
pfc_status pfc_fast_feature_grad_finish(pfc_backend *be, pfc_view feature, pfc_view dot, pfc_view x, pfc_view norm, int normalised, double scale,
                                        pfc_view x_grad)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (x_grad.rows * x_grad.cols > ROWS_PARALLEL)
    for (int64_t i = 0; i < x_grad.rows; i++) {
        float a = 0.0f, b = (float)scale;
        const float *xi = pfc_fast_at(feature, i);
        if (normalised) {
            float n = *pfc_fast_at(norm, i);
            double r = (double)pfc_fast_divisor(n);
            if (!(n < (float)PFC_NORM_MIN)) {
                a = (float)(-(double)*pfc_fast_at(dot, i) / r);
                xi = pfc_fast_at(x, i);
            }
            b = (float)(scale / r);
        }
        k->project_row(pfc_fast_at(feature, i), xi, x_grad.cols, a, b, pfc_fast_at(x_grad, i));
    }
    return PFC_OK;
}

pfc_status pfc_fast_sgd_rows(pfc_backend *be, pfc_view dw, pfc_rowset weight, pfc_view momentum, const pfc_sgd *sgd)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
    const fast_sgd f = pfc_fast_sgd_of(sgd);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (weight.count * weight.base.cols > UPDATE_PARALLEL)
    for (int64_t i = 0; i < weight.count; i++) {
        int64_t row = pfc_row_index(weight, i);
        k->sgd_row(dw.data ? pfc_fast_at(dw, i) : NULL, pfc_fast_at(weight.base, row), pfc_fast_at(momentum, row), weight.base.cols, &f);
    }
    return PFC_OK;
}

/* ---- tables ---- */

#define FIELD(name, value) .name = value,
#define ENTRY(name) .name = pfc_fast_##name,
#define PRODUCT(name) ENTRY(name)
#define WITH_BLOCKS .block_classes = FAST_BLOCK, .rows_ahead = pfc_fast_rows_ahead

const pfc_ops pfc_ops_fast_scalar = {
    .isa = "scalar",
    WITH_BLOCKS,
#include "backend/cpu/fast_ops.inc"
};
#ifdef PFC_HAVE_AVX2
const pfc_ops pfc_ops_fast_avx2 = {
    .isa = "avx2",
    WITH_BLOCKS,
#include "backend/cpu/fast_ops.inc"
};
#endif
#ifdef PFC_HAVE_AVX512
const pfc_ops pfc_ops_fast_avx512 = {
    .isa = "avx512",
    WITH_BLOCKS,
#include "backend/cpu/fast_ops.inc"
};
#endif
