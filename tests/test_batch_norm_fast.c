/* test_batch_norm_fast.c: batch norm in fast mode at sizes where threads start and where stores bypass the caches: the same bits for any number of
 * threads, and whether a unit is worked on in one go (a rank alone) or operation by operation (a group, here one of a single rank). On any number of
 * ranks; one rank has no groups. How near the numbers are to exact mode's: tests/driver_batch_norm.sh. */
#include <config.h> /* setenv */

#include "pfc_test.h"

#include <pfc/pfc.h>
#include <stdlib.h>
#include <string.h>

/* Inputs, and results of one run. Every rank has its own; the last channel of the last sample ends wherever it happens to. */
typedef struct problem {
    int64_t n, channels, inner;
    float *x, *g;
} problem;

typedef struct result {
    float *y, *dx, *dw, *db;
    double mean[64], var[64];
} result;

static int64_t elements(const problem *p) { return p->n * p->channels * p->inner; }

static float *room(int64_t n)
{
    float *v = calloc((size_t)n + 1, sizeof *v);
    ck_assert_ptr_nonnull(v);
    return v;
}

static problem problem_make(int64_t n, int64_t channels, int64_t inner, unsigned seed)
{
    problem p = { n, channels, inner, NULL, NULL };
    p.x = room(elements(&p));
    p.g = room(elements(&p));
    for (int64_t i = 0; i < elements(&p); i++) {
        seed = seed * 1664525u + 1013904223u;
        p.x[i] = (float)(int)(seed >> 8) * 0x1p-22f;
        p.g[i] = (float)(int)(seed >> 4 & 0xfffff) * 0x1p-19f - 1.0f;
    }
    return p;
}

static pfc_batch_norm_config config_of(pfc_bn_kind kind, int64_t channels)
{
    pfc_batch_norm_config cfg = pfc_batch_norm_defaults();
    cfg.kind = kind;
    cfg.channels = channels;
    cfg.num_splits = 2;
    cfg.momentum = 1.0; /* the running statistics show those of the batch */
    cfg.running_var = PFC_BN_RUNNING_BIASED;
    return cfg; /* sync: over groups of one rank */
}

static pfc_status run_layer(pfc_ctx *ctx, const problem *p, pfc_batch_norm *layer, result *r)
{
    pfc_view x = pfc_view_make(p->x, PFC_F32, p->n * p->channels, p->inner), g = x, y = x;
    pfc_batch_norm_result wanted = { .x_grad = x,
                                     .weight_grad = pfc_view_make(r->dw, PFC_F32, p->channels, 1),
                                     .bias_grad = pfc_view_make(r->db, PFC_F32, p->channels, 1) };
    pfc_batch_norm_state state = { .running_mean = pfc_view_make(r->mean, PFC_F64, p->channels, 1),
                                   .running_var = pfc_view_make(r->var, PFC_F64, p->channels, 1) };
    g.data = p->g, y.data = r->y, wanted.x_grad.data = r->dx;
    pfc_status st = pfc_batch_norm_forward(layer, x, 1, y);
    if (st == PFC_OK) st = pfc_batch_norm_backward(layer, x, g, &wanted);
    if (st == PFC_OK) st = pfc_batch_norm_get_state(layer, &state);
    return st == PFC_OK && pfc_ctx_error(ctx)[0] ? PFC_ERR_RUNTIME : st;
}

static result run(const problem *p, pfc_bn_kind kind, int threads)
{
    pfc_batch_norm_config cfg = config_of(kind, p->channels);
    pfc_ctx *ctx = pfc_test_ctx(MPI_COMM_WORLD, (pfc_options){ .mode = PFC_FAST, .threads = threads });
    pfc_batch_norm *layer = NULL;
    result r = { room(elements(p)), room(elements(p)), room(p->channels), room(p->channels), { 0 }, { 0 } };
    PFC_AGREE(MPI_COMM_WORLD, pfc_batch_norm_create(ctx, &cfg, &layer) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, run_layer(ctx, p, layer, &r) == PFC_OK);
    pfc_batch_norm_destroy(&layer);
    pfc_ctx_destroy(&ctx);
    return r;
}

static void result_free(result *r) { free(r->y), free(r->dx), free(r->dw), free(r->db); }

static bool same(const problem *p, const result *a, const result *b)
{
    size_t large = (size_t)elements(p) * sizeof(float), small = (size_t)p->channels * sizeof(float);
    return memcmp(a->y, b->y, large) == 0 && memcmp(a->dx, b->dx, large) == 0 && memcmp(a->dw, b->dw, small) == 0 && memcmp(a->db, b->db, small) == 0 &&
           memcmp(a->mean, b->mean, sizeof a->mean) == 0 && memcmp(a->var, b->var, sizeof a->var) == 0;
}

/* Plain on one thread against plain and groups of one rank on 1 to 3 threads; sub against itself. */
static void same_whatever_the_way(int64_t n, int64_t channels, int64_t inner)
{
    problem p = problem_make(n, channels, inner, 7u + (unsigned)pfc_test_rank());
    for (int sub = 0; sub < 2; sub++) {
        result want = run(&p, sub ? PFC_BN_SUB : PFC_BN_PLAIN, 1);
        for (int i = 1; i < (sub ? 3 : 6); i++) {
            result got = run(&p, sub ? PFC_BN_SUB : i < 3 ? PFC_BN_PLAIN : PFC_BN_SYNC, 1 + i % 3);
            PFC_AGREE(MPI_COMM_WORLD, same(&p, &want, &got));
            result_free(&got);
        }
        result_free(&want);
    }
    free(p.x), free(p.g);
}

START_TEST(small)
{
    same_whatever_the_way(4, 3, 35);
}
END_TEST

/* Just below and just above 32768 elements. */
START_TEST(where_threads_start)
{
    same_whatever_the_way(8, 8, 512);
    same_whatever_the_way(8, 9, 457);
}
END_TEST

/* Just above 2^22 elements, rows that start at no multiple of a vector. */
START_TEST(where_stores_bypass_the_caches)
{
    same_whatever_the_way(12, 31, 11275);
}
END_TEST

/* One element of a channel in a sample: channels side by side, some of them a whole strip of a thread; below and above where threads start. */
START_TEST(vectors_over_channels)
{
    same_whatever_the_way(6, 3, 1);
    same_whatever_the_way(520, 62, 1);
    same_whatever_the_way(1000, 63, 1);
}
END_TEST

static result run_with(const problem *p, int kind, const char *isa)
{
    setenv("PFC_MAX_ISA", isa, 1);
    return run(p, (pfc_bn_kind)kind, 1);
}

/* Runs of one element and longer ones: the kernels of every instruction set give the same bits. The last test: it takes away what PFC_MAX_ISA was. */
START_TEST(any_instruction_set)
{
    static const int64_t inner[] = { 1, 19 };
    for (int i = 0; i < 2; i++) {
        problem p = problem_make(60, 37, inner[i], 9u + (unsigned)pfc_test_rank());
        for (int kind = PFC_BN_PLAIN; kind <= PFC_BN_SYNC; kind++) {
            result want = run_with(&p, kind, "scalar"), narrow = run_with(&p, kind, "avx2"), wide = run_with(&p, kind, "avx512");
            PFC_AGREE(MPI_COMM_WORLD, same(&p, &want, &narrow) && same(&p, &want, &wide));
            result_free(&want), result_free(&narrow), result_free(&wide);
        }
        free(p.x), free(p.g);
    }
    unsetenv("PFC_MAX_ISA");
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(small),
        PFC_ONCE(where_threads_start),
        PFC_ONCE(where_stores_bypass_the_caches),
        PFC_ONCE(vectors_over_channels),
        PFC_ONCE(any_instruction_set),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
