/* glyph_set.c: which glyphs of a file train, which test, and as what class. */
#include "core/rng_order.h"
#include "train/glyphs.h"

#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

typedef struct builder {
    pfc_ctx *ctx;
    const pfc_glyphs *g;
    const pfc_glyph_choice *choice;
    pfc_glyph_set *set;
    int64_t *train_face, train; /* in the file's order */
} builder;

static void *allocate(builder *b, int64_t count, size_t bytes, pfc_status *st)
{
    void *p = calloc((size_t)count + 1, bytes);
    if (!p) *st = pfc_fail(b->ctx, PFC_ERR_NOMEM, "glyphs: out of memory");
    return p;
}

/* ---- faces ---- */

static int64_t find_face(const pfc_glyphs *g, const char *key, size_t length)
{
    int64_t f = 0;
    while (f < g->faces && !(strlen(pfc_glyph_key(g, f)) == length && memcmp(pfc_glyph_key(g, f), key, length) == 0)) f++;
    return f < g->faces ? f : -1;
}

/* The faces of a list into face (F), in the list's order. taken (F): 1 for those of any list. */
static pfc_status read_keys(builder *b, const char *name, const char *keys, unsigned char *taken, int64_t *face, int64_t *count)
{
    *count = 0;
    for (const char *k = keys; *keys; k++) {
        size_t length = strcspn(k, "+");
        int64_t f = find_face(b->g, k, length);
        if (f < 0)
            return pfc_fail(b->ctx, PFC_ERR_ARG, "%s: found '%.*s', expected faces of the glyph file joined by '+'", name, (int)(length < 60 ? length : 60), k);
        if (taken[f])
            return pfc_fail(b->ctx, PFC_ERR_ARG, "%s: found face '%s' twice, expected each once in train_faces and held_faces", name, pfc_glyph_key(b->g, f));
        taken[f] = 1;
        face[(*count)++] = f;
        k += length;
        if (!*k) break;
    }
    return PFC_OK;
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static pfc_status choose_faces(builder *b)
{
    const char *train = b->choice->train ? b->choice->train : "", *held = b->choice->held ? b->choice->held : "";
    pfc_status st = PFC_OK;
    unsigned char *taken = allocate(b, b->g->faces, 1, &st);
    b->train_face = allocate(b, b->g->faces, sizeof *b->train_face, &st);
    b->set->held_face = allocate(b, b->g->faces, sizeof *b->set->held_face, &st);
    if (st == PFC_OK) st = read_keys(b, "held_faces", held, taken, b->set->held_face, &b->set->held);
    if (st == PFC_OK) st = read_keys(b, "train_faces", train, taken, b->train_face, &b->train);
    for (int64_t f = 0; f < b->g->faces && st == PFC_OK && !*train; f++)
        if (!taken[f]) b->train_face[b->train++] = f;
    free(taken);
    PFC_TRY(st);
    qsort(b->train_face, (size_t)b->train, sizeof *b->train_face, by_number);
    return b->train ? PFC_OK : pfc_fail(b->ctx, PFC_ERR_ARG, "train_faces: found none, as all are held out");
}

/* ---- classes ---- */

typedef struct coded {
    uint32_t code;
    int32_t character;
} coded;

static int by_code(const void *a, const void *b)
{
    uint32_t x = ((const coded *)a)->code, y = ((const coded *)b)->code;
    return (x > y) - (x < y);
}

/* The characters with enough training faces, by code point; returns how many. */
static int64_t find_eligible(const builder *b, coded *eligible)
{
    int64_t n = 0;
    for (int64_t c = 0; c < b->g->characters; c++) {
        int64_t inked = 0;
        for (int64_t f = 0; f < b->train; f++) inked += pfc_glyph_inked(b->g, b->train_face[f], c);
        if (inked >= b->choice->min_faces) eligible[n++] = (coded){ pfc_glyph_code(b->g, c), (int32_t)c };
    }
    qsort(eligible, (size_t)n, sizeof *eligible, by_code);
    return n;
}

static pfc_status choose_among(builder *b, const coded *eligible, int64_t n, int64_t *order)
{
    int64_t classes = b->choice->classes ? b->choice->classes : n;
    if (b->choice->min_faces < 1) return pfc_fail(b->ctx, PFC_ERR_ARG, "min_faces: found %lld, expected 1 or more", (long long)b->choice->min_faces);
    if (n == 0)
        return pfc_fail(b->ctx, PFC_ERR_ARG, "min_faces: found %lld, expected fewer: no character has ink in so many of the %lld training faces",
                        (long long)b->choice->min_faces, (long long)b->train);
    if (classes < 0 || classes > n)
        return pfc_fail(b->ctx, PFC_ERR_ARG, "classes: found %lld, expected 1 to %lld, or 0 for all", (long long)classes, (long long)n);
    if (!pfc_random_order(b->choice->seed, 0, PFC_STREAM_GLYPH_CLASS, n, order)) return pfc_fail(b->ctx, PFC_ERR_NOMEM, "glyphs: out of memory");
    qsort(order, (size_t)classes, sizeof *order, by_number);
    for (int64_t c = 0; c < classes; c++) b->set->character[c] = eligible[order[c]].character;
    b->set->classes = classes;
    return PFC_OK;
}

static pfc_status choose_classes(builder *b)
{
    pfc_status st = PFC_OK;
    coded *eligible = allocate(b, b->g->characters, sizeof *eligible, &st);
    int64_t *order = allocate(b, b->g->characters, sizeof *order, &st);
    b->set->character = allocate(b, b->g->characters, sizeof *b->set->character, &st);
    if (st == PFC_OK) st = choose_among(b, eligible, find_eligible(b, eligible), order);
    free(eligible);
    free(order);
    return st;
}

/* ---- examples and queries ---- */

/* to (NULL: only count) <- class c in these faces, where there is ink. */
static int64_t list_class(const builder *b, int64_t c, const int64_t *faces, int64_t count, pfc_glyph_example *to)
{
    int64_t character = b->set->character[c], n = 0;
    for (int64_t f = 0; f < count; f++)
        if (pfc_glyph_inked(b->g, faces[f], character)) {
            if (to) to[n] = (pfc_glyph_example){ (int32_t)c, (int32_t)character, (int32_t)faces[f] };
            n++;
        }
    return n;
}

static pfc_status list_examples(builder *b)
{
    pfc_glyph_set *s = b->set;
    pfc_status st = PFC_OK;
    s->first = allocate(b, s->classes + 1, sizeof *s->first, &st);
    PFC_TRY(st);
    for (int64_t c = 0; c < s->classes; c++) s->first[c + 1] = s->first[c] + list_class(b, c, b->train_face, b->train, NULL);
    s->examples = s->first[s->classes];
    s->example = allocate(b, s->examples, sizeof *s->example, &st);
    PFC_TRY(st);
    for (int64_t c = 0; c < s->classes; c++) list_class(b, c, b->train_face, b->train, s->example + s->first[c]);
    return PFC_OK;
}

static pfc_status list_queries(builder *b)
{
    pfc_glyph_set *s = b->set;
    pfc_status st = PFC_OK;
    s->query_first = allocate(b, s->held + 1, sizeof *s->query_first, &st);
    s->query = allocate(b, s->held * s->classes, sizeof *s->query, &st);
    PFC_TRY(st);
    for (int64_t h = 0, n = 0; h < s->held; s->query_first[++h] = n)
        for (int64_t c = 0; c < s->classes; c++) n += list_class(b, c, s->held_face + h, 1, s->query + n);
    return PFC_OK;
}

pfc_status pfc_glyph_set_make(pfc_ctx *ctx, const pfc_glyphs *glyphs, const pfc_glyph_choice *choice, pfc_glyph_set **out)
{
    builder b = { .ctx = ctx, .g = glyphs, .choice = choice, .set = calloc(1, sizeof *b.set) };
    pfc_status st = b.set ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "glyphs: out of memory");
    if (st == PFC_OK) b.set->glyphs = glyphs;
    if (st == PFC_OK) st = choose_faces(&b);
    if (st == PFC_OK) st = choose_classes(&b);
    if (st == PFC_OK) st = list_examples(&b);
    if (st == PFC_OK) st = list_queries(&b);
    free(b.train_face);
    st = pfc_agree(ctx, st);
    if (st != PFC_OK) pfc_glyph_set_free(&b.set);
    *out = b.set;
    return st;
}

void pfc_glyph_set_free(pfc_glyph_set **set)
{
    if (!set || !*set) return;
    pfc_glyph_set *s = *set;
    free(s->character);
    free(s->example);
    free(s->first);
    free(s->held_face);
    free(s->query_first);
    free(s->query);
    free(s);
    *set = NULL;
}
