/* test_large.c: more than 2^31 weights in one rank. Address space is taken for all of them, memory only for the rows that steps touch: those of the labels. */
#include "algo/partial_fc.h"
#include "pfc_test.h"

#include <pfc/pfc.h>
#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

enum { D = 4096, CLASSES = (1 << 19) + 9, N = 12, DISTINCT = 8, STEPS = 2 }; /* C D = 2^31 + 36864 */

/* Ascending; on both sides of 2^31 bytes, 2^31 elements and 2^32 bytes. */
static const int64_t chosen[DISTINCT] = { 0, 1, (1 << 17) - 1, 1 << 17, (1 << 18) + 1, (1 << 19) - 1, 1 << 19, CLASSES - 1 };
static const int64_t position[N] = { 7, 0, 1, 6, 2, 5, 3, 4, 7, 7, 0, 6 }; /* of the rows' labels in it */

static float element(int64_t tensor, int64_t i) { return (float)pfc_normal(3, i, (uint32_t)tensor, PFC_STREAM_FILL); }

typedef struct outcome {
    double loss[STEPS];
    float x_grad[STEPS][N * D], weight[DISTINCT * D], momentum[DISTINCT * D];
} outcome;

/* Steps on a layer of `classes`, of which the i-th distinct label is class at[i]. Positives alone are sampled. false: no address space. */
static bool train(pfc_ctx *ctx, int64_t classes, const int64_t *at, outcome *o)
{
    pfc_partial_fc_config cfg = pfc_partial_fc_defaults();
    cfg.num_classes = classes, cfg.embedding_size = D, cfg.num_sample = 0, cfg.lr = 0.5, cfg.weight_decay = 0.01;
    pfc_partial_fc *layer = NULL;
    pfc_status st = pfc_partial_fc_create(ctx, &cfg, &layer);
    if (st == PFC_ERR_NOMEM) return false;
    ck_assert_int_eq(st, PFC_OK);
    float *weight = layer->weight.data, *momentum = layer->momentum.data, *x = malloc((size_t)(N * D) * sizeof *x);
    int64_t labels[N];
    ck_assert_ptr_nonnull(x);
    for (int i = 0; i < DISTINCT; i++)
        for (int64_t j = 0; j < D; j++) {
            weight[at[i] * D + j] = element(1, i * D + j);
            momentum[at[i] * D + j] = element(2, i * D + j);
        }
    layer->has_weight = layer->has_momentum = true; /* the other rows are never looked at */
    for (int64_t i = 0; i < N * D; i++) x[i] = element(0, i);
    for (int i = 0; i < N; i++) labels[i] = at[position[i]];
    for (int s = 0; s < STEPS; s++) {
        pfc_view none = { 0 };
        pfc_partial_fc_result result = { 0.0, pfc_view_make(o->x_grad[s], PFC_F32, N, D), none, none };
        ck_assert_int_eq(pfc_partial_fc_step(layer, pfc_view_make(x, PFC_F32, N, D), pfc_view_make(labels, PFC_I64, N, 1), none, &result), PFC_OK);
        o->loss[s] = result.loss;
    }
    for (int i = 0; i < DISTINCT; i++) {
        memcpy(o->weight + i * D, weight + at[i] * D, D * sizeof *weight);
        memcpy(o->momentum + i * D, momentum + at[i] * D, D * sizeof *momentum);
    }
    free(x);
    pfc_partial_fc_destroy(&layer);
    return true;
}

static bool no_space;

START_TEST(rows_beyond_two_billion_elements)
{
    static outcome large, small;
    static const int64_t first[DISTINCT] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    pfc_ctx *ctx = pfc_test_ctx(MPI_COMM_WORLD, (pfc_options){ .mode = PFC_FAST, .backend = "cpu" });
#ifdef PFC_SANITIZE
    no_space = true; /* the sanitizer's own memory is an eighth of what is allocated */
#else
    no_space = !train(ctx, CLASSES, chosen, &large);
#endif
    if (!no_space) {
        train(ctx, DISTINCT, first, &small);
        ck_assert(large.loss[0] == small.loss[0] && large.loss[1] == small.loss[1] && large.loss[1] != large.loss[0]);
        ck_assert_mem_eq(large.x_grad, small.x_grad, sizeof small.x_grad);
        ck_assert_mem_eq(large.weight, small.weight, sizeof small.weight);
        ck_assert_mem_eq(large.momentum, small.momentum, sizeof small.momentum);
        ck_assert(small.weight[0] != element(1, 0));
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(rows_beyond_two_billion_elements),
    };
    int status = PFC_TEST_MAIN(argc, argv, tests);
    return status == 0 && no_space ? 77 : status;
}
