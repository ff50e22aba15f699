/* train_features.c: trains a class-sharded layer on features that a program has in memory, with checkpoints.
 *
 *     cc train_features.c $(pkg-config --cflags --libs pfc) -o train_features && mpirun -np 3 ./train_features
 *
 * 60 people, 12 feature vectors of each: the person's point in 16 dimensions and some noise. The program trains for 30 steps, writes a checkpoint, throws all
 * away, goes on from the checkpoint as another run would do, on these ranks or on others, and says how many new vectors find their person. With features in
 * files `pfc_ref train --features FILE --labels FILE` does the same. */
#include <mpi.h>
#include <pfc/pfc.h>
#include <stdio.h>
#include <unistd.h>

enum { PEOPLE = 60, EACH = 12, D = 16, BATCH = 60, STEPS = 72, FIRST = 30 };

static int64_t person_of(int64_t example) { return example % PEOPLE; }

/* Rows of features: those of the examples with these numbers. Whoever reads them from a file reads these rows. */
static void take(const int64_t *numbers, int64_t count, float *features, int64_t *labels)
{
    for (int64_t i = 0; i < count; i++) {
        labels[i] = person_of(numbers[i]);
        for (int64_t d = 0; d < D; d++) {
            double person = pfc_normal(2, labels[i] * D + d, 0, PFC_STREAM_FILL), noise = pfc_normal(3, numbers[i] * D + d, 0, PFC_STREAM_FILL);
            features[i * D + d] = (float)(person + 0.4 * noise);
        }
    }
}

/* Steps until `end` are done; the loss of the last one. */
static int train(pfc_ctx *ctx, pfc_trainer *trainer, int64_t end, double *loss)
{
    float features[BATCH * D];
    int64_t labels[BATCH], numbers[BATCH], b = BATCH / pfc_ctx_ranks(ctx);
    while (pfc_trainer_steps(trainer) < end) {
        pfc_train_result result = { .loss = 0.0 }; /* x_grad would be the gradient for a network behind the features */
        pfc_status status = pfc_trainer_batch(trainer, numbers);
        if (status == PFC_OK) {
            take(numbers, b, features, labels);
            status = pfc_trainer_step(trainer, pfc_view_make(features, PFC_F32, b, D), pfc_view_make(labels, PFC_I64, b, 1), &result);
        }
        if (status != PFC_OK) return fprintf(stderr, "%s: %s\n", pfc_status_string(status), pfc_ctx_error(ctx)), 1;
        *loss = result.loss;
        if (pfc_ctx_rank(ctx) == 0 && pfc_trainer_steps(trainer) % 12 == 0)
            printf("step %2d  loss %.4f  lr %.4f\n", (int)pfc_trainer_steps(trainer), result.loss, result.lr);
    }
    return 0;
}

/* The share of new examples whose nearest centre is their person's: every rank looks at its own 60. */
static int measure(pfc_ctx *ctx, pfc_trainer *trainer, double *share)
{
    float features[60 * D];
    int64_t numbers[60], labels[60], found[60], right = 0;
    for (int64_t i = 0; i < 60; i++) numbers[i] = 100000 + 60 * pfc_ctx_rank(ctx) + i;
    take(numbers, 60, features, labels);
    if (pfc_trainer_nearest(trainer, pfc_view_make(features, PFC_F32, 60, D), found) != PFC_OK) return fprintf(stderr, "%s\n", pfc_ctx_error(ctx)), 1;
    for (int i = 0; i < 60; i++) right += found[i] == labels[i];
    MPI_Allreduce(MPI_IN_PLACE, &right, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    *share = (double)right / (60.0 * pfc_ctx_ranks(ctx));
    return 0;
}

static int run(pfc_ctx *ctx, const pfc_train_config *cfg)
{
    char folder[64], path[128] = "";
    double first = 0.0, last = 0.0, share = 0.0;
    pfc_trainer *trainer = NULL;
    snprintf(folder, sizeof folder, "train_features-%d.checkpoints", pfc_ctx_ranks(ctx));

    int failed = pfc_trainer_create(ctx, cfg, &trainer) != PFC_OK || train(ctx, trainer, 1, &first) || train(ctx, trainer, FIRST, &last);
    failed = failed || pfc_trainer_save(trainer, folder, 1, NULL, 0, path, sizeof path) != PFC_OK;
    pfc_trainer_destroy(&trainer);

    failed = failed || pfc_trainer_create(ctx, cfg, &trainer) != PFC_OK || pfc_trainer_load(trainer, path, NULL, 0) != PFC_OK;
    failed = failed || train(ctx, trainer, STEPS, &last) || measure(ctx, trainer, &share);
    pfc_trainer_destroy(&trainer);
    if (failed) return fprintf(stderr, "%s\n", pfc_ctx_error(ctx)), 1;

    if (pfc_ctx_rank(ctx) == 0) {
        printf("%.0f %% of new examples find their person\n", 100.0 * share);
        unlink(path);
        rmdir(folder);
    }
    if (last < 0.5 * first && share > 0.8) return 0;
    fprintf(stderr, "the loss did not fall, from %.4f to %.4f, or only %.2f find their person\n", first, last, share);
    return 1;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    char why[256] = "";
    pfc_ctx *ctx = NULL;
    int failed = pfc_ctx_create(MPI_COMM_WORLD, NULL, &ctx, why, sizeof why) != PFC_OK; /* exact mode */
    if (failed) fprintf(stderr, "no context: %s\n", why);
    if (!failed) {
        pfc_train_config cfg = pfc_train_defaults();
        cfg.num_classes = PEOPLE;
        cfg.embedding_size = D;
        cfg.examples = PEOPLE * EACH;
        cfg.batch = BATCH;
        cfg.total_steps = STEPS;
        cfg.schedule = PFC_SCHEDULE_COSINE;
        cfg.warmup_steps = 5;
        cfg.base_lr = 0.5;
        cfg.partial_fc.head = PFC_HEAD_ARC;
        cfg.partial_fc.scale = 16.0;
        cfg.partial_fc.margin = 0.1;
        cfg.partial_fc.sample_rate = 0.8;
        cfg.partial_fc.sample_rule = PFC_SAMPLE_GLOBAL; /* the same classes on any number of ranks */
        failed = run(ctx, &cfg);
    }
    pfc_ctx_destroy(&ctx);
    MPI_Finalize();
    return failed;
}
