/* train_encoder.c: trains a small network and a class-sharded layer on it, data-parallel, with checkpoints of both.
 *
 *     cc train_encoder.c $(pkg-config --cflags --libs pfc) -o train_encoder && mpirun -np 3 ./train_encoder
 *
 * 20 people; an example is the person's point in 16 dimensions or its mirror image through the origin, and some noise. The mean of a person's examples is
 * nothing, so the layer alone cannot learn them; behind two linear layers with batch norm and a ReLU in between it can. */
#include <mpi.h>
#include <pfc/pfc.h>
#include <stdio.h>
#include <unistd.h>

enum { PEOPLE = 20, EXAMPLES = 600, IN = 16, HIDDEN = 64, D = 32, BATCH = 60, STEPS = 120, FIRST = 40 };

typedef struct network {
    pfc_ctx *ctx;
    pfc_encoder *encoder;
    pfc_trainer *trainer;
} network;

static void take(const int64_t *numbers, int64_t count, float *x, int64_t *labels)
{
    for (int64_t i = 0; i < count; i++) {
        labels[i] = numbers[i] % PEOPLE;
        double side = numbers[i] / PEOPLE % 2 ? -1.0 : 1.0;
        for (int64_t d = 0; d < IN; d++)
            x[i * IN + d] =
                (float)(side * pfc_normal(2, labels[i] * IN + d, 0, PFC_STREAM_FILL) + 0.3 * pfc_normal(3, numbers[i] * IN + d, 0, PFC_STREAM_FILL));
    }
}

/* One step: through the network, the layer's step, back with its gradient. In exact mode real numbers are double. */
static pfc_status step(const network *n, pfc_train_result *result)
{
    static float x[BATCH * IN];
    static double y[BATCH * D], grad[BATCH * D];
    int64_t numbers[BATCH], labels[BATCH], b = BATCH / pfc_ctx_ranks(n->ctx);
    const pfc_view features = pfc_view_make(y, PFC_F64, b, D), none = pfc_view_make(NULL, PFC_F64, 0, 0);
    pfc_status st = pfc_trainer_batch(n->trainer, numbers);
    take(numbers, b, x, labels);
    result->x_grad = pfc_view_make(grad, PFC_F64, b, D);
    if (st == PFC_OK) st = pfc_encoder_forward(n->encoder, pfc_view_make(x, PFC_F32, b, IN), 1, features);
    if (st == PFC_OK) st = pfc_trainer_step(n->trainer, features, pfc_view_make(labels, PFC_I64, b, 1), result);
    if (st == PFC_OK) st = pfc_encoder_backward(n->encoder, result->x_grad, 1.0, none); /* of the mean over all rows: nothing to divide by */
    return st == PFC_OK ? pfc_encoder_update(n->encoder, result->lr) : st;
}

static pfc_status train(const network *n, int64_t end)
{
    pfc_train_result result;
    while (pfc_trainer_steps(n->trainer) < end) {
        pfc_status st = step(n, &result);
        if (st != PFC_OK) return st;
        if (pfc_ctx_rank(n->ctx) == 0 && pfc_trainer_steps(n->trainer) % 20 == 0)
            printf("step %3d  loss %.4f\n", (int)pfc_trainer_steps(n->trainer), result.loss);
    }
    return PFC_OK;
}

/* The encoder's state travels with the trainer's. */
static pfc_status save(const network *n, const char *folder, char *path, size_t size)
{
    pfc_item items[PFC_ENCODER_ITEMS];
    int count = 0;
    pfc_status st = pfc_encoder_items(n->encoder, "encoder", items, PFC_ENCODER_ITEMS, &count);
    return st == PFC_OK ? pfc_trainer_save(n->trainer, folder, 1, items, count, path, size) : st;
}

static pfc_status load(const network *n, const char *path)
{
    pfc_item items[PFC_ENCODER_ITEMS];
    int count = 0;
    pfc_status st = pfc_encoder_items(n->encoder, "encoder", items, PFC_ENCODER_ITEMS, &count);
    if (st == PFC_OK) st = pfc_trainer_load(n->trainer, path, items, count);
    return st == PFC_OK ? pfc_encoder_restore(n->encoder) : st; /* only now: a file that is refused changes nothing */
}

/* The share of 60 new examples of each rank that find their person. */
static pfc_status measure(const network *n, double *share)
{
    static float x[60 * IN];
    static double y[60 * D];
    int64_t numbers[60], labels[60], found[60], right = 0;
    for (int64_t i = 0; i < 60; i++) numbers[i] = 100000 + 60 * pfc_ctx_rank(n->ctx) + i;
    take(numbers, 60, x, labels);
    pfc_status st = pfc_encoder_forward(n->encoder, pfc_view_make(x, PFC_F32, 60, IN), 0, pfc_view_make(y, PFC_F64, 60, D));
    if (st == PFC_OK) st = pfc_trainer_nearest(n->trainer, pfc_view_make(y, PFC_F64, 60, D), found);
    for (int i = 0; st == PFC_OK && i < 60; i++) right += found[i] == labels[i];
    MPI_Allreduce(MPI_IN_PLACE, &right, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    *share = (double)right / (60.0 * pfc_ctx_ranks(n->ctx));
    return st;
}

static pfc_status open_network(network *n)
{
    pfc_train_config layer = pfc_train_defaults();
    pfc_encoder_config encoder = pfc_encoder_defaults(); /* batch norm over all ranks */
    layer.num_classes = PEOPLE, layer.embedding_size = D;
    layer.examples = EXAMPLES, layer.batch = BATCH;
    layer.total_steps = STEPS;
    layer.base_lr = 0.1;
    layer.partial_fc.head = PFC_HEAD_ARC;
    layer.partial_fc.scale = 16.0, layer.partial_fc.margin = 0.1;
    encoder.layers = 2;
    encoder.widths[0] = IN, encoder.widths[1] = HIDDEN, encoder.widths[2] = D;
    pfc_status st = pfc_encoder_create(n->ctx, &encoder, &n->encoder);
    return st == PFC_OK ? pfc_trainer_create(n->ctx, &layer, &n->trainer) : st;
}

static void close_network(network *n)
{
    pfc_trainer_destroy(&n->trainer);
    pfc_encoder_destroy(&n->encoder);
}

static int run(pfc_ctx *ctx)
{
    char folder[64], path[128] = "";
    double share = 0.0;
    network n = { .ctx = ctx };
    snprintf(folder, sizeof folder, "train_encoder-%d.checkpoints", pfc_ctx_ranks(ctx));
    pfc_status st = open_network(&n);
    if (st == PFC_OK) st = train(&n, FIRST);
    if (st == PFC_OK) st = save(&n, folder, path, sizeof path);
    close_network(&n);
    if (st == PFC_OK) st = open_network(&n); /* another run, perhaps on other ranks */
    if (st == PFC_OK) st = load(&n, path);
    if (st == PFC_OK) st = train(&n, STEPS);
    if (st == PFC_OK) st = measure(&n, &share);
    close_network(&n);
    if (st != PFC_OK) return fprintf(stderr, "%s: %s\n", pfc_status_string(st), pfc_ctx_error(ctx)), 1;
    if (pfc_ctx_rank(ctx) == 0) {
        printf("%.0f %% of new examples find their person\n", 100.0 * share);
        unlink(path);
        rmdir(folder);
    }
    return share > 0.9 ? 0 : 1;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    char why[256] = "";
    pfc_ctx *ctx = NULL;
    int failed = pfc_ctx_create(MPI_COMM_WORLD, NULL, &ctx, why, sizeof why) != PFC_OK; /* exact mode */
    if (failed) fprintf(stderr, "no context: %s\n", why);
    if (!failed) failed = run(ctx);
    pfc_ctx_destroy(&ctx);
    MPI_Finalize();
    return failed;
}
