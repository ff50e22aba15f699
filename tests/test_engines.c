/* test_engines.c: the product engines of exact mode give the same integers, bit for bit, through the operations of the backend: engine int128 is the
 * reference where it is fast enough, engine dgemm elsewhere. */
#include <config.h>

#include "backend/backend.h"
#include "backend/cpu/engine_amx.h"
#include "backend/cpu/engine_ifma.h"
#include "core/px.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KIND_RANDOM, KIND_MAX, KIND_DIGITS, KIND_WIDE, KIND_ZERO, KIND_SPECIAL, KIND_COUNT };

static uint64_t next(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return *s >> 11 ^ *s >> 43;
}

/* A double whose integer on the grid 2^-62 has extreme bytes: 00, 7f, 80, ff. 53 bits at most, anywhere below 2^62. */
static double extreme(uint64_t *s)
{
    static const uint8_t bytes[4] = { 0x00, 0x7f, 0x80, 0xff };
    uint64_t v = 0;
    for (int i = 0; i < 6; i++) v = v << 8 | bytes[next(s) & 3];
    v = (v | 1) << (next(s) % 15);
    if (next(s) & 1) v = 0x3fffffffffffff00u; /* 2^62 less a little */
    return (double)(next(s) & 1 ? -(int64_t)v : (int64_t)v) * 0x1p-62;
}

static double value(int kind, int64_t row, uint64_t *s)
{
    float r = (float)((double)(int64_t)(next(s) % 2000001) * 1e-6 - 1.0);
    switch (kind) {
    case KIND_MAX: return next(s) & 1 ? 0x1.fffffep-1 : -0x1.fffffep-1;
    case KIND_DIGITS: return extreme(s);
    case KIND_WIDE: return r * px_pow2(-(int64_t)(next(s) % 90));
    case KIND_ZERO: return row % 3 == 1 ? 0.0 : next(s) % 5 == 0 ? (double)r : 0.0;
    case KIND_SPECIAL: return next(s) % 97 == 0 ? (next(s) & 1 ? PX_INF : next(s) & 1 ? PX_NAN : -PX_INF) : (double)r;
    default: return r;
    }
}

/* A batch x (n,d), classes w (c,d), a gradient h (c,n). */
typedef struct problem {
    int64_t n, d, c;
    double *x, *w, *h;
} problem;

static double *fill(int kind, int64_t rows, int64_t cols, uint64_t seed)
{
    double *p = malloc((size_t)(rows * cols) * sizeof *p);
    for (int64_t i = 0; i < rows * cols; i++) p[i] = value(kind, i / cols, &seed);
    return p;
}

static problem make_problem(int kind, int64_t n, int64_t d, int64_t c)
{
    uint64_t seed = (uint64_t)(kind * 1000003 + n * 10007 + d * 101 + c);
    problem p = { n, d, c, fill(kind, n, d, seed), fill(kind, c, d, seed + 1), fill(kind == KIND_SPECIAL ? KIND_WIDE : kind, c, n, seed + 2) };
    return p;
}

typedef struct outcome {
    double *z, *dw;  /* (c,n), (c,d) */
    double *feature; /* (n,d) */
    int64_t *limb;   /* n x d x PFC_LIMBS */
} outcome;

static void free_outcome(outcome *o)
{
    free(o->z);
    free(o->dw);
    free(o->feature);
    free(o->limb);
}

/* Grid of every row of the feature gradient: over u = h * 2^(e_c). */
static void feature_grid(const problem *p, const int32_t *wexpo, int32_t *grid)
{
    for (int64_t i = 0; i < p->n; i++) grid[i] = PFC_EXPO_MIN;
    for (int64_t c = 0; c < p->c; c++)
        for (int64_t i = 0; i < p->n; i++) {
            int32_t e = px_expo(p->h[c * p->n + i] * px_pow2(wexpo[c]));
            if (p->h[c * p->n + i] != 0.0 && e > grid[i]) grid[i] = e;
        }
}

/* All products by one engine, the feature gradient `times` times over. */
static outcome compute(const problem *p, const char *engine, int check, int times)
{
    pfc_options options = { PFC_EXACT, "cpu", engine, 1, check };
    pfc_backend *be;
    char why[256];
    int64_t n = p->n, d = p->d, c = p->c;
    ck_assert_msg(pfc_backend_open(&options, &be, why, sizeof why) == PFC_OK, "%s", why);
    ck_assert_str_eq(be->engine, engine);
    outcome o = { malloc((size_t)(c * n) * 8), malloc((size_t)(c * d) * 8), malloc((size_t)(n * d) * 8), malloc((size_t)(n * d) * 8 * PFC_LIMBS) };
    double *norm = malloc((size_t)(n + c) * sizeof *norm);
    int32_t *expo = malloc((size_t)(n + c) * sizeof *expo), *wexpo = expo + n;
    pfc_view x = pfc_view_make(p->x, PFC_F64, n, d), h = pfc_view_make(p->h, PFC_F64, c, n), xnorm = pfc_view_make(norm, PFC_F64, n, 1),
             wnorm = pfc_view_make(norm + n, PFC_F64, c, 1), none = { 0 };
    pfc_rowset xs = { x, NULL, 0, n }, ws = { pfc_view_make(p->w, PFC_F64, c, d), NULL, 0, c };
    pfc_operand *operand;
    pfc_acc *acc;
    ck_assert_int_eq(be->ops->row_norms(be, xs, xnorm, expo), PFC_OK);
    ck_assert_int_eq(be->ops->row_norms(be, ws, wnorm, wexpo), PFC_OK);
    ck_assert_int_eq(be->ops->operand_create(be, x, xnorm, expo, &operand), PFC_OK);
    ck_assert_int_eq(be->ops->acc_create(be, PFC_ACC_PRODUCT, n, d, &acc), PFC_OK);
    feature_grid(p, wexpo, acc->expo);
    pfc_status st = be->ops->cosines(be, 0, operand, ws, wnorm, wexpo, 0, pfc_view_make(o.z, PFC_F64, c, n));
    for (int i = 0; i < times && st == PFC_OK; i++) st = be->ops->feature_grad(be, 0, h, ws, wnorm, wexpo, 0, acc);
    if (st == PFC_OK) st = be->ops->weight_grad(be, 0, operand, h, ws, wnorm, none, 0, pfc_view_make(o.dw, PFC_F64, c, d));
    if (st == PFC_OK) st = be->ops->acc_fold(be, acc, NULL);
    if (st == PFC_OK) st = be->ops->acc_value(be, acc, 0, n, pfc_view_make(o.feature, PFC_F64, n, d));
    ck_assert_msg(st == PFC_OK, "engine %s: %s", engine, be->error);
    memcpy(o.limb, acc->data, (size_t)(n * d) * 8 * PFC_LIMBS);
    be->ops->acc_destroy(be, acc);
    be->ops->operand_destroy(be, operand);
    pfc_backend_close(be);
    free(norm);
    free(expo);
    return o;
}

static void same(const char *what, const char *engine, const void *a, const void *b, int64_t words, const problem *p, int kind)
{
    const uint64_t *u = a, *v = b;
    for (int64_t i = 0; i < words; i++)
        if (u[i] != v[i])
            ck_abort_msg("%s by %s: word %d of %d is %016llx, expected %016llx (kind %d, N %d, D %d, C %d)", what, engine, (int)i, (int)words,
                         (unsigned long long)u[i], (unsigned long long)v[i], kind, (int)p->n, (int)p->d, (int)p->c);
}

static bool tiles_allowed(char *why, size_t size) { return pfc_cpu_amx(PFC_TILES_INT8, why, size); }

/* Engines besides int128 and dgemm, and what the backend's registry says of the instructions they need. */
static const struct {
    const char *name;
    bool (*usable)(char *why, size_t size), (*allowed)(char *why, size_t size);
} special[] = { { "ifma", pfc_engine_ifma_usable, pfc_cpu_ifma }, { "amx", pfc_engine_amx_usable, tiles_allowed } };
enum { SPECIAL = sizeof special / sizeof *special };

static bool here(int i)
{
    char why[256];
    if (special[i].usable(why, sizeof why)) return true;
    printf("# engine %s not tested: %s\n", special[i].name, why);
    ck_assert_msg(!special[i].allowed(why, sizeof why), "engine %s may be used here, but finds its instructions wrong", special[i].name);
    return false;
}

static void compare_engine(const problem *p, int kind, const char *engine, int times, const outcome *want)
{
    int64_t n = p->n, d = p->d, c = p->c;
    outcome got = compute(p, engine, (n + d) & 1 ? 1 : -1, times);
    same("cosines", engine, got.z, want->z, c * n, p, kind);
    same("weight_grad", engine, got.dw, want->dw, c * d, p, kind);
    same("limbs", engine, got.limb, want->limb, n * d * PFC_LIMBS, p, kind);
    same("feature_grad", engine, got.feature, want->feature, n * d, p, kind);
    free_outcome(&got);
}

static void compare(int kind, int64_t n, int64_t d, int64_t c, const char *reference, int times)
{
    static int can[SPECIAL] = { -1, -1 };
    problem p = make_problem(kind, n, d, c);
    outcome want = compute(&p, reference, -1, times);
    if (strcmp(reference, "dgemm") != 0) compare_engine(&p, kind, "dgemm", times, &want);
    for (int i = 0; i < SPECIAL; i++) {
        if (can[i] < 0) can[i] = here(i);
        if (can[i]) compare_engine(&p, kind, special[i].name, times, &want);
    }
    free_outcome(&want);
    free(p.x);
    free(p.w);
    free(p.h);
}

/* Every size 1..70 as N, D and C, on every kind of data. */
START_TEST(small_sizes)
{
    for (int i = 1; i <= 70; i++)
        for (int kind = 0; kind < KIND_COUNT; kind++) {
            compare(kind, i, 1 + i * 7 % 37, 1 + i * 5 % 41, "int128", 1);
            compare(kind, 1 + i * 5 % 29, i, 1 + i * 11 % 43, "int128", 1);
            compare(kind, 1 + i * 3 % 31, 1 + i * 13 % 35, i, "int128", 1);
        }
}
END_TEST

/* Sums longer than a chunk of the tiles and a chunk of the slices. */
START_TEST(long_sums)
{
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        compare(kind, 9, 1030, 35, "int128", 1);
        compare(kind, 600, 33, 9, "int128", 1);
        compare(kind, 7, 40, 577, "int128", 1);
        compare(kind, 64, 512, 128, "int128", 1);
        compare(kind, 40, 2160, 70, "dgemm", 1);
        compare(kind, 2100, 40, 70, "dgemm", 1);
    }
}
END_TEST

/* More blocks than an accumulator takes without carrying. */
START_TEST(many_blocks)
{
    for (int kind = 0; kind < KIND_COUNT; kind++) compare(kind, 3, 5, 2, "int128", 2500);
}
END_TEST

#if defined PFC_HAVE_AMX || defined PFC_HAVE_IFMA
/* The batch in an operand: damages what its product number `wrong` (1: cosines, 2: weight_grad) uses. */
enum { N = 20, D = 130, C = 40 };

static void damage(int engine, pfc_operand *operand, int wrong)
{
#ifdef PFC_HAVE_IFMA
    if (engine == 0) pfc_ifma_operand_words(operand, wrong == 2)[2] ^= 1;
#endif
#ifdef PFC_HAVE_AMX
    if (engine == 1) {
        pfc_amx_panel *panels = pfc_amx_panels_place(operand->storage, 1, D);
        if (wrong == 2) panels = pfc_amx_panels_place((uint8_t *)operand->storage + pfc_amx_panels_bytes(1, D), 5, N);
        panels->tiles[2] ^= 1;
    }
#endif
}

/* One wrong digit or word in a panel of the batch: the self-check has to notice, in both products that use it. */
static void wrong_batch(int engine, int wrong)
{
    pfc_options options = { PFC_EXACT, "cpu", special[engine].name, 1, 1 };
    pfc_backend *be;
    char why[256];
    problem p = make_problem(KIND_RANDOM, N, D, C);
    double norm[N + C], z[C * N], dw[C * D];
    int32_t expo[N + C];
    pfc_view x = pfc_view_make(p.x, PFC_F64, N, D), h = pfc_view_make(p.h, PFC_F64, C, N), xnorm = pfc_view_make(norm, PFC_F64, N, 1),
             wnorm = pfc_view_make(norm + N, PFC_F64, C, 1), none = { 0 };
    pfc_rowset xs = { x, NULL, 0, N }, ws = { pfc_view_make(p.w, PFC_F64, C, D), NULL, 0, C };
    pfc_operand *operand;
    ck_assert_int_eq(pfc_backend_open(&options, &be, why, sizeof why), PFC_OK);
    ck_assert_int_eq(be->ops->row_norms(be, xs, xnorm, expo), PFC_OK);
    ck_assert_int_eq(be->ops->row_norms(be, ws, wnorm, expo + N), PFC_OK);
    ck_assert_int_eq(be->ops->operand_create(be, x, xnorm, expo, &operand), PFC_OK);
    if (wrong) damage(engine, operand, wrong);
    pfc_status st = be->ops->cosines(be, 0, operand, ws, wnorm, expo + N, 0, pfc_view_make(z, PFC_F64, C, N));
    ck_assert_int_eq(st, wrong == 1 ? PFC_ERR_RUNTIME : PFC_OK);
    if (wrong == 1) ck_assert_msg(strncmp(be->error, "self-check", 10) == 0, "%s", be->error);
    st = be->ops->weight_grad(be, 0, operand, h, ws, wnorm, none, 0, pfc_view_make(dw, PFC_F64, C, D));
    ck_assert_int_eq(st, wrong == 2 ? PFC_ERR_RUNTIME : PFC_OK);
    be->ops->operand_destroy(be, operand);
    pfc_backend_close(be);
    free(p.x);
    free(p.w);
    free(p.h);
}

START_TEST(self_check_notices_a_wrong_digit)
{
    for (int engine = 0; engine < SPECIAL; engine++)
        for (int wrong = 0; here(engine) && wrong < 3; wrong++) wrong_batch(engine, wrong);
}
END_TEST
#endif

static void refused(const char *engine, const char *cap, const char *text)
{
    pfc_options options = { PFC_EXACT, "cpu", engine, 1, -1 };
    pfc_backend *be;
    char why[256] = "";
    if (cap) setenv("PFC_MAX_ISA", cap, 1);
    ck_assert_int_eq(pfc_backend_open(&options, &be, why, sizeof why), PFC_ERR_UNSUPPORTED);
    ck_assert_ptr_null(be);
    ck_assert_msg(strstr(why, text) != NULL && strchr(why, '\n') == NULL, "%s", why);
    unsetenv("PFC_MAX_ISA");
}

START_TEST(selection)
{
    pfc_options options = { PFC_EXACT, "cpu", "auto", 1, -1 };
    pfc_backend *be;
    char why[256];
    static const char *const caps[] = { "scalar", "avx2", "avx512", "ifma", "amx" };
    for (int i = 0; i < 5; i++) {
        setenv("PFC_MAX_ISA", caps[i], 1);
        ck_assert_int_eq(pfc_backend_open(&options, &be, why, sizeof why), PFC_OK);
        const char *best = pfc_engine_ifma_usable(why, sizeof why) ? "ifma" : "dgemm";
        ck_assert_str_eq(be->engine, pfc_engine_amx_usable(why, sizeof why) ? "amx" : best);
        if (i < 3) ck_assert_str_eq(be->engine, "dgemm");
        if (i == 3) ck_assert_str_ne(be->engine, "amx");
        pfc_backend_close(be);
    }
    unsetenv("PFC_MAX_ISA");
    refused("amx", "ifma", "PFC_MAX_ISA is ifma");
    refused("ifma", "avx512", "PFC_MAX_ISA is avx512");
    refused("dgemm", "sse9", "PFC_MAX_ISA is 'sse9'");
    refused("abacus", NULL, "unknown product engine 'abacus'");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        small_sizes,
        long_sums,
        many_blocks,
        selection,
#if defined PFC_HAVE_AMX || defined PFC_HAVE_IFMA
        self_check_notices_a_wrong_digit,
#endif
    };
    Suite *suite = suite_create("engines");
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        TCase *tc = tcase_create(tests[i]->name);
        tcase_set_timeout(tc, 0);
        tcase_add_test(tc, tests[i]);
        suite_add_tcase(suite, tc);
    }
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner), run = srunner_ntests_run(runner);
    srunner_free(runner);
    return run == 0 ? 99 : failed != 0;
}
