/* test_encoder_state.c: the encoder through the public interface: parameters in and out, checkpoints, refusals. */
#include "encoder_problem.h"
#include "pfc_test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- parameters ---- */

START_TEST(parameters)
{
    pfc_ctx *ctx = encoder_ctx(MPI_COMM_WORLD, PFC_EXACT);
    pfc_encoder_config c = encoder_config(2);
    pfc_encoder *e = encoder_make(ctx, &c), *other;
    double p[DENSE_PARAMS], q[DENSE_PARAMS];
    int64_t n = pfc_encoder_params(e), norm = 7 * IN, second = norm + 14;
    ck_assert(n == 7 * IN + 14 + OUT * 7 + 2 * OUT);
    ck_assert(pfc_encoder_get_params(e, pfc_view_make(p, PFC_F64, 1, n)) == PFC_OK);
    for (int64_t i = 0; i < 7 * IN; i++) ck_assert(p[i] == (float)((2.0 * pfc_uniform(5, i, 0, PFC_STREAM_ENCODER) - 1.0) * (1.0 / sqrt(IN))));
    for (int64_t i = 0; i < OUT * 7; i++) ck_assert(p[second + i] == (float)((2.0 * pfc_uniform(5, i, 1, PFC_STREAM_ENCODER) - 1.0) * (1.0 / sqrt(7.0))));
    for (int64_t i = 0; i < 14; i++) ck_assert(p[norm + i] == (i < 7 ? 1.0 : 0.0));

    p[3] = 0.1; /* no float32 number */
    ck_assert(pfc_encoder_set_params(e, pfc_view_make(p, PFC_F64, 1, n)) == PFC_OK && pfc_encoder_get_params(e, pfc_view_make(q, PFC_F64, 1, n)) == PFC_OK);
    ck_assert(q[3] == 0.1f && q[4] == p[4]);
    for (int64_t i = 0; i < 7; i++) p[norm + i] = 0.0, p[norm + 7 + i] = 0.5; /* batch norm hears of it: all hidden values are 0.5 */
    other = encoder_make(ctx, &c);
    float f[DENSE_PARAMS];
    for (int64_t i = 0; i < n; i++) f[i] = (float)p[i];
    ck_assert(pfc_encoder_set_params(other, pfc_view_make(f, PFC_F32, 1, n)) == PFC_OK);
    double y[DENSE_SIZE];
    encoder_forward(ctx, other, 0, 0, 2, 0, y);
    ck_assert(memcmp(y, y + OUT, OUT * sizeof *y) == 0);
    pfc_encoder_destroy(&e);
    pfc_encoder_destroy(&other);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- checkpoints ---- */

static pfc_status write_state(pfc_ctx *ctx, pfc_encoder *e)
{
    pfc_item items[PFC_ENCODER_ITEMS];
    int count = 0;
    pfc_status st = pfc_encoder_items(e, "encoder", items, PFC_ENCODER_ITEMS, &count);
    return st == PFC_OK ? pfc_checkpoint_write(ctx, pfc_test_path("encoder"), items, count) : st;
}

static pfc_status read_state(pfc_ctx *ctx, pfc_encoder *e)
{
    pfc_item items[PFC_ENCODER_ITEMS];
    int count = 0;
    pfc_status st = pfc_encoder_items(e, "encoder", items, PFC_ENCODER_ITEMS, &count);
    if (st == PFC_OK) st = pfc_checkpoint_read(ctx, pfc_test_path("encoder"), items, count);
    return st == PFC_OK ? pfc_encoder_restore(e) : st;
}

static void remove_state(void)
{
    MPI_Barrier(MPI_COMM_WORLD);
    if (pfc_test_rank() == 0) unlink(pfc_test_path("encoder"));
}

/* 2 steps, a checkpoint, 2 steps: the bits of 4 steps. Where every rank has statistics of its own, all go on with rank 0's. */
START_TEST(checkpoints)
{
    int64_t b = N / pfc_test_ranks(), first = b * pfc_test_rank();
    for (int i = 0; i < 2 * KINDS; i++) {
        pfc_encoder_config c = encoder_config_of(2, i / 2, pfc_test_ranks());
        c.last_norm = i % 2;
        pfc_ctx *ctx = encoder_ctx(MPI_COMM_WORLD, i % 2 ? PFC_EXACT : PFC_FAST);
        pfc_encoder *e = encoder_make(ctx, &c), *f;
        encoder_results want, got;
        for (int k = 0; k < 2; k++) encoder_step(ctx, e, k, first, b, &want);
        PFC_AGREE(MPI_COMM_WORLD, write_state(ctx, e) == PFC_OK);
        for (int k = 2; k < 4; k++) encoder_step(ctx, e, k, first, b, &want);
        encoder_forward(ctx, e, 4, first, b, 0, want.y);
        c.seed = 99;
        f = encoder_make(ctx, &c);
        encoder_step(ctx, f, 7, first, b, &got);
        pfc_status st = read_state(ctx, f);
        ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
        for (int k = 2; k < 4; k++) encoder_step(ctx, f, k, first, b, &got);
        encoder_forward(ctx, f, 4, first, b, 0, got.y);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(got.y, want.y, (size_t)(b * OUT) * sizeof(double)) == 0);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(got.param, want.param, (size_t)pfc_encoder_params(e) * sizeof(double)) == 0);
        pfc_encoder_destroy(&e);
        pfc_encoder_destroy(&f);
        pfc_ctx_destroy(&ctx);
    }
    remove_state();
}
END_TEST

/* Another shape, other statistics: refused, and the encoder is as it was. */
START_TEST(refused_checkpoints)
{
    int64_t b = N / pfc_test_ranks(), first = b * pfc_test_rank();
    pfc_ctx *ctx = encoder_ctx(MPI_COMM_WORLD, PFC_EXACT);
    pfc_encoder_config c = encoder_config(3), others[3] = { encoder_config(3), encoder_config(2), encoder_config(3) };
    pfc_encoder *e = encoder_make(ctx, &c), *same = encoder_make(ctx, &c);
    encoder_results want, got;
    others[0].widths[1] = 8;
    others[2].last_norm = 0;
    for (int k = 0; k < 2; k++) encoder_step(ctx, e, k, first, b, &got), encoder_step(ctx, same, k, first, b, &want);
    for (int i = 0; i < 3; i++) {
        pfc_encoder *other = encoder_make(ctx, &others[i]);
        PFC_AGREE(MPI_COMM_WORLD, write_state(ctx, other) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, read_state(ctx, e) == PFC_ERR_DATA);
        if (i == 0) ck_assert_msg(strstr(pfc_ctx_error(ctx), "encoder.0.weight: found (8,5), expected (7,5)") != NULL, "%s", pfc_ctx_error(ctx));
        pfc_encoder_destroy(&other);
    }
    encoder_step(ctx, e, 2, first, b, &got), encoder_step(ctx, same, 2, first, b, &want);
    PFC_AGREE(MPI_COMM_WORLD, memcmp(got.y, want.y, (size_t)(b * OUT) * sizeof(double)) == 0);
    PFC_AGREE(MPI_COMM_WORLD, memcmp(got.param, want.param, (size_t)pfc_encoder_params(e) * sizeof(double)) == 0);

    remove_state();
    pfc_item items[4];
    int count = 0;
    ck_assert(pfc_encoder_items(e, "encoder", items, 4, &count) == PFC_ERR_ARG && count == 0);
    ck_assert(pfc_encoder_items(e, "a name that is much too long", items, 4, &count) == PFC_ERR_ARG);
    pfc_encoder_destroy(&e);
    pfc_encoder_destroy(&same);
    e = encoder_make(ctx, &c);
    ck_assert(pfc_encoder_restore(e) == PFC_ERR_ARG);
    pfc_encoder_destroy(&e);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- refusals ---- */

static bool refused(pfc_ctx *ctx, pfc_status got, pfc_status want, const char *text)
{
    if (got == want && strstr(pfc_ctx_error(ctx), text)) return true;
    fprintf(stderr, "# status %d, text: %s\n", (int)got, pfc_ctx_error(ctx));
    return false;
}

START_TEST(bad_settings)
{
    pfc_ctx *ctx = encoder_ctx(MPI_COMM_WORLD, PFC_EXACT);
    pfc_encoder *e = NULL;
    pfc_encoder_config c = pfc_encoder_defaults();
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "layers: found 0") && !e);
    c = encoder_config(2), c.layers = 9;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "layers: found 9, expected 1 to 8"));
    c = encoder_config(2), c.widths[1] = 0;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "widths: found 0"));
    c = encoder_config(2), c.widths[0] = (1 << 24) + 1;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "widths"));
    c = encoder_config(2), c.momentum = NAN;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "momentum"));
    c = encoder_config(2), c.weight_decay = INFINITY;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "weight_decay"));
    c = encoder_config(2), c.momentum = 0.0, c.nesterov = 1;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "nesterov"));
    c = encoder_config(2), c.norm.eps = NAN;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "eps"));
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(bad_calls)
{
    pfc_ctx *ctx = encoder_ctx(MPI_COMM_WORLD, PFC_EXACT);
    pfc_encoder_config c = encoder_config(2);
    pfc_encoder *e = encoder_make(ctx, &c);
    static double x[DENSE_SIZE], y[DENSE_SIZE];
    int64_t n = pfc_encoder_params(e);
    pfc_view in = pfc_view_make(x, PFC_F64, 4, IN), out = pfc_view_make(y, PFC_F64, 4, OUT), none = pfc_view_make(NULL, PFC_F64, 0, 0);
    for (int i = 0; i < 4 * IN; i++) x[i] = encoder_input(i);
    bool ok = refused(ctx, pfc_encoder_backward(e, out, 1.0, none), PFC_ERR_ARG, "no training forward");
    ok = ok && refused(ctx, pfc_encoder_update(e, 0.1), PFC_ERR_ARG, "no backward");
    ok = ok && refused(ctx, pfc_encoder_get_grads(e, pfc_view_make(y, PFC_F64, 1, n)), PFC_ERR_ARG, "no backward");
    ok = ok && refused(ctx, pfc_encoder_get_params(e, pfc_view_make(y, PFC_F64, 1, n + 1)), PFC_ERR_SHAPE, "params: found");
    ok = ok && refused(ctx, pfc_encoder_set_params(e, pfc_view_make(y, PFC_I64, 1, n)), PFC_ERR_SHAPE, "params: found");
    ok = ok && refused(ctx, pfc_encoder_forward(e, pfc_view_make(x, PFC_F64, 4, IN + 1), 1, out), PFC_ERR_SHAPE, "x: found (4,6), expected (4,5)");
    ok = ok && refused(ctx, pfc_encoder_forward(e, in, 1, pfc_view_make(y, PFC_F32, 4, OUT)), PFC_ERR_SHAPE, "y: found another element type");
    ok = ok && refused(ctx, pfc_encoder_forward(e, in, 1, pfc_view_make(y, PFC_F64, 3, OUT)), PFC_ERR_SHAPE, "y: found (3,4), expected (4,4)");
    ok = ok && refused(ctx, pfc_encoder_forward(e, pfc_view_make(NULL, PFC_F64, 4, IN), 1, out), PFC_ERR_SHAPE, "x: found no data");
    PFC_AGREE(MPI_COMM_WORLD, ok);
    PFC_AGREE(MPI_COMM_WORLD, pfc_encoder_forward(e, in, 0, out) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, refused(ctx, pfc_encoder_backward(e, out, 1.0, none), PFC_ERR_ARG, "no training forward"));
    PFC_AGREE(MPI_COMM_WORLD, pfc_encoder_forward(e, in, 1, out) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, refused(ctx, pfc_encoder_backward(e, out, 0.0, none), PFC_ERR_ARG, "divisor: found 0"));
    PFC_AGREE(MPI_COMM_WORLD, refused(ctx, pfc_encoder_backward(e, in, 1.0, none), PFC_ERR_SHAPE, "grad_y: found (4,5), expected (4,4)"));
    PFC_AGREE(MPI_COMM_WORLD, refused(ctx, pfc_encoder_backward(e, out, 1.0, out), PFC_ERR_SHAPE, "x_grad: found (4,4), expected (4,5)"));
    PFC_AGREE(MPI_COMM_WORLD, pfc_encoder_backward(e, out, 1.0, none) == PFC_OK && pfc_encoder_update(e, 0.1) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, refused(ctx, pfc_encoder_update(e, 0.1), PFC_ERR_ARG, "not used up"));

    PFC_AGREE(MPI_COMM_WORLD, pfc_encoder_forward(e, in, 1, out) == PFC_OK && pfc_encoder_set_params(e, pfc_view_make(x, PFC_F64, 1, n)) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, refused(ctx, pfc_encoder_backward(e, out, 1.0, none), PFC_ERR_ARG, "no training forward")); /* other weights by now */

    /* One row of all ranks: batch norm's own refusal, the same on all ranks; the encoder can go on. */
    in.rows = out.rows = pfc_test_rank() == 0;
    pfc_status st = pfc_encoder_forward(e, in, 1, out);
    PFC_AGREE(MPI_COMM_WORLD, st == PFC_ERR_SHAPE);
    in.rows = out.rows = 4;
    PFC_AGREE(MPI_COMM_WORLD, pfc_encoder_forward(e, in, 1, out) == PFC_OK);
    pfc_encoder_destroy(&e);
    pfc_encoder_destroy(&e);
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(parameters), PFC_ONCE(checkpoints), PFC_ONCE(refused_checkpoints), PFC_ONCE(bad_settings), PFC_ONCE(bad_calls),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
