/* test_augment.c: shifts, affine maps and noise: against the formula, the same for any split of a batch and any threads, the same bits for ever. */
#include "file/sha256.h"
#include "pfc_test.h"
#include "train/augment.h"

#include <math.h>
#include <pfc/pfc.h>
#include <stdlib.h>
#include <string.h>

enum { S = 16, PIXELS = S * S, N = 64 };

/* 64 pictures: strokes of several grey levels, paper around. */
static unsigned char image[N][PIXELS];
static const unsigned char *images[N];
static int64_t example[N];

static pfc_ctx *context(int threads) { return pfc_test_ctx(MPI_COMM_WORLD, (pfc_options){ .mode = PFC_FAST, .threads = threads }); }

static void make_images(void)
{
    for (int n = 0; n < N; n++) {
        images[n] = image[n];
        example[n] = n < N / 2 ? n : (INT64_C(1) << 44) - 1 - n;
        for (int p = 0; p < PIXELS; p++) {
            int i = p / S, j = p % S;
            bool inside = i > 2 && i < 13 && j > 2 && j < 13;
            image[n][p] = (unsigned char)(inside && ((i + n) % 4 == 0 || (j * 3 + n) % 5 == 0) ? 255 - (7 * n + 11 * p) % 100 : 0);
        }
    }
}

static pfc_augment settings(pfc_augment_kind kind, double noise)
{
    pfc_augment a = pfc_augment_defaults(S);
    a.kind = kind;
    a.noise = noise;
    a.translation = 0.1;
    a.seed = 0x123456789abcdef;
    return a;
}

static void make_rows(pfc_ctx *ctx, const pfc_augment *a, int64_t epoch, int view, float *rows)
{
    ck_assert_msg(pfc_augment_rows(ctx, a, epoch, view, N, images, example, rows) == PFC_OK, "%s", pfc_ctx_error(ctx));
}

static float rows[N * PIXELS], again[N * PIXELS];

START_TEST(plain)
{
    pfc_ctx *ctx = context(1);
    pfc_augment a = settings(PFC_AUGMENT_NONE, 0.0);
    make_images();
    make_rows(ctx, &a, 3, 1, rows);
    for (int i = 0; i < N * PIXELS; i++) ck_assert(rows[i] == (float)(image[i / PIXELS][i % PIXELS] / 255.0));
    ck_assert(pfc_augment_rows(ctx, &a, 0, 0, N, images, NULL, again) == PFC_OK && memcmp(rows, again, sizeof rows) == 0);
    ck_assert(pfc_augment_rows(ctx, &a, 0, 0, 0, NULL, NULL, NULL) == PFC_OK);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* The image `down` rows lower and `right` columns further right. */
static bool is_shifted(const float *row, const unsigned char *from, int down, int right)
{
    for (int i = 0; i < S; i++)
        for (int j = 0; j < S; j++) {
            int y = i - down, x = j - right;
            float want = y >= 0 && y < S && x >= 0 && x < S ? (float)(from[y * S + x] / 255.0) : 0.0f;
            if (row[i * S + j] != want) return false;
        }
    return true;
}

START_TEST(shifts)
{
    pfc_ctx *ctx = context(1);
    pfc_augment a = settings(PFC_AUGMENT_SHIFT, 0.0);
    int seen[9] = { 0 };
    make_images();
    for (int i = 0; i < PIXELS; i++) image[0][i] = (unsigned char)(1 + i % 250); /* ink up to the edge */
    for (int epoch = 0; epoch < 20; epoch++) {
        make_rows(ctx, &a, epoch, 0, rows);
        for (int n = 0; n < N; n++) {
            int found = -1;
            for (int k = 0; k < 9; k++)
                if (is_shifted(rows + n * PIXELS, images[n], k / 3 - 1, k % 3 - 1)) found = k;
            ck_assert_msg(found >= 0, "epoch %d, image %d: no shift by up to a pixel", epoch, n);
            seen[found]++;
        }
    }
    /* 1,280 draws: 142 of each, +- 11 */
    for (int k = 0; k < 9; k++) ck_assert_msg(seen[k] > 92 && seen[k] < 192, "shift %d: %d times", k, seen[k]);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* The eight words of an example's map. */
static void words_of(const pfc_augment *a, int64_t epoch, int view, int64_t e, double u[8])
{
    uint64_t first = ((uint64_t)e * 16 + (uint64_t)view) << 15;
    uint32_t key[2] = { (uint32_t)a->seed, (uint32_t)(a->seed >> 32) }, word[4];
    for (uint32_t block = 0; block < 2; block++) {
        uint32_t counter[4] = { (uint32_t)first + block, (uint32_t)(first >> 32), (uint32_t)epoch, PFC_STREAM_AUGMENT };
        pfc_philox4x32(counter, key, word);
        for (int k = 0; k < 4; k++) u[4 * block + (uint32_t)k] = word[k] / 2147483648.0 - 1.0;
    }
}

static double grey_at(const unsigned char *from, double y, double x) { return y >= 0 && y < S && x >= 0 && x < S ? from[(int)y * S + (int)x] / 255.0 : 0.0; }

static double bilinear(const unsigned char *from, double y, double x)
{
    double i = floor(y), j = floor(x), down = y - i, right = x - j;
    return (1 - down) * ((1 - right) * grey_at(from, i, j) + right * grey_at(from, i, j + 1)) +
           down * ((1 - right) * grey_at(from, i + 1, j) + right * grey_at(from, i + 1, j + 1));
}

/* Against the formula, also where the image leaves the frame; and the strokes' mass is about kept. */
START_TEST(affine)
{
    pfc_ctx *ctx = context(1);
    pfc_augment a = settings(PFC_AUGMENT_AFFINE, 0.0);
    double before = 0, after = 0;
    make_images();
    make_rows(ctx, &a, 2, 1, rows);
    for (int i = 0; i < N * PIXELS; i++) before += image[i / PIXELS][i % PIXELS] / 255.0, after += rows[i];
    ck_assert_msg(fabs(after / before - 1) < 0.1, "mass %g, then %g", before, after);
    const double amplitudes[3][2] = { { 0.12, 0.1 }, { 1.0, 1.0 }, { 0.0, 0.5 } };
    for (int k = 0; k < 3; k++) {
        a.stretch = amplitudes[k][0];
        a.translation = amplitudes[k][1];
        make_rows(ctx, &a, 2, 1, rows);
        for (int n = 0; n < N; n++) {
            double u[8], m = (S - 1) / 2.0, s = a.stretch, t = a.translation * S;
            words_of(&a, 2, 1, example[n], u);
            for (int i = 0; i < S; i++)
                for (int j = 0; j < S; j++) {
                    double y = m + (1 + s * u[0]) * (i - m) + s * u[1] * (j - m) + t * u[4], x = m + s * u[2] * (i - m) + (1 + s * u[3]) * (j - m) + t * u[5];
                    double want = bilinear(image[n], y, x), got = rows[n * PIXELS + i * S + j];
                    ck_assert_msg(fabs(got - want) < 1e-6, "image %d, pixel (%d,%d): found %g, expected %g", n, i, j, got, want);
                }
        }
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(no_change)
{
    pfc_ctx *ctx = context(1);
    pfc_augment a = settings(PFC_AUGMENT_AFFINE, 0.0), none = settings(PFC_AUGMENT_NONE, 0.0);
    make_images();
    a.stretch = a.translation = 0.0;
    make_rows(ctx, &a, 0, 0, rows);
    make_rows(ctx, &none, 0, 0, again);
    ck_assert(memcmp(rows, again, sizeof rows) == 0);
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(noise)
{
    pfc_ctx *ctx = context(1);
    pfc_augment a = settings(PFC_AUGMENT_AFFINE, 0.25), quiet = settings(PFC_AUGMENT_AFFINE, 0.0);
    double sum = 0, square = 0, neighbours = 0;
    make_images();
    make_rows(ctx, &a, 1, 0, rows);
    make_rows(ctx, &quiet, 1, 0, again);
    for (int i = 0; i < N * PIXELS; i++) {
        double e = rows[i] - again[i];
        ck_assert(e >= -0.25 - 1e-7 && e <= 0.25);
        sum += e;
        square += e * e;
        if (i) neighbours += e * (rows[i - 1] - again[i - 1]);
    }
    double n = N * PIXELS, variance = 0.25 * 0.25 / 3; /* 16,384 numbers: five standard deviations */
    ck_assert(fabs(sum) < 5 * sqrt(n * variance) && fabs(square / n / variance - 1) < 0.04 && fabs(neighbours) < 5 * variance * sqrt(n));
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* What an example becomes depends on (seed, epoch, example, view): on each of them, and on nothing else. */
START_TEST(alone)
{
    static const pfc_augment_kind kinds[2] = { PFC_AUGMENT_SHIFT, PFC_AUGMENT_AFFINE };
    pfc_ctx *one = context(1), *three = context(3);
    make_images();
    for (int k = 0; k < 2; k++) {
        pfc_augment a = settings(kinds[k], 0.1), b = a;
        make_rows(one, &a, 5, 2, rows);
        make_rows(three, &a, 5, 2, again);
        ck_assert(memcmp(rows, again, sizeof rows) == 0);
        for (int n = N; n-- > 0;) ck_assert(pfc_augment_rows(one, &a, 5, 2, 1, images + n, example + n, again + n * PIXELS) == PFC_OK);
        ck_assert(memcmp(rows, again, sizeof rows) == 0);
        b.seed ^= INT64_C(1) << 40;
        const struct {
            const pfc_augment *a;
            int64_t epoch;
            int view, example;
        } other[4] = { { &b, 5, 2, 9 }, { &a, 6, 2, 9 }, { &a, 5, 3, 9 }, { &a, 5, 2, 8 } };
        for (int i = 0; i < 4; i++) {
            ck_assert(pfc_augment_rows(one, other[i].a, other[i].epoch, other[i].view, 1, images + 9, example + other[i].example, again) == PFC_OK);
            ck_assert(memcmp(rows + 9 * PIXELS, again, PIXELS * sizeof(float)) != 0);
        }
    }
    pfc_ctx_destroy(&three);
    pfc_ctx_destroy(&one);
}
END_TEST

/* SHA-256 of the rows' little-endian float32. */
START_TEST(known)
{
    static const struct {
        pfc_augment_kind kind;
        double noise;
        const char *digest;
    } want[] = {
        { PFC_AUGMENT_NONE, 0.0, "8e5a74bf1e876ca0c0c5cd8111feaa0e3c18a19ce7d64014947bddd2a07c0dea" },
        { PFC_AUGMENT_SHIFT, 0.0, "43ec70112f432a194b7501ba9f53e2d4567e8d8d86c358e9a555b47e2969cdd9" },
        { PFC_AUGMENT_AFFINE, 0.0, "7bd996d8c75f0c75be70c0a9ea6f7c322464abe85dd16feda11c0495e179dd92" },
        { PFC_AUGMENT_AFFINE, 0.1, "67ef181ed7a382e5747fc4bfc483e43d5f3a76d6913279770cb4c5be6a88213e" },
    };
    pfc_ctx *ctx = context(2);
    make_images();
    for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
        pfc_augment a = settings(want[k].kind, want[k].noise);
        char digest[PFC_SHA256_TEXT];
        pfc_sha256 h;
        make_rows(ctx, &a, 7, 1, rows);
        pfc_sha256_begin(&h);
        for (int i = 0; i < N * PIXELS; i++) {
            uint32_t word;
            memcpy(&word, rows + i, 4);
            unsigned char bytes[4] = { (unsigned char)word, (unsigned char)(word >> 8), (unsigned char)(word >> 16), (unsigned char)(word >> 24) };
            pfc_sha256_add(&h, bytes, 4);
        }
        pfc_sha256_end(&h, digest);
        ck_assert_msg(strcmp(digest, want[k].digest) == 0, "%zu: found %s", k, digest);
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(sizes)
{
    static unsigned char large[256 * 256];
    static float row[256 * 256];
    const unsigned char *from[1] = { large };
    const int64_t number[1] = { 0 };
    pfc_ctx *ctx = context(1);
    memset(large, 255, sizeof large);
    for (int size = 1; size <= 256; size *= 2) {
        pfc_augment a = pfc_augment_defaults(size);
        a.kind = PFC_AUGMENT_AFFINE;
        a.noise = 1e-3;
        ck_assert(pfc_augment_rows(ctx, &a, UINT32_MAX, 15, 1, from, number, row) == PFC_OK);
        int middle = size / 2 * size + size / 2;
        ck_assert(fabs(row[middle] - 1) < (size < 16 ? 0.7 : 0.01));
        a.stretch = a.translation = 1.0; /* far beyond the image is paper, on all sides */
        for (int view = 0; view < 16; view++) {
            ck_assert(pfc_augment_rows(ctx, &a, UINT32_MAX, view, 1, from, number, row) == PFC_OK);
            bool inside = true;
            for (int i = 0; i < size * size; i++) inside = inside && row[i] >= -0.002f && row[i] <= 1.002f;
            ck_assert(inside);
        }
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(refused)
{
    pfc_ctx *ctx = context(1);
    make_images();
    const pfc_augment a = settings(PFC_AUGMENT_AFFINE, 0.1);
    pfc_augment bad[] = { a, a, a, a, a, a };
    static const char *const text[] = { "found 3", "size 0", "size 257", "stretch: found 1.5", "noise: found -0.1", "translation: found nan" };
    bad[0].kind = (pfc_augment_kind)3;
    bad[1].size = 0;
    bad[2].size = 257;
    bad[3].stretch = 1.5;
    bad[4].noise = -0.1;
    bad[5].translation = NAN;
    for (int i = 0; i < 6; i++) {
        ck_assert(pfc_augment_rows(ctx, &bad[i], 0, 0, 1, images, example, rows) == PFC_ERR_ARG);
        ck_assert_msg(strstr(pfc_ctx_error(ctx), text[i]) != NULL, "%s", pfc_ctx_error(ctx));
    }
    int64_t wrong[2] = { -1, INT64_C(1) << 44 };
    for (int i = 0; i < 2; i++) ck_assert(pfc_augment_rows(ctx, &a, 0, 0, 1, images, wrong + i, rows) == PFC_ERR_ARG);
    ck_assert(pfc_augment_rows(ctx, &a, 0, 0, 1, images, NULL, rows) == PFC_ERR_ARG);
    ck_assert(pfc_augment_rows(ctx, &a, -1, 0, 1, images, example, rows) == PFC_ERR_ARG);
    ck_assert(pfc_augment_rows(ctx, &a, INT64_C(1) << 32, 0, 1, images, example, rows) == PFC_ERR_ARG);
    ck_assert(pfc_augment_rows(ctx, &a, 0, 16, 1, images, example, rows) == PFC_ERR_ARG);
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(plain), PFC_ONCE(shifts), PFC_ONCE(affine), PFC_ONCE(no_change), PFC_ONCE(noise),
        PFC_ONCE(alone), PFC_ONCE(known),  PFC_ONCE(sizes),  PFC_ONCE(refused),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
