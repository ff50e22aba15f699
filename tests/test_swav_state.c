/* test_swav_state.c: what a SwAV layer keeps and refuses: the edge cases of semantics.md 5.6, ranks that disagree, the queue's life (5.4, invariant 18), the
 * optimiser (1.7) and the learning-rate schedule (5.7). */
#include "swav_problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static problem p;
static results exact, other;

/* ---- edge cases ---- */

/* p underflows: log(softmax) gives NaN, log-softmax does not. */
START_TEST(vanishing_probabilities)
{
    make_problem(&p, 3, 2, 2, 0, false, 65);
    p.cfg.temperature = 5e-4;
    compare(&p, &exact, 1e-3);
    PFC_AGREE(MPI_COMM_WORLD, !isfinite(exact.loss[0]) && isnan(exact.prototypes_grad[0]));
    p.cfg.log_softmax = PFC_LOG_SOFTMAX_STABLE;
    compare(&p, &exact, 1e-3);
    PFC_AGREE(MPI_COMM_WORLD, isfinite(exact.loss[0]) && isfinite(exact.prototypes_grad[0]));
    p.cfg.log_softmax = PFC_LOG_SOFTMAX_SOURCE;
    p.cfg.sinkhorn.version = PFC_SINKHORN_V2;
    compare(&p, &exact, 1e-3);
    PFC_AGREE(MPI_COMM_WORLD, isfinite(exact.loss[0]));
}
END_TEST

START_TEST(one_crop)
{
    make_problem(&p, 1, 1, 2, 0, false, 66);
    compare(&p, &exact, 2e-5);
    PFC_AGREE(MPI_COMM_WORLD, isnan(exact.loss[0]) && isnan(exact.embedding_grad[0]));
    p.frozen = 1;
    compare(&p, &exact, 2e-5);
    PFC_AGREE(MPI_COMM_WORLD, exact.prototypes_grad[0] == 0);
}
END_TEST

/* The first assigned crop's queue is empty, the second's is full: the flag is on from the second position on, and stays. */
START_TEST(the_flag_is_carried)
{
    make_problem(&p, 3, 3, 2, 4, true, 67);
    for (int r = 0; r < pfc_test_ranks(); r++)
        for (int d = 0; d < MAX_D; d++) p.queue[((r * 3 + 0) * 4 + 3) * MAX_D + d] = p.queue[((r * 3 + 2) * 4 + 3) * MAX_D + d] = 0;
    compare(&p, &exact, 2e-5);
    PFC_AGREE(MPI_COMM_WORLD, exact.use == 1);
}
END_TEST

/* A last row of NaN is not zero: the queue is in use. */
START_TEST(nan_is_not_zero)
{
    make_problem(&p, 2, 1, 2, 4, true, 69);
    for (int r = 0; r < pfc_test_ranks(); r++)
        for (int d = 0; d < MAX_D; d++) p.queue[(r * 4 + 3) * MAX_D + d] = d ? 0 : NAN;
    compare(&p, &exact, 2e-5);
    PFC_AGREE(MPI_COMM_WORLD, exact.use == 1);
}
END_TEST

START_TEST(ranks_that_disagree)
{
    if (pfc_test_ranks() == 1) return;
    make_problem(&p, 2, 1, 2, 4, true, 68);
    for (int d = 0; d < MAX_D; d++) p.queue[3 * MAX_D + d] = 0; /* rank 0's last row */
    dense(pfc_test_ranks(), &p, &other);
    library(MPI_COMM_WORLD, PFC_EXACT, 1, &p, &exact);
    PFC_AGREE(MPI_COMM_WORLD, other.status == PFC_ERR_DATA && exact.status == PFC_ERR_DATA);
}
END_TEST

/* Queues of different lengths, and ranks without one: refused on every rank before anything else is exchanged. */
START_TEST(queues_that_differ)
{
    int ranks = pfc_test_ranks(), rank = pfc_test_rank();
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT, 1);
    pfc_swav_result out = { 0 };
    make_problem(&p, 2, 1, 2, 0, true, 71);
    for (int last = 0; last < 2 && ranks > 1; last++)
        for (int64_t L = 0; L <= 4; L += 4) { /* of one rank; the others have 6 rows */
            pfc_swav *layer = make_layer(ctx, &p);
            int64_t rows = rank == (last ? ranks - 1 : 0) ? L : 6;
            ck_assert(pfc_swav_set_queue(layer, pfc_view_make(rows ? p.queue : NULL, PFC_F64, rows, MAX_D), 1) == PFC_OK);
            pfc_status st = pfc_swav_step(layer, pfc_view_make(p.embedding, PFC_F64, 4, MAX_D), 0, &out);
            PFC_AGREE(MPI_COMM_WORLD, st == PFC_ERR_DATA && strstr(pfc_ctx_error(ctx), "queue: every rank needs the same number of rows"));
            pfc_swav_destroy(&layer);
        }
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(refusals)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT, 1);
    pfc_swav *layer;
    pfc_swav_result out = { 0 };
    make_problem(&p, 2, 1, 4, 2, true, 69); /* 4 samples, queue of 2 */
    layer = make_layer(ctx, &p);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_step(layer, pfc_view_make(p.embedding, PFC_F64, 8, MAX_D), 0, &out) == PFC_ERR_SHAPE);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_step(layer, pfc_view_make(p.embedding, PFC_F64, 3, MAX_D), 0, &out) == PFC_ERR_SHAPE);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_update(layer, 0.1) == PFC_ERR_ARG);
    pfc_swav_destroy(&layer);
    p.crops[0] = 2;
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_create(ctx, &p.cfg, &layer) == PFC_ERR_ARG && strstr(pfc_ctx_error(ctx), "crops_for_assign"));
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- life of the queue (5.4, invariant 18) ---- */

static void take_step(pfc_swav *layer, int64_t t, double *z)
{
    enum { BS = 2, V = 2 };
    double h[V * BS * MAX_D];
    pfc_swav_result out = { 0 };
    for (int i = 0; i < V * BS * MAX_D; i++) h[i] = random_float(500 + t, pfc_test_rank() * 1000 + i);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_step(layer, pfc_view_make(h, PFC_F64, V * BS, MAX_D), 0, &out) == PFC_OK);
    for (int n = 0; n < BS; n++) { /* crop 0 is the assigned one */
        double length = 0;
        for (int d = 0; d < MAX_D; d++) length += h[n * MAX_D + d] * h[n * MAX_D + d];
        for (int d = 0; d < MAX_D; d++) z[n * MAX_D + d] = h[n * MAX_D + d] / sqrt(length);
    }
}

START_TEST(life_of_the_queue)
{
    enum { BS = 2, FILLS = 5 };
    int ranks = pfc_test_ranks(), use = -1;
    double z[FILLS][BS * MAX_D], queue[3 * BS * MAX_D];
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT, 1);
    ck_assert(pfc_swav_queue_rows(3840, 64, 4) == 960 && pfc_swav_queue_rows(100, 64, 2) == 0 && pfc_swav_queue_rows(3 * 128 + 7, 64, 2) == 192);
    make_problem(&p, 2, 1, BS, 0, false, 70);
    p.cfg.queue_length = 3 * BS * ranks + 1; /* rounded to three fills */
    p.cfg.epoch_queue_starts = 2;
    pfc_swav *layer = make_layer(ctx, &p);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_begin_epoch(layer, 1, BS) == PFC_OK && pfc_swav_queue_length(layer) == 0);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_begin_epoch(layer, 2, BS) == PFC_OK && pfc_swav_queue_length(layer) == 3 * BS);
    for (int t = 0; t < FILLS; t++) {
        take_step(layer, t, z[t]);
        ck_assert(pfc_swav_get_queue(layer, pfc_view_make(queue, PFC_F64, 3 * BS, MAX_D), &use) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, use == (t >= 3)); /* three fills complete it, the fourth step finds it full */
        bool good = true;
        for (int j = 0; j < 3; j++)
            for (int i = 0; i < BS * MAX_D; i++) {
                double is = queue[j * BS * MAX_D + i], expected = j <= t ? z[t - j][i] : 0;
                good = good && fabs(is - expected) <= (j ? 6e-8 : 1e-15); /* older ones went through float32 */
                good = good && (j == 0 || is == (double)(float)is);
            }
        PFC_AGREE(MPI_COMM_WORLD, good);
    }
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_begin_epoch(layer, 3, BS) == PFC_OK);
    ck_assert(pfc_swav_get_queue(layer, (pfc_view){ 0 }, &use) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, use == 0 && pfc_swav_queue_length(layer) == 3 * BS); /* the flag goes, the rows stay */
    take_step(layer, 9, z[0]);
    ck_assert(pfc_swav_get_queue(layer, (pfc_view){ 0 }, &use) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, use == 1);
    pfc_swav_destroy(&layer);
    p.cfg.queue_length = BS * ranks - 1; /* rounds to nothing */
    layer = make_layer(ctx, &p);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_begin_epoch(layer, 9, BS) == PFC_OK && pfc_swav_queue_length(layer) == 0);
    pfc_swav_destroy(&layer);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- optimiser ---- */

/* Two steps by hand; i 0: SGD, 1: LARC, 2: LARC with clip, 3: frozen in the second step. */
START_TEST(optimiser)
{
    enum { SIZE = MAX_K * MAX_D };
    const double lr = 0.3;
    double w[SIZE], m[SIZE] = { 0 }, g[SIZE], got[SIZE], momentum[SIZE];
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT, 1);
    make_problem(&p, 2, 1, 2, 0, false, 80);
    p.cfg.larc = _i != 0;
    p.cfg.larc_clip = _i == 2;
    p.cfg.larc_trust = _i == 2 ? 10 : 0.001;
    p.cfg.weight_decay = 0.01;
    pfc_swav *layer = make_layer(ctx, &p);
    for (int t = 0; t < 2; t++) {
        int frozen = _i == 3 && t == 1;
        pfc_swav_result out = { .prototypes_grad = pfc_view_make(g, PFC_F64, MAX_K, MAX_D) };
        PFC_AGREE(MPI_COMM_WORLD,
                  pfc_swav_step(layer, pfc_view_make(p.embedding + (t * 8 + pfc_test_rank()) * 4 * MAX_D, PFC_F64, 4, MAX_D), frozen, &out) == PFC_OK);
        ck_assert(pfc_swav_get_prototypes(layer, pfc_view_make(w, PFC_F64, MAX_K, MAX_D), (pfc_view){ 0 }) == PFC_OK);
        double pn = 0, gn = 0, rate = 1, decay = 0.01;
        for (int i = 0; i < SIZE; i++) pn += w[i] * w[i], gn += g[i] * g[i];
        if (_i > 0) rate = p.cfg.larc_trust * sqrt(pn) / (sqrt(gn) + sqrt(pn) * decay + 1e-8);
        if (_i == 2) rate = fmin(rate / lr, 1);
        for (int i = 0; i < SIZE; i++) {
            m[i] = (double)(float)m[i]; /* between steps */
            if (frozen) continue;
            m[i] = 0.9 * m[i] + (g[i] + decay * w[i]) * rate;
            w[i] -= lr * m[i];
        }
        ck_assert(pfc_swav_update(layer, lr) == PFC_OK);
        ck_assert(pfc_swav_get_prototypes(layer, pfc_view_make(got, PFC_F64, MAX_K, MAX_D), pfc_view_make(momentum, PFC_F64, MAX_K, MAX_D)) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, distance(got, w, SIZE) <= 1e-14 && distance(momentum, m, SIZE) <= (frozen ? 1e-7 : 1e-14));
        for (int i = 0; i < SIZE; i++) m[i] = momentum[i];
        ck_assert(pfc_swav_update(layer, lr) == PFC_OK); /* the gradient is used up: nothing moves */
        ck_assert(pfc_swav_get_prototypes(layer, pfc_view_make(w, PFC_F64, MAX_K, MAX_D), (pfc_view){ 0 }) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(w, got, sizeof w) == 0);
    }
    pfc_swav_destroy(&layer);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- learning rate ---- */

START_TEST(schedule)
{
    static const pfc_lr_config table[] = { { 4.8, 0.0048, 0.3, 2, 7, 11 }, { 4.8, 0, 0, 0, 5, 3 }, { 1, .1, 0, 4, 4, 2 },
                                           { 2, 0, 1, 1, 3, 1 },           { .3, 0, .1, 4, 5, 1 }, { 1, 1, 1, 2, 5, 3 } };
    double lr[77], want_lr[77];
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const pfc_lr_config *c = &table[i];
        int64_t n = c->epochs * c->steps_per_epoch, rise = c->warmup_epochs * c->steps_per_epoch;
        ck_assert(pfc_lr_schedule(c, lr) == PFC_OK);
        pfc_dense_lr_schedule(c, want_lr);
        for (int64_t t = 0; t < n; t++) ck_assert(fabs(lr[t] - want_lr[t]) <= 1e-14);
        if (rise > 1) ck_assert(lr[0] == c->start_warmup && lr[rise - 1] == c->base_lr);
        if (rise < n) ck_assert(lr[rise] == c->base_lr && (lr[n - 1] > c->final_lr || c->base_lr == c->final_lr));
    }
    ck_assert(lr[0] == 1); /* flat */
    pfc_lr_config bad = { 1, 0, 0, 3, 2, 5 };
    ck_assert(pfc_lr_schedule(&bad, lr) == PFC_ERR_ARG);
    pfc_lr_config endless = { 1, 0, 0, 0, INT64_MAX / 2 + 1, 2 };
    ck_assert(pfc_lr_schedule(&endless, lr) == PFC_ERR_ARG);
    endless.epochs = (int64_t)1 << 62, endless.steps_per_epoch = 4; /* 0 in 64 bits: nothing would be written */
    ck_assert(pfc_lr_schedule(&endless, lr) == PFC_ERR_ARG);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(vanishing_probabilities), PFC_ONCE(one_crop), PFC_ONCE(the_flag_is_carried), PFC_ONCE(nan_is_not_zero), PFC_ONCE(ranks_that_disagree),
        PFC_ONCE(queues_that_differ),      PFC_ONCE(refusals), PFC_ONCE(life_of_the_queue),   PFC_LOOP(optimiser, 4),    PFC_ONCE(schedule),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
