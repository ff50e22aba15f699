/* test_arcface.c: the library's ArcFace head against the dense equations over every switch; the same bits on any number of ranks, threads and engines. */
#include "arcface_problem.h"
#include "pfc_test.h"

#include <math.h>
#include <stdlib.h>

enum { TABLE = 96 };

/* A choice 0..count-1 for case `id` that has nothing to do with the others. */
static int pick(int id, uint32_t what, int count) { return (int)(count * pfc_uniform(id, what, 5, PFC_STREAM_FILL)); }

static arc_problem *table_problem(int id, int64_t n)
{
    static const int64_t CLASSES[] = { 1, 3, 11, 40 }, SUBCENTERS[] = { 1, 2, 3, 9 };
    pfc_arcface_config o = arc_config(CLASSES[id % 4], 1 + 3 * (int64_t)pick(id, 0, 3) + 2, SUBCENTERS[pick(id, 1, 4)]);
    o.margin = pick(id, 2, 2) ? .5 : 1.7; /* the larger reaches the fallback */
    o.easy_margin = pick(id, 3, 2);
    o.feature_norm = pick(id, 4, 3) > 0;
    o.weight_norm = pick(id, 5, 3) > 0;
    o.cos_clamp = pick(id, 6, 2);
    o.margin_constants = (pfc_margin_constants)pick(id, 7, 2);
    o.loss_weight = pick(id, 8, 2) ? 1 : -.7;
    arc_problem *p = arc_problem_new(&o, n, pick(id, 9, 16), id);
    p->eval = pick(id, 10, 6) == 0;
    if (pick(id, 11, 4) == 0) p->x[0] = p->x[1] = p->x[2] = 0; /* part of a row, or all of it */
    if (pick(id, 12, 4) == 0)                                  /* a weight on its feature, so a pole is near; and against it */
        for (int64_t k = 0; k < o.embedding_size; k++) p->weight[k] = (pick(id, 13, 2) ? 2 : -2) * p->x[k];
    return p;
}

static void close_to_dense(const arc_outcome *got, const arc_problem *p, int id)
{
    arc_outcome *want = arc_dense(p);
    bool pole = false; /* a cosine at 1 to rounding: NaN or not, the slope any number */
    for (int64_t i = 0; i < want->size[ARC_COSINE]; i++) pole = pole || fabs(fabs(want->v[ARC_COSINE][i]) - 1) < 1e-7;
    for (int k = 0; k < ARC_RESULTS; k++) {
        double error = arc_worst(got->v[k], want->v[k], want->size[k]);
        if (pole && k != ARC_COSINE && k != ARC_SUBCENTER) continue;
        PFC_AGREE(MPI_COMM_WORLD, got->status == PFC_OK);
        ck_assert_msg(error <= 1e-9, "case %d: %s is off by %g", id, ARC_NAMES[k], error);
    }
    arc_outcome_free(want);
}

START_TEST(every_switch_against_dense)
{
    pfc_ctx *ctx = arc_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 1);
    for (int id = 0; id < TABLE; id++) {
        arc_problem *p = table_problem(id, pfc_test_ranks() * (int64_t)(1 + id % 3));
        arc_outcome *o = arc_library(MPI_COMM_WORLD, ctx, p);
        close_to_dense(o, p, id);
        arc_outcome_free(o);
        arc_problem_free(p);
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* On all ranks together, on each alone, with more threads and another engine: the same bits. */
START_TEST(same_bits_on_any_ranks)
{
    pfc_ctx *all = arc_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 2), *alone = arc_ctx(MPI_COMM_SELF, PFC_EXACT, "int128", 1);
    for (int id = 0; id < TABLE; id += 3) {
        arc_problem *p = table_problem(id, 2 * pfc_test_ranks());
        arc_outcome *a = arc_library(MPI_COMM_WORLD, all, p), *b = arc_library(MPI_COMM_SELF, alone, p);
        int k = arc_first_difference(a, b);
        PFC_AGREE(MPI_COMM_WORLD, k < 0 && a->status == PFC_OK && b->status == PFC_OK);
        arc_outcome_free(a);
        arc_outcome_free(b);
        arc_problem_free(p);
    }
    pfc_ctx_destroy(&all);
    pfc_ctx_destroy(&alone);
}
END_TEST

/* Fast mode: the same bits on 1 and 3 threads, and near to exact mode where nothing is at a pole or a threshold. */
START_TEST(fast_mode)
{
    pfc_ctx *one = arc_ctx(MPI_COMM_WORLD, PFC_FAST, NULL, 1), *three = arc_ctx(MPI_COMM_WORLD, PFC_FAST, NULL, 3);
    pfc_ctx *exact = arc_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 1);
    for (int id = 0; id < 24; id++) {
        pfc_arcface_config o = arc_config(id % 2 ? 300 : 5, 7, 1 + id % 3);
        o.margin = .2;
        arc_problem *p = arc_problem_new(&o, 4 * pfc_test_ranks(), id % 16, 1000 + id);
        if (o.num_subcenters > 1 && p->bias) p->cfg.cos_clamp = 1;
        arc_outcome *a = arc_library(MPI_COMM_WORLD, one, p), *b = arc_library(MPI_COMM_WORLD, three, p), *e = arc_library(MPI_COMM_WORLD, exact, p);
        PFC_AGREE(MPI_COMM_WORLD, arc_first_difference(a, b) < 0);
        for (int k = 0; k < ARC_RESULTS; k++) {
            double error = arc_worst(a->v[k], e->v[k], e->size[k]);
            PFC_AGREE(MPI_COMM_WORLD, error <= 2e-5);
        }
        arc_outcome_free(a);
        arc_outcome_free(b);
        arc_outcome_free(e);
        arc_problem_free(p);
    }
    pfc_ctx_destroy(&one);
    pfc_ctx_destroy(&three);
    pfc_ctx_destroy(&exact);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(every_switch_against_dense),
        PFC_ONCE(same_bits_on_any_ranks),
        PFC_ONCE(fast_mode),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
