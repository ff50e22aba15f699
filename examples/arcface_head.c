/* arcface_head.c: a sub-center ArcFace head whose classes are spread over the ranks, with margins that follow the class counts.
 *
 *     cc arcface_head.c $(pkg-config --cflags --libs pfc) -o arcface_head && mpirun -np 3 ./arcface_head
 *
 * 30 landmarks, the first ones photographed often, the last ones rarely, each from two sides that look nothing alike: two sub-centers for a class. Counting
 * the photos gives every landmark its margin, the rarest the largest. The program owns the weight of its rank's classes and trains it by plain SGD on the
 * gradient of the head. At the end the head, without margins, must recognise most photos that it has not seen. */
#include <mpi.h>
#include <pfc/pfc.h>
#include <stdio.h>
#include <stdlib.h>

enum { LANDMARKS = 30, SIDES = 2, D = 16, B = 16, STEPS = 150 };

/* Photo number `photo`: which landmark, and its D features; low numbers are frequent. */
static int64_t take_photo(int64_t photo, float features[D])
{
    double u = pfc_uniform(1, photo, 0, PFC_STREAM_FILL);
    int64_t landmark = (int64_t)(u * u * LANDMARKS), side = pfc_uniform(1, photo, 1, PFC_STREAM_FILL) < 0.5;
    for (int64_t k = 0; k < D; k++) {
        double view = pfc_normal(2, (landmark * SIDES + side) * D + k, 0, PFC_STREAM_FILL), noise = pfc_normal(3, photo * D + k, 0, PFC_STREAM_FILL);
        features[k] = (float)(view + 0.3 * noise);
    }
    return landmark;
}

/* This rank's photos of a step. */
static void take_photos(const pfc_ctx *ctx, int step, float features[B * D], int64_t labels[B])
{
    for (int64_t i = 0; i < B; i++) labels[i] = take_photo(((int64_t)step * pfc_ctx_ranks(ctx) + pfc_ctx_rank(ctx)) * B + i, features + i * D);
}

/* Margins from the photos of all steps and ranks, for the classes of this rank. */
static int set_margins(pfc_ctx *ctx, pfc_arcface *head, pfc_shard mine)
{
    int64_t counts[LANDMARKS] = { 0 };
    double margins[LANDMARKS];
    float features[D];
    char why[128];
    pfc_adaptive_margins_config cfg = pfc_adaptive_margins_defaults();
    for (int64_t photo = 0; photo < (int64_t)STEPS * pfc_ctx_ranks(ctx) * B; photo++) counts[take_photo(photo, features)]++;
    if (pfc_adaptive_margins(&cfg, counts, LANDMARKS, margins, why, sizeof why) != PFC_OK) return fprintf(stderr, "margins: %s\n", why), 1;
    if (pfc_ctx_rank(ctx) == 0)
        printf("%lld photos of landmark 0, margin %.3f; %lld of landmark %d, margin %.3f\n", (long long)counts[0], margins[0], (long long)counts[LANDMARKS - 1],
               LANDMARKS - 1, margins[LANDMARKS - 1]);
    return pfc_arcface_set_margins(head, pfc_view_make(margins + mine.start, PFC_F64, mine.count, 1), PFC_MARGIN_SET) != PFC_OK;
}

static int train(pfc_ctx *ctx, pfc_arcface *head, float *weight, int64_t rows)
{
    float features[B * D];
    int64_t labels[B];
    double *grad = malloc((size_t)(rows * D) * sizeof *grad + 1);
    int failed = grad == NULL;
    for (int step = 0; step < STEPS && !failed; step++) {
        take_photos(ctx, step, features, labels);
        pfc_arcface_input in = { .features = pfc_view_make(features, PFC_F32, B, D),
                                 .labels = pfc_view_make(labels, PFC_I64, B, 1),
                                 .weight = pfc_view_make(weight, PFC_F32, rows, D) };
        pfc_arcface_result result = { .weight_grad = pfc_view_make(grad, PFC_F64, rows, D) };
        failed = pfc_arcface_step(head, &in, &result) != PFC_OK;
        if (failed) fprintf(stderr, "step %d: %s\n", step, pfc_ctx_error(ctx));
        for (int64_t i = 0; i < rows * D && !failed; i++) weight[i] -= (float)(5.0 * grad[i]);
        if (pfc_ctx_rank(ctx) == 0 && step % 30 == 0) printf("step %3d  loss %.6f\n", step, result.loss);
    }
    free(grad);
    return failed;
}

/* The share of new photos whose own landmark has the largest logit: each rank has its columns of the logits, so largest and own are joined over ranks. */
static int recognise(pfc_ctx *ctx, pfc_arcface *head, float *weight, pfc_shard mine, double *share)
{
    int64_t n = (int64_t)B * pfc_ctx_ranks(ctx), right = 0;
    float features[B * D];
    int64_t labels[B];
    double *logits = malloc((size_t)(n * mine.count) * sizeof *logits + 1), *best = malloc((size_t)n * 2 * sizeof *best);
    take_photos(ctx, STEPS, features, labels);
    pfc_arcface_input in = { .features = pfc_view_make(features, PFC_F32, B, D), .weight = pfc_view_make(weight, PFC_F32, mine.count * SIDES, D) };
    pfc_arcface_result result = { .logits = pfc_view_make(logits, PFC_F64, n, mine.count) };
    int failed = !logits || !best || pfc_arcface_eval(head, &in, &result) != PFC_OK;
    for (int64_t i = 0; i < n && !failed; i++) {
        int64_t own = take_photo((int64_t)STEPS * n + i, features);
        best[i] = best[n + i] = -1e300;
        for (int64_t c = 0; c < mine.count; c++) {
            double logit = logits[i * mine.count + c];
            if (logit > best[i]) best[i] = logit;
            if (mine.start + c == own) best[n + i] = logit;
        }
    }
    if (!failed) MPI_Allreduce(MPI_IN_PLACE, best, (int)(2 * n), MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    for (int64_t i = 0; i < n && !failed; i++) right += best[n + i] == best[i];
    *share = (double)right / (double)n;
    free(logits);
    free(best);
    return failed;
}

static int run(pfc_ctx *ctx)
{
    pfc_arcface_config cfg = pfc_arcface_defaults();
    cfg.num_classes = LANDMARKS;
    cfg.embedding_size = D;
    cfg.num_subcenters = SIDES;
    cfg.scale = 16.0;
    pfc_shard mine = pfc_shard_of(LANDMARKS, pfc_ctx_ranks(ctx), pfc_ctx_rank(ctx));
    int64_t rows = mine.count * SIDES;
    double share = 0.0;
    pfc_arcface *head = NULL;
    float *weight = malloc((size_t)(rows * D) * sizeof *weight + 1);
    int failed = !weight || pfc_arcface_create(ctx, &cfg, &head) != PFC_OK;
    for (int64_t i = 0; i < rows * D && !failed; i++) weight[i] = (float)pfc_normal(4, mine.start * SIDES * D + i, 0, PFC_STREAM_FILL);
    failed = failed || set_margins(ctx, head, mine) || train(ctx, head, weight, rows) || recognise(ctx, head, weight, mine, &share);
    if (!failed && pfc_ctx_rank(ctx) == 0) printf("recognised %.0f %% of new photos\n", 100.0 * share);
    if (!failed && share < 0.8) fprintf(stderr, "recognised only %.0f %%\n", 100.0 * share), failed = 1;
    pfc_arcface_destroy(&head);
    free(weight);
    return failed;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    char why[256] = "";
    pfc_ctx *ctx = NULL;
    int failed = pfc_ctx_create(MPI_COMM_WORLD, NULL, &ctx, why, sizeof why) != PFC_OK;
    if (failed) fprintf(stderr, "no context: %s\n", why);
    if (!failed) failed = run(ctx);
    pfc_ctx_destroy(&ctx);
    MPI_Finalize();
    return failed;
}
