/* test_train_swav.c: SwAV as a run has it: the queue on another number of ranks, gradients through encoder and loss. */
#include "pfc_test.h"

#include "train/swav_state.h"

#include <math.h>
#include <pfc/pfc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 120, D = 4, K = 5, V = 2, A = 2, G = 3, IN = 6, HIDDEN = 7 };

static const int64_t assigned[A] = { 0, 1 };

static pfc_ctx *context(MPI_Comm comm, pfc_mode mode)
{
    pfc_options options = { .mode = mode };
    pfc_ctx *ctx = NULL;
    char why[256] = "";
    ck_assert_msg(pfc_ctx_create(comm, &options, &ctx, why, sizeof why) == PFC_OK, "%s", why);
    return ctx;
}

static pfc_swav *layer(pfc_ctx *ctx, int64_t queue_length)
{
    pfc_swav_config c = pfc_swav_defaults();
    pfc_swav *l = NULL;
    c.num_prototypes = K;
    c.embedding_size = D;
    c.crops = V;
    c.num_assign = A;
    c.crops_for_assign = assigned;
    c.queue_length = queue_length;
    c.epoch_queue_starts = 0;
    c.larc = 0;
    ck_assert_msg(pfc_swav_create(ctx, &c, &l) == PFC_OK, "%s", pfc_ctx_error(ctx));
    return l;
}

/* One step on made-up embeddings of the same global batch on any number of ranks; the rows of the assignment that are this rank's into q, (A, N, K). */
static void step(pfc_ctx *ctx, pfc_swav *l, int number, double *q)
{
    int64_t b = N / pfc_ctx_ranks(ctx), first = pfc_ctx_rank(ctx) * b;
    float *x = malloc((size_t)(V * b * D) * sizeof *x);
    double *mine = malloc((size_t)(A * b * K) * sizeof *mine);
    pfc_dtype real = pfc_ctx_real(ctx);
    ck_assert(x && mine);
    for (int64_t v = 0; v < V; v++)
        for (int64_t i = 0; i < b * D; i++) x[v * b * D + i] = (float)pfc_normal(3, (v * N + first) * D + i, (uint32_t)number, PFC_STREAM_FILL);
    pfc_swav_result r = { .assignment = pfc_view_make(mine, real, A * b, K) };
    ck_assert_msg(pfc_swav_step(l, pfc_view_make(x, PFC_F32, V * b, D), 1, &r) == PFC_OK && pfc_swav_update(l, 0.1) == PFC_OK, "%s", pfc_ctx_error(ctx));
    for (int64_t a = 0; a < A && q; a++)
        for (int64_t i = 0; i < b * K; i++) q[(a * N + first) * K + i] = real == PFC_F64 ? mine[a * b * K + i] : ((float *)mine)[a * b * K + i];
    free(x);
    free(mine);
}

static void save(pfc_ctx *ctx, pfc_swav *l, const char *path)
{
    pfc_items items = { 0 };
    ck_assert(pfc_swav_items(l, N, &items) == PFC_OK && pfc_items_check(ctx, &items) == PFC_OK);
    ck_assert_msg(pfc_checkpoint_write(ctx, path, items.list, items.count) == PFC_OK, "%s", pfc_ctx_error(ctx));
    pfc_items_free(&items);
}

static void load(pfc_ctx *ctx, pfc_swav *l, const char *path)
{
    pfc_items items = { 0 };
    ck_assert(pfc_swav_items(l, N, &items) == PFC_OK && pfc_items_check(ctx, &items) == PFC_OK);
    ck_assert_msg(pfc_checkpoint_read(ctx, path, items.list, items.count) == PFC_OK && pfc_swav_take(l, N, path, &items) == PFC_OK, "%s", pfc_ctx_error(ctx));
    pfc_items_free(&items);
}

/* The queue that P ranks leave is on one rank what one rank alone has after the same steps, bit for bit; so is what follows from it. */
START_TEST(queue)
{
    static float moved[A * G * N * D], own[A * G * N * D];
    static double q[A * N * K], again[A * N * K];
    char path[] = "/tmp/pfc_swav_XXXXXX";
    if (pfc_test_rank() == 0) close(mkstemp(path));
    MPI_Bcast(path, sizeof path, MPI_CHAR, 0, MPI_COMM_WORLD);
    for (int m = 0; m < 2; m++) {
        pfc_mode mode = m ? PFC_FAST : PFC_EXACT;
        pfc_ctx *ctx = context(MPI_COMM_WORLD, mode);
        pfc_swav *l = layer(ctx, G * N + N / 2);
        ck_assert(pfc_swav_begin_epoch(l, 0, N / pfc_test_ranks()) == PFC_OK);
        for (int s = 0; s < G + 2; s++) step(ctx, l, s, NULL);
        save(ctx, l, path);
        memset(q, 0, sizeof q);
        step(ctx, l, G + 2, q);
        MPI_Allreduce(MPI_IN_PLACE, q, A * N * K, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        if (pfc_test_rank() == 0) {
            int use[2] = { 0, 0 };
            pfc_ctx *alone = context(MPI_COMM_SELF, mode);
            pfc_swav *taken = layer(alone, G * N + N / 2), *straight = layer(alone, G * N + N / 2);
            load(alone, taken, path);
            ck_assert(pfc_swav_begin_epoch(straight, 0, N) == PFC_OK);
            for (int s = 0; s < G + 2; s++) step(alone, straight, s, NULL);
            ck_assert(pfc_swav_get_queue(taken, pfc_view_make(moved, PFC_F32, A * G * N, D), &use[0]) == PFC_OK);
            ck_assert(pfc_swav_get_queue(straight, pfc_view_make(own, PFC_F32, A * G * N, D), &use[1]) == PFC_OK);
            ck_assert(use[0] == 1 && use[1] == 1 && memcmp(moved, own, sizeof moved) == 0);
            for (int i = 1; i < A * G * N; i++) ck_assert(memcmp(own, own + i * D, D * sizeof *own) != 0);
            step(alone, taken, G + 2, again);
            for (int i = 0; i < A * N * K; i++) ck_assert(mode == PFC_EXACT ? q[i] == again[i] : fabs(q[i] - again[i]) < 1e-4);
            pfc_swav_destroy(&taken);
            pfc_swav_destroy(&straight);
            pfc_ctx_destroy(&alone);
        }
        MPI_Barrier(MPI_COMM_WORLD);
        pfc_swav_destroy(&l);
        pfc_ctx_destroy(&ctx);
    }
    if (pfc_test_rank() == 0) unlink(path);
}
END_TEST

/* Before its first epoch there is no queue, after a checkpoint either; a queue shorter than the batch is none, and has no items. */
START_TEST(no_queue_yet)
{
    char path[] = "/tmp/pfc_swav_XXXXXX";
    if (pfc_test_rank() == 0) close(mkstemp(path));
    MPI_Bcast(path, sizeof path, MPI_CHAR, 0, MPI_COMM_WORLD);
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_FAST);
    pfc_swav *l = layer(ctx, G * N), *without = layer(ctx, N - 1);
    step(ctx, l, 0, NULL);
    save(ctx, l, path);
    ck_assert(pfc_swav_begin_epoch(l, 0, N / pfc_test_ranks()) == PFC_OK && pfc_swav_queue_length(l) == G * N / pfc_test_ranks());
    load(ctx, l, path);
    ck_assert(pfc_swav_queue_length(l) == 0);
    pfc_items items = { 0 };
    ck_assert(pfc_swav_items(without, N, &items) == PFC_OK && items.count == 2);
    pfc_items_free(&items);

    ck_assert(pfc_swav_items(l, N, &items) == PFC_OK);
    *(int64_t *)pfc_items_data(&items, "use_the_queue", false) = 1;
    ck_assert(pfc_swav_take(l, N, path, &items) == PFC_ERR_DATA);
    ck_assert(strstr(pfc_ctx_error(ctx), "/fact/use_the_queue: found 1, expected 0") != NULL);
    *(int64_t *)pfc_items_data(&items, "queue_made", false) = 2;
    ck_assert(pfc_swav_take(l, N, path, &items) == PFC_ERR_DATA);
    ck_assert(strstr(pfc_ctx_error(ctx), "/fact/queue_made: found 2, expected 0 or 1") != NULL);
    pfc_items_free(&items);
    pfc_swav_destroy(&l);
    pfc_swav_destroy(&without);
    pfc_ctx_destroy(&ctx);
    if (pfc_test_rank() == 0) unlink(path);
}
END_TEST
