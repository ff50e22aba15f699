/* test_sum_lengths.c: exact mode refuses every sum of more than 2^24 terms (doc/exact-v1.md 1.5), in every family, before it touches the data. */
#include "core/ctx.h"
#include "pfc_test.h"

#include <pfc/pfc.h>
#include <stdlib.h>
#include <string.h>

#define WORLD MPI_COMM_WORLD

enum { MOST = 1 << 24 };

/* Limits do not depend on the backend, and memory of this size is slow in the one that checks every word. */
static pfc_ctx *context(pfc_mode mode) { return pfc_test_ctx(WORLD, (pfc_options){ .mode = mode, .backend = "cpu", .threads = 1 }); }

/* rows x 1 of memory that nobody may look at. */
static pfc_view tall(pfc_dtype dtype, int64_t rows)
{
    static double none;
    return pfc_view_make(&none, dtype, rows, 1);
}

/* The least number of rows of a rank that are too many for all. */
static int64_t too_many(void) { return MOST / pfc_test_ranks() + 1; }

static bool refuses(pfc_ctx *ctx, pfc_status got, pfc_status want, const char *what)
{
    return got == want && strstr(pfc_ctx_error(ctx), what) && strstr(pfc_ctx_error(ctx), "exact mode takes up to 16777216");
}

START_TEST(the_limit)
{
    pfc_ctx *ctx = context(PFC_EXACT), *fast = context(PFC_FAST);
    ck_assert(pfc_check_terms(ctx, PFC_ERR_SHAPE, "K", MOST, 1) == PFC_OK);
    ck_assert(pfc_check_terms(ctx, PFC_ERR_SHAPE, "K", 0, 3) == PFC_OK);
    ck_assert(pfc_check_terms(ctx, PFC_ERR_SHAPE, "K", MOST / 2, 2) == PFC_OK);
    ck_assert(refuses(ctx, pfc_check_terms(ctx, PFC_ERR_ARG, "K", MOST + 1, 1), PFC_ERR_ARG, "K: found 16777217,"));
    ck_assert(refuses(ctx, pfc_check_terms(ctx, PFC_ERR_SHAPE, "rows", INT64_MAX, INT64_MAX), PFC_ERR_SHAPE, "rows: found 9223372036854775807 x 9"));
    ck_assert(pfc_check_terms(fast, PFC_ERR_SHAPE, "K", INT64_MAX, INT64_MAX) == PFC_OK);
    pfc_ctx_destroy(&ctx);
    pfc_ctx_destroy(&fast);
}
END_TEST

START_TEST(configurations)
{
    pfc_ctx *ctx = context(PFC_EXACT);
    const int64_t crops[1] = { 0 };
    for (int wide = 0; wide < 2; wide++) { /* too many classes, prototypes, keys; or too wide an embedding */
        int64_t count = wide ? 1 : MOST + 1, width = wide ? MOST + 1 : 1;
        pfc_partial_fc_config fc = pfc_partial_fc_defaults();
        pfc_arcface_config arc = pfc_arcface_defaults();
        pfc_swav_config swav = pfc_swav_defaults();
        pfc_moco_config moco = pfc_moco_defaults();
        pfc_partial_fc *a = NULL;
        pfc_arcface *b = NULL;
        pfc_swav *c = NULL;
        pfc_moco *d = NULL;
        fc.num_classes = count, fc.embedding_size = width;
        arc.num_classes = wide ? 1 : MOST / 2 + 1, arc.num_subcenters = 2, arc.embedding_size = width;
        swav.num_prototypes = count, swav.embedding_size = width, swav.crops = swav.num_assign = 1, swav.crops_for_assign = crops;
        moco.queue_size = count, moco.embedding_size = width;
        PFC_AGREE(WORLD, refuses(ctx, pfc_partial_fc_create(ctx, &fc, &a), PFC_ERR_ARG, wide ? "embedding_size" : "num_classes"));
        PFC_AGREE(WORLD,
                  refuses(ctx, pfc_arcface_create(ctx, &arc, &b), PFC_ERR_ARG, wide ? "embedding_size" : "num_classes x num_subcenters: found 8388609 x 2"));
        PFC_AGREE(WORLD, refuses(ctx, pfc_swav_create(ctx, &swav, &c), PFC_ERR_ARG, wide ? "embedding_size" : "num_prototypes"));
        PFC_AGREE(WORLD, refuses(ctx, pfc_moco_create(ctx, &moco, &d), PFC_ERR_ARG, wide ? "embedding_size" : "queue_size"));
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* The rows of all ranks together, a few too many. */
START_TEST(batches)
{
    pfc_ctx *ctx = context(PFC_EXACT);
    pfc_partial_fc_config fc = pfc_partial_fc_defaults();
    pfc_arcface_config arc = pfc_arcface_defaults();
    pfc_partial_fc *layer = NULL;
    pfc_arcface *head = NULL;
    fc.num_classes = arc.num_classes = 1, fc.embedding_size = arc.embedding_size = 1;
    PFC_AGREE(WORLD, pfc_partial_fc_create(ctx, &fc, &layer) == PFC_OK && pfc_arcface_create(ctx, &arc, &head) == PFC_OK);
    PFC_AGREE(WORLD, refuses(ctx, pfc_partial_fc_start(layer, tall(PFC_I64, too_many())), PFC_ERR_SHAPE, "labels: rows of all ranks"));
    pfc_shard own = pfc_shard_of(1, pfc_test_ranks(), pfc_test_rank());
    pfc_arcface_input in = { .features = tall(PFC_F32, too_many()), .labels = tall(PFC_I64, too_many()), .weight = tall(PFC_F32, own.count) };
    pfc_arcface_result result = { 0 };
    PFC_AGREE(WORLD, refuses(ctx, pfc_arcface_step(head, &in, &result), PFC_ERR_SHAPE, "features: rows of all ranks"));
    pfc_partial_fc_destroy(&layer);
    pfc_arcface_destroy(&head);
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(samples)
{
    pfc_ctx *ctx = context(PFC_EXACT);
    pfc_sinkhorn_config cfg = pfc_sinkhorn_defaults();
    pfc_view rows = tall(PFC_F64, too_many()), wide = tall(PFC_F64, 1);
    wide.cols = wide.ld = MOST + 1;
    PFC_AGREE(WORLD, refuses(ctx, pfc_sinkhorn(ctx, &cfg, rows, rows), PFC_ERR_SHAPE, "scores: samples of all ranks"));
    PFC_AGREE(WORLD, refuses(ctx, pfc_sinkhorn(ctx, &cfg, wide, wide), PFC_ERR_SHAPE, "scores: prototypes"));
    pfc_moco_config moco = pfc_moco_defaults();
    pfc_moco *m = NULL;
    pfc_moco_result result = { 0 };
    moco.queue_size = moco.embedding_size = 1;
    PFC_AGREE(WORLD, pfc_moco_create(ctx, &moco, &m) == PFC_OK);
    PFC_AGREE(WORLD, refuses(ctx, pfc_moco_step(m, tall(PFC_F32, MOST + 1), tall(PFC_F32, MOST + 1), &result), PFC_ERR_SHAPE, "query: rows"));
    pfc_moco_destroy(&m);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* All rows; those with a term of the loss, of 8 positions; the queue with the samples. */
START_TEST(crops)
{
    static const int64_t assign[8] = { 0, 1, 2, 3, 0, 1, 2, 3 };
    static const char *const says[] = { "rows of all ranks", "rows of all assigned crops: found 2097156 x 8", "samples of all ranks" };
    int64_t ranks = pfc_test_ranks(), L = MOST / ranks;
    const int64_t rows[] = { 4 * (L / 4 + 1), MOST / 8 + 4, 4 };
    pfc_ctx *ctx = context(PFC_EXACT);
    for (int i = 0; i < 3; i++) {
        pfc_swav_config cfg = pfc_swav_defaults();
        pfc_swav *layer = NULL;
        pfc_swav_result result = { 0 };
        cfg.num_prototypes = cfg.embedding_size = 1, cfg.crops = 4, cfg.num_assign = i == 1 ? 8 : 1, cfg.crops_for_assign = assign;
        PFC_AGREE(WORLD, pfc_swav_create(ctx, &cfg, &layer) == PFC_OK);
        float *queue = i == 2 ? calloc((size_t)L, sizeof *queue) : NULL;
        PFC_AGREE(WORLD, pfc_swav_set_queue(layer, pfc_view_make(queue, PFC_F32, i == 2 ? L : 0, 1), 0) == PFC_OK);
        PFC_AGREE(WORLD, refuses(ctx, pfc_swav_step(layer, tall(PFC_F32, rows[i]), 0, &result), PFC_ERR_SHAPE, says[i]));
        pfc_swav_destroy(&layer);
        free(queue);
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* The elements of a channel when training: of all splits of a rank, and of the ranks of a group. */
START_TEST(channels)
{
    pfc_ctx *ctx = context(PFC_EXACT);
    for (int i = 0; i < 3; i++) {
        pfc_batch_norm_config cfg = pfc_batch_norm_defaults();
        pfc_batch_norm *layer = NULL;
        cfg.kind = (pfc_bn_kind)i, cfg.channels = 1, cfg.num_splits = 2, cfg.num_sync_devices = 0;
        bool shared = i == PFC_BN_SYNC && pfc_test_ranks() > 1;
        pfc_view x = tall(PFC_F64, shared ? too_many() : MOST + 2);
        PFC_AGREE(WORLD, pfc_batch_norm_create(ctx, &cfg, &layer) == PFC_OK);
        PFC_AGREE(WORLD, refuses(ctx, pfc_batch_norm_forward(layer, x, 1, x), PFC_ERR_SHAPE,
                                 shared ? "x: elements of a channel over the ranks of a group" : "x: samples x elements of a channel: found 16777218,"));
        pfc_batch_norm_destroy(&layer);
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(the_limit), PFC_ONCE(configurations), PFC_ONCE(batches), PFC_ONCE(samples), PFC_ONCE(crops), PFC_ONCE(channels),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
