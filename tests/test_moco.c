/* test_moco.c: momentum contrast: library against the textbook, golden numbers of semantics.md 10.7, finite differences, the invariants 19 to 23 of
 * section 9, the ring, uneven ranks, what is refused. */
#include "dense/moco_dense.h"
#include "moco_problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- against the textbook ---- */

static problem *table_problem(int id, int ranks)
{
    static const int64_t BATCH[] = { 1, 3, 7 }, KEYS[] = { 1, 13, 300, 1100 }, WIDTH[] = { 2, 5, 16, 33 };
    problem *p = problem_new(ranks * BATCH[id % 3], KEYS[id % 4], WIDTH[id / 2 % 4]);
    p->tau = id % 5 == 0 ? 1.3 : id % 5 == 1 ? 0.07 : id % 5 == 2 ? -0.5 : 0.2;
    p->mu = id % 3 == 0 ? 0.999 : id % 3 == 1 ? 0.0 : 1.0;
    p->ptr = (id * 7) % p->k;
    if (id % 4 == 3) memset(p->query, 0, (size_t)p->d * sizeof(float));                   /* a zero query: the 1e12 branch */
    if (id % 6 == 5) memset(p->key + (p->n - 1) * p->d, 0, (size_t)p->d * sizeof(float)); /* a zero key */
    return p;
}

START_TEST(textbook_table)
{
    int ranks = pfc_test_ranks();
    for (int id = 0; id < 24; id++) {
        problem *p = table_problem(id, ranks);
        outcome *want = textbook(p, ranks);
        for (int mode = 0; mode < 2; mode++) {
            outcome *got = library(MPI_COMM_WORLD, p, mode ? PFC_FAST : PFC_EXACT, 1, id % 2);
            double w = worst_of_all(got, want, p, ranks);
            ck_assert_msg(got->status == PFC_OK && w < (mode ? 1e-4 : 1e-11), "case %d, mode %d: status %d, off by %g", id, mode, got->status, w);
            outcome_free(got);
        }
        outcome_free(want);
        problem_free(p);
    }
}
END_TEST

/* Section 10.7: the textbook in double to the printed digits; the library on the same numbers as float32 agrees with the textbook on those. */
static double gen(int seed, int64_t i) { return sin(1.0 + 0.7 * (double)i + 1.3 * seed); }

START_TEST(golden_numbers)
{
    static const double GRAD[4] = { .8977433877, .2559624140, -.5062016825, -1.0302912181 };
    double q[12], k[12], u[24], unit[12], key[12], logits[21], loss, grad[12];
    for (int i = 0; i < 12; i++) q[i] = gen(7, i), k[i] = gen(8, i);
    for (int j = 0; j < 6; j++) {
        double sum = 0;
        for (int i = 0; i < 4; i++) sum += gen(9, 4 * j + i) * gen(9, 4 * j + i);
        for (int i = 0; i < 4; i++) u[4 * j + i] = gen(9, 4 * j + i) / sqrt(sum);
    }
    problem *p = problem_new(3, 6, 4);
    for (int i = 0; i < 12; i++) p->query[i] = (float)q[i], p->key[i] = (float)k[i];
    for (int i = 0; i < 24; i++) p->queue[i] = (float)u[i];
    pfc_dense_moco m = { 3, 4, 6, 1, .2, q, k, u, 0, unit, key, logits, &loss, grad };
    pfc_dense_moco_step(&m);
    ck_assert_double_eq_tol(loss, 3.039099590909, 6e-13);
    for (int i = 0; i < 4; i++) ck_assert_double_eq_tol(grad[i], GRAD[i], 6e-11);
    outcome *got = library(MPI_COMM_SELF, p, PFC_EXACT, 1, 1);
    ck_assert_double_eq_tol(got->loss[0], 3.039099590909, 3e-7);
    for (int i = 0; i < 4; i++) ck_assert_double_eq_tol(got->grad[i], GRAD[i], 3e-7);
    outcome_free(got);
    problem_free(p);
}
END_TEST

/* The library's loss, by central differences with steps that float32 can hold; the loss of a rank does not move with another rank's query. */
START_TEST(finite_differences)
{
    int ranks = pfc_test_ranks();
    problem *p = problem_new(2 * ranks, 9, 4);
    outcome *o = library(MPI_COMM_WORLD, p, PFC_EXACT, 1, 1);
    const float h = 0x1p-10f;
    for (int64_t i = 0; i < p->n * p->d; i += 3) {
        float x = p->query[i];
        p->query[i] = x + h;
        double up = (double)(x + h);
        outcome *above = library(MPI_COMM_WORLD, p, PFC_EXACT, 1, 0);
        p->query[i] = x - h;
        double down = (double)(x - h);
        outcome *below = library(MPI_COMM_WORLD, p, PFC_EXACT, 1, 0);
        p->query[i] = x;
        for (int r = 0; r < ranks; r++) {
            double slope = (above->loss[r] - below->loss[r]) / (up - down), want = r == i / (2 * p->d) ? o->grad[i] : 0.0;
            ck_assert_msg(fabs(slope - want) < 2e-5 * (1 + fabs(want)), "element %d, rank %d: slope %.9g, gradient %.9g", (int)i, r, slope, want);
        }
        outcome_free(above);
        outcome_free(below);
    }
    outcome_free(o);
    problem_free(p);
}
END_TEST

/* ---- the same bits ---- */

/* Shuffled or not (19: a row-wise encoder), threads, and every rank alone with its own rows. */
START_TEST(same_bits_everywhere)
{
    int ranks = pfc_test_ranks(), rank = pfc_test_rank();
    for (int mode = 0; mode < 2; mode++) {
        problem *p = problem_new(5 * ranks, 700, 24);
        outcome *a = library(MPI_COMM_WORLD, p, mode ? PFC_FAST : PFC_EXACT, 1, 1);
        outcome *b = library(MPI_COMM_WORLD, p, mode ? PFC_FAST : PFC_EXACT, 3, 0);
        PFC_AGREE(MPI_COMM_WORLD, same_bits(a, b, p, ranks));
        problem own = *p; /* one rank: the same loss and gradient of its own rows */
        own.n = 5;
        own.query += rank * 5 * p->d;
        own.key += rank * 5 * p->d;
        outcome *c = library(MPI_COMM_SELF, &own, mode ? PFC_FAST : PFC_EXACT, 2, 1);
        size_t bytes = (size_t)(5 * p->d) * sizeof(double);
        PFC_AGREE(MPI_COMM_WORLD, c->loss[0] == a->loss[rank] && memcmp(c->grad, a->grad + rank * 5 * p->d, bytes) == 0);
        outcome_free(a), outcome_free(b), outcome_free(c);
        problem_free(p);
    }
}
END_TEST

/* ---- invariants 20 to 23 ---- */

START_TEST(momentum)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_EXACT, 1);
    problem *p = problem_new(pfc_test_ranks(), 4 * pfc_test_ranks(), 3);
    for (int k = 0; k < 3; k++) {
        p->mu = k == 0 ? 1.0 : k == 1 ? 0.0 : 0.75;
        pfc_moco *m = object(ctx, p, true);
        double keys[3], got[17];
        pfc_view out = pfc_view_make(keys, PFC_F64, 1, 3), images = pfc_view_make(p->key + 3 * pfc_test_rank(), PFC_F32, 1, 3);
        bool ok = true;
        for (int t = 0; t < 5; t++) ok = ok && pfc_moco_hook(m, pfc_view_make(p->params_q, PFC_F32, 1, 17), images, row_wise, NULL, 1, t, out) == PFC_OK;
        ok = ok && pfc_moco_get_params(m, pfc_view_make(got, PFC_F64, 1, 17)) == PFC_OK;
        for (int i = 0; i < 17; i++) { /* the state is float32 between two calls */
            double q = (double)p->params_q[i], want = (double)p->params_k[i];
            for (int t = 0; t < 5; t++) want = p->mu * (double)(float)want + (1 - p->mu) * q;
            ok = ok && got[i] == want;
        }
        PFC_AGREE(MPI_COMM_WORLD, ok);
        pfc_moco_destroy(&m);
    }
    problem_free(p);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* More parameters than are moved to the backend at once. */
START_TEST(many_parameters)
{
    enum { PARAMS = (1 << 20) + 3 };
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_FAST, 1);
    pfc_moco_config cfg = { .embedding_size = 3, .queue_size = 2 * pfc_test_ranks(), .num_params = PARAMS, .momentum = 0.5, .temperature = 0.2, .seed = 3 };
    pfc_moco *m = NULL;
    float *q = malloc(PARAMS * sizeof *q), *got = malloc(PARAMS * sizeof *got), image[3] = { 1, 2, 3 }, key[3];
    pfc_view images = pfc_view_make(image, PFC_F32, 1, 3), keys = pfc_view_make(key, PFC_F32, 1, 3), theta = pfc_view_make(q, PFC_F32, 1, PARAMS);
    ck_assert(q && got && pfc_moco_create(ctx, &cfg, &m) == PFC_OK);
    for (int t = 1; t <= 2; t++) { /* n, then (n + 3n)/2 */
        for (int i = 0; i < PARAMS; i++) q[i] = (float)((2 * t - 1) * (i % 1009));
        PFC_AGREE(MPI_COMM_WORLD, pfc_moco_hook(m, theta, images, row_wise, NULL, 0, t, keys) == PFC_OK);
    }
    ck_assert(pfc_moco_get_params(m, pfc_view_make(got, PFC_F32, 1, PARAMS)) == PFC_OK);
    int wrong = 0; /* an assertion for each would take a second */
    while (wrong < PARAMS && got[wrong] == (float)(2 * (wrong % 1009))) wrong++;
    ck_assert_msg(wrong == PARAMS, "parameter %d is wrong", wrong);
    pfc_moco_destroy(&m);
    pfc_ctx_destroy(&ctx);
    free(q);
    free(got);
}
END_TEST

/* The first hook of an object without key parameters copies; one rank never shuffles, several do if asked. */
START_TEST(first_call_and_shuffle)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_FAST, 1);
    int ranks = pfc_test_ranks(), rank = pfc_test_rank();
    problem *p = problem_new(4 * ranks, 4, 3);
    pfc_moco *m = object(ctx, p, false);
    float seen[12], keys[12], got[17];
    pfc_view out = pfc_view_make(keys, PFC_F32, 4, 3), images = pfc_view_make(p->key + 12 * rank, PFC_F32, 4, 3),
             q = pfc_view_make(p->params_q, PFC_F32, 1, 17);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_get_params(m, pfc_view_make(got, PFC_F32, 1, 17)) == PFC_ERR_ARG);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_hook(m, q, images, row_wise, seen, 0, 0, out) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, memcmp(seen, images.data, sizeof seen) == 0); /* shuffle_batch 0 */
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_get_params(m, pfc_view_make(got, PFC_F32, 1, 17)) == PFC_OK && memcmp(got, p->params_q, sizeof got) == 0);
    int moved = 0;
    for (int t = 0; t < 4; t++) {
        float kept[12];
        memcpy(kept, keys, sizeof kept);
        PFC_AGREE(MPI_COMM_WORLD, pfc_moco_hook(m, q, images, row_wise, seen, 1, t, out) == PFC_OK && memcmp(kept, keys, sizeof kept) == 0);
        moved += memcmp(seen, images.data, sizeof seen) != 0;
    }
    MPI_Allreduce(MPI_IN_PLACE, &moved, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    PFC_AGREE(MPI_COMM_WORLD, (moved > 0) == (ranks > 1));
    pfc_moco_destroy(&m);
    problem_free(p);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* After K/N steps the pointer is back at 0, no initial key is left, and all ranks have the same queue. */
START_TEST(ring)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_EXACT, 1);
    int ranks = pfc_test_ranks();
    pfc_moco_config cfg = { .embedding_size = 4, .queue_size = 6 * ranks, .momentum = .5, .temperature = .2, .seed = 3 };
    pfc_moco *m = NULL;
    double before[48 * 4], after[48 * 4];
    int64_t ptr = -1, n = 6 * ranks * 4;
    bool ok = pfc_moco_create(ctx, &cfg, &m) == PFC_OK && pfc_moco_get_queue(m, pfc_view_make(before, PFC_F64, 6 * ranks, 4), &ptr) == PFC_OK && ptr == 0;
    for (int64_t j = 0; j < 6 * ranks; j++) { /* the initial queue: unit rows, not two alike */
        double sum = 0;
        for (int i = 0; i < 4; i++) sum += before[4 * j + i] * before[4 * j + i];
        ok = ok && fabs(sum - 1) < 1e-15 && (j == 0 || before[4 * j] != before[4 * j - 4]);
    }
    PFC_AGREE(MPI_COMM_WORLD, ok);
    for (int t = 0; t < 3; t++) {
        float query[8], keys[8];
        for (int i = 0; i < 8; i++) query[i] = (float)gen(t, 8 * pfc_test_rank() + i), keys[i] = (float)gen(t + 9, 8 * pfc_test_rank() + i);
        pfc_moco_result result = { .query_grad = { 0 } };
        ok = ok && pfc_moco_step(m, pfc_view_make(query, PFC_F32, 2, 4), pfc_view_make(keys, PFC_F32, 2, 4), &result) == PFC_OK;
        ok = ok && result.loss > 0 && result.loss <= log(1.0 + 6.0 * ranks) + 4 / .2; /* keys of length up to 2 here */
    }
    ok = ok && pfc_moco_get_queue(m, pfc_view_make(after, PFC_F64, 6 * ranks, 4), &ptr) == PFC_OK && ptr == 0;
    for (int64_t i = 0; i < n; i++) { /* row 2 r + i of step t is rank r's row i */
        int64_t t = i / (8 * ranks), at = i % (8 * ranks);
        ok = ok && after[i] != before[i] && after[i] == (double)(float)gen((int)t + 9, at);
    }
    PFC_AGREE(MPI_COMM_WORLD, ok);
    pfc_moco_destroy(&m);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* 23: q = k and an orthogonal queue: log(1 + K exp(-1/tau)); a zero query: log(1 + K). Both modes. */
START_TEST(known_losses)
{
    for (int mode = 0; mode < 2; mode++) {
        problem *p = problem_new(1, 5, 3);
        const double near = mode ? 1e-6 : 1e-14;
        for (int i = 0; i < 3; i++) p->query[i] = p->key[i] = i == 0 ? 3.0f : 0.0f;
        for (int j = 0; j < 5; j++) p->queue[3 * j] = 0.0f, p->queue[3 * j + 1] = 0.6f, p->queue[3 * j + 2] = -0.8f;
        outcome *o = library(MPI_COMM_SELF, p, mode ? PFC_FAST : PFC_EXACT, 1, 1);
        ck_assert_double_eq_tol(o->loss[0], log(1 + 5 * exp(-1 / .2)), near);
        outcome_free(o);
        p->query[0] = 0.0f;
        o = library(MPI_COMM_SELF, p, mode ? PFC_FAST : PFC_EXACT, 1, 1);
        ck_assert_double_eq_tol(o->loss[0], log(6.0), near);
        ck_assert_double_eq_tol(o->grad[0] / 1e12, (1.0 / 6 - 1) / .2, 10 * near); /* the clamp branch: times 1e12 */
        outcome_free(o);
        problem_free(p);
    }
}
END_TEST

/* Rows that win, lose, tie and hold NaN, in both modes: only the first counts. */
START_TEST(correct_rows)
{
    for (int mode = 0; mode < 2; mode++) {
        problem *p = problem_new(4, 600, 2);
        for (int64_t j = 0; j < 600; j++) p->queue[2 * j] = 0.0f, p->queue[2 * j + 1] = j == 577 ? 1.0f : -1.0f;
        for (int n = 0; n < 4; n++) p->query[2 * n] = 1.0f, p->query[2 * n + 1] = 0.0f, p->key[2 * n] = 1.0f, p->key[2 * n + 1] = 0.0f;
        p->key[2] = -1.0f;                      /* the positive is -5, the negatives are 0 */
        p->query[4] = 0.0f, p->query[5] = 1.0f; /* the positive and key 577 give 5 */
        p->key[4] = 0.0f, p->key[5] = 1.0f;
        p->query[6] = NAN;
        outcome *o = library(MPI_COMM_SELF, p, mode ? PFC_FAST : PFC_EXACT, 1, 1);
        ck_assert_int_eq(o->status, PFC_OK);
        ck_assert_int_eq(o->correct[0], 1);
        p->queue[0] = NAN; /* in every row's negatives */
        outcome *none = library(MPI_COMM_SELF, p, mode ? PFC_FAST : PFC_EXACT, 1, 1);
        ck_assert_int_eq(none->correct[0], 0);
        outcome_free(o), outcome_free(none);
        problem_free(p);
    }
}
END_TEST

/* ---- uneven ranks ---- */

START_TEST(uneven_rows)
{
    static const int WEIGHTS[8] = { 2, 0, 3, 1, 0, 1, 4, 1 };
    int ranks = pfc_test_ranks(), sum = 0;
    for (int r = 0; r < ranks; r++) sum += WEIGHTS[r];
    problem *p = problem_new(2 * sum, 50, 6);
    p->ptr = 41;
    outcome *want = textbook(p, 1);
    for (int mode = 0; mode < 2; mode++) {
        pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, mode ? PFC_FAST : PFC_EXACT, 1);
        outcome *got = library_rows(ctx, p, 1, WEIGHTS);
        double near = mode ? 1e-5 : 1e-12, mean = 0;
        bool ok = got->status == PFC_OK && worst(got->key, want->key, p->n * p->d) < near && worst(got->queue, want->queue, p->k * p->d) < near;
        for (int r = 0; ok && r < ranks; r++) {
            mean += got->loss[r] * WEIGHTS[r] / sum;
            ok = WEIGHTS[r] || got->loss[r] == 0;
        }
        PFC_AGREE(MPI_COMM_WORLD, ok && got->ptr == want->ptr && fabs(mean - want->loss[0]) < near * mean);
        outcome_free(got);
        pfc_ctx_destroy(&ctx);
    }
    outcome_free(want);
    problem_free(p);
}
END_TEST

/* ---- what is refused ---- */

static int failing(void *user, pfc_view params_k, pfc_view images, pfc_view keys)
{
    (void)params_k, (void)images, (void)keys;
    return *(int *)user;
}

static pfc_status step_with(pfc_ctx *ctx, int64_t b, int64_t k, int64_t ptr, int wrap)
{
    problem *p = problem_new(b * pfc_ctx_ranks(ctx), k, 2);
    p->wrap = wrap, p->ptr = ptr;
    outcome *o = library_rows(ctx, p, 1, NULL);
    pfc_status st = o->status;
    outcome_free(o);
    problem_free(p);
    return st;
}

START_TEST(what_is_refused)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_EXACT, 1);
    int ranks = pfc_test_ranks(), code = pfc_test_rank() == ranks - 1 ? 7 : 0;
    PFC_AGREE(MPI_COMM_WORLD, step_with(ctx, 2, 4 * ranks, 2 * ranks, 0) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, step_with(ctx, 2, 4 * ranks, 2 * ranks + 1, 0) == PFC_ERR_SHAPE && strstr(pfc_ctx_error(ctx), "queue_ptr"));
    PFC_AGREE(MPI_COMM_WORLD, step_with(ctx, 2, 4 * ranks + 1, 0, 0) == PFC_ERR_SHAPE && strstr(pfc_ctx_error(ctx), "multiple of the batch"));
    PFC_AGREE(MPI_COMM_WORLD, step_with(ctx, 2, 4 * ranks + 1, 4 * ranks, 1) == PFC_OK);

    pfc_moco_config cfg = pfc_moco_defaults();
    pfc_moco *m = NULL;
    cfg.temperature = 0;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_create(ctx, &cfg, &m) == PFC_ERR_ARG && !m && strstr(pfc_ctx_error(ctx), "temperature"));
    cfg.temperature = .2, cfg.momentum = NAN;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_create(ctx, &cfg, &m) == PFC_ERR_ARG);
    cfg.momentum = .9, cfg.queue_size = 0;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_create(ctx, &cfg, &m) == PFC_ERR_ARG);
    cfg.queue_size = 8, cfg.num_params = code ? 3 : 4; /* the last rank has another encoder */
    pfc_status st = pfc_moco_create(ctx, &cfg, &m);
    PFC_AGREE(MPI_COMM_WORLD, ranks == 1 ? st == PFC_OK : st == PFC_ERR_ARG && strstr(pfc_ctx_error(ctx), "num_params: not the same"));
    pfc_moco_destroy(&m);
    cfg.num_params = 4, cfg.temperature = code ? .2 : .3;
    st = pfc_moco_create(ctx, &cfg, &m);
    PFC_AGREE(MPI_COMM_WORLD, ranks == 1 ? st == PFC_OK : st == PFC_ERR_ARG && strstr(pfc_ctx_error(ctx), "temperature: not the same"));
    pfc_moco_destroy(&m);

    problem *p = problem_new(ranks, ranks, 2);
    double keys[4];
    pfc_view images = pfc_view_make(p->key, PFC_F32, 1, 2), out = pfc_view_make(keys, PFC_F64, 1, 2), q = pfc_view_make(p->params_q, PFC_F32, 1, 17);
    m = object(ctx, p, true);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_set_queue(m, pfc_view_make(NULL, PFC_F64, 0, 0), ranks) == PFC_ERR_ARG);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_set_params(m, pfc_view_make(p->params_k, PFC_F32, 1, 16)) == PFC_ERR_SHAPE);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_hook(m, q, images, failing, &code, 1, 0, out) == PFC_ERR_RUNTIME && strstr(pfc_ctx_error(ctx), "failed with 7"));
    q.cols = 16;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_hook(m, q, images, row_wise, NULL, 1, 0, out) == PFC_ERR_SHAPE);
    pfc_moco_result result = { .query_grad = { 0 } };
    pfc_view short_keys = pfc_view_make(keys, PFC_F64, code ? 0 : 1, 2); /* wrong on one rank: all fail, none waits */
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_step(m, images, short_keys, &result) == PFC_ERR_SHAPE);
    images.rows = out.rows = 0;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_step(m, images, out, &result) == PFC_ERR_SHAPE); /* nobody has a row */
    pfc_moco_destroy(&m);
    problem_free(p);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* Images as wide as the others' on all ranks but the last: no rank's parameters move, and the first call makes none. */
START_TEST(refused_images_leave_the_state)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_EXACT, 1);
    int ranks = pfc_test_ranks(), last = pfc_test_rank() == ranks - 1;
    problem *p = problem_new(ranks, ranks, 2);
    double keys[2], got[17];
    pfc_view out = pfc_view_make(keys, PFC_F64, 1, 2), q = pfc_view_make(p->params_q, PFC_F32, 1, 17), params = pfc_view_make(got, PFC_F64, 1, 17);
    for (int with = 0; with < 2; with++) {
        pfc_moco *m = object(ctx, p, with);
        pfc_view images = pfc_view_make(p->key, PFC_F32, 1, last ? 1 : 2);
        if (ranks == 1) images.cols = 0;
        PFC_AGREE(MPI_COMM_WORLD, pfc_moco_hook(m, q, images, row_wise, NULL, 1, 0, out) == PFC_ERR_SHAPE);
        PFC_AGREE(MPI_COMM_WORLD, pfc_moco_get_params(m, params) == (with ? PFC_OK : PFC_ERR_ARG));
        for (int i = 0; with && i < 17; i++) ck_assert(got[i] == (double)p->params_k[i]);
        pfc_moco_destroy(&m);
    }
    problem_free(p);
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(textbook_table),
        PFC_ONCE(golden_numbers),
        PFC_ONCE(finite_differences),
        PFC_ONCE(same_bits_everywhere),
        PFC_ONCE(momentum),
        PFC_ONCE(many_parameters),
        PFC_ONCE(first_call_and_shuffle),
        PFC_ONCE(ring),
        PFC_ONCE(known_losses),
        PFC_ONCE(correct_rows),
        PFC_ONCE(uneven_rows),
        PFC_ONCE(what_is_refused),
        PFC_ONCE(refused_images_leave_the_state),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
