/* test_class_means.c: class means, held-out accuracy and nearest centres of glyphs, with pixels as embeddings, against plain loops. */
#include "pfc_test.h"
#include "train/class_means.h"

#include <math.h>
#include <pfc/pfc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = 256, HELD = 2 };

static pfc_ctx *context(MPI_Comm comm, pfc_mode mode) { return pfc_test_ctx(comm, (pfc_options){ .mode = mode }); }

/* The shipped glyphs, with 101 of their classes: no multiple of the ranks. */
static pfc_glyph_set *glyphs(pfc_ctx *ctx, pfc_glyphs **g)
{
    const char *top = getenv("PFC_TOP_SRCDIR");
    char place[1100];
    pfc_glyph_choice choice = { "notosans+seto+notosans-bold", "notoserif+lxgw", 3, 101, 5 };
    pfc_glyph_set *set = NULL;
    snprintf(place, sizeof place, "%s/data/han256.bin", top ? top : ".");
    ck_assert_msg(pfc_glyphs_open(ctx, place, g) == PFC_OK, "%s", pfc_ctx_error(ctx));
    ck_assert_msg(pfc_glyph_set_make(ctx, *g, &choice, &set) == PFC_OK, "%s", pfc_ctx_error(ctx));
    return set;
}

/* Pixels; counts calls, and the rows of all of them. */
typedef struct pixels {
    pfc_ctx *ctx;
    int64_t calls, rows, most;
} pixels;

static pfc_status embed(void *user, pfc_view images, pfc_view out)
{
    pixels *p = user;
    p->calls++;
    p->rows += images.rows;
    if (images.rows > p->most) p->most = images.rows;
    if (images.rows != out.rows || images.cols != D || out.cols != D || out.dtype != pfc_ctx_real(p->ctx)) return pfc_fail(p->ctx, PFC_ERR_SHAPE, "shape");
    for (int64_t i = 0; i < images.rows * D; i++) {
        if (out.dtype == PFC_F64)
            ((double *)out.data)[i] = ((const float *)images.data)[i];
        else
            ((float *)out.data)[i] = ((const float *)images.data)[i];
    }
    return PFC_OK;
}

static double element(pfc_view v, int64_t i) { return v.dtype == PFC_F64 ? ((const double *)v.data)[i] : (double)((const float *)v.data)[i]; }

static pfc_view make_means(pfc_ctx *ctx, const pfc_glyph_set *set, int64_t batch, pixels *p)
{
    pfc_shard mine = pfc_shard_of(set->classes, pfc_ctx_ranks(ctx), pfc_ctx_rank(ctx));
    pfc_view means = pfc_view_make(malloc((size_t)(mine.count * D + 1) * sizeof(double)), pfc_ctx_real(ctx), mine.count, D);
    *p = (pixels){ .ctx = ctx };
    pfc_status st = pfc_class_means(ctx, set, embed, p, batch, means);
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
    return means;
}

/* What class_means computes, of all classes, by plain loops. */
static void reference_means(const pfc_glyph_set *set, double *means)
{
    memset(means, 0, (size_t)(set->classes * D) * sizeof *means);
    for (int64_t e = 0; e < set->examples; e++) {
        const unsigned char *p = pfc_glyph(set->glyphs, set->example[e].face, set->example[e].character);
        int64_t c = set->example[e].class;
        double square = 0;
        for (int d = 0; d < D; d++) square += (p[d] / 255.0) * (p[d] / 255.0);
        for (int d = 0; d < D; d++) means[c * D + d] += p[d] / 255.0 / sqrt(square) / (double)(set->first[c + 1] - set->first[c]);
    }
}

/* Queries that a plain search with double products finds right, and how many are too close to call. */
static void reference_right(const pfc_glyph_set *set, const double *means, bool cosine, int64_t right[HELD], int64_t close[HELD])
{
    for (int h = 0; h < HELD; h++) {
        right[h] = close[h] = 0;
        for (int64_t q = set->query_first[h]; q < set->query_first[h + 1]; q++) {
            const unsigned char *p = pfc_glyph(set->glyphs, set->query[q].face, set->query[q].character);
            double own = 0, other = -INFINITY;
            for (int64_t c = 0; c < set->classes; c++) {
                double dot = 0, square = 0;
                for (int d = 0; d < D; d++) dot += p[d] / 255.0 * means[c * D + d], square += means[c * D + d] * means[c * D + d];
                if (cosine) dot /= sqrt(square);
                if (c == set->query[q].class)
                    own = dot;
                else if (dot > other)
                    other = dot;
            }
            right[h] += own > other;
            close[h] += fabs(own - other) < 1e-4;
        }
    }
}

START_TEST(accuracy)
{
    for (int m = 0; m < 2; m++) {
        pfc_ctx *ctx = context(MPI_COMM_WORLD, m ? PFC_FAST : PFC_EXACT);
        pfc_glyphs *g = NULL;
        pixels p;
        pfc_glyph_set *set = glyphs(ctx, &g);
        pfc_view means = make_means(ctx, set, 7, &p);
        pfc_shard mine = pfc_shard_of(set->classes, pfc_test_ranks(), pfc_test_rank());
        int64_t most = (pfc_shard_of(set->classes, pfc_test_ranks(), 0).count * 3 + 6) / 7; /* rounds of the rank with most classes */
        PFC_AGREE(MPI_COMM_WORLD, p.calls == most && p.rows == 3 * mine.count && p.most == 7);
        double *all = malloc((size_t)(set->classes * D) * sizeof *all), worst = 0;
        reference_means(set, all);
        for (int64_t i = 0; i < mine.count * D; i++) worst = fmax(worst, fabs(element(means, i) - all[mine.start * D + i]));
        PFC_AGREE(MPI_COMM_WORLD, worst < 1e-6);

        pfc_centres centres[2] = { { set->classes, 1, true, means }, { set->classes, 1, false, means } };
        int64_t right[2 * HELD], want[HELD], close[HELD];
        p = (pixels){ .ctx = ctx };
        ck_assert_msg(pfc_held_out_right(ctx, set, embed, &p, 7, centres, 2, right) == PFC_OK, "%s", pfc_ctx_error(ctx));
        PFC_AGREE(MPI_COMM_WORLD, p.rows == HELD * mine.count); /* one embedding serves both sets of centres */
        for (int i = 0; i < 2; i++) {
            reference_right(set, all, i == 0, want, close);
            for (int h = 0; h < HELD; h++) {
                int64_t off = right[i * HELD + h] - want[h];
                ck_assert_msg((off < 0 ? -off : off) <= close[h], "face %d: found %d, expected %d", h, (int)right[i * HELD + h], (int)want[h]);
                ck_assert(right[i * HELD + h] > 70 && close[h] < 3);
            }
        }
        free(all);
        free(means.data);
        pfc_glyph_set_free(&set);
        pfc_glyphs_close(&g);
        pfc_ctx_destroy(&ctx);
    }
}
END_TEST

/* Exact mode: this rank's means and all counts have the bits of a run on one rank, whatever the batch. */
START_TEST(ranks)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT), *alone = context(MPI_COMM_SELF, PFC_EXACT);
    pfc_glyphs *g = NULL, *own = NULL;
    pixels p;
    pfc_glyph_set *set = glyphs(ctx, &g), *own_set = glyphs(alone, &own);
    pfc_view part = make_means(ctx, set, 50, &p), whole = make_means(alone, own_set, 11, &p);
    pfc_shard mine = pfc_shard_of(set->classes, pfc_test_ranks(), pfc_test_rank());
    PFC_AGREE(MPI_COMM_WORLD, memcmp(part.data, (double *)whole.data + mine.start * D, (size_t)(mine.count * D) * sizeof(double)) == 0);
    pfc_centres centres = { set->classes, 1, true, part }, own_centres = { set->classes, 1, true, whole };
    int64_t right[HELD], own_right[HELD];
    p = (pixels){ .ctx = ctx };
    ck_assert(pfc_held_out_right(ctx, set, embed, &p, 50, &centres, 1, right) == PFC_OK);
    p = (pixels){ .ctx = alone };
    ck_assert(pfc_held_out_right(alone, own_set, embed, &p, 3, &own_centres, 1, own_right) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, memcmp(right, own_right, sizeof right) == 0);
    free(part.data);
    free(whole.data);
    pfc_glyph_set_free(&set);
    pfc_glyph_set_free(&own_set);
    pfc_glyphs_close(&g);
    pfc_glyphs_close(&own);
    pfc_ctx_destroy(&ctx);
    pfc_ctx_destroy(&alone);
}
END_TEST

/* Centre j of class c is unit vector (2c + j) mod W, so feature +e_i is nearest to class i/2; longer than a chunk of centres, fewer classes than ranks too. */
START_TEST(subcenters)
{
    static const int counts[] = { 1300, 2, 1 };
    for (int m = 0; m < 6; m++) {
        pfc_ctx *ctx = context(MPI_COMM_WORLD, m % 2 ? PFC_FAST : PFC_EXACT);
        int C = counts[m / 2], W = 2 * C < 64 ? 2 * C : 64, rows = 3 + pfc_test_rank();
        pfc_shard mine = pfc_shard_of(C, pfc_test_ranks(), pfc_test_rank());
        float *w = calloc((size_t)(2 * mine.count * W) + 1, sizeof *w), x[16 * 64] = { 0 };
        int64_t found[16];
        for (int64_t r = 0; r < 2 * mine.count; r++) w[r * W + (2 * mine.start + r) % W] = 3.0f;
        for (int i = 0; i < rows; i++) x[i * W + (i * 5 + pfc_test_rank()) % W] = 2.0f;
        pfc_centres centres = { C, 2, m < 4, pfc_view_make(w, PFC_F32, 2 * mine.count, W) };
        pfc_status st = pfc_nearest(ctx, &centres, pfc_view_make(x, PFC_F32, rows, W), found);
        ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
        bool good = true;
        for (int i = 0; i < rows; i++) good = good && found[i] == (i * 5 + pfc_test_rank()) % W / 2; /* of equal ones the first */
        PFC_AGREE(MPI_COMM_WORLD, good);
        free(w);
        pfc_ctx_destroy(&ctx);
    }
}
END_TEST

static pfc_status broken(void *user, pfc_view images, pfc_view out)
{
    pixels *p = user;
    (void)images, (void)out;
    bool fails = ++p->calls == 3 && pfc_ctx_rank(p->ctx) == pfc_ctx_ranks(p->ctx) - 1;
    return pfc_agree(p->ctx, fails ? pfc_fail(p->ctx, PFC_ERR_RUNTIME, "broken") : PFC_OK);
}

START_TEST(failures)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_FAST);
    pfc_glyphs *g = NULL;
    pixels p;
    pfc_glyph_set *set = glyphs(ctx, &g);
    pfc_view means = make_means(ctx, set, 32, &p), more = means;
    p = (pixels){ .ctx = ctx };
    ck_assert(pfc_class_means(ctx, set, broken, &p, 4, means) == PFC_ERR_RUNTIME && strcmp(pfc_ctx_error(ctx), "broken") == 0);
    more.rows += pfc_test_rank() == 0;
    ck_assert(pfc_class_means(ctx, set, embed, &p, 4, more) == PFC_ERR_SHAPE);
    ck_assert(pfc_class_means(ctx, set, embed, &p, 0, means) == PFC_ERR_SHAPE);
    pfc_centres centres = { set->classes, 1, true, more };
    int64_t right[HELD], found[1];
    float x[D] = { 0 };
    ck_assert(pfc_held_out_right(ctx, set, embed, &p, 4, &centres, 1, right) == PFC_ERR_SHAPE);
    ck_assert(strncmp(pfc_ctx_error(ctx), "centres: ", 9) == 0);
    centres.rows = means;
    ck_assert(pfc_nearest(ctx, &centres, pfc_view_make(x, PFC_F32, 1, D - 1), found) == PFC_ERR_SHAPE);
    ck_assert(strncmp(pfc_ctx_error(ctx), "features: ", 10) == 0);
    free(means.data);
    pfc_glyph_set_free(&set);
    pfc_glyphs_close(&g);
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(accuracy),
        PFC_ONCE(ranks),
        PFC_ONCE(subcenters),
        PFC_ONCE(failures),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
