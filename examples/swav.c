/* swav.c: the prototypes of SwAV learn clusters. Samples lie around four directions; each has three crops (the same direction, other noise). Every
 * iteration assigns two of the crops to prototypes by Sinkhorn over all ranks, with a queue from the second epoch on, and asks the other crops to predict
 * the assignment. Only the prototypes are trained. The loss starts near ln K, that of a guess, and must fall well below it.
 *
 *     mpirun -np 3 ./swav */
#include <math.h>
#include <mpi.h>
#include <pfc/pfc.h>
#include <stdio.h>
#include <stdlib.h>

enum { K = 8, D = 16, CROPS = 3, BS = 16, CLUSTERS = 4, EPOCHS = 6, STEPS = 10, ASSIGN = 2 };

static void check(pfc_status status, const pfc_ctx *ctx, const char *what)
{
    if (status == PFC_OK) return;
    fprintf(stderr, "%s: %s\n", what, ctx ? pfc_ctx_error(ctx) : pfc_status_string(status));
    MPI_Abort(MPI_COMM_WORLD, 5);
}

/* Row v*BS + n is crop v of sample n: its cluster's direction and noise. */
static void make_batch(int rank, int step, float *x)
{
    for (int row = 0; row < CROPS * BS; row++)
        for (int d = 0; d < D; d++) {
            int64_t sample = (int64_t)step * 4096 + rank * BS + row % BS, cluster = sample % CLUSTERS;
            double noise = pfc_normal(1, (sample * CROPS + row / BS) * D + d, 0, PFC_STREAM_FILL);
            x[row * D + d] = (float)(pfc_normal(2, cluster * D + d, 0, PFC_STREAM_FILL) + 0.2 * noise);
        }
}

/* Largest distance of a sample's assignment from having mass 1. */
static double mass_error(const double *q)
{
    double worst = 0.0;
    for (int i = 0; i < ASSIGN * BS; i++) {
        double sum = 0.0;
        for (int k = 0; k < K; k++) sum += q[i * K + k];
        worst = fmax(worst, fabs(sum - 1.0));
    }
    return worst;
}

int main(int argc, char **argv)
{
    static const int64_t assign[ASSIGN] = { 0, 1 };
    static float x[CROPS * BS * D];
    static double q[ASSIGN * BS * K], lr[EPOCHS * STEPS];
    pfc_ctx *ctx = NULL;
    pfc_swav *layer = NULL;
    char why[256] = "";
    int rank, ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    check(pfc_ctx_create(MPI_COMM_WORLD, NULL, &ctx, why, sizeof why), ctx, why);
    pfc_swav_config cfg = pfc_swav_defaults();
    cfg.num_prototypes = K, cfg.embedding_size = D, cfg.crops = CROPS, cfg.num_assign = ASSIGN, cfg.crops_for_assign = assign;
    cfg.queue_length = 2 * BS * ranks, cfg.epoch_queue_starts = 1, cfg.larc = 0, cfg.seed = 3;
    check(pfc_swav_create(ctx, &cfg, &layer), ctx, "create");
    pfc_lr_config schedule = { 0.5, 0.0, 0.0, 1, EPOCHS, STEPS };
    check(pfc_lr_schedule(&schedule, lr), ctx, "schedule");

    double first = 0.0, last = 0.0, worst = 0.0;
    for (int step = 0; step < EPOCHS * STEPS; step++) {
        if (step % STEPS == 0) check(pfc_swav_begin_epoch(layer, step / STEPS, BS), ctx, "epoch");
        make_batch(rank, step, x);
        pfc_swav_result result = { .assignment = pfc_view_make(q, PFC_F64, ASSIGN * BS, K) };
        check(pfc_swav_step(layer, pfc_view_make(x, PFC_F32, CROPS * BS, D), 0, &result), ctx, "step");
        check(pfc_swav_update(layer, lr[step]), ctx, "update");
        double loss = result.loss / ranks;
        MPI_Allreduce(MPI_IN_PLACE, &loss, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        worst = fmax(worst, mass_error(q));
        first = step ? first : loss;
        last = loss;
        if (rank == 0 && step % STEPS == STEPS - 1)
            printf("epoch %d: loss %.4f, queue of %lld rows\n", step / STEPS, loss, (long long)pfc_swav_queue_length(layer));
    }
    if (rank == 0) printf("loss %.4f, at the end %.4f; ln K = %.4f\n", first, last, log(K));
    MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    pfc_swav_destroy(&layer);
    pfc_ctx_destroy(&ctx);
    MPI_Finalize();
    return last < 0.75 * first && last < log(K) && worst < 1e-12 ? 0 : 1;
}
