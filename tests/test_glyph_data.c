/* test_glyph_data.c: glyph files: what is read, what is refused; selections counted by hand. */
#include "pfc_test.h"
#include "train/glyphs.h"

#include <pfc/pfc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file of C characters and F faces, S pixels a side; two bytes of mask. */
enum { S = 3, C = 10, F = 3, KEYS = 24 + 4 * C, FACES = KEYS + 32 * F, FACE = 2 + C * S * S, LENGTH = FACES + F * FACE };

static const uint32_t codes[C] = { 0x4E05, 0x4E00, 0x4E09, 0x4E01, 0x10FFFF, 0x4E02, 0x5000, 0x4E03, 0x4FFF, 0x4E04 };
static const char *const keys[F] = { "one", "two-bold", "three" };

/* Face 0 has all, face 1 the even characters, face 2 the first four. */
static bool inked(int f, int c) { return f == 0 || (f == 1 ? c % 2 == 0 : c < 4); }
static unsigned char pixel(int f, int c, int p) { return (unsigned char)(inked(f, c) && p != 4 ? 1 + 50 * f + 4 * c + p % 2 : 0); }

static void put_u32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(v >> 8 * i);
}

static void make_file(unsigned char bytes[LENGTH])
{
    const uint32_t header[4] = { 1, S, C, F };
    memset(bytes, 0, LENGTH);
    memcpy(bytes, "hanglyph", 8);
    for (int i = 0; i < 4; i++) put_u32(bytes + 8 + 4 * i, header[i]);
    for (int c = 0; c < C; c++) put_u32(bytes + 24 + 4 * c, codes[c]);
    for (int f = 0; f < F; f++) {
        unsigned char *face = bytes + FACES + f * FACE;
        memcpy(bytes + KEYS + 32 * f, keys[f], strlen(keys[f]));
        for (int c = 0; c < C; c++) {
            face[c / 8] |= (unsigned char)(inked(f, c) << c % 8);
            for (int p = 0; p < S * S; p++) face[2 + c * S * S + p] = pixel(f, c, p);
        }
    }
}

static const char *path;

static void put_file(const unsigned char *bytes, size_t length)
{
    FILE *file = pfc_test_rank() == 0 ? fopen(path, "wb") : NULL;
    bool written = pfc_test_rank() != 0 || (file && fwrite(bytes, 1, length, file) == length);
    if (file) fclose(file);
    PFC_AGREE(MPI_COMM_WORLD, written);
}

static pfc_ctx *ctx;

static void begin(void)
{
    path = pfc_test_path("glyph_data");
    ctx = pfc_test_ctx(MPI_COMM_WORLD, (pfc_options){ .mode = PFC_EXACT });
}

static void end(void)
{
    MPI_Barrier(MPI_COMM_WORLD);
    if (pfc_test_rank() == 0) unlink(path);
    pfc_ctx_destroy(&ctx);
}

static const char *shipped(char place[1100])
{
    const char *top = getenv("PFC_TOP_SRCDIR");
    snprintf(place, 1100, "%s/data/han256.bin", top ? top : ".");
    return place;
}

/* ---- reading ---- */

START_TEST(contents)
{
    unsigned char bytes[LENGTH];
    pfc_glyphs *g = NULL;
    begin();
    make_file(bytes);
    put_file(bytes, LENGTH);
    ck_assert_msg(pfc_glyphs_open(ctx, path, &g) == PFC_OK, "%s", pfc_ctx_error(ctx));
    bool good = g->size == S && g->characters == C && g->faces == F && g->byte_count == LENGTH;
    for (int c = 0; c < C && good; c++) good = pfc_glyph_code(g, c) == codes[c];
    for (int f = 0; f < F && good; f++) {
        good = strcmp(pfc_glyph_key(g, f), keys[f]) == 0;
        for (int c = 0; c < C && good; c++) {
            good = pfc_glyph_inked(g, f, c) == inked(f, c);
            for (int p = 0; p < S * S; p++) good = good && pfc_glyph(g, f, c)[p] == pixel(f, c, p);
        }
    }
    PFC_AGREE(MPI_COMM_WORLD, good);
    pfc_glyphs_close(&g);
    end();
}
END_TEST

START_TEST(shipped_file)
{
    char place[1100];
    pfc_glyphs *g = NULL;
    begin();
    ck_assert_msg(pfc_glyphs_open(ctx, shipped(place), &g) == PFC_OK, "%s", pfc_ctx_error(ctx));
    PFC_AGREE(MPI_COMM_WORLD, g->size == 16 && g->characters == 256 && g->faces == 6 && g->byte_count == 394648);
    /* data/han256.sha256 */
    PFC_AGREE(MPI_COMM_WORLD, strcmp(g->sha256, "8ef1242b7397d45b18ab62da90c46438c62b47d7792a55c4e75cc11ba5393731") == 0);
    PFC_AGREE(MPI_COMM_WORLD, strcmp(pfc_glyph_key(g, 5), "notoserif-bold") == 0 && pfc_glyph_inked(g, 5, 255));
    pfc_glyphs_close(&g);
    end();
}
END_TEST

/* ---- refusing ---- */

typedef struct damage {
    int at, length; /* what is put where; length 0: value as u32 */
    const char *bytes;
    uint32_t value;
    const char *text; /* in the message */
} damage;

/* No count of these can be multiplied, or taken as memory, before it is looked at. */
static const damage damages[] = {
    { 0, 1, "H", 0, "magic: found 'Hanglyph', expected 'hanglyph'" },
    { 3, 2, "\n\377", 0, "magic: found 'han??yph'" },
    { 8, 0, NULL, 0, "version: found 0, expected 1" },
    { 8, 0, NULL, 2, "version: found 2, expected 1" },
    { 12, 0, NULL, 0, "pixels a side: found 0, expected 1 to 256" },
    { 12, 0, NULL, 257, "pixels a side: found 257, expected 1 to 256" },
    { 12, 0, NULL, UINT32_MAX, "pixels a side: found 4294967295, expected 1 to 256" },
    { 12, 0, NULL, S + 1, "length: found 436 bytes, expected 646 (10 characters, 3 faces, 4 x 4 pixels)" },
    { 16, 0, NULL, 0, "characters: found 0, expected 1 to 1114112" },
    { 16, 0, NULL, UINT32_MAX, "characters: found 4294967295, expected 1 to 1114112" },
    { 16, 0, NULL, 1114112, "length: found 436 bytes, expected 34955384" },
    { 20, 0, NULL, 0, "faces: found 0, expected 1 to 1024" },
    { 20, 0, NULL, UINT32_MAX, "faces: found 4294967295, expected 1 to 1024" },
    { 20, 0, NULL, 1024, "length: found 436 bytes, expected 127040" },
    { 24, 0, NULL, 0x110000, "code point 0: found U+110000, expected up to U+10FFFF" },
    { 28, 0, NULL, UINT32_MAX, "code point 1: found U+FFFFFFFF" },
    { 24 + 4 * 9, 0, NULL, 0x5000, "code point 9: found U+5000 again, expected every one once" },
    { KEYS, 1, "", 0, "key of face 0: found ''" },
    { KEYS + 1, 1, "+", 0, "key of face 0: found 'o+e', expected 1 to 31 visible characters but '+' and ',', then NULs" },
    { KEYS + 1, 1, ",", 0, "key of face 0: found 'o,e'" },
    { KEYS + 1, 1, "\n", 0, "key of face 0: found 'o?e'" },
    { KEYS + 1, 1, "\344", 0, "key of face 0: found 'o?e'" },
    { KEYS + 31, 1, "x", 0, "key of face 0: found 'one'" },
    { KEYS + 32, 32, "12345678901234567890123456789012", 0, "key of face 1: found '12345678901234567890123456789012'" },
    { KEYS + 64, 6, "one\0\0", 0, "key of face 2: found 'one' again, expected every one once" },
    { FACES, 1, "\376", 0, "face one, U+4E05: found no ink in the mask, expected some, as its pixels are not all zeros" },
    { FACES + FACE, 1, "\127", 0, "face two-bold, U+4E00: found ink in the mask, expected none, as its pixels are all zeros" },
    { FACES + 1, 1, "\007", 0, "face one: found bit 10 of the mask set, expected 0 beyond the last character" },
    { FACES + 2 * FACE + 2 + 9 * S * S + 8, 1, "\001", 0, "face three, U+4E04: found no ink in the mask" },
};

static void refused(const char *text)
{
    pfc_glyphs *g = NULL;
    pfc_status st = pfc_glyphs_open(ctx, path, &g);
    const char *error = pfc_ctx_error(ctx);
    PFC_AGREE(MPI_COMM_WORLD, st == PFC_ERR_DATA && !g);
    PFC_AGREE(MPI_COMM_WORLD, strstr(error, path) && !strchr(error, '\n'));
    bool told = strstr(error, text) != NULL;
    ck_assert_msg(pfc_test_agree(MPI_COMM_WORLD, told, &(int){ 0 }), "expected '%s', found '%s'", text, error);
}

START_TEST(damaged)
{
    unsigned char whole[LENGTH], bytes[LENGTH];
    begin();
    make_file(whole);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        const damage *d = &damages[i];
        memcpy(bytes, whole, LENGTH);
        if (d->length)
            memcpy(bytes + d->at, d->bytes, (size_t)d->length);
        else
            put_u32(bytes + d->at, d->value);
        put_file(bytes, LENGTH);
        refused(d->text);
    }
    end();
}
END_TEST

START_TEST(lengths)
{
    unsigned char bytes[LENGTH + 1] = { 0 };
    static const int cuts[] = { 0, 7, 8, 12, 16, 20, 23, 24, 27, KEYS, KEYS + 31, FACES, FACES + 1, LENGTH - FACE, LENGTH - 1, LENGTH + 1 };
    begin();
    make_file(bytes);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        char text[100];
        snprintf(text, sizeof text, "length: found %d bytes, expected %s%d", cuts[i], cuts[i] < 24 ? "at least " : "", cuts[i] < 24 ? 24 : LENGTH);
        put_file(bytes, (size_t)cuts[i]);
        refused(text);
    }
    end();
}
END_TEST

START_TEST(no_file)
{
    begin();
    refused("cannot be opened: No such file or directory");
    if (pfc_test_rank() == 0) mkdir(path, 0777);
    refused("not a regular file");
    if (pfc_test_rank() == 0) rmdir(path);
    if (pfc_test_rank() == 0) ck_assert(mkfifo(path, 0666) == 0);
    refused("not a regular file");
    end();
}
END_TEST

/* Every bit of the file turned, alone: refused with one line, or a file that says something else. */
START_TEST(every_bit)
{
    unsigned char bytes[LENGTH], now[LENGTH];
    char why[300];
    int readable = 0;
    pfc_glyphs g;
    make_file(bytes);
    ck_assert(pfc_glyphs_check(bytes, LENGTH, &g, why, sizeof why));
    for (int cut = 0; cut < LENGTH; cut++) {
        unsigned char *part = malloc((size_t)cut + 1); /* so that a sanitizer sees reads beyond its end */
        memcpy(part, bytes, (size_t)cut);
        ck_assert(!pfc_glyphs_check(part, cut, &g, why, sizeof why));
        free(part);
    }
    for (int bit = 0; bit < 8 * LENGTH; bit++) {
        memcpy(now, bytes, LENGTH);
        now[bit / 8] ^= (unsigned char)(1 << bit % 8);
        why[0] = 0;
        bool good = pfc_glyphs_check(now, LENGTH, &g, why, sizeof why);
        ck_assert(good ? g.byte_count == LENGTH : why[0] && !strchr(why, '\n'));
        ck_assert(!good || bit / 8 >= 24);
        ck_assert(!good || bit / 8 < FACES || pfc_glyph_inked(&g, 0, 0));
        readable += good;
    }
    ck_assert(readable > LENGTH && readable < 7 * LENGTH);
}
END_TEST

/* ---- selections ---- */

static pfc_glyph_set *select_glyphs(const pfc_glyphs *g, const char *train, const char *held, int64_t min_faces, int64_t classes, int64_t seed)
{
    pfc_glyph_choice choice = { train, held, min_faces, classes, seed };
    pfc_glyph_set *set = NULL;
    pfc_status st = pfc_glyph_set_make(ctx, g, &choice, &set);
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
    return set;
}

static bool is(pfc_glyph_example e, int class, int character, int face) { return e.class == class && e.character == character && e.face == face; }

START_TEST(selection)
{
    unsigned char bytes[LENGTH];
    char why[300];
    pfc_glyphs g;
    begin();
    make_file(bytes);
    ck_assert(pfc_glyphs_check(bytes, LENGTH, &g, why, sizeof why));
    /* Two training faces at least: characters 0 2 (all three faces), 1 3 (one, three), 4 6 8 (one, two-bold); by code point 1 3 0 2 8 6 4. */
    pfc_glyph_set *s = select_glyphs(&g, NULL, NULL, 2, 0, 0);
    static const int order[7] = { 1, 3, 0, 2, 8, 6, 4 }, count[7] = { 2, 2, 3, 3, 2, 2, 2 };
    ck_assert(s->classes == 7 && s->examples == 16 && s->held == 0);
    for (int c = 0; c < 7; c++) ck_assert(s->character[c] == order[c] && s->first[c + 1] - s->first[c] == count[c]);
    ck_assert(is(s->example[0], 0, 1, 0) && is(s->example[1], 0, 1, 2) && is(s->example[5], 2, 0, 1) && is(s->example[15], 6, 4, 1));
    pfc_glyph_set_free(&s);
    /* Held out: two-bold, then three. All characters train, with face one. */
    s = select_glyphs(&g, "", "three+two-bold", 1, 0, 0);
    ck_assert(s->classes == C && s->examples == C && s->held == 2 && s->held_face[0] == 2 && s->held_face[1] == 1);
    ck_assert(s->query_first[1] == 4 && s->query_first[2] == 9 && is(s->query[0], 0, 1, 2) && is(s->query[3], 6, 2, 2) && is(s->query[4], 5, 0, 1));
    pfc_glyph_set_free(&s);
    /* Faces by name, in the file's order whatever the list's. */
    s = select_glyphs(&g, "three+one", "two-bold", 2, 0, 0);
    ck_assert(s->classes == 4 && s->examples == 8 && is(s->example[0], 0, 1, 0) && is(s->example[1], 0, 1, 2) && s->query_first[1] == 2);
    pfc_glyph_set_free(&s);
    end();
}
END_TEST

START_TEST(some_classes)
{
    char place[1100];
    pfc_glyphs *g = NULL;
    begin();
    ck_assert_msg(pfc_glyphs_open(ctx, shipped(place), &g) == PFC_OK, "%s", pfc_ctx_error(ctx));
    pfc_glyph_set *all = select_glyphs(g, NULL, "notoserif+lxgw", 4, 0, 3), *s = select_glyphs(g, NULL, "notoserif+lxgw", 4, 100, 3),
                  *other = select_glyphs(g, NULL, "notoserif+lxgw", 4, 100, 4);
    ck_assert(all->classes == 256 && all->examples == 4 * 256 && all->query_first[2] == 512);
    ck_assert(s->classes == 100 && s->examples == 400 && s->query_first[2] == 200);
    int64_t sum = 0, same = 0;
    uint64_t numbers = 0;
    for (int c = 0; c < 100; c++) {
        ck_assert(c == 0 || pfc_glyph_code(g, s->character[c]) > pfc_glyph_code(g, s->character[c - 1]));
        ck_assert(s->query[c].class == c && s->query[100 + c].face == s->held_face[1]);
        for (int k = 0; k < 100; k++) same += s->character[c] == other->character[k];
        sum += s->character[c];
        numbers = numbers * 257 + (uint64_t)s->character[c];
    }
    ck_assert(same > 20 && same < 60); /* 39 by chance */
    ck_assert(sum > 100 * 100 && sum < 155 * 100);
    int64_t both[2] = { (int64_t)(numbers >> 2), -(int64_t)(numbers >> 2) };
    MPI_Allreduce(MPI_IN_PLACE, both, 2, MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD);
    ck_assert(both[0] == -both[1]);
    pfc_glyph_set_free(&all);
    pfc_glyph_set_free(&s);
    pfc_glyph_set_free(&other);
    pfc_glyphs_close(&g);
    end();
}
END_TEST

START_TEST(bad_selections)
{
    unsigned char bytes[LENGTH];
    char why[300];
    pfc_glyphs g;
    static const struct {
        pfc_glyph_choice choice;
        const char *text;
    } bad[] = {
        { { "four", NULL, 1, 0, 0 }, "train_faces: found 'four', expected faces of the glyph file joined by '+'" },
        { { NULL, "one+tw", 1, 0, 0 }, "held_faces: found 'tw', expected faces" },
        { { NULL, "one+", 1, 0, 0 }, "held_faces: found '', expected faces" },
        { { NULL, "+one", 1, 0, 0 }, "held_faces: found '', expected faces" },
        { { NULL, "one+one", 1, 0, 0 }, "held_faces: found face 'one' twice" },
        { { "one+three", "three", 1, 0, 0 }, "train_faces: found face 'three' twice" },
        { { NULL, "one+two-bold+three", 1, 0, 0 }, "train_faces: found none, as all are held out" },
        { { NULL, NULL, 0, 0, 0 }, "min_faces: found 0, expected 1 or more" },
        { { NULL, NULL, 4, 0, 0 }, "min_faces: found 4, expected fewer: no character has ink in so many of the 3 training faces" },
        { { NULL, NULL, 2, 8, 0 }, "classes: found 8, expected 1 to 7, or 0 for all" },
        { { NULL, NULL, 2, -1, 0 }, "classes: found -1, expected 1 to 7, or 0 for all" },
    };
    begin();
    make_file(bytes);
    ck_assert(pfc_glyphs_check(bytes, LENGTH, &g, why, sizeof why));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pfc_glyph_set *s = NULL;
        ck_assert(pfc_glyph_set_make(ctx, &g, &bad[i].choice, &s) == PFC_ERR_ARG && !s);
        ck_assert_msg(strstr(pfc_ctx_error(ctx), bad[i].text) != NULL, "expected '%s', found '%s'", bad[i].text, pfc_ctx_error(ctx));
    }
    end();
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(contents),  PFC_ONCE(shipped_file), PFC_ONCE(damaged),      PFC_ONCE(lengths),        PFC_ONCE(no_file),
        PFC_ONCE(every_bit), PFC_ONCE(selection),    PFC_ONCE(some_classes), PFC_ONCE(bad_selections),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
