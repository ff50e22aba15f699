/* test_train_swav.c: SwAV as a run has it: the queue on another number of ranks, gradients through encoder and loss. */
#include "pfc_test.h"

#include "train/swav_state.h"

#include <math.h>
#include <pfc/pfc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 120, D = 4, K = 5, V = 2, A = 2, G = 3, IN = 6, HIDDEN = 40 };

static const int64_t assigned[A] = { 0, 1 };

static pfc_ctx *context(MPI_Comm comm, pfc_mode mode) { return pfc_test_ctx(comm, (pfc_options){ .mode = mode }); }

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
    const char *path = pfc_test_path("train_swav");
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
    const char *path = pfc_test_path("train_swav");
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

/* ---- gradients of the encoder through SwAV's loss ---- */

enum { ROWS = 30, CROPS = 3, TRIALS = 20 }; /* samples on all ranks, crops */

typedef struct network {
    pfc_ctx *ctx;
    pfc_encoder *encoder;
    pfc_swav *swav;
    int64_t b, n;       /* samples of this rank; parameters */
    float *x;           /* (CROPS*b, IN) */
    double *embeddings; /* (CROPS*b, D) */
    double *assignment; /* (2*b, K) */
    double prototypes[K * D];
} network;

/* Two assigned crops, of which one comes last. */
static network make_network(void)
{
    static const int64_t crops[] = { 2, 0 };
    network w = { .ctx = context(MPI_COMM_WORLD, PFC_EXACT), .b = ROWS / pfc_test_ranks() };
    pfc_encoder_config e = pfc_encoder_defaults();
    e.layers = 2;
    e.widths[0] = IN;
    e.widths[1] = HIDDEN;
    e.widths[2] = D;
    e.last_norm = 0;
    e.seed = 5;
    ck_assert_msg(pfc_encoder_create(w.ctx, &e, &w.encoder) == PFC_OK, "%s", pfc_ctx_error(w.ctx));
    w.n = pfc_encoder_params(w.encoder);
    pfc_swav_config c = pfc_swav_defaults();
    c.num_prototypes = K;
    c.embedding_size = D;
    c.crops = CROPS;
    c.num_assign = 2;
    c.crops_for_assign = crops;
    c.temperature = 1.0;
    ck_assert_msg(pfc_swav_create(w.ctx, &c, &w.swav) == PFC_OK, "%s", pfc_ctx_error(w.ctx));
    w.x = malloc((size_t)(CROPS * w.b * IN) * sizeof *w.x);
    w.embeddings = malloc((size_t)(CROPS * w.b * D) * sizeof *w.embeddings);
    w.assignment = malloc((size_t)(2 * w.b * K) * sizeof *w.assignment);
    ck_assert(w.x && w.embeddings && w.assignment);
    for (int64_t i = 0; i < CROPS * w.b * IN; i++) w.x[i] = (float)pfc_normal(6, i, (uint32_t)pfc_test_rank(), PFC_STREAM_FILL);
    return w;
}

static void destroy_network(network *w)
{
    free(w->x);
    free(w->embeddings);
    free(w->assignment);
    pfc_swav_destroy(&w->swav);
    pfc_encoder_destroy(&w->encoder);
    pfc_ctx_destroy(&w->ctx);
}

static pfc_view embeddings_of(const network *w) { return pfc_view_make(w->embeddings, PFC_F64, CROPS * w->b, D); }

static void forward(network *w)
{
    pfc_status st = pfc_encoder_forward(w->encoder, pfc_view_make(w->x, PFC_F32, CROPS * w->b, IN), 1, embeddings_of(w));
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(w->ctx));
}

/* -sum_k q_k log softmax(z C^T)_k, z = h/|h|. */
static double row_loss(const network *w, const double *h, const double *q)
{
    double s[K], length = 0.0, sum = 0.0, loss = 0.0;
    for (int d = 0; d < D; d++) length += h[d] * h[d];
    for (int k = 0; k < K; k++) {
        double row = 0.0;
        s[k] = 0.0;
        for (int d = 0; d < D; d++) {
            s[k] += h[d] * w->prototypes[k * D + d];
            row += w->prototypes[k * D + d] * w->prototypes[k * D + d];
        }
        s[k] /= sqrt(length) * sqrt(row);
        sum += exp(s[k]);
    }
    for (int k = 0; k < K; k++) loss -= q[k] * (s[k] - log(sum));
    return loss;
}

/* The mean over the ranks of their losses with the assignment as it is: that is not differentiated. */
static double loss_of(network *w)
{
    double loss = 0.0;
    forward(w);
    for (int i = 0; i < 2; i++)
        for (int v = 0; v < CROPS; v++)
            for (int64_t n = 0; n < w->b && v != (i == 0 ? 2 : 0); n++)
                loss += row_loss(w, w->embeddings + (v * w->b + n) * D, w->assignment + (i * w->b + n) * K);
    loss /= 2.0 * (CROPS - 1) * ROWS;
    MPI_Allreduce(MPI_IN_PLACE, &loss, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return loss;
}

/* The gradient of the parameters, averaged over the ranks; the loss is checked on the way. */
static void gradient(network *w, double *grad)
{
    double *dh = malloc((size_t)(CROPS * w->b * D) * sizeof *dh);
    ck_assert(dh != NULL);
    forward(w);
    pfc_swav_result r = { .assignment = pfc_view_make(w->assignment, PFC_F64, 2 * w->b, K), .embedding_grad = pfc_view_make(dh, PFC_F64, CROPS * w->b, D) };
    ck_assert_msg(pfc_swav_step(w->swav, embeddings_of(w), 1, &r) == PFC_OK, "%s", pfc_ctx_error(w->ctx));
    ck_assert(pfc_swav_get_prototypes(w->swav, pfc_view_make(w->prototypes, PFC_F64, K, D), pfc_view_make(NULL, PFC_F64, 0, 0)) == PFC_OK);
    pfc_status st = pfc_encoder_backward(w->encoder, r.embedding_grad, (double)pfc_test_ranks(), pfc_view_make(NULL, PFC_F64, 0, 0));
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(w->ctx));
    ck_assert(pfc_encoder_get_grads(w->encoder, pfc_view_make(grad, PFC_F64, 1, w->n)) == PFC_OK);
    double mean = r.loss / pfc_test_ranks();
    MPI_Allreduce(MPI_IN_PLACE, &mean, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    ck_assert(fabs(loss_of(w) - mean) < 1e-6);
    free(dh);
}

/* Central differences in random directions. Now and then one meets a corner of ReLU, so it is the mean error that is asked about. */
START_TEST(gradients)
{
    const double h = 2e-5;
    network w = make_network();
    double *p = malloc((size_t)w.n * 4 * sizeof *p), *grad = p + w.n, *direction = grad + w.n, *moved = direction + w.n, norm = 0.0, error = 0.0;
    pfc_view at = pfc_view_make(moved, PFC_F64, 1, w.n);
    ck_assert(p && pfc_encoder_get_params(w.encoder, pfc_view_make(p, PFC_F64, 1, w.n)) == PFC_OK);
    gradient(&w, grad);
    for (int64_t i = 0; i < w.n; i++) norm += grad[i] * grad[i];
    for (int trial = 0; trial < TRIALS; trial++) {
        double slope = 0.0, difference = 0.0;
        for (int64_t i = 0; i < w.n; i++) {
            direction[i] = pfc_normal(7, i, (uint32_t)trial, PFC_STREAM_FILL);
            slope += grad[i] * direction[i];
        }
        for (int sign = -1; sign <= 1; sign += 2) {
            for (int64_t i = 0; i < w.n; i++) moved[i] = p[i] + sign * h * direction[i];
            ck_assert(pfc_encoder_set_params(w.encoder, at) == PFC_OK);
            difference += sign * loss_of(&w) / (2.0 * h);
        }
        error += fabs(difference - slope) / TRIALS;
    }
    ck_assert(norm > 1e-4);
    ck_assert_msg(error < 1e-2 * sqrt(norm), "found a mean error of %g, the gradient's length is %g", error, sqrt(norm));
    free(p);
    destroy_network(&w);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(queue),
        PFC_ONCE(no_queue_yet),
        PFC_ONCE(gradients),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
