/* glyphs.c: a glyph file into memory, and what it says. The format stands at the top of data/hanglyph.c. */
#include "train/glyphs.h"
#include "train/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = 24, FORMAT = 1, MAX_SIZE = 256, MAX_FACES = 1024, LAST_CODE = 0x10FFFF, MAX_CHARACTERS = LAST_CODE + 1 };

/* ---- where things are ---- */

static uint32_t u32_at(const unsigned char *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

static int64_t mask_bytes(const pfc_glyphs *g) { return (g->characters + 7) / 8; }
static int64_t face_bytes(const pfc_glyphs *g) { return mask_bytes(g) + g->characters * g->size * g->size; }
static int64_t keys_at(const pfc_glyphs *g) { return HEADER + 4 * g->characters; }
static int64_t face_at(const pfc_glyphs *g, int64_t face) { return keys_at(g) + PFC_GLYPH_KEY * g->faces + face * face_bytes(g); }

uint32_t pfc_glyph_code(const pfc_glyphs *g, int64_t character) { return u32_at(g->bytes + HEADER + 4 * character); }

const char *pfc_glyph_key(const pfc_glyphs *g, int64_t face) { return (const char *)g->bytes + keys_at(g) + PFC_GLYPH_KEY * face; }

bool pfc_glyph_inked(const pfc_glyphs *g, int64_t face, int64_t character) { return g->bytes[face_at(g, face) + character / 8] >> character % 8 & 1; }

const unsigned char *pfc_glyph(const pfc_glyphs *g, int64_t face, int64_t character)
{
    return g->bytes + face_at(g, face) + mask_bytes(g) + character * g->size * g->size;
}

/* ---- checks: all bytes, before any is used ---- */

typedef struct reason {
    char *text;
    size_t size;
} reason;

static bool fault(reason *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fault(reason *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, why->size, format, args);
    va_end(args);
    for (char *p = why->text; *p; p++)
        if (*p < ' ' || *p > '~') *p = '?'; /* what comes from a file must not break the line */
    return false;
}

/* The header of a file of `length` bytes: sizes, and that they give this length. With their limits no product here overflows. */
static bool check_header(const unsigned char header[HEADER], int64_t length, pfc_glyphs *g, reason *why)
{
    if (memcmp(header, "hanglyph", 8) != 0) return fault(why, "magic: found '%.8s', expected 'hanglyph'", (const char *)header);
    const char *const names[4] = { "version", "pixels a side", "characters", "faces" };
    const int64_t least[4] = { FORMAT, 1, 1, 1 }, most[4] = { FORMAT, MAX_SIZE, MAX_CHARACTERS, MAX_FACES };
    int64_t value[4];
    for (int i = 0; i < 4; i++) {
        value[i] = u32_at(header + 8 + 4 * i);
        if (value[i] < least[i] || value[i] > most[i])
            return fault(why, "%s: found %lld, expected %lld%s%.0lld", names[i], (long long)value[i], (long long)least[i], most[i] > least[i] ? " to " : "",
                         most[i] > least[i] ? (long long)most[i] : 0);
    }
    g->size = value[1];
    g->characters = value[2];
    g->faces = value[3];
    g->byte_count = face_at(g, g->faces);
    if (length != g->byte_count)
        return fault(why, "length: found %lld bytes, expected %lld (%lld characters, %lld faces, %lld x %lld pixels)", (long long)length,
                     (long long)g->byte_count, (long long)g->characters, (long long)g->faces, (long long)g->size, (long long)g->size);
    return true;
}

static bool check_codes(const pfc_glyphs *g, reason *why)
{
    unsigned char seen[MAX_CHARACTERS / 8] = { 0 };
    for (int64_t c = 0; c < g->characters; c++) {
        uint32_t code = pfc_glyph_code(g, c);
        if (code > LAST_CODE) return fault(why, "code point %lld: found U+%04X, expected up to U+10FFFF", (long long)c, (unsigned)code);
        if (seen[code / 8] >> code % 8 & 1) return fault(why, "code point %lld: found U+%04X again, expected every one once", (long long)c, (unsigned)code);
        seen[code / 8] |= (unsigned char)(1 << code % 8);
    }
    return true;
}

/* Visible ASCII but what joins keys in lists; NULs up to the end. */
static bool check_keys(const pfc_glyphs *g, reason *why)
{
    for (int64_t f = 0; f < g->faces; f++) {
        const char *key = pfc_glyph_key(g, f);
        int used = 0;
        while (used < PFC_GLYPH_KEY && key[used] > ' ' && key[used] < 0x7f && key[used] != '+' && key[used] != ',') used++;
        bool padded = used > 0 && used < PFC_GLYPH_KEY;
        for (int i = used; i < PFC_GLYPH_KEY; i++) padded = padded && key[i] == 0;
        if (!padded)
            return fault(why, "key of face %lld: found '%.*s', expected 1 to 31 visible characters but '+' and ',', then NULs", (long long)f, PFC_GLYPH_KEY,
                         key);
        for (int64_t other = 0; other < f; other++)
            if (strcmp(key, pfc_glyph_key(g, other)) == 0) return fault(why, "key of face %lld: found '%s' again, expected every one once", (long long)f, key);
    }
    return true;
}

static bool all_zero(const unsigned char *p, int64_t count)
{
    unsigned char any = 0;
    for (int64_t i = 0; i < count; i++) any |= p[i];
    return any == 0;
}

/* The mask says what the pixels are. */
static bool check_face(const pfc_glyphs *g, int64_t f, reason *why)
{
    for (int64_t c = 0; c < g->characters; c++)
        if (pfc_glyph_inked(g, f, c) == all_zero(pfc_glyph(g, f, c), g->size * g->size))
            return fault(why, "face %s, U+%04X: found %s in the mask, expected %s, as its pixels are%s all zeros", pfc_glyph_key(g, f),
                         (unsigned)pfc_glyph_code(g, c), pfc_glyph_inked(g, f, c) ? "ink" : "no ink", pfc_glyph_inked(g, f, c) ? "none" : "some",
                         pfc_glyph_inked(g, f, c) ? "" : " not");
    for (int64_t c = g->characters; c < 8 * mask_bytes(g); c++)
        if (pfc_glyph_inked(g, f, c))
            return fault(why, "face %s: found bit %lld of the mask set, expected 0 beyond the last character", pfc_glyph_key(g, f), (long long)c);
    return true;
}

bool pfc_glyphs_check(unsigned char *bytes, int64_t byte_count, pfc_glyphs *g, char *text, size_t size)
{
    reason why = { text, size };
    *g = (pfc_glyphs){ .bytes = bytes };
    if (byte_count < HEADER) return fault(&why, "length: found %lld bytes, expected at least %d", (long long)byte_count, HEADER);
    if (!check_header(bytes, byte_count, g, &why) || !check_codes(g, &why) || !check_keys(g, &why)) return false;
    for (int64_t f = 0; f < g->faces; f++)
        if (!check_face(g, f, &why)) return false;
    return true;
}

/* ---- opening ---- */

/* All of an open file. The length is asked first and the header looked at before memory is taken for what it promises. */
static pfc_status read_stream(pfc_ctx *ctx, const char *path, FILE *file, int64_t length, pfc_glyphs *g)
{
    char text[300] = "";
    reason why = { text, sizeof text };
    unsigned char header[HEADER] = { 0 };
    size_t got = fread(header, 1, HEADER, file);
    if (ferror(file)) return pfc_checkpoint_fail(ctx, PFC_ERR_IO, path, NULL, "cannot be read: %s", strerror(errno));
    if (got < HEADER) fault(&why, "length: found %zu bytes, expected at least %d", got, HEADER);
    if (got < HEADER || !check_header(header, length, g, &why)) return pfc_checkpoint_fail(ctx, PFC_ERR_DATA, path, NULL, "%s", text);
    g->bytes = malloc((size_t)length);
    if (!g->bytes) return pfc_checkpoint_fail(ctx, PFC_ERR_NOMEM, path, NULL, "out of memory for %lld bytes", (long long)length);
    memcpy(g->bytes, header, HEADER);
    got += fread(g->bytes + HEADER, 1, (size_t)length - HEADER, file);
    if (ferror(file)) return pfc_checkpoint_fail(ctx, PFC_ERR_IO, path, NULL, "cannot be read: %s", strerror(errno));
    if (got != (size_t)length) return pfc_checkpoint_fail(ctx, PFC_ERR_DATA, path, NULL, "length: found %zu bytes, expected %lld", got, (long long)length);
    if (!pfc_glyphs_check(g->bytes, length, g, text, sizeof text)) return pfc_checkpoint_fail(ctx, PFC_ERR_DATA, path, NULL, "%s", text);
    pfc_sha256 h;
    pfc_sha256_begin(&h);
    pfc_sha256_add(&h, g->bytes, (size_t)length);
    pfc_sha256_end(&h, g->sha256);
    return PFC_OK;
}

static pfc_status read_file(pfc_ctx *ctx, const char *path, pfc_glyphs *g)
{
    struct stat s;
    int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe would keep us waiting */
    if (descriptor < 0) return pfc_checkpoint_fail(ctx, PFC_ERR_DATA, path, NULL, "cannot be opened: %s", strerror(errno));
    bool plain = fstat(descriptor, &s) == 0 && S_ISREG(s.st_mode);
    FILE *file = plain ? fdopen(descriptor, "rb") : NULL;
    pfc_status st = file ? read_stream(ctx, path, file, (int64_t)s.st_size, g)
                         : pfc_checkpoint_fail(ctx, PFC_ERR_DATA, path, NULL, "%s", plain ? strerror(errno) : "not a regular file");
    if (file)
        fclose(file);
    else
        close(descriptor);
    return st;
}

/* The file of rank 0 to all ranks. In memory, not mapped: a mapped file that is shortened kills who looks at it, and one that is changed is no longer the one
 * that was checked; so all ranks have the same bytes, also where only rank 0 sees the file. */
static pfc_status share(pfc_ctx *ctx, pfc_glyphs *g)
{
    pfc_glyphs sizes = *g;
    PFC_TRY(pfc_comm_broadcast(&ctx->comm, &sizes, (int64_t)sizeof sizes, PFC_U8, 0));
    sizes.bytes = g->bytes ? g->bytes : malloc((size_t)sizes.byte_count);
    *g = sizes;
    PFC_TRY(pfc_comm_agree_on_memory(&ctx->comm, g->bytes));
    return pfc_comm_broadcast(&ctx->comm, g->bytes, g->byte_count, PFC_U8, 0);
}

pfc_status pfc_glyphs_open(pfc_ctx *ctx, const char *path, pfc_glyphs **out)
{
    pfc_glyphs *g = calloc(1, sizeof *g);
    pfc_status st = g ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    *out = NULL;
    if (st == PFC_OK && pfc_ctx_rank(ctx) == 0) st = read_file(ctx, path, g);
    st = pfc_agree(ctx, st);
    if (st == PFC_OK) st = pfc_agree(ctx, share(ctx, g));
    if (st == PFC_OK)
        *out = g;
    else
        pfc_glyphs_close(&g);
    return st;
}

void pfc_glyphs_close(pfc_glyphs **glyphs)
{
    if (!glyphs || !*glyphs) return;
    free((*glyphs)->bytes);
    free(*glyphs);
    *glyphs = NULL;
}
