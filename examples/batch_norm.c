/* batch_norm.c: what synchronous batch norm is for. The same batch of 24 samples is normalised three ways: whole on one rank, cut over the ranks with
 * statistics of each rank's own part, and cut over the ranks with shared statistics. The last one must give what the first gave; the middle one not.
 *
 *     mpirun -np 3 ./batch_norm */
#include <math.h>
#include <mpi.h>
#include <pfc/pfc.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 24, C = 3, L = 4, SAMPLE = C * L }; /* samples, channels, elements of a channel in a sample */

/* Later samples are larger: parts of the batch have other statistics than the whole. */
static float element(int64_t i) { return (float)(pfc_normal(7, i, 0, PFC_STREAM_FILL) * (1.0 + (double)(i / SAMPLE) / 8.0) + (double)(i / SAMPLE) / 4.0); }

static void check(pfc_status status, const pfc_ctx *ctx, const char *what)
{
    if (status == PFC_OK) return;
    fprintf(stderr, "%s: %s\n", what, ctx ? pfc_ctx_error(ctx) : pfc_status_string(status));
    MPI_Abort(MPI_COMM_WORLD, 5);
}

/* y and x_grad of samples [first, first + count) on the ranks of comm; the loss is sum y^3 / 3, so its gradient is y^2. */
static void normalise(MPI_Comm comm, pfc_bn_kind kind, int64_t first, int64_t count, double *y, double *x_grad)
{
    pfc_ctx *ctx = NULL;
    pfc_batch_norm *layer = NULL;
    pfc_batch_norm_config cfg = pfc_batch_norm_defaults();
    char why[256] = "";
    float *x = malloc((size_t)(count * SAMPLE + 1) * sizeof *x);
    double *g = malloc((size_t)(count * SAMPLE + 1) * sizeof *g);
    if (!x || !g) MPI_Abort(MPI_COMM_WORLD, 5);
    cfg.kind = kind;
    cfg.channels = C;
    cfg.num_sync_devices = 0; /* all ranks of comm share */
    check(pfc_ctx_create(comm, NULL, &ctx, why, sizeof why), ctx, why);
    check(pfc_batch_norm_create(ctx, &cfg, &layer), ctx, "create");
    for (int64_t i = 0; i < count * SAMPLE; i++) x[i] = element(first * SAMPLE + i);
    pfc_view in = pfc_view_make(x, PFC_F32, count * C, L), out = pfc_view_make(y, PFC_F64, count * C, L);
    check(pfc_batch_norm_forward(layer, in, 1, out), ctx, "forward");
    for (int64_t i = 0; i < count * SAMPLE; i++) g[i] = y[i] * y[i];
    pfc_batch_norm_result result = { .x_grad = pfc_view_make(x_grad, PFC_F64, count * C, L) };
    check(pfc_batch_norm_backward(layer, in, pfc_view_make(g, PFC_F64, count * C, L), &result), ctx, "backward");
    pfc_batch_norm_destroy(&layer);
    pfc_ctx_destroy(&ctx);
    free(x);
    free(g);
}

static double distance(const double *a, const double *b, int64_t n)
{
    double largest = 0.0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(a[i] - b[i]));
    return largest;
}

int main(int argc, char **argv)
{
    static double whole_y[N * SAMPLE], whole_dx[N * SAMPLE], y[N * SAMPLE], dx[N * SAMPLE];
    int rank, ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    pfc_shard part = pfc_shard_of(N, ranks, rank);
    int64_t at = part.start * SAMPLE, elements = part.count * SAMPLE;

    normalise(MPI_COMM_SELF, PFC_BN_PLAIN, 0, N, whole_y, whole_dx);
    double error[3];
    normalise(MPI_COMM_WORLD, PFC_BN_PLAIN, part.start, part.count, y, dx);
    error[0] = distance(y, whole_y + at, elements);
    normalise(MPI_COMM_WORLD, PFC_BN_SYNC, part.start, part.count, y, dx);
    error[1] = distance(y, whole_y + at, elements);
    error[2] = distance(dx, whole_dx + at, elements);
    MPI_Allreduce(MPI_IN_PLACE, error, 3, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);

    if (rank == 0) {
        printf("largest difference from the whole batch on one rank, %d rank%s\n", ranks, ranks == 1 ? "" : "s");
        printf("  each rank's own statistics   y %.3g\n", error[0]);
        printf("  statistics of all ranks      y %.3g, gradient %.3g\n", error[1], error[2]);
    }
    int good = error[1] < 1e-12 && error[2] < 1e-12 && (ranks == 1 || error[0] > 0.1);
    MPI_Finalize();
    return good ? 0 : 1;
}
