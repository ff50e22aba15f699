/* hanglyph: renders Han characters with several fonts into one file of grey images: characters are classes, faces are their samples.
 *
 * Every character is scaled so that its longer side fills S - 2 pixels, and centred. Fonts draw the same character at different sizes in
 * their em square; without this step a model mostly learns that size.
 *
 * The file, little endian:
 *   offset 0   8 bytes  "hanglyph"
 *          8   u32 x 4  version 1, S (pixels a side), C (characters), F (faces)
 *         24   u32 x C  code points, ascending unless --list gave an order
 *              32 x F   keys of the faces, NUL padded
 *   then per face: ceil(C/8) bytes of mask (character c: bit c%8 of byte c/8; 1: the face has ink for it), C*S*S bytes of grey (0: paper, 255: ink; row
 *   by row from the top). A character without ink is all zeros. Ink is counted, not mapped: some fonts map thousands of characters to nothing.
 *
 * Exit status: 0 done, 2 usage, 3 a bad list or font, 5 the file cannot be written. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include <argp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ft2build.h>
#include FT_FREETYPE_H
#include FT_OUTLINE_H

#ifdef HAVE_LIBCRYPTO
#include <openssl/evp.h>
#else
#include <nettle/sha2.h>
#endif

enum { EXIT_USAGE = 2, EXIT_DATA = 3, EXIT_IO = 5 };
enum { MAX_FACES = 64, KEY_BYTES = 32, PATH_BYTES = 256, WORD_BYTES = 64, LAST_CODE = 0x10FFFF };

typedef struct face {
    char key[KEY_BYTES], package[WORD_BYTES], path[PATH_BYTES], licence[WORD_BYTES], use[WORD_BYTES];
    long index;
} face;

typedef struct options {
    const char *list_path, *faces_path, *font_root, *out_path;
    const char *keys; /* "a,b,c"; NULL: the train and held faces */
    long first, last; /* code points */
    long count;       /* 0: all */
    long size;
} options;

/* What is rendered: C characters by F faces. ink is (F,C) of 0/1, pixels is (F,C,S*S). */
typedef struct glyphs {
    size_t size, chars, faces;
    uint32_t *code;
    unsigned char *ink, *pixels;
} glyphs;

static _Noreturn void die(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

static _Noreturn void die(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("hanglyph: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(status);
}

static void *allocate(size_t count, size_t bytes)
{
    void *p = calloc(count ? count : 1, bytes);
    if (!p) die(EXIT_IO, "out of memory for %zu x %zu bytes", count, bytes);
    return p;
}

/* ---- faces ---- */

static bool wanted(const face *f, const char *keys)
{
    if (!keys) return strcmp(f->use, "extra") != 0;
    size_t length = strlen(f->key);
    for (const char *k = keys; *k; k += strcspn(k, ","), k += *k == ',')
        if (strcspn(k, ",") == length && strncmp(k, f->key, length) == 0) return true;
    return false;
}

/* Reads faces.txt and keeps the wanted faces, in the file's order; returns how many. */
static size_t read_faces(const options *o, face *faces)
{
    FILE *in = fopen(o->faces_path, "r");
    if (!in) die(EXIT_DATA, "%s: %s", o->faces_path, strerror(errno));
    char line[1024];
    size_t n = 0;
    for (int number = 1; fgets(line, sizeof line, in); number++) {
        face f = { 0 };
        char first = line[strspn(line, " \t\r\n")];
        if (!first || first == '#') continue;
        if (sscanf(line, "%31s %63s %255s %ld %63s %63s", f.key, f.package, f.path, &f.index, f.licence, f.use) != 6)
            die(EXIT_DATA, "%s: line %d: expected key, package, path, index, licence and use", o->faces_path, number);
        if (!wanted(&f, o->keys)) continue;
        if (n == MAX_FACES) die(EXIT_DATA, "%s: more than %d faces", o->faces_path, MAX_FACES);
        faces[n++] = f;
    }
    fclose(in);
    return n;
}

static void check_keys(const options *o, const face *faces, size_t n)
{
    for (const char *k = o->keys; k && *k; k += strcspn(k, ","), k += *k == ',') {
        size_t length = strcspn(k, ","), i = 0;
        while (i < n && !(strlen(faces[i].key) == length && strncmp(faces[i].key, k, length) == 0)) i++;
        if (i == n) die(EXIT_DATA, "%s: no face '%.*s'", o->faces_path, (int)length, k);
    }
    if (n == 0) die(EXIT_DATA, "%s: no faces", o->faces_path);
}

/* ---- characters ---- */

/* One UTF-8 sequence from *p; 0 at the end, -1 where it is malformed. */
static long next_code(const unsigned char **p)
{
    unsigned char lead = **p;
    if (!lead) return 0;
    int more = lead < 0x80 ? 0 : (lead & 0xE0) == 0xC0 ? 1 : (lead & 0xF0) == 0xE0 ? 2 : (lead & 0xF8) == 0xF0 ? 3 : -1;
    if (more < 0) return -1;
    long code = more == 0 ? lead : lead & (0x3F >> more);
    for (++*p; more > 0; more--, ++*p) {
        if ((**p & 0xC0) != 0x80) return -1;
        code = code << 6 | (**p & 0x3F);
    }
    return code;
}

/* The characters of a UTF-8 text, white space left out, in the text's order. */
static void read_list(const char *path, glyphs *g)
{
    FILE *in = fopen(path, "rb");
    if (!in) die(EXIT_DATA, "%s: %s", path, strerror(errno));
    enum { MOST = 1 << 22 };
    unsigned char *text = allocate(MOST + 1, 1);
    size_t bytes = fread(text, 1, MOST, in);
    if (ferror(in) || !feof(in)) die(EXIT_DATA, "%s: cannot be read, or has more than %d bytes", path, MOST);
    fclose(in);
    bool *seen = allocate(LAST_CODE + 1, sizeof *seen);
    g->code = allocate(bytes, sizeof *g->code);
    const unsigned char *p = text;
    for (long code; (code = next_code(&p)) != 0;) {
        if (code < 0 || code > LAST_CODE) die(EXIT_DATA, "%s: byte %td is not UTF-8", path, p - text);
        if (code <= ' ' || code == 0xFEFF || code == 0x3000) continue;
        if (seen[code]) die(EXIT_DATA, "%s: U+%04lX stands there twice", path, (unsigned long)code);
        seen[code] = true;
        g->code[g->chars++] = (uint32_t)code;
    }
    if (g->chars == 0) die(EXIT_DATA, "%s: no characters", path);
    free(seen);
    free(text);
}

static void choose_characters(const options *o, glyphs *g)
{
    if (o->list_path) {
        read_list(o->list_path, g);
        return;
    }
    g->chars = (size_t)(o->last - o->first + 1);
    g->code = allocate(g->chars, sizeof *g->code);
    for (size_t c = 0; c < g->chars; c++) g->code[c] = (uint32_t)((size_t)o->first + c);
}

/* --count: keeps `count` characters, evenly spread over the n that have ink in every face: numbers floor(i*n/count). */
static void keep_common(const options *o, glyphs *g)
{
    size_t area = g->size * g->size, n = 0, count = (size_t)o->count;
    size_t *common = allocate(g->chars, sizeof *common);
    for (size_t c = 0; c < g->chars; c++) {
        bool all = true;
        for (size_t f = 0; f < g->faces; f++) all = all && g->ink[f * g->chars + c];
        if (all) common[n++] = c;
    }
    if (n < count) {
        free(common);
        die(EXIT_DATA, "only %zu characters have ink in all %zu faces, --count asks for %zu", n, g->faces, count);
    }
    for (size_t f = 0; f < g->faces; f++)
        for (size_t i = 0; i < count; i++) { /* moves towards the front only, so in place */
            size_t from = f * g->chars + common[i * n / count], to = f * count + i;
            g->ink[to] = g->ink[from];
            memmove(g->pixels + to * area, g->pixels + from * area, area);
        }
    for (size_t i = 0; i < count; i++) g->code[i] = g->code[common[i * n / count]];
    g->chars = count;
    free(common);
}

/* ---- rendering ---- */

/* Draws one character into size x size zeroed bytes; false where the font has no ink for it. */
static bool render(FT_Library library, FT_Face font, uint32_t code, size_t size, unsigned char *pixels)
{
    FT_UInt glyph = FT_Get_Char_Index(font, code);
    if (!glyph || FT_Load_Glyph(font, glyph, FT_LOAD_NO_SCALE) || font->glyph->format != FT_GLYPH_FORMAT_OUTLINE) return false;
    FT_Outline *outline = &font->glyph->outline;
    FT_BBox box;
    FT_Outline_Get_CBox(outline, &box); /* font units */
    FT_Pos width = box.xMax - box.xMin, height = box.yMax - box.yMin, longest = width > height ? width : height;
    if (outline->n_contours <= 0 || longest <= 0) return false;

    FT_Fixed scale = FT_DivFix((FT_Long)(size - 2) * 64, longest); /* font units to 1/64 pixel */
    FT_Matrix matrix = { scale, 0, 0, scale };
    FT_Outline_Transform(outline, &matrix);
    FT_Outline_Get_CBox(outline, &box);
    FT_Pos middle = (FT_Pos)size * 64; /* twice the centre */
    FT_Outline_Translate(outline, (middle - box.xMin - box.xMax) / 2, (middle - box.yMin - box.yMax) / 2);

    FT_Bitmap bitmap = { 0 };
    bitmap.rows = bitmap.width = (unsigned)size;
    bitmap.pitch = (int)size;
    bitmap.buffer = pixels;
    bitmap.num_grays = 256;
    bitmap.pixel_mode = FT_PIXEL_MODE_GRAY;
    if (FT_Outline_Get_Bitmap(library, outline, &bitmap)) return false;
    for (size_t i = 0; i < size * size; i++)
        if (pixels[i]) return true;
    return false;
}

static FT_Face open_font(FT_Library library, const options *o, const face *f)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", o->font_root, f->path) >= (int)sizeof path) die(EXIT_DATA, "%s: path too long", f->key);
    if (access(path, R_OK) != 0)
        die(EXIT_DATA, "%s: %s: %s; install the Debian package %s (data/get_fonts.sh %s)", f->key, path, strerror(errno), f->package, f->key);
    FT_Face font;
    if (FT_New_Face(library, path, f->index, &font)) die(EXIT_DATA, "%s: %s: face %ld is not a font that FreeType can read", f->key, path, f->index);
    if (FT_Select_Charmap(font, FT_ENCODING_UNICODE)) die(EXIT_DATA, "%s: %s: face %ld has no Unicode map", f->key, path, f->index);
    return font;
}

static void render_all(const options *o, const face *faces, glyphs *g)
{
    size_t area = g->size * g->size;
    FT_Library library;
    if (FT_Init_FreeType(&library)) die(EXIT_IO, "FreeType does not start");
    g->ink = allocate(g->faces * g->chars, 1);
    g->pixels = allocate(g->faces * g->chars, area);
    for (size_t f = 0; f < g->faces; f++) {
        FT_Face font = open_font(library, o, &faces[f]);
        for (size_t c = 0; c < g->chars; c++) {
            size_t at = f * g->chars + c;
            g->ink[at] = render(library, font, g->code[c], g->size, g->pixels + at * area);
        }
        FT_Done_Face(font);
    }
    FT_Done_FreeType(library);
}

/* ---- the file ---- */

enum { DIGEST_BYTES = 32 };

#ifdef HAVE_LIBCRYPTO
typedef EVP_MD_CTX *hash_state;

static void hash_begin(hash_state *h)
{
    *h = EVP_MD_CTX_new();
    if (!*h || !EVP_DigestInit_ex(*h, EVP_sha256(), NULL)) die(EXIT_IO, "SHA-256 does not start");
}

static void hash_add(hash_state *h, const void *bytes, size_t n) { EVP_DigestUpdate(*h, bytes, n); }

static void hash_end(hash_state *h, unsigned char digest[DIGEST_BYTES])
{
    EVP_DigestFinal_ex(*h, digest, NULL);
    EVP_MD_CTX_free(*h);
}
#else
typedef struct sha256_ctx hash_state;

static void hash_begin(hash_state *h) { sha256_init(h); }

static void hash_add(hash_state *h, const void *bytes, size_t n) { sha256_update(h, n, bytes); }

static void hash_end(hash_state *h, unsigned char digest[DIGEST_BYTES]) { sha256_digest(h, DIGEST_BYTES, digest); }
#endif

typedef struct sink {
    FILE *file;
    hash_state hash;
} sink;

static void put(sink *s, const void *bytes, size_t n)
{
    hash_add(&s->hash, bytes, n);
    fwrite(bytes, 1, n, s->file); /* errors are looked for once, at the end */
}

static void put_u32(sink *s, uint32_t v)
{
    unsigned char b[4] = { (unsigned char)v, (unsigned char)(v >> 8), (unsigned char)(v >> 16), (unsigned char)(v >> 24) };
    put(s, b, sizeof b);
}

static void put_all(sink *s, const face *faces, const glyphs *g)
{
    put(s, "hanglyph", 8);
    put_u32(s, 1);
    put_u32(s, (uint32_t)g->size);
    put_u32(s, (uint32_t)g->chars);
    put_u32(s, (uint32_t)g->faces);
    for (size_t c = 0; c < g->chars; c++) put_u32(s, g->code[c]);
    for (size_t f = 0; f < g->faces; f++) put(s, faces[f].key, KEY_BYTES);
    size_t mask_bytes = (g->chars + 7) / 8;
    unsigned char *mask = allocate(mask_bytes, 1);
    for (size_t f = 0; f < g->faces; f++) {
        memset(mask, 0, mask_bytes);
        for (size_t c = 0; c < g->chars; c++) mask[c / 8] |= (unsigned char)(g->ink[f * g->chars + c] << c % 8);
        put(s, mask, mask_bytes);
        put(s, g->pixels + f * g->chars * g->size * g->size, g->chars * g->size * g->size);
    }
    free(mask);
}

/* Written beside the target and renamed, so that a half-written file never has the right name. */
static void write_file(const char *path, const face *faces, const glyphs *g, char hex[65])
{
    char part[4096];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part) die(EXIT_USAGE, "%s: path too long", path);
    sink s;
    s.file = fopen(part, "wb");
    if (!s.file) die(EXIT_IO, "%s: %s", part, strerror(errno));
    hash_begin(&s.hash);
    put_all(&s, faces, g);
    bool bad = ferror(s.file) != 0;
    bad = fclose(s.file) != 0 || bad;
    if (bad || rename(part, path) != 0) {
        int why = errno;
        remove(part);
        die(EXIT_IO, "%s: cannot be written: %s", path, strerror(why));
    }
    unsigned char digest[DIGEST_BYTES];
    hash_end(&s.hash, digest);
    for (size_t i = 0; i < sizeof digest; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

/* ---- command line ---- */

enum { KEY_FONT_ROOT = 256, KEY_FACE_LIST };

static const struct argp_option option_table[] = {
    { "out", 'o', "FILE", 0, "The file to write (required)", 0 },
    { "size", 's', "S", 0, "Pixels a side, 4 to 256 (16)", 0 },
    { "faces", 'f', "KEYS", 0, "Faces by key, separated by commas (all of use train and held)", 0 },
    { "range", 'r', "FIRST-LAST", 0, "Code points in hexadecimal (4E00-9FFF)", 0 },
    { "list", 'l', "FILE", 0, "The characters of a UTF-8 text instead of a range", 0 },
    { "count", 'n', "N", 0, "Keep N characters, evenly spread over those with ink in every face", 0 },
    { "face-list", KEY_FACE_LIST, "FILE", 0, "The table of faces (data/faces.txt)", 0 },
    { "font-root", KEY_FONT_ROOT, "DIR", 0, "Where the packages' files are (/)", 0 },
    { 0 },
};

static long parse_long(struct argp_state *state, const char *name, const char *text, long low, long high)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || *end || end == text || v < low || v > high) argp_error(state, "--%s: found '%s', expected %ld to %ld", name, text, low, high);
    return v;
}

static void parse_range(struct argp_state *state, const char *text, options *o)
{
    char rest;
    if (sscanf(text, "%lx-%lx%c", (unsigned long *)&o->first, (unsigned long *)&o->last, &rest) != 2 || o->first < 1 || o->last < o->first ||
        o->last > LAST_CODE)
        argp_error(state, "--range: found '%s', expected FIRST-LAST in hexadecimal, up to 10FFFF", text);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    options *o = state->input;
    switch (key) {
    case 'o': o->out_path = arg; return 0;
    case 's': o->size = parse_long(state, "size", arg, 4, 256); return 0;
    case 'f': o->keys = arg; return 0;
    case 'r': parse_range(state, arg, o); return 0;
    case 'l': o->list_path = arg; return 0;
    case 'n': o->count = parse_long(state, "count", arg, 1, LAST_CODE); return 0;
    case KEY_FACE_LIST: o->faces_path = arg; return 0;
    case KEY_FONT_ROOT: o->font_root = arg; return 0;
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", arg); return 0;
    case ARGP_KEY_END:
        if (!o->out_path) argp_error(state, "--out is required");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    options o = { .faces_path = "data/faces.txt", .font_root = "", .first = 0x4E00, .last = 0x9FFF, .size = 16 };
    const struct argp parser = { option_table, parse_option, NULL, "Renders Han characters with several fonts into one file.", NULL, NULL, NULL };
    argp_err_exit_status = EXIT_USAGE;
    argp_parse(&parser, argc, argv, 0, NULL, &o);

    static face faces[MAX_FACES];
    glyphs g = { .size = (size_t)o.size };
    g.faces = read_faces(&o, faces);
    check_keys(&o, faces, g.faces);
    choose_characters(&o, &g);
    render_all(&o, faces, &g);
    if (o.count) keep_common(&o, &g);

    char hex[65];
    write_file(o.out_path, faces, &g, hex);
    for (size_t f = 0; f < g.faces; f++) {
        size_t inked = 0;
        for (size_t c = 0; c < g.chars; c++) inked += g.ink[f * g.chars + c];
        printf("%-16s %6zu of %zu characters  %-6s %s\n", faces[f].key, inked, g.chars, faces[f].use, faces[f].licence);
    }
    printf("%s  %s\n", hex, o.out_path);
    free(g.code);
    free(g.ink);
    free(g.pixels);
    return 0;
}
