/* moco.c: what the batch shuffle of MoCo is for, on a linear encoder with batch norm.
 *
 *     cc moco.c $(pkg-config --cflags --libs pfc) && mpirun -np 8 ./a.out
 *
 * A batch norm computes its mean over the images of one rank, so the outputs of a rank's batch sum to zero, and each is minus the sum of the others: the
 * other keys of the batch give a key away, without a look at its image. A network that finds such a short cut need not learn to see. The shuffle deals the
 * images out to the ranks before the key encoder and puts the keys back after it, so the keys of a rank no longer have their statistics from one batch.
 *
 * For every image this program guesses the key from the other keys of its rank alone, g_i = - sum_(j != i) k_j, and asks how often the key most similar to
 * the guess, among the keys of all ranks, is the right one. Without the shuffle nearly always, with it seldom: all that is left are images that happened to
 * stay together. The images are noise: nothing about a key can honestly be known from other images. With one rank there is nothing to shuffle with
 * (semantics.md 6.6, MOCO-4), and the leak stays. The exit status is 0 if that is what was seen. */
#include <math.h>
#include <mpi.h>
#include <pfc/pfc.h>
#include <stdio.h>
#include <stdlib.h>

enum { IMAGES = 8, PIXELS = 32, WIDTH = 16, STEPS = 50 }; /* per rank; the encoder's parameters are a matrix (PIXELS, WIDTH) */

/* keys = batch_norm(images W): the mean and variance of every column over the images at hand, which are those of one rank. */
static int encoder(void *user, pfc_view params, pfc_view images, pfc_view keys)
{
    const float *w = params.data, *x = images.data;
    float *y = keys.data;
    (void)user;
    for (int64_t d = 0; d < WIDTH; d++) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < images.rows; i++) {
            double sum = 0;
            for (int64_t p = 0; p < PIXELS; p++) sum += (double)x[i * images.ld + p] * (double)w[p * WIDTH + d];
            y[i * keys.ld + d] = (float)sum;
            mean += sum / (double)images.rows;
            variance += sum * sum / (double)images.rows;
        }
        variance -= mean * mean;
        for (int64_t i = 0; i < images.rows; i++) y[i * keys.ld + d] = (float)(((double)y[i * keys.ld + d] - mean) / sqrt(variance + 1e-5));
    }
    return 0;
}

static double dot(const float *a, const float *b)
{
    double sum = 0;
    for (int d = 0; d < WIDTH; d++) sum += (double)a[d] * (double)b[d];
    return sum;
}

/* Of this rank's keys, how many are found from the others. all: the keys of all ranks, mine: this rank's place among them. */
static int found(const float *all, int total, int first)
{
    const float *own = all + first * WIDTH;
    int hits = 0;
    for (int i = 0; i < IMAGES; i++) {
        float guess[WIDTH] = { 0 };
        int best = -1;
        for (int j = 0; j < IMAGES; j++)
            for (int d = 0; j != i && d < WIDTH; d++) guess[d] -= own[j * WIDTH + d];
        for (int n = 0; n < total; n++)
            if (best < 0 || dot(guess, all + n * WIDTH) > dot(guess, all + best * WIDTH)) best = n;
        hits += best == first + i;
    }
    return hits;
}

static void stop(const pfc_ctx *ctx, const char *what)
{
    fprintf(stderr, "%s: %s\n", what, pfc_ctx_error(ctx));
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* The share of keys that are found, over all ranks and STEPS batches. */
static double leak(pfc_ctx *ctx, pfc_moco *moco, const float *params, int shuffle)
{
    int rank = pfc_ctx_rank(ctx), ranks = pfc_ctx_ranks(ctx), hits = 0;
    float images[IMAGES * PIXELS], keys[IMAGES * WIDTH], *all = malloc((size_t)(ranks * IMAGES * WIDTH) * sizeof *all);
    for (int step = 0; step < STEPS; step++) {
        for (int64_t i = 0; i < IMAGES * PIXELS; i++) images[i] = (float)pfc_normal(1, rank * IMAGES * PIXELS + i, (uint32_t)step, PFC_STREAM_FILL);
        pfc_view theta = pfc_view_make((void *)params, PFC_F32, 1, PIXELS * WIDTH);
        if (pfc_moco_hook(moco, theta, pfc_view_make(images, PFC_F32, IMAGES, PIXELS), encoder, NULL, shuffle, step,
                          pfc_view_make(keys, PFC_F32, IMAGES, WIDTH)) != PFC_OK)
            stop(ctx, "hook");
        MPI_Allgather(keys, IMAGES * WIDTH, MPI_FLOAT, all, IMAGES * WIDTH, MPI_FLOAT, MPI_COMM_WORLD);
        hits += found(all, ranks * IMAGES, rank * IMAGES);
    }
    MPI_Allreduce(MPI_IN_PLACE, &hits, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    free(all);
    return (double)hits / (double)(STEPS * IMAGES * ranks);
}

int main(int argc, char **argv)
{
    float params[PIXELS * WIDTH];
    pfc_options options = { .mode = PFC_FAST };
    pfc_moco_config config = pfc_moco_defaults();
    pfc_ctx *ctx = NULL;
    pfc_moco *moco = NULL;
    char why[256];
    MPI_Init(&argc, &argv);
    if (pfc_ctx_create(MPI_COMM_WORLD, &options, &ctx, why, sizeof why) != PFC_OK) {
        fprintf(stderr, "%s\n", why);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    config.num_params = PIXELS * WIDTH;
    config.embedding_size = WIDTH;
    config.queue_size = 64; /* not used here: the leak is in the keys themselves */
    if (pfc_moco_create(ctx, &config, &moco) != PFC_OK) stop(ctx, "create");
    for (int64_t i = 0; i < PIXELS * WIDTH; i++) params[i] = (float)pfc_normal(2, i, 0, PFC_STREAM_FILL);

    int ranks = pfc_ctx_ranks(ctx), rank = pfc_ctx_rank(ctx);
    double without = leak(ctx, moco, params, 0), with = leak(ctx, moco, params, 1);
    int seen = without > 0.9 && (ranks == 1 ? with == without : with < without - 0.25);
    if (rank == 0) {
        printf("%d rank%s of %d images: keys given away by their batch\n", ranks, ranks == 1 ? "" : "s", IMAGES);
        printf("  without the shuffle   %5.1f %%\n", 100 * without);
        printf("  with the shuffle      %5.1f %%%s\n", 100 * with, ranks == 1 ? "   (one rank does not shuffle)" : "");
        if (!seen) printf("not what was expected\n");
    }
    pfc_moco_destroy(&moco);
    pfc_ctx_destroy(&ctx);
    MPI_Finalize();
    return seen ? 0 : 1;
}
