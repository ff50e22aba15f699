/* partial_fc.c: a training loop over a softmax layer whose classes are spread over the ranks.
 *
 *     cc partial_fc.c $(pkg-config --cflags --libs pfc) -o partial_fc && mpirun -np 3 ./partial_fc
 *
 * 60 people, 8 photos of them on every rank in a step. A photo is its person's point in 16 dimensions and some noise; the "network" that makes features of
 * photos is a matrix M, the same on all ranks: features = photos M. The layer turns features into a loss and the gradient of the features, and trains its
 * own class weights; M follows by the chain rule, its gradient summed over the ranks as in data-parallel training. The loss must fall. */
#include <mpi.h>
#include <pfc/pfc.h>
#include <stdio.h>
#include <stdlib.h>

enum { PEOPLE = 60, D = 16, B = 8, STEPS = 60 };

/* Photos of this rank in a step, and whose they are. */
static void take_photos(int step, int rank, float photos[B * D], int64_t people[B])
{
    for (int64_t i = 0; i < B; i++) {
        int64_t photo = ((int64_t)step * 1000 + rank) * B + i;
        people[i] = (int64_t)(pfc_uniform(1, photo, 0, PFC_STREAM_FILL) * PEOPLE);
        for (int64_t k = 0; k < D; k++) {
            double person = pfc_normal(2, people[i] * D + k, 0, PFC_STREAM_FILL), noise = pfc_normal(3, photo * D + k, 0, PFC_STREAM_FILL);
            photos[i * D + k] = (float)(person + 0.3 * noise);
        }
    }
}

/* features = photos M */
static void forward(const float *photos, const double *m, float *features)
{
    for (int i = 0; i < B; i++)
        for (int k = 0; k < D; k++) {
            double sum = 0.0;
            for (int j = 0; j < D; j++) sum += photos[i * D + j] * m[j * D + k];
            features[i * D + k] = (float)sum;
        }
}

/* M -= rate * photos^T grad, summed over the ranks */
static void backward(const float *photos, const double *grad, double rate, double *m)
{
    double sum[D * D] = { 0.0 };
    for (int i = 0; i < B; i++)
        for (int j = 0; j < D; j++)
            for (int k = 0; k < D; k++) sum[j * D + k] += photos[i * D + j] * grad[i * D + k];
    MPI_Allreduce(MPI_IN_PLACE, sum, D * D, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (int j = 0; j < D * D; j++) m[j] -= rate * sum[j];
}

static int train(pfc_ctx *ctx, pfc_partial_fc *layer, double *first, double *last)
{
    float photos[B * D], features[B * D];
    double grad[B * D], m[D * D] = { 0.0 };
    int64_t people[B];
    for (int k = 0; k < D; k++) m[k * D + k] = 1.0;
    *first = *last = 0.0;
    for (int step = 0; step < STEPS; step++) {
        take_photos(step, pfc_ctx_rank(ctx), photos, people);
        forward(photos, m, features);
        pfc_partial_fc_result result = { .x_grad = pfc_view_make(grad, PFC_F64, B, D) };
        pfc_status status = pfc_partial_fc_step(layer, pfc_view_make(features, PFC_F32, B, D), pfc_view_make(people, PFC_I64, B, 1),
                                                pfc_view_make(NULL, PFC_F64, 0, 0), &result);
        if (status != PFC_OK) return fprintf(stderr, "step %d: %s: %s\n", step, pfc_status_string(status), pfc_ctx_error(ctx)), 1;
        backward(photos, grad, 0.05, m);
        if (pfc_ctx_rank(ctx) == 0 && step % 10 == 0) printf("step %2d  loss %.6f\n", step, result.loss);
        if (step < 5) *first += result.loss / 5;
        if (step >= STEPS - 5) *last += result.loss / 5;
    }
    return 0;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    char why[256] = "";
    double first = 0.0, last = 0.0;
    pfc_ctx *ctx = NULL;
    pfc_partial_fc *layer = NULL;
    int failed = pfc_ctx_create(MPI_COMM_WORLD, NULL, &ctx, why, sizeof why) != PFC_OK;
    if (failed) fprintf(stderr, "no context: %s\n", why);
    if (!failed) {
        pfc_partial_fc_config cfg = pfc_partial_fc_defaults(); /* head cos */
        cfg.num_classes = PEOPLE;
        cfg.embedding_size = D;
        cfg.scale = 16.0;
        cfg.margin = 0.2;
        cfg.sample_rate = 0.5; /* half of each rank's classes, those of the batch first */
        cfg.lr = 0.5;
        cfg.xgrad_scale = 1.0; /* the gradient of the mean over all ranks' rows */
        failed = pfc_partial_fc_create(ctx, &cfg, &layer) != PFC_OK;
        if (failed) fprintf(stderr, "no layer: %s\n", pfc_ctx_error(ctx));
    }
    if (!failed) failed = train(ctx, layer, &first, &last);
    if (!failed && !(last < 0.7 * first)) {
        fprintf(stderr, "the loss did not fall: %.6f at first, %.6f at last\n", first, last);
        failed = 1;
    }
    pfc_partial_fc_destroy(&layer);
    pfc_ctx_destroy(&ctx);
    MPI_Finalize();
    return failed;
}
