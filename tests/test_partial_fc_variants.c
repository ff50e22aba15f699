/* test_partial_fc_variants.c: ways to run a step that must not change a bit: cosines kept or formed again, the weight gradient asked for or not (fast mode
 * then moves the weights as it forms it), one thread or several, and keys drawn by the backend or given. Shards of several blocks, full and sampled. */
#include "pfc_test.h"

#include <pfc/pfc.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 19, WIDTH = 37, CLASSES = 1500, STEPS = 3 };

typedef struct variant {
    int recompute, weight_grad, threads, given_keys;
} variant;

/* What the steps leave: fixed order of arrays of reals, then the losses. */
typedef struct outcome {
    pfc_dtype real;
    int64_t classes; /* of this rank */
    void *x_grad, *weight, *momentum;
    double loss[STEPS];
} outcome;

static void *must(void *p)
{
    ck_assert_ptr_nonnull(p);
    return p;
}

static void fill(float *v, int64_t count, int64_t stream, double scale)
{
    for (int64_t i = 0; i < count; i++) v[i] = (float)(scale * pfc_normal(7, i, (uint32_t)stream, PFC_STREAM_FILL));
}

static void one_step(pfc_partial_fc *layer, const pfc_partial_fc_config *cfg, int step, int rank, const variant *how, outcome *o)
{
    float x[BATCH * WIDTH];
    int64_t labels[BATCH], start = pfc_shard_of(CLASSES, pfc_test_ranks(), rank).start;
    void *weight_grad = must(malloc((size_t)(o->classes * WIDTH) * 8 + 8));
    double *keys = must(malloc((size_t)o->classes * sizeof *keys + 8));
    fill(x, BATCH * WIDTH, 100 * step + rank, 1.0);
    for (int64_t i = 0; i < BATCH; i++) labels[i] = (i * 211 + 31 * rank + 7 * step) % CLASSES;
    for (int64_t c = 0; c < o->classes; c++) keys[c] = pfc_uniform(cfg->seed, start + c, (uint32_t)(cfg->first_step + step), PFC_STREAM_CLASS_KEY);
    pfc_partial_fc_result r = { .x_grad = pfc_view_make(o->x_grad, o->real, BATCH, WIDTH) };
    if (how->weight_grad) r.weight_grad = pfc_view_make(weight_grad, o->real, o->classes, WIDTH);
    pfc_view given = pfc_view_make(how->given_keys ? keys : NULL, PFC_F64, how->given_keys ? o->classes : 0, 1);
    ck_assert_int_eq(pfc_partial_fc_step(layer, pfc_view_make(x, PFC_F32, BATCH, WIDTH), pfc_view_make(labels, PFC_I64, BATCH, 1), given, &r), PFC_OK);
    o->loss[step] = r.loss;
    free(weight_grad);
    free(keys);
}

static outcome run(pfc_mode mode, pfc_partial_fc_config cfg, variant how)
{
    pfc_ctx *ctx = pfc_test_ctx(MPI_COMM_WORLD, (pfc_options){ .mode = mode, .threads = how.threads });
    pfc_partial_fc *layer = NULL;
    int rank = pfc_test_rank();
    outcome o = { .real = pfc_ctx_real(ctx), .classes = pfc_shard_of(CLASSES, pfc_test_ranks(), rank).count };
    size_t state = (size_t)(o.classes * WIDTH) * 8;
    o.x_grad = must(calloc(BATCH * WIDTH, 8)), o.weight = must(calloc(1, state + 8)), o.momentum = must(calloc(1, state + 8));
    cfg.recompute = how.recompute;
    ck_assert_int_eq(pfc_partial_fc_create(ctx, &cfg, &layer), PFC_OK);
    for (int step = 0; step < STEPS; step++) one_step(layer, &cfg, step, rank, &how, &o);
    pfc_view weight = pfc_view_make(o.weight, o.real, o.classes, WIDTH), momentum = pfc_view_make(o.momentum, o.real, o.classes, WIDTH);
    ck_assert_int_eq(pfc_partial_fc_get_state(layer, weight, momentum), PFC_OK);
    pfc_partial_fc_destroy(&layer);
    pfc_ctx_destroy(&ctx);
    return o;
}

static void forget(outcome *o)
{
    free(o->x_grad);
    free(o->weight);
    free(o->momentum);
}

static void compare(pfc_mode mode, pfc_partial_fc_config cfg)
{
    static const variant others[] = { { 1, 1, 1, 0 }, { 0, 0, 1, 1 }, { 1, 0, 3, 0 }, { 0, 0, 2, 0 }, { 1, 0, 1, 1 } };
    outcome want = run(mode, cfg, (variant){ 0, 1, 1, 0 });
    size_t real = pfc_dtype_size(want.real), state = (size_t)(want.classes * WIDTH) * real;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        outcome got = run(mode, cfg, others[i]);
        PFC_AGREE(MPI_COMM_WORLD, !memcmp(got.loss, want.loss, sizeof got.loss));
        PFC_AGREE(MPI_COMM_WORLD, !memcmp(got.x_grad, want.x_grad, BATCH * WIDTH * real));
        PFC_AGREE(MPI_COMM_WORLD, !memcmp(got.weight, want.weight, state));
        PFC_AGREE(MPI_COMM_WORLD, !memcmp(got.momentum, want.momentum, state));
        forget(&got);
    }
    forget(&want);
}

static pfc_partial_fc_config config(pfc_head_kind head, double rate)
{
    pfc_partial_fc_config c = pfc_partial_fc_defaults();
    c.num_classes = CLASSES, c.embedding_size = WIDTH, c.head = head, c.sample_rate = rate;
    c.seed = 11, c.first_step = 5, c.lr = 0.1, c.weight_decay = 5e-4, c.cos_clamp = head == PFC_HEAD_ARC;
    return c;
}

static void both_rates(pfc_mode mode, pfc_head_kind head, int nesterov)
{
    pfc_partial_fc_config c = config(head, 1.0);
    c.nesterov = nesterov;
    compare(mode, c);
    c.sample_rate = 0.4;
    compare(mode, c);
    c.sample_rule = PFC_SAMPLE_GLOBAL;
    c.momentum_rule = PFC_MOMENTUM_DENSE;
    compare(mode, c);
}

START_TEST(fast_variants)
{
    both_rates(PFC_FAST, PFC_HEAD_COS, 0);
    both_rates(PFC_FAST, PFC_HEAD_ARC, 1);
    both_rates(PFC_FAST, PFC_HEAD_LINEAR, 0);
}
END_TEST

START_TEST(exact_variants)
{
    both_rates(PFC_EXACT, PFC_HEAD_COS, 0);
    both_rates(PFC_EXACT, PFC_HEAD_ARC, 1);
    both_rates(PFC_EXACT, PFC_HEAD_LINEAR, 0);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(fast_variants),
        PFC_ONCE(exact_variants),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
