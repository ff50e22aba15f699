/* test_sinkhorn.c: Sinkhorn against the dense equations, golden numbers of semantics.md 10.5, invariants 13 to 15 of section 9, edge cases of 5.6. */
#include "dense/swav_dense.h"
#include "pfc_test.h"

#include <math.h>
#include <pfc/pfc.h>
#include <stdlib.h>
#include <string.h>

static pfc_ctx *context(MPI_Comm comm, pfc_mode mode, int threads) { return pfc_test_ctx(comm, (pfc_options){ .mode = mode, .threads = threads }); }

/* This rank's n rows of scores (n*P,K) through the library; the assignments of all ranks, as doubles, into q (n*P,K). */
static pfc_status library(MPI_Comm comm, pfc_mode mode, int threads, const pfc_sinkhorn_config *cfg, int64_t n, int64_t K, const double *scores, double *q)
{
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    pfc_ctx *ctx = context(comm, mode, threads);
    double *mine = malloc((size_t)(n * K) * sizeof *mine), *part = malloc((size_t)(n * K) * sizeof *part);
    memcpy(mine, scores + rank * n * K, (size_t)(n * K) * sizeof *mine);
    pfc_status st = pfc_sinkhorn(ctx, cfg, pfc_view_make(mine, PFC_F64, n, K), pfc_view_make(part, pfc_ctx_real(ctx), n, K));
    for (int64_t i = n * K - 1; mode == PFC_FAST && i >= 0; i--) {
        float f;
        memcpy(&f, (char *)part + i * 4, 4);
        part[i] = (double)f;
    }
    MPI_Allgather(part, (int)(n * K), MPI_DOUBLE, q, (int)(n * K), MPI_DOUBLE, comm);
    pfc_ctx_destroy(&ctx);
    free(mine);
    free(part);
    return st;
}

/* Largest difference; infinite where NaN or infinities differ. */
static double distance(const double *a, const double *b, int64_t count)
{
    double worst = 0;
    for (int64_t i = 0; i < count; i++) {
        if (isnan(a[i]) && isnan(b[i])) continue;
        if (a[i] == b[i]) continue;
        double d = fabs(a[i] - b[i]);
        worst = d <= worst ? worst : isnan(d) ? INFINITY : d;
    }
    return worst;
}

/* float32 scores in [-1,1), wide ones if `spread` says so. */
static double *make_scores(int64_t count, double spread, int64_t seed)
{
    double *s = malloc((size_t)count * sizeof *s);
    for (int64_t i = 0; i < count; i++) s[i] = (double)(float)(spread * (2 * pfc_uniform(seed, i, 0, PFC_STREAM_FILL) - 1));
    return s;
}

/* ---- golden numbers 10.5 ---- */

static const double SCORES[] = { .9, .1, -.2, .8, .3, 0, .7, .2, .1, -.1, .4, .6 };
static const double GOLDEN[3][12] = {
    { .99753254, .00246733, .00000013, .50052346, .49945033, .00002621, .49982120, .49874958, .00142922, 0, .46380684, .53619316 },
    { .99556303, .00443581, .00000116, .35740107, .64243116, .00016777, .35421586, .63670572, .00907841, 0, .14809869, .85190131 },
    { .99044321, .00945019, .00010660, .20438669, .78673838, .00887493, .13850343, .53313631, .32836025, 0, .00400845, .99599155 }
};

START_TEST(golden_numbers)
{
    static const int64_t iterations[] = { 1, 3, 100 };
    int rank = pfc_test_rank(), size = pfc_test_ranks() >= 2 ? 2 : 1;
    MPI_Comm pair;
    MPI_Comm_split(MPI_COMM_WORLD, rank / size, rank, &pair); /* pairs of ranks; a last one alone has all four samples */
    int ranks;
    MPI_Comm_size(pair, &ranks);
    bool good = true;
    for (int t = 0; t < 3; t++)
        for (int v = 0; v < 4; v++)
            for (int stabilise = 0; stabilise < 2; stabilise++) {
                double q[12];
                pfc_sinkhorn_config cfg = { .05, iterations[t], stabilise, (pfc_sinkhorn_version)v };
                good = library(pair, PFC_EXACT, 1, &cfg, 4 / ranks, 3, SCORES, q) == PFC_OK && distance(q, GOLDEN[t], 12) <= 5.01e-9 && good;
            }
    double q[12], want[3] = { .00000082, .01798620, .98201299 };
    pfc_sinkhorn_config cfg = { .05, 0, 1, PFC_SINKHORN_V1 };
    good = library(pair, PFC_EXACT, 1, &cfg, 4 / ranks, 3, SCORES, q) == PFC_OK && distance(q + 9, want, 3) <= 5.01e-9 && good;
    MPI_Comm_free(&pair);
    PFC_AGREE(MPI_COMM_WORLD, good);
}
END_TEST

/* ---- against the dense equations, every switch ---- */

static void compare(const pfc_sinkhorn_config *cfg, int64_t n, int64_t K, double spread, int64_t seed)
{
    int ranks = pfc_test_ranks();
    int64_t count = n * ranks * K;
    double *scores = make_scores(count, spread, seed), *exact = malloc((size_t)count * sizeof *exact), *fast = malloc((size_t)count * sizeof *fast);
    double *want = malloc((size_t)count * sizeof *want);
    ck_assert(pfc_dense_sinkhorn(cfg, ranks, n, K, scores, want));
    pfc_status st = library(MPI_COMM_WORLD, PFC_EXACT, 1, cfg, n, K, scores, exact);
    pfc_status other = library(MPI_COMM_WORLD, PFC_FAST, 1, cfg, n, K, scores, fast);
    double far = cfg->version == PFC_SINKHORN_V2 && cfg->iterations == 0 ? (double)(n * ranks) : 1.0;
    PFC_AGREE(MPI_COMM_WORLD, st == PFC_OK && other == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, distance(exact, want, count) <= 1e-9 * far);
    PFC_AGREE(MPI_COMM_WORLD, distance(fast, exact, count) <= 2e-6 * far * (1 + spread / cfg->epsilon / 10));
    free(scores);
    free(exact);
    free(fast);
    free(want);
}

START_TEST(every_switch)
{
    int version = _i % 4, stabilise = _i / 4 % 2;
    int64_t iterations = _i / 8;
    pfc_sinkhorn_config cfg = { .05, iterations, stabilise, (pfc_sinkhorn_version)version };
    compare(&cfg, 5, 7, 1.0, _i);
    compare(&cfg, 1, 33, 1.0, _i + 100);
    compare(&cfg, 4, 1, 1.0, _i + 200);
    cfg.epsilon = 0.01; /* exp of up to 100, sums of 200 */
    compare(&cfg, 3, 17, 1.0, _i + 300);
    cfg.epsilon = 0.0025; /* exp of +-400: float32 is far away */
    compare(&cfg, 3, 5, 1.0, _i + 400);
}
END_TEST

/* ---- invariants ---- */

START_TEST(samples_have_mass_one)
{
    int64_t n = 4, K = 19, N = n * pfc_test_ranks();
    double *s = make_scores(N * K, 1, 7), *q = malloc((size_t)(N * K) * sizeof *q);
    for (int v = 0; v < 4; v++)
        for (int mode = 0; mode < 2; mode++) {
            bool good = true;
            pfc_sinkhorn_config cfg = { .05, 2, 1, (pfc_sinkhorn_version)v };
            good = library(MPI_COMM_WORLD, mode ? PFC_FAST : PFC_EXACT, 1, &cfg, n, K, s, q) == PFC_OK;
            for (int64_t j = 0; j < N; j++) {
                double mass = 0;
                for (int64_t k = 0; k < K; k++) {
                    mass += q[j * K + k];
                    good = good && q[j * K + k] >= 0;
                }
                good = good && fabs(mass - 1) <= (mode ? 1e-5 : 1e-12);
            }
            PFC_AGREE(MPI_COMM_WORLD, good);
        }
    free(s);
    free(q);
}
END_TEST

START_TEST(versions_agree_and_shifts_do_not_matter)
{
    int64_t n = 4, K = 9, N = n * pfc_test_ranks(), count = N * K;
    double *s = make_scores(count, 1, 8), *first = malloc((size_t)count * sizeof *first), *q = malloc((size_t)count * sizeof *q);
    pfc_sinkhorn_config cfg = { .05, 3, 0, PFC_SINKHORN_V1 };
    ck_assert(library(MPI_COMM_WORLD, PFC_EXACT, 1, &cfg, n, K, s, first) == PFC_OK);
    for (int v = 0; v < 4; v++) {
        cfg.version = (pfc_sinkhorn_version)v;
        pfc_status st = library(MPI_COMM_WORLD, PFC_EXACT, 1, &cfg, n, K, s, q);
        PFC_AGREE(MPI_COMM_WORLD, st == PFC_OK && distance(q, first, count) <= 1e-13);
    }
    for (int64_t i = 0; i < count; i++) s[i] += 3.0;
    for (int v = 0; v < 4; v++) {
        cfg.version = (pfc_sinkhorn_version)v;
        pfc_status st = library(MPI_COMM_WORLD, PFC_EXACT, 1, &cfg, n, K, s, q);
        PFC_AGREE(MPI_COMM_WORLD, st == PFC_OK && distance(q, first, count) <= 1e-11);
    }
    free(s);
    free(first);
    free(q);
}
END_TEST

START_TEST(prototypes_reach_their_share)
{
    int64_t n = 6, K = 5, N = n * pfc_test_ranks();
    double *s = make_scores(N * K, 1, 9), *q = malloc((size_t)(N * K) * sizeof *q);
    bool good = true;
    pfc_sinkhorn_config cfg = { .2, 400, 1, PFC_SINKHORN_V1 };
    pfc_status st = library(MPI_COMM_WORLD, PFC_EXACT, 1, &cfg, n, K, s, q);
    for (int64_t k = 0; k < K; k++) {
        double mass = 0;
        for (int64_t j = 0; j < N; j++) mass += q[j * K + k];
        good = good && fabs(mass - (double)N / (double)K) <= 1e-9;
    }
    PFC_AGREE(MPI_COMM_WORLD, st == PFC_OK && good);
    free(s);
    free(q);
}
END_TEST

/* One sample per prototype and a small epsilon: a permutation. */
START_TEST(a_permutation)
{
    int64_t n = 3, N = n * pfc_test_ranks(), K = N;
    double *s = make_scores(N * K, .2, 10), *q = malloc((size_t)(N * K) * sizeof *q);
    bool good = true;
    for (int64_t j = 0; j < N; j++) s[j * K + (7 * j + 2) % N] = 1.0; /* 7 and N have no common factor up to 8 ranks */
    pfc_sinkhorn_config cfg = { .01, 3, 1, PFC_SINKHORN_V1 };
    pfc_status st = library(MPI_COMM_WORLD, PFC_EXACT, 1, &cfg, n, K, s, q);
    for (int64_t j = 0; j < N; j++) good = good && q[j * K + (7 * j + 2) % N] > 1 - 1e-12;
    PFC_AGREE(MPI_COMM_WORLD, st == PFC_OK && good);
    free(s);
    free(q);
}
END_TEST

/* The same bits on one rank, on all, and on any number of threads. */
START_TEST(same_bits)
{
    int64_t n = 9, K = 37, ranks = pfc_test_ranks(), N = n * ranks;
    size_t bytes = (size_t)(N * K) * sizeof(double);
    double *s = make_scores(N * K, 1, 11), *a = malloc(bytes), *b = malloc(bytes);
    for (int v = 0; v < 4; v++)
        for (int stabilise = 0; stabilise < 2; stabilise++) {
            pfc_sinkhorn_config cfg = { .05, 3, stabilise, (pfc_sinkhorn_version)v };
            pfc_status one = library(MPI_COMM_SELF, PFC_EXACT, 1, &cfg, N, K, s, a), all = library(MPI_COMM_WORLD, PFC_EXACT, 3, &cfg, n, K, s, b);
            PFC_AGREE(MPI_COMM_WORLD, one == PFC_OK && all == PFC_OK && memcmp(a, b, bytes) == 0);
            one = library(MPI_COMM_WORLD, PFC_FAST, 1, &cfg, n, K, s, a);
            all = library(MPI_COMM_WORLD, PFC_FAST, 3, &cfg, n, K, s, b);
            PFC_AGREE(MPI_COMM_WORLD, one == PFC_OK && all == PFC_OK && memcmp(a, b, bytes) == 0);
        }
    free(s);
    free(a);
    free(b);
}
END_TEST

/* ---- edge cases 5.6 ---- */

enum { EDGE_N = 3, EDGE_K = 4 };

/* Runs an edge case in both modes and compares it with the dense equations. Returns exact mode's q in q. */
static void edge(const pfc_sinkhorn_config *cfg, const double *scores, double *q)
{
    int ranks = pfc_test_ranks();
    int64_t count = EDGE_N * EDGE_K * ranks;
    double *want = malloc((size_t)count * sizeof *want), *fast = malloc((size_t)count * sizeof *fast);
    ck_assert(pfc_dense_sinkhorn(cfg, ranks, EDGE_N, EDGE_K, scores, want));
    pfc_status st = library(MPI_COMM_WORLD, PFC_EXACT, 1, cfg, EDGE_N, EDGE_K, scores, q);
    pfc_status other = library(MPI_COMM_WORLD, PFC_FAST, 1, cfg, EDGE_N, EDGE_K, scores, fast);
    PFC_AGREE(MPI_COMM_WORLD, st == PFC_OK && other == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, distance(q, want, count) <= 1e-9);
    PFC_AGREE(MPI_COMM_WORLD, distance(fast, q, count) <= (cfg->version == PFC_SINKHORN_LOG ? 5e-4 : 1e-5)); /* exponents of 1000 in float32 */
    free(want);
    free(fast);
}

static int count_nan(const double *q, int64_t count)
{
    int found = 0;
    for (int64_t i = 0; i < count; i++) found += isnan(q[i]);
    return found;
}

START_TEST(overflow)
{
    int64_t count = EDGE_N * EDGE_K * pfc_test_ranks();
    double *s = make_scores(count, 1, 12), q[EDGE_N * EDGE_K * 16];
    s[1] = 40;         /* score/epsilon 800: infinite in float64 */
    s[count - 2] = 41; /* another, on the last rank: ordering is lost */
    s[2] = 20;         /* 400: infinite in float32 only */
    pfc_sinkhorn_config cfg = { .05, 3, 0, PFC_SINKHORN_V1 };
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, count_nan(q, count) == 0);
    cfg.version = PFC_SINKHORN_VISSL;
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, count_nan(q, count) == 0);
    cfg.version = PFC_SINKHORN_V2; /* nothing is replaced */
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, count_nan(q, count) == count);
    cfg.version = PFC_SINKHORN_LOG; /* nothing overflows */
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, count_nan(q, count) == 0);
    free(s);
}
END_TEST

START_TEST(a_prototype_that_nobody_wants)
{
    int64_t count = EDGE_N * EDGE_K * pfc_test_ranks();
    double *s = make_scores(count, 1, 13), q[EDGE_N * EDGE_K * 16];
    for (int64_t i = 0; i < count; i += EDGE_K) s[i] = -50; /* exp(-1000) */
    pfc_sinkhorn_config cfg = { .05, 3, 1, PFC_SINKHORN_V1 };
    edge(&cfg, s, q); /* the row stays 0, the rest is finite */
    PFC_AGREE(MPI_COMM_WORLD, count_nan(q, count) == 0 && q[0] == 0);
    cfg.version = PFC_SINKHORN_V2; /* 0/0 */
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, count_nan(q, count) == count);
    cfg.version = PFC_SINKHORN_VISSL; /* 1e-12 everywhere: the row gets its share */
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, count_nan(q, count) == 0 && q[0] > 0.01);
    cfg.version = PFC_SINKHORN_LOG;
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, count_nan(q, count) == 0 && q[0] > 0.01);
    free(s);
}
END_TEST

START_TEST(a_sample_that_vanishes)
{
    int64_t count = EDGE_N * EDGE_K * pfc_test_ranks();
    double *s = make_scores(count, 1, 14), q[EDGE_N * EDGE_K * 16];
    for (int64_t k = 0; k < EDGE_K; k++) s[k] = -50;
    pfc_sinkhorn_config cfg = { .05, 1, 1, PFC_SINKHORN_V1 };
    edge(&cfg, s, q); /* c/0 = inf, 0*inf = NaN in its column */
    PFC_AGREE(MPI_COMM_WORLD, count_nan(q, count) == EDGE_K && isnan(q[0]));
    cfg.iterations = 2; /* then everywhere */
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, count_nan(q, count) == count);
    cfg.version = PFC_SINKHORN_LOG;
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, count_nan(q, count) == 0);
    free(s);
}
END_TEST

START_TEST(everything_vanishes)
{
    int64_t count = EDGE_N * EDGE_K * pfc_test_ranks();
    double *s = make_scores(count, 1, 15), q[EDGE_N * EDGE_K * 16];
    for (int64_t i = 0; i < count; i++) s[i] = -50;
    pfc_sinkhorn_config cfg = { .05, 3, 0, PFC_SINKHORN_V1 };
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, count_nan(q, count) == count);
    cfg.version = PFC_SINKHORN_LOG; /* uniform */
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, fabs(q[0] - 1.0 / EDGE_K) <= 1e-12);
    cfg.version = PFC_SINKHORN_V1;
    cfg.stabilise = 1;
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, fabs(q[0] - 1.0 / EDGE_K) <= 1e-12);
    free(s);
}
END_TEST

/* `value` in n places of the scores from `first` on, in every version up to the last one. */
static void with_value(double *s, int64_t first, int64_t n, double value, pfc_sinkhorn_version last)
{
    double q[EDGE_N * EDGE_K * 16], kept[EDGE_N * EDGE_K * 16];
    memcpy(kept, s, (size_t)(EDGE_N * EDGE_K * pfc_test_ranks()) * sizeof *s);
    for (int64_t i = first; i < first + n; i++) s[i] = value;
    for (int v = 0; v <= (int)last; v++)
        for (int i = 0; i < 6; i++) {
            pfc_sinkhorn_config cfg = { .05, i / 2, i % 2, (pfc_sinkhorn_version)v };
            edge(&cfg, s, q);
        }
    memcpy(s, kept, (size_t)(EDGE_N * EDGE_K * pfc_test_ranks()) * sizeof *s);
}

START_TEST(infinities_and_nan)
{
    static const double special[] = { INFINITY, -INFINITY, NAN };
    int64_t count = EDGE_N * EDGE_K * pfc_test_ranks();
    double *s = make_scores(count, 1, 16), q[EDGE_N * EDGE_K * 16];
    for (int x = 0; x < 3; x++) {
        with_value(s, 5, 1, special[x], PFC_SINKHORN_LOG);
        with_value(s, 0, EDGE_K, special[x], PFC_SINKHORN_LOG); /* the sample that fast mode takes its first shift from */
    }
    with_value(s, 0, count, 0x1p40, PFC_SINKHORN_VISSL); /* equal and so large that rounding 1/epsilon moves the exponents by thousands */
    /* The logarithm of a sum with an infinite term is that infinity: the prototype is lost to all samples but one, and that one has no assignment. */
    pfc_sinkhorn_config cfg = { .05, 1, 1, PFC_SINKHORN_LOG };
    s[5] = INFINITY;
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, q[1] == 0 && q[0] > 0 && isnan(q[4]) && isnan(q[5]) && count_nan(q, count) == EDGE_K);
    free(s);
}
END_TEST

/* Masses down to e^-1200 of the largest still count: the grid reaches below the usual one. */
START_TEST(tiny_masses)
{
    int64_t count = EDGE_N * EDGE_K * pfc_test_ranks();
    double *s = make_scores(count, 1, 17), q[EDGE_N * EDGE_K * 16];
    for (int64_t i = 0; i < count; i += EDGE_K) s[i] -= 32.5; /* exp(-650) and less */
    pfc_sinkhorn_config cfg = { .05, 3, 1, PFC_SINKHORN_V1 };
    edge(&cfg, s, q);
    PFC_AGREE(MPI_COMM_WORLD, q[0] > 1e-6);
    free(s);
}
END_TEST

/* ---- refusals ---- */

START_TEST(refusals)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT, 1);
    double x[12] = { 0 }, y[12];
    pfc_sinkhorn_config cfg = pfc_sinkhorn_defaults();
    pfc_view good = pfc_view_make(x, PFC_F64, 3, 4), out = pfc_view_make(y, PFC_F64, 3, 4);
    cfg.epsilon = 0;
    PFC_AGREE(MPI_COMM_WORLD, pfc_sinkhorn(ctx, &cfg, good, out) == PFC_ERR_ARG && strstr(pfc_ctx_error(ctx), "epsilon"));
    cfg = pfc_sinkhorn_defaults();
    cfg.iterations = -1;
    PFC_AGREE(MPI_COMM_WORLD, pfc_sinkhorn(ctx, &cfg, good, out) == PFC_ERR_ARG && strstr(pfc_ctx_error(ctx), "iterations"));
    cfg = pfc_sinkhorn_defaults();
    pfc_view mine = pfc_view_make(x, PFC_F64, pfc_test_rank() == 0 ? 2 : 3, 4), its = pfc_view_make(y, PFC_F64, mine.rows, 4);
    pfc_status st = pfc_sinkhorn(ctx, &cfg, mine, its);
    PFC_AGREE(MPI_COMM_WORLD, st == (pfc_test_ranks() > 1 ? PFC_ERR_SHAPE : PFC_OK));
    PFC_AGREE(MPI_COMM_WORLD, pfc_sinkhorn(ctx, &cfg, good, pfc_view_make(y, PFC_F64, 3, 3)) == PFC_ERR_SHAPE);
    PFC_AGREE(MPI_COMM_WORLD, pfc_sinkhorn(ctx, &cfg, good, pfc_view_make(y, PFC_F32, 3, 4)) == PFC_ERR_ARG);
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(golden_numbers),
        PFC_LOOP(every_switch, 32),
        PFC_ONCE(samples_have_mass_one),
        PFC_ONCE(versions_agree_and_shifts_do_not_matter),
        PFC_ONCE(prototypes_reach_their_share),
        PFC_ONCE(a_permutation),
        PFC_ONCE(same_bits),
        PFC_ONCE(overflow),
        PFC_ONCE(a_prototype_that_nobody_wants),
        PFC_ONCE(a_sample_that_vanishes),
        PFC_ONCE(everything_vanishes),
        PFC_ONCE(infinities_and_nan),
        PFC_ONCE(tiny_masses),
        PFC_ONCE(refusals),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
