/* class_means.c: centres from the training glyphs' embeddings, and how many held-out glyphs find theirs. */
#include "train/class_means.h"
#include "train/augment.h"

#include <pfc/shard.h>
#include <math.h>
#include <stdlib.h>

/* Embeds a list of glyphs, some at a time, and hands them on. */
typedef struct embedding {
    pfc_ctx *ctx;
    const pfc_glyph_set *set;
    pfc_embed_fn embed;
    void *user;
    int64_t batch, D;
    float *images; /* (batch, S*S) */
    const unsigned char **pixels;
    void *rows; /* (batch, D) real */
} embedding;

/* Embeddings of glyphs [first, first + rows.rows) of the list. Local. */
typedef void (*take_fn)(void *arg, int64_t first, pfc_view rows);

static pfc_status open_embedding(embedding *e)
{
    size_t b = (size_t)(e->batch > 0 ? e->batch : 0), S = (size_t)e->set->glyphs->size;
    if (e->batch < 1) return pfc_agree(e->ctx, pfc_fail(e->ctx, PFC_ERR_SHAPE, "batch: found %lld, expected 1 or more", (long long)e->batch));
    e->images = malloc(b * S * S * sizeof *e->images);
    e->pixels = malloc(b * sizeof *e->pixels);
    e->rows = malloc(b * (size_t)e->D * sizeof(double) + 1);
    bool made = e->images && e->pixels && e->rows;
    return pfc_agree(e->ctx, made ? PFC_OK : pfc_fail(e->ctx, PFC_ERR_NOMEM, "out of memory"));
}

static void close_embedding(embedding *e)
{
    free(e->images);
    free(e->pixels);
    free(e->rows);
}

/* The same number of rounds on all ranks, as embedding is collective. */
static pfc_status embed_list(embedding *e, const pfc_glyph_example *list, int64_t count, take_fn take, void *arg)
{
    const pfc_glyphs *g = e->set->glyphs;
    const pfc_augment plain = pfc_augment_defaults(g->size);
    int64_t rounds = (count + e->batch - 1) / e->batch;
    PFC_TRY(pfc_comm_max(&e->ctx->comm, &rounds, 1, PFC_I64));
    for (int64_t k = 0; k < rounds; k++) {
        int64_t first = k * e->batch < count ? k * e->batch : count, b = count - first < e->batch ? count - first : e->batch;
        for (int64_t i = 0; i < b; i++) e->pixels[i] = pfc_glyph(g, list[first + i].face, list[first + i].character);
        pfc_view images = pfc_view_make(e->images, PFC_F32, b, g->size * g->size), rows = pfc_view_make(e->rows, pfc_ctx_real(e->ctx), b, e->D);
        PFC_TRY(pfc_agree(e->ctx, pfc_augment_rows(e->ctx, &plain, 0, 0, b, e->pixels, NULL, e->images)));
        PFC_TRY(e->embed(e->user, images, rows));
        take(arg, first, rows);
    }
    return PFC_OK;
}

static double element(pfc_view v, int64_t i) { return v.dtype == PFC_F64 ? ((const double *)v.data)[i] : (double)((const float *)v.data)[i]; }

static void put_element(pfc_view v, int64_t i, double x)
{
    if (v.dtype == PFC_F64)
        ((double *)v.data)[i] = x;
    else
        ((float *)v.data)[i] = (float)x;
}

/* ---- means ---- */

typedef struct sums {
    const pfc_glyph_example *list;
    int64_t first_class, D;
    double *sum; /* (C_r, D) */
} sums;

/* sum += row / length, glyph by glyph in the list's order. */
static void add_rows(void *arg, int64_t first, pfc_view rows)
{
    sums *s = arg;
    for (int64_t i = 0; i < rows.rows; i++) {
        double *sum = s->sum + (s->list[first + i].class - s->first_class) * s->D, square = 0.0;
        for (int64_t d = 0; d < s->D; d++) square += element(rows, i * s->D + d) * element(rows, i * s->D + d);
        double length = sqrt(square);
        if (length < 1e-12) length = 1e-12;
        for (int64_t d = 0; d < s->D; d++) sum[d] += element(rows, i * s->D + d) / length;
    }
}

pfc_status pfc_class_means(pfc_ctx *ctx, const pfc_glyph_set *set, pfc_embed_fn embed, void *user, int64_t batch, pfc_view means)
{
    pfc_shard mine = pfc_shard_of(set->classes, pfc_ctx_ranks(ctx), pfc_ctx_rank(ctx));
    int64_t from = set->first[mine.start], to = set->first[mine.start + mine.count];
    embedding e = { .ctx = ctx, .set = set, .embed = embed, .user = user, .batch = batch, .D = means.cols };
    sums s = { .list = set->example + from, .first_class = mine.start, .D = means.cols };
    pfc_status st = PFC_OK;
    if (means.rows != mine.count || means.cols < 1 || means.dtype != pfc_ctx_real(ctx) || means.ld != means.cols)
        st = pfc_fail(ctx, PFC_ERR_SHAPE, "means: found (%lld,%lld), expected (%lld,D) real", (long long)means.rows, (long long)means.cols,
                      (long long)mine.count);
    PFC_TRY(pfc_agree(ctx, st));
    s.sum = calloc((size_t)(mine.count * means.cols) + 1, sizeof *s.sum);
    st = pfc_agree(ctx, s.sum ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory"));
    if (st == PFC_OK) st = open_embedding(&e);
    if (st == PFC_OK) st = embed_list(&e, s.list, to - from, add_rows, &s);
    for (int64_t c = 0; c < mine.count && st == PFC_OK; c++) {
        double n = (double)(set->first[mine.start + c + 1] - set->first[mine.start + c]); /* 1 or more */
        for (int64_t d = 0; d < s.D; d++) put_element(means, c * s.D + d, s.sum[c * s.D + d] / n);
    }
    close_embedding(&e);
    free(s.sum);
    return st;
}

/* ---- held-out glyphs ---- */

typedef struct queries {
    pfc_view all;   /* (m, D) real */
    int64_t *found; /* m */
} queries;

static void keep_rows(void *arg, int64_t first, pfc_view rows)
{
    queries *q = arg;
    for (int64_t i = 0; i < rows.rows * rows.cols; i++) put_element(q->all, first * rows.cols + i, element(rows, i));
}

/* This rank's queries of a face. right (count): how many find their class. */
static pfc_status ask(embedding *e, const pfc_glyph_example *list, int64_t m, const pfc_centres *centres, int count, int64_t *right)
{
    pfc_dtype real = pfc_ctx_real(e->ctx);
    queries q = { .all = pfc_view_make(malloc((size_t)(m * e->D) * pfc_dtype_size(real) + 1), real, m, e->D), .found = malloc((size_t)m * 8 + 1) };
    pfc_status st = pfc_agree(e->ctx, q.all.data && q.found ? PFC_OK : pfc_fail(e->ctx, PFC_ERR_NOMEM, "out of memory"));
    if (st == PFC_OK) st = embed_list(e, list, m, keep_rows, &q);
    for (int i = 0; i < count && st == PFC_OK; i++) {
        st = pfc_nearest(e->ctx, &centres[i], q.all, q.found);
        right[i] = 0;
        for (int64_t k = 0; k < m && st == PFC_OK; k++) right[i] += q.found[k] == list[k].class;
    }
    free(q.all.data);
    free(q.found);
    return st;
}

pfc_status pfc_held_out_right(pfc_ctx *ctx, const pfc_glyph_set *set, pfc_embed_fn embed, void *user, int64_t batch, const pfc_centres *centres, int count,
                              int64_t *right)
{
    pfc_shard mine = pfc_shard_of(set->classes, pfc_ctx_ranks(ctx), pfc_ctx_rank(ctx));
    embedding e = { .ctx = ctx, .set = set, .embed = embed, .user = user, .batch = batch, .D = centres[0].rows.cols };
    int64_t *here = calloc((size_t)count + 1, sizeof *here);
    pfc_status st = pfc_agree(ctx, here ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory"));
    if (st == PFC_OK) st = open_embedding(&e);
    for (int64_t h = 0; h < set->held && st == PFC_OK; h++) {
        int64_t first = set->query_first[h], end = set->query_first[h + 1];
        while (first < end && set->query[first].class < mine.start) first++;
        while (first < end && set->query[end - 1].class >= mine.start + mine.count) end--;
        st = ask(&e, set->query + first, end - first, centres, count, here);
        for (int i = 0; i < count && st == PFC_OK; i++) right[i * set->held + h] = here[i];
    }
    if (st == PFC_OK && set->held) st = pfc_comm_sum(&ctx->comm, right, count * set->held, PFC_I64);
    close_embedding(&e);
    free(here);
    return pfc_agree(ctx, st);
}
