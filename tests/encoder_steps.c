/* encoder_steps.c: a few training steps of the encoder in exact mode, written to a file for tests/peer_encoder_steps.py: inputs, the state before and after, outputs.
 *     encoder_steps FILE.h5
 * Any number of ranks that divides 12. */
#include <pfc/pfc.h>
#include <stdio.h>

enum { IN = 6, OUT = 4, N = 12, STEPS = 3 };

static double x[STEPS * N * IN], g[STEPS * N * OUT], y[STEPS + 1][N * OUT]; /* the last y: evaluation */

static pfc_encoder_config config(void)
{
    pfc_encoder_config c = pfc_encoder_defaults();
    const int64_t widths[] = { IN, 9, 7, OUT };
    c.layers = 3;
    for (int l = 0; l <= 3; l++) c.widths[l] = widths[l];
    c.weight_decay = 0.01;
    c.nesterov = 1;
    c.seed = 11;
    return c;
}

static pfc_status train(pfc_ctx *ctx, pfc_encoder *e)
{
    int64_t b = N / pfc_ctx_ranks(ctx), first = b * pfc_ctx_rank(ctx);
    const pfc_view none = pfc_view_make(NULL, PFC_F64, 0, 0);
    pfc_status st = PFC_OK;
    for (int i = 0; i <= STEPS && st == PFC_OK; i++) {
        int64_t row = i % STEPS * N + first;
        st = pfc_encoder_forward(e, pfc_view_make(x + row * IN, PFC_F64, b, IN), i < STEPS, pfc_view_make(y[i], PFC_F64, b, OUT));
        if (i == STEPS || st != PFC_OK) break;
        st = pfc_encoder_backward(e, pfc_view_make(g + row * OUT, PFC_F64, b, OUT), 1.0, none);
        if (st == PFC_OK) st = pfc_encoder_update(e, 0.1);
    }
    return st;
}

/* y of a step is cut over the ranks as pfc_shard_of cuts it. */
static pfc_status write_file(pfc_ctx *ctx, const char *path, pfc_encoder *start, pfc_encoder *end)
{
    static const char *const names[STEPS + 1] = { "y.0", "y.1", "y.2", "evaluated" };
    static pfc_item items[2 * PFC_ENCODER_ITEMS + 2 + STEPS + 1];
    int count = 0;
    items[count++] = pfc_item_tensor("x", x, PFC_F64, STEPS * N, IN, 0);
    items[count++] = pfc_item_tensor("grad_y", g, PFC_F64, STEPS * N, OUT, 0);
    for (int i = 0; i <= STEPS; i++) items[count++] = pfc_item_tensor(names[i], y[i], PFC_F64, N, OUT, 1);
    pfc_status st = pfc_encoder_items(start, "start", items, sizeof items / sizeof *items, &count);
    if (st == PFC_OK) st = pfc_encoder_items(end, "end", items, sizeof items / sizeof *items, &count);
    return st == PFC_OK ? pfc_checkpoint_write(ctx, path, items, count) : st;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    pfc_ctx *ctx = NULL;
    pfc_encoder *start = NULL, *end = NULL;
    pfc_encoder_config c = config();
    char why[256] = "";
    if (argc != 2 || pfc_ctx_create(MPI_COMM_WORLD, NULL, &ctx, why, sizeof why) != PFC_OK) return fprintf(stderr, "encoder_steps FILE.h5: %s\n", why), 99;
    for (int i = 0; i < STEPS * N * IN; i++) x[i] = (float)pfc_normal(21, i, 0, PFC_STREAM_FILL);
    for (int i = 0; i < STEPS * N * OUT; i++) g[i] = (float)pfc_normal(22, i, 0, PFC_STREAM_FILL);
    pfc_status st = pfc_encoder_create(ctx, &c, &start);
    if (st == PFC_OK) st = pfc_encoder_create(ctx, &c, &end);
    if (st == PFC_OK) st = train(ctx, end);
    if (st == PFC_OK) st = write_file(ctx, argv[1], start, end);
    if (st != PFC_OK) fprintf(stderr, "%s\n", pfc_ctx_error(ctx));
    pfc_encoder_destroy(&start);
    pfc_encoder_destroy(&end);
    pfc_ctx_destroy(&ctx);
    MPI_Finalize();
    return st == PFC_OK ? 0 : 1;
}
