/* augment.c: random shifts, affine maps and noise. */
#include "train/augment.h"

#include <pfc/rng.h>
#include <string.h>

enum { MAX_SIZE = 256, EDGE = 1, PADDED = MAX_SIZE + 3 * EDGE, FEW_PIXELS = 1 << 14 };

pfc_augment pfc_augment_defaults(int64_t size)
{
    pfc_augment a = { .kind = PFC_AUGMENT_NONE, .size = size, .stretch = 0.12, .translation = 0.05 };
    return a;
}

/* ---- random words: key = seed, counter = (example, view, block; epoch; stream), four words a block. Block 0 and 1: the map; 2 and more: noise ---- */

enum { VIEW_BITS = 4, BLOCK_BITS = 15, MAP_BLOCKS = 2 };

typedef struct draw {
    uint32_t key[2], counter[4];
} draw;

static draw draw_of(const pfc_augment *a, int64_t epoch, int view, int64_t example)
{
    uint64_t first = ((uint64_t)example << VIEW_BITS | (uint64_t)view) << BLOCK_BITS;
    return (draw){ { (uint32_t)(uint64_t)a->seed, (uint32_t)((uint64_t)a->seed >> 32) },
                   { (uint32_t)first, (uint32_t)(first >> 32), (uint32_t)epoch, PFC_STREAM_AUGMENT } };
}

static void draw_block(const draw *d, uint32_t block, uint32_t word[4])
{
    uint32_t counter[4] = { d->counter[0] | block, d->counter[1], d->counter[2], d->counter[3] };
    pfc_philox4x32(counter, d->key, word);
}

/* Uniform in [-1, 1). */
static double symmetric(uint32_t word) { return (double)word * 0x1p-31 - 1.0; }

/* ---- maps ---- */

/* Row i, column j of the result is the image at row row[0] + row[1] i + row[2] j, column col[0] + col[1] i + col[2] j. */
typedef struct map {
    double row[3], col[3];
} map;

static map affine_map(const pfc_augment *a, const draw *d)
{
    uint32_t word[4 * MAP_BLOCKS];
    for (uint32_t k = 0; k < MAP_BLOCKS; k++) draw_block(d, k, word + 4 * k);
    double middle = 0.5 * (double)(a->size - 1), reach = a->translation * (double)a->size;
    map m = { { 0.0, 1.0 + a->stretch * symmetric(word[0]), a->stretch * symmetric(word[1]) },
              { 0.0, a->stretch * symmetric(word[2]), 1.0 + a->stretch * symmetric(word[3]) } };
    m.row[0] = middle - middle * (m.row[1] + m.row[2]) + reach * symmetric(word[4]);
    m.col[0] = middle - middle * (m.col[1] + m.col[2]) + reach * symmetric(word[5]);
    return m;
}

/* -1, 0 or 1, equally likely up to 2^-32. */
static int64_t step_of(uint32_t word) { return (int64_t)((uint64_t)word * 3 >> 32) - 1; }

static void shift(const pfc_augment *a, const draw *d, const float *grey, const unsigned char *image, float *to)
{
    uint32_t word[4];
    int64_t S = a->size;
    draw_block(d, 0, word);
    int64_t down = step_of(word[0]), right = step_of(word[1]);
    for (int64_t i = 0; i < S; i++)
        for (int64_t j = 0; j < S; j++) {
            int64_t y = i - down, x = j - right;
            to[i * S + j] = y >= 0 && y < S && x >= 0 && x < S ? grey[image[y * S + x]] : 0.0f;
        }
}

/* Where the pixels of one row of the result come from: the upper left one of four neighbours in the padded image, and the weights of the right and lower ones.
 * Beyond a pixel from the image all is paper, so places further out are drawn in; then they are not negative and (int) is floor. */
static void places(const map *m, int64_t S, int64_t i, int *at, float *down, float *right)
{
    double most = (double)S + EDGE, y0 = EDGE + m->row[0] + m->row[1] * (double)i, x0 = EDGE + m->col[0] + m->col[1] * (double)i;
    for (int64_t j = 0; j < S; j++) {
        double y = y0 + m->row[2] * (double)j, x = x0 + m->col[2] * (double)j;
        y = y < 0.0 ? 0.0 : y;
        x = x < 0.0 ? 0.0 : x;
        y = y > most ? most : y;
        x = x > most ? most : x;
        int yi = (int)y, xi = (int)x;
        at[j] = yi * ((int)S + 3 * EDGE) + xi;
        down[j] = (float)(y - yi);
        right[j] = (float)(x - xi);
    }
}

/* padded (S+3, S+3): the image with one row and column of paper before it and two behind. */
static void affine(const map *m, int64_t S, const float *grey, const unsigned char *image, float *padded, float *to)
{
    int64_t width = S + 3 * EDGE;
    int at[MAX_SIZE];
    float down[MAX_SIZE], right[MAX_SIZE];
    for (int64_t i = 0; i < S; i++)
        for (int64_t j = 0; j < S; j++) padded[(i + EDGE) * width + j + EDGE] = grey[image[i * S + j]];
    for (int64_t i = 0; i < S; i++) {
        places(m, S, i, at, down, right);
        for (int64_t j = 0; j < S; j++) {
            const float *p = padded + at[j], *q = p + width;
            float upper = p[0] + right[j] * (p[1] - p[0]), lower = q[0] + right[j] * (q[1] - q[0]);
            to[i * S + j] = upper + down[j] * (lower - upper);
        }
    }
}

/* ---- rows ---- */

static void add_noise(const pfc_augment *a, const draw *d, float *to)
{
    int64_t pixels = a->size * a->size;
    for (int64_t p = 0; p < pixels; p += 4) {
        uint32_t word[4];
        draw_block(d, (uint32_t)(MAP_BLOCKS + p / 4), word);
        for (int64_t k = 0; k < 4 && p + k < pixels; k++) to[p + k] = (float)((double)to[p + k] + a->noise * symmetric(word[k]));
    }
}

static void augment_row(const pfc_augment *a, const draw *d, const float *grey, const unsigned char *image, float *padded, float *to)
{
    if (a->kind == PFC_AUGMENT_NONE)
        for (int64_t p = 0; p < a->size * a->size; p++) to[p] = grey[image[p]];
    if (a->kind == PFC_AUGMENT_SHIFT) shift(a, d, grey, image, to);
    if (a->kind == PFC_AUGMENT_AFFINE) {
        map m = affine_map(a, d);
        affine(&m, a->size, grey, image, padded, to);
    }
    if (a->noise > 0.0) add_noise(a, d, to);
}

static pfc_status check(pfc_ctx *ctx, const pfc_augment *a, int64_t epoch, int view, int64_t count, const int64_t *example)
{
    if (a->kind < PFC_AUGMENT_NONE || a->kind > PFC_AUGMENT_AFFINE) return pfc_fail(ctx, PFC_ERR_ARG, "augment: found %d, which is none", (int)a->kind);
    if (a->size < 1 || a->size > MAX_SIZE) return pfc_fail(ctx, PFC_ERR_ARG, "augment: found size %lld, expected 1 to %d", (long long)a->size, MAX_SIZE);
    const double reals[] = { a->stretch, a->translation, a->noise };
    static const char *const names[] = { "stretch", "translation", "noise" };
    for (int i = 0; i < 3; i++)
        if (!(reals[i] >= 0.0 && reals[i] <= 1.0)) return pfc_fail(ctx, PFC_ERR_ARG, "%s: found %g, expected 0 to 1", names[i], reals[i]);
    if (epoch < 0 || epoch > UINT32_MAX || view < 0 || view >= PFC_AUGMENT_VIEWS)
        return pfc_fail(ctx, PFC_ERR_ARG, "augment: found epoch %lld, view %d, expected 0 to 2^32 - 1, 0 to %d", (long long)epoch, view, PFC_AUGMENT_VIEWS - 1);
    if (!example && (a->kind != PFC_AUGMENT_NONE || a->noise > 0.0)) return pfc_fail(ctx, PFC_ERR_ARG, "augment: found no examples' numbers");
    for (int64_t i = 0; i < count && example; i++)
        if (example[i] < 0 || example[i] >= PFC_AUGMENT_EXAMPLES)
            return pfc_fail(ctx, PFC_ERR_ARG, "augment: found example %lld, expected 0 to 2^44 - 1", (long long)example[i]);
    return PFC_OK;
}

pfc_status pfc_augment_rows(pfc_ctx *ctx, const pfc_augment *a, int64_t epoch, int view, int64_t count, const unsigned char *const *images,
                            const int64_t *example, float *rows)
{
    int64_t pixels = a->size * a->size;
    float grey[256];
    PFC_TRY(check(ctx, a, epoch, view, count, example));
    for (int v = 0; v < 256; v++) grey[v] = (float)(v / 255.0);
#pragma omp parallel num_threads(ctx->be->threads) if (count * pixels > FEW_PIXELS)
    {
        float padded[PADDED * PADDED]; /* the paper around the image is never written again */
        memset(padded, 0, (size_t)((a->size + 3 * EDGE) * (a->size + 3 * EDGE)) * sizeof *padded);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < count; n++) {
            draw d = draw_of(a, epoch, view, example ? example[n] : 0);
            augment_row(a, &d, grey, images[n], padded, rows + n * pixels);
        }
    }
    return PFC_OK;
}
