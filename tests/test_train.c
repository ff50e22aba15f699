/* test_train.c: the trainer through the public interface: rates, order, the step against partial_fc's own, nearest centres, checkpoints on other ranks. */
#include "pfc_test.h"

#include <math.h>
#include <pfc/pfc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { C = 29, D = 5, E = 60, N = 12, STEPS = 12 };

static pfc_ctx *context(MPI_Comm comm, pfc_mode mode) { return pfc_test_ctx(comm, (pfc_options){ .mode = mode }); }

static pfc_train_config config(void)
{
    pfc_train_config c = pfc_train_defaults();
    c.num_classes = C;
    c.embedding_size = D;
    c.examples = E;
    c.batch = N;
    c.total_steps = STEPS;
    c.base_lr = 0.5;
    c.weight_decay = 0.01;
    c.seed = 8;
    c.partial_fc.scale = c.arcface.scale = 8.0;
    c.partial_fc.margin = c.arcface.margin = 0.2;
    c.partial_fc.sample_rate = 0.6;
    c.partial_fc.sample_rule = PFC_SAMPLE_GLOBAL;
    return c;
}

static float feature(int64_t example, int64_t d) { return (float)pfc_normal(4, example * D + d, 0, PFC_STREAM_FILL); }
static int64_t label(int64_t example) { return example * 7 % C; }

/* n steps on made-up examples; loss of the last one. */
static double run(pfc_ctx *ctx, pfc_trainer *t, int n)
{
    int64_t b = N / pfc_ctx_ranks(ctx), numbers[N], labels[N];
    float x[N * D];
    pfc_train_result result = { .loss = NAN };
    for (int step = 0; step < n; step++) {
        ck_assert(pfc_trainer_batch(t, numbers) == PFC_OK);
        for (int64_t i = 0; i < b; i++) {
            labels[i] = label(numbers[i]);
            for (int64_t d = 0; d < D; d++) x[i * D + d] = feature(numbers[i], d);
        }
        pfc_status st = pfc_trainer_step(t, pfc_view_make(x, PFC_F32, b, D), pfc_view_make(labels, PFC_I64, b, 1), &result);
        ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
    }
    return result.loss;
}

START_TEST(rates)
{
    double lr[10];
    pfc_train_config c = pfc_train_defaults();
    c.total_steps = 10;
    c.base_lr = 0.8;
    ck_assert(pfc_train_rates(&c, lr) == PFC_OK);
    for (int i = 0; i < 10; i++) ck_assert(lr[i] == 0.8);
    c.warmup_steps = 3;
    c.start_lr = 0.2;
    c.final_lr = 0.1;
    c.schedule = PFC_SCHEDULE_POLYNOMIAL;
    ck_assert(pfc_train_rates(&c, lr) == PFC_OK);
    ck_assert(lr[0] == 0.2 && lr[1] == 0.5 && lr[2] == 0.8 && lr[3] == 0.8);
    for (int t = 0; t < 7; t++) ck_assert(fabs(lr[3 + t] - (0.1 + 0.7 * (1 - t / 7.0))) < 1e-15);
    c.power = 2.0;
    ck_assert(pfc_train_rates(&c, lr) == PFC_OK);
    for (int t = 0; t < 7; t++) ck_assert(fabs(lr[3 + t] - (0.1 + 0.7 * pow(1 - t / 7.0, 2))) < 1e-15);
    c.schedule = PFC_SCHEDULE_COSINE;
    ck_assert(pfc_train_rates(&c, lr) == PFC_OK);
    for (int t = 0; t < 7; t++) ck_assert(fabs(lr[3 + t] - (0.1 + 0.35 * (1 + cos(3.14159265358979323846 * t / 7.0)))) < 1e-15);
    c.warmup_steps = 11;
    ck_assert(pfc_train_rates(&c, lr) == PFC_ERR_ARG);
    c.warmup_steps = 0;
    c.base_lr = NAN;
    ck_assert(pfc_train_rates(&c, lr) == PFC_ERR_ARG);
}
END_TEST

/* Every epoch has every example once; epochs differ; a batch over the ranks is a part of the order. */
START_TEST(order)
{
    int64_t first[E], second[E], seen[E] = { 0 };
    ck_assert(pfc_train_order(8, 0, E, first) == PFC_OK && pfc_train_order(8, 1, E, second) == PFC_OK);
    ck_assert(memcmp(first, second, sizeof first) != 0);
    for (int i = 0; i < E; i++) seen[second[i]]++;
    for (int i = 0; i < E; i++) ck_assert(seen[i] == 1);
    ck_assert(pfc_train_order(9, 0, E, second) == PFC_OK && memcmp(first, second, sizeof first) != 0);
    ck_assert(pfc_train_order(8, -1, E, second) == PFC_ERR_ARG);

    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_FAST);
    pfc_train_config c = config();
    pfc_trainer *t = NULL;
    int64_t b = N / pfc_test_ranks(), numbers[N], all[N];
    ck_assert(pfc_trainer_create(ctx, &c, &t) == PFC_OK && pfc_trainer_epoch_steps(t) == E / N);
    run(ctx, t, 2);
    ck_assert(pfc_trainer_batch(t, numbers) == PFC_OK);
    MPI_Allgather(numbers, (int)b, MPI_INT64_T, all, (int)b, MPI_INT64_T, MPI_COMM_WORLD);
    PFC_AGREE(MPI_COMM_WORLD, memcmp(all, first + 2 * N, sizeof all) == 0);
    pfc_trainer_destroy(&t);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* A trainer's steps are those of the layer itself. */
START_TEST(steps)
{
    for (int m = 0; m < 2; m++) {
        pfc_ctx *ctx = context(MPI_COMM_WORLD, m ? PFC_FAST : PFC_EXACT);
        pfc_train_config c = config();
        pfc_trainer *t = NULL;
        pfc_partial_fc *layer = NULL;
        pfc_partial_fc_config own = c.partial_fc;
        double mine[C * D], its[C * D];
        pfc_shard rows = pfc_shard_of(C, pfc_test_ranks(), pfc_test_rank());
        pfc_view none = pfc_view_make(NULL, PFC_F64, 0, 0);
        own.num_classes = C;
        own.embedding_size = D;
        own.seed = 8;
        own.lr = 0.5;
        own.weight_decay = 0.01;
        c.partial_fc.first_step = 7; /* the trainer counts by itself */
        ck_assert(pfc_trainer_create(ctx, &c, &t) == PFC_OK && pfc_partial_fc_create(ctx, &own, &layer) == PFC_OK);
        int64_t b = N / pfc_test_ranks(), numbers[N], labels[N];
        float x[N * D];
        double grad[N * D], own_grad[N * D];
        for (int step = 0; step < 3; step++) {
            ck_assert(pfc_trainer_batch(t, numbers) == PFC_OK);
            for (int64_t i = 0; i < b; i++) {
                labels[i] = label(numbers[i]);
                for (int64_t d = 0; d < D; d++) x[i * D + d] = feature(numbers[i], d);
            }
            pfc_view xv = pfc_view_make(x, PFC_F32, b, D), yv = pfc_view_make(labels, PFC_I64, b, 1);
            pfc_train_result r = { .x_grad = pfc_view_make(grad, pfc_ctx_real(ctx), b, D) };
            pfc_partial_fc_result o = { .x_grad = pfc_view_make(own_grad, pfc_ctx_real(ctx), b, D) };
            memset(grad, 0, sizeof grad);
            memset(own_grad, 0, sizeof own_grad);
            ck_assert(pfc_trainer_step(t, xv, yv, &r) == PFC_OK && pfc_partial_fc_step(layer, xv, yv, none, &o) == PFC_OK);
            ck_assert(r.loss == o.loss && r.lr == 0.5 && isfinite(r.loss));
            PFC_AGREE(MPI_COMM_WORLD, memcmp(grad, own_grad, sizeof grad) == 0);
        }
        ck_assert(pfc_trainer_state(t, pfc_view_make(mine, PFC_F64, rows.count, D), none) == PFC_OK);
        ck_assert(pfc_partial_fc_get_state(layer, pfc_view_make(its, PFC_F64, rows.count, D), none) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(mine, its, (size_t)rows.count * D * sizeof(double)) == 0);
        pfc_partial_fc_destroy(&layer);
        pfc_trainer_destroy(&t);
        pfc_ctx_destroy(&ctx);
    }
}
END_TEST

/* The ArcFace head's SGD from the gradient that the head itself gives; between two steps the state is float32. */
START_TEST(arcface_step)
{
    pfc_ctx *ctx = context(MPI_COMM_SELF, PFC_EXACT);
    pfc_train_config c = config();
    c.layer = PFC_TRAIN_ARCFACE;
    c.arcface.num_subcenters = 2;
    enum { R = 2 * C };
    static double before[R * D], after[R * D], momentum[R * D], kept[R * D], grad[R * D];
    pfc_view w = pfc_view_make(before, PFC_F64, R, D), none = pfc_view_make(NULL, PFC_F64, 0, 0);
    pfc_trainer *t = NULL;
    pfc_arcface *head = NULL;
    pfc_arcface_config own = c.arcface;
    own.num_classes = C;
    own.embedding_size = D;
    ck_assert(pfc_trainer_create(ctx, &c, &t) == PFC_OK && pfc_arcface_create(ctx, &own, &head) == PFC_OK);
    ck_assert(pfc_trainer_state(t, w, none) == PFC_OK);
    for (int i = 0; i < R * D; i++) ck_assert(before[i] == (float)(0.01 * pfc_normal(8, i, 0, PFC_STREAM_WEIGHT)));
    int64_t labels[N];
    float x[N * D];
    for (int64_t i = 0; i < N; i++) {
        labels[i] = label(i);
        for (int64_t d = 0; d < D; d++) x[i * D + d] = feature(i, d);
    }
    pfc_arcface_input in = { .features = pfc_view_make(x, PFC_F32, N, D), .labels = pfc_view_make(labels, PFC_I64, N, 1), .weight = w };
    pfc_arcface_result out = { .weight_grad = pfc_view_make(grad, PFC_F64, R, D) };
    pfc_train_result r = { .loss = 0 };
    for (int step = 0; step < 2; step++) {
        ck_assert(pfc_arcface_step(head, &in, &out) == PFC_OK && pfc_trainer_step(t, in.features, in.labels, &r) == PFC_OK && r.loss == out.loss);
        ck_assert(pfc_trainer_state(t, pfc_view_make(after, PFC_F64, R, D), pfc_view_make(momentum, PFC_F64, R, D)) == PFC_OK);
        for (int i = 0; i < R * D; i++) {
            double m = fma(c.momentum, kept[i], fma(0.01, before[i], grad[i]));
            ck_assert(momentum[i] == m && after[i] == fma(-0.5, m, before[i]));
            before[i] = (float)after[i];
            kept[i] = (float)momentum[i];
        }
    }
    pfc_arcface_destroy(&head);
    pfc_trainer_destroy(&t);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* nearest against a plain search, also where ranks have different numbers of rows. */
START_TEST(nearest)
{
    for (int kind = 0; kind < 3; kind++) {
        pfc_ctx *ctx = context(MPI_COMM_WORLD, kind == 1 ? PFC_EXACT : PFC_FAST);
        pfc_train_config c = config();
        if (kind == 2) c.partial_fc.head = PFC_HEAD_LINEAR;
        if (kind == 1) c.layer = PFC_TRAIN_ARCFACE;
        pfc_trainer *t = NULL;
        ck_assert(pfc_trainer_create(ctx, &c, &t) == PFC_OK);
        run(ctx, t, 4);
        pfc_shard mine = pfc_shard_of(C, pfc_test_ranks(), pfc_test_rank());
        float part[C * D], all[C * D], x[300 * D];
        int count[8], place[8], rows = pfc_test_rank() == 0 ? 300 : 10 * pfc_test_rank();
        int64_t found[300];
        ck_assert(pfc_trainer_state(t, pfc_view_make(part, PFC_F32, mine.count, D), pfc_view_make(NULL, PFC_F32, 0, 0)) == PFC_OK);
        for (int r = 0; r < pfc_test_ranks(); r++) {
            count[r] = (int)pfc_shard_of(C, pfc_test_ranks(), r).count * D;
            place[r] = (int)pfc_shard_of(C, pfc_test_ranks(), r).start * D;
        }
        MPI_Allgatherv(part, (int)mine.count * D, MPI_FLOAT, all, count, place, MPI_FLOAT, MPI_COMM_WORLD);
        for (int i = 0; i < rows * D; i++) x[i] = (float)pfc_normal(6 + pfc_test_rank(), i, 0, PFC_STREAM_FILL);
        ck_assert(pfc_trainer_nearest(t, pfc_view_make(x, PFC_F32, rows, D), found) == PFC_OK);
        bool good = true;
        for (int i = 0; i < rows; i++) {
            double value[C], best = -INFINITY;
            for (int k = 0; k < C; k++) {
                double dot = 0, norm = 0;
                for (int d = 0; d < D; d++) dot += (double)x[i * D + d] * all[k * D + d], norm += (double)all[k * D + d] * all[k * D + d];
                value[k] = kind == 2 ? dot : dot / sqrt(norm);
                if (value[k] > best) best = value[k];
            }
            good = good && found[i] >= 0 && found[i] < C && value[found[i]] >= best - 1e-5;
        }
        PFC_AGREE(MPI_COMM_WORLD, good);
        pfc_trainer_destroy(&t);
        pfc_ctx_destroy(&ctx);
    }
}
END_TEST

/* A NaN in the rows of a few classes: nearest cannot say, whichever rank has them. */
START_TEST(nearest_unknown)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_FAST);
    pfc_train_config c = config();
    pfc_trainer *t = NULL;
    c.partial_fc.sample_rate = 0.05;
    ck_assert(pfc_trainer_create(ctx, &c, &t) == PFC_OK);
    int64_t b = N / pfc_test_ranks(), labels[N], found[N], classes = 0;
    float x[N * D], part[C * D];
    for (int64_t i = 0; i < N * D; i++) x[i] = feature(0, i);
    for (int64_t i = 0; i < N; i++) labels[i] = 5; /* no rank's first class */
    pfc_view xv = pfc_view_make(x, PFC_F32, b, D), yv = pfc_view_make(labels, PFC_I64, b, 1);
    pfc_train_result r = { .loss = 0.0 };
    x[0] = NAN;
    ck_assert(pfc_trainer_step(t, xv, yv, &r) == PFC_OK);
    pfc_shard mine = pfc_shard_of(C, pfc_test_ranks(), pfc_test_rank());
    ck_assert(pfc_trainer_state(t, pfc_view_make(part, PFC_F32, mine.count, D), pfc_view_make(NULL, PFC_F32, 0, 0)) == PFC_OK);
    for (int64_t i = 0; i < mine.count; i++) classes += isnan(part[i * D]);
    MPI_Allreduce(MPI_IN_PLACE, &classes, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    ck_assert_msg(classes > 0 && classes < C / 2, "%d classes with NaN", (int)classes);
    x[0] = 1.0f;
    ck_assert(pfc_trainer_nearest(t, xv, found) == PFC_OK);
    bool good = true;
    for (int64_t i = 0; i < b; i++) good = good && found[i] == -1;
    PFC_AGREE(MPI_COMM_WORLD, good);
    pfc_trainer_destroy(&t);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* What decides the course of a run is a fact of its checkpoint: with another value it is refused, by name, and the trainer is as it was. */
START_TEST(another_run_is_refused)
{
    enum { OTHERS = 12 };
    static const char *const facts[OTHERS] = { "margin",   "seed",        "schedule", "base_lr",  "warmup_steps", "start_lr",
                                               "final_lr", "total_steps", "power",    "momentum", "weight_decay", "nesterov" };
    const char *folder = pfc_test_path("train");
    char path[1200], text[100];
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT);
    pfc_trainer *t = NULL;
    pfc_train_config c = config(), others[OTHERS];
    c.schedule = PFC_SCHEDULE_POLYNOMIAL;
    c.power = 1.5;
    c.warmup_steps = 2;
    for (int i = 0; i < OTHERS; i++) others[i] = c;
    others[0].partial_fc.margin = 0.3;
    others[1].seed++;
    others[2].schedule = PFC_SCHEDULE_COSINE;
    others[3].base_lr *= 2.0;
    others[4].warmup_steps++;
    others[5].start_lr += 0.1;
    others[6].final_lr += 0.1;
    others[7].total_steps++;
    others[8].power = 2.0;
    others[9].momentum = 0.8;
    others[10].weight_decay = 0.02;
    others[11].nesterov = !c.nesterov;
    ck_assert(pfc_trainer_create(ctx, &c, &t) == PFC_OK);
    run(ctx, t, 1);
    ck_assert_msg(pfc_trainer_save(t, folder, 1, NULL, 0, path, sizeof path) == PFC_OK, "%s", pfc_ctx_error(ctx));
    pfc_trainer_destroy(&t);
    for (int i = 0; i < OTHERS; i++) {
        ck_assert(pfc_trainer_create(ctx, &others[i], &t) == PFC_OK);
        ck_assert(pfc_trainer_load(t, path, NULL, 0) == PFC_ERR_DATA && pfc_trainer_steps(t) == 0);
        snprintf(text, sizeof text, "/fact/%s: found ", facts[i]);
        ck_assert_msg(strstr(pfc_ctx_error(ctx), text) != NULL, "%s: %s", facts[i], pfc_ctx_error(ctx));
        pfc_trainer_destroy(&t);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    if (pfc_test_rank() == 0) unlink(path), rmdir(folder);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* 12 steps on all ranks, and 5 there, 7 on one: the same bits. */
START_TEST(resume)
{
    const char *folder = pfc_test_path("train");
    char path[1200];
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT);
    pfc_train_config c = config();
    pfc_trainer *whole = NULL, *part = NULL;
    ck_assert(pfc_trainer_create(ctx, &c, &whole) == PFC_OK && pfc_trainer_create(ctx, &c, &part) == PFC_OK);
    run(ctx, part, 5);
    ck_assert_msg(pfc_trainer_save(part, folder, 1, NULL, 0, path, sizeof path) == PFC_OK, "%s", pfc_ctx_error(ctx));
    double loss = run(ctx, whole, STEPS), last = NAN;
    pfc_train_result r;
    ck_assert(pfc_trainer_step(whole, pfc_view_make(NULL, PFC_F32, N / pfc_test_ranks(), D), pfc_view_make(NULL, PFC_I64, N / pfc_test_ranks(), 1), &r) ==
              PFC_ERR_ARG);
    pfc_trainer_destroy(&part);

    double a[C * D], b[C * D];
    pfc_shard mine = pfc_shard_of(C, pfc_test_ranks(), pfc_test_rank());
    memset(a, 0, sizeof a);
    ck_assert(pfc_trainer_state(whole, pfc_view_make(a + mine.start * D, PFC_F64, mine.count, D), pfc_view_make(NULL, PFC_F64, 0, 0)) == PFC_OK);
    MPI_Allreduce(MPI_IN_PLACE, a, C * D, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    if (pfc_test_rank() == 0) {
        pfc_ctx *alone = context(MPI_COMM_SELF, PFC_EXACT);
        ck_assert(pfc_trainer_create(alone, &c, &part) == PFC_OK);
        ck_assert_msg(pfc_trainer_load(part, path, NULL, 0) == PFC_OK && pfc_trainer_steps(part) == 5, "%s", pfc_ctx_error(alone));
        last = run(alone, part, 7);
        ck_assert(pfc_trainer_state(part, pfc_view_make(b, PFC_F64, C, D), pfc_view_make(NULL, PFC_F64, 0, 0)) == PFC_OK);
        pfc_trainer_destroy(&part);
        pfc_ctx_destroy(&alone);
        unlink(path);
        rmdir(folder);
    }
    PFC_AGREE(MPI_COMM_WORLD, pfc_test_rank() != 0 || (last == loss && memcmp(a, b, sizeof a) == 0));
    pfc_trainer_destroy(&whole);
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(rates),
        PFC_ONCE(order),
        PFC_ONCE(steps),
        PFC_ONCE(arcface_step),
        PFC_ONCE(nearest),
        PFC_ONCE(nearest_unknown),
        PFC_ONCE(another_run_is_refused),
        PFC_ONCE(resume),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
