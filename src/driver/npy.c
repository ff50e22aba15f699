/* npy.c: arrays in NumPy's .npy files (versions 1.0 to 3.0), read strictly: "\x93NUMPY", version, length of the header, the header, the numbers.
 *
 * The header is a dict with the keys descr, fortran_order and shape, in any order. The numbers must fill the rest of the file. Nothing is evaluated, and
 * nothing is allocated before the file is known to be long enough. */
#include "case/internal.h"
#include "driver/driver.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LONGEST_HEADER = 1 << 16, CHUNK = 1 << 15, DESCR = 24 };

typedef struct npy {
    const char *path;
    pfc_diag *diag;
    FILE *file;
    int64_t size, data; /* bytes: of the file, before the numbers */
    char descr[DESCR];
    bool has_descr, has_order, has_shape;
    bool fortran;
    int ndim;
    int64_t dims[PFC_MAX_DIMS];

    char kind; /* f, i, u, b; V: bfloat16 */
    int bytes; /* of one number */
    bool big;  /* endian */
} npy;

static int refuse(npy *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(npy *n, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return pfc_diag_fail(n->diag, PFC_EXIT_FILE, "%s: %s", n->path, text);
}

/* ---- the header ---- */

static const char *skip(const char *p)
{
    while (*p == ' ' || *p == '\n' || *p == '\t') p++;
    return p;
}

/* A quoted word without escapes. NULL: it is none, or too long. */
static const char *parse_word(const char *p, char *word, size_t size)
{
    char quote = *p;
    if (quote != '\'' && quote != '"') return NULL;
    const char *end = strchr(++p, quote);
    if (!end || (size_t)(end - p) >= size || memchr(p, '\\', (size_t)(end - p))) return NULL;
    for (const char *c = p; c < end; c++)
        if (*c < ' ' || *c > '~') return NULL; /* it may stand in a message */
    memcpy(word, p, (size_t)(end - p));
    word[end - p] = 0;
    return end + 1;
}

/* "(3, 4)", "(3,)", "()". */
static const char *parse_shape(npy *n, const char *p)
{
    if (*p != '(') return NULL;
    for (p = skip(p + 1); *p != ')';) {
        char *end;
        errno = 0;
        if (*p < '0' || *p > '9' || n->ndim == PFC_MAX_DIMS) return NULL;
        long long length = strtoll(p, &end, 10);
        if (errno) return NULL;
        n->dims[n->ndim++] = length;
        p = skip(end);
        if (*p == ',')
            p = skip(p + 1);
        else if (*p != ')' || n->ndim == 1) /* (3) is no tuple */
            return NULL;
    }
    return p + 1;
}

static const char *parse_bool(const char *p, bool *value)
{
    *value = strncmp(p, "True", 4) == 0;
    return *value ? p + 4 : strncmp(p, "False", 5) == 0 ? p + 5 : NULL;
}

static const char *parse_value(npy *n, const char *key, const char *p)
{
    bool *has = strcmp(key, "descr") == 0           ? &n->has_descr
                : strcmp(key, "fortran_order") == 0 ? &n->has_order
                : strcmp(key, "shape") == 0         ? &n->has_shape
                                                    : NULL;
    if (!has || *has) return NULL; /* unknown, or there twice */
    *has = true;
    return has == &n->has_descr ? parse_word(p, n->descr, sizeof n->descr) : has == &n->has_order ? parse_bool(p, &n->fortran) : parse_shape(n, p);
}

static bool parse_header(npy *n, const char *p)
{
    char key[DESCR];
    p = skip(p);
    if (*p++ != '{') return false;
    for (p = skip(p); *p != '}';) {
        p = parse_word(p, key, sizeof key);
        if (!p || *(p = skip(p)) != ':') return false;
        p = parse_value(n, key, skip(p + 1));
        if (!p) return false;
        p = skip(p);
        if (*p == ',')
            p = skip(p + 1);
        else if (*p != '}')
            return false;
    }
    return *skip(p + 1) == 0 && n->has_descr && n->has_order && n->has_shape;
}

static int read_header(npy *n)
{
    unsigned char start[12];
    size_t got = fread(start, 1, sizeof start, n->file);
    if (got < 10 || memcmp(start, "\x93NUMPY", 6)) return refuse(n, "found no .npy file, expected one (it begins with \\x93NUMPY)");
    int version = start[6];
    if (version < 1 || version > 3 || start[7] != 0) return refuse(n, "found .npy version %d.%d, expected 1.0, 2.0 or 3.0", start[6], start[7]);
    int64_t length = start[8] | start[9] << 8;
    n->data = 10;
    if (version > 1) {
        if (got < 12) return refuse(n, "found the end of the file in the header");
        length |= (int64_t)start[10] << 16 | (int64_t)start[11] << 24;
        n->data = 12;
    }
    if (length > LONGEST_HEADER) return refuse(n, "found a header of %" PRId64 " bytes, expected at most %d", length, LONGEST_HEADER);
    if (n->data + length > n->size) return refuse(n, "found the end of the file in the header of %" PRId64 " bytes", length);
    char *text = calloc((size_t)length + 1, 1);
    if (!text) return pfc_diag_fail(n->diag, PFC_EXIT_RUNTIME, "%s: out of memory", n->path);
    bool whole = fseek(n->file, (long)n->data, SEEK_SET) == 0 && fread(text, 1, (size_t)length, n->file) == (size_t)length;
    bool good = whole && !memchr(text, 0, (size_t)length) && parse_header(n, text);
    free(text);
    n->data += length;
    return good
               ? 0
               : refuse(n, "found a malformed header, expected {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } with at most %d axes", PFC_MAX_DIMS);
}

/* ---- types ---- */

/* kind, bytes and byte order of descr; stored: the name of case files. */
static int read_type(npy *n, char stored[8])
{
    const char *d = n->descr;
    if (strcmp(d, "bfloat16") == 0 || strcmp(d, "<V2") == 0 || strcmp(d, "|V2") == 0) { /* what NumPy writes of ml_dtypes.bfloat16 */
        n->kind = 'V';
        n->bytes = 2;
        strcpy(stored, "bf16");
        return 0;
    }
    bool order = d[0] == '<' || d[0] == '>' || d[0] == '|';
    n->kind = order ? d[1] : 0;
    n->bytes = order && d[1] && d[2] >= '1' && d[2] <= '8' && !d[3] ? d[2] - '0' : 0;
    n->big = d[0] == '>';
    bool known = (n->kind == 'f' && (n->bytes == 2 || n->bytes == 4 || n->bytes == 8)) || (n->kind == 'b' && n->bytes == 1) ||
                 ((n->kind == 'i' || n->kind == 'u') && (n->bytes == 1 || n->bytes == 2 || n->bytes == 4 || n->bytes == 8));
    if (!known || (d[0] == '|' && n->bytes > 1)) return refuse(n, "found numbers of type '%s', expected f2 f4 f8 i1 to i8 u1 to u8 b1 or bfloat16", d);
    if (n->kind == 'b')
        strcpy(stored, "bool");
    else
        snprintf(stored, 8, "%c%d", n->kind, 8 * n->bytes);
    return 0;
}

static float half(uint32_t h)
{
    uint32_t sign = (h & 0x8000u) << 16, e = h >> 10 & 31, m = h & 1023, bits;
    float x;
    if (e == 0) return (sign ? -0x1p-24f : 0x1p-24f) * (float)m;
    bits = sign | (e == 31 ? 0x7f800000u : (e + 112) << 23) | m << 13;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint64_t load(const npy *n, const unsigned char *p)
{
    uint64_t x = 0;
    for (int k = 0; k < n->bytes; k++) x |= (uint64_t)p[n->big ? n->bytes - 1 - k : k] << 8 * k;
    return x;
}

/* One number into element `at`. False: no such number is allowed. */
static bool store(const npy *n, const unsigned char *p, pfc_tensor *t, int64_t at)
{
    uint64_t x = load(n, p);
    uint32_t bits = (uint32_t)(n->kind == 'V' ? x << 16 : x);
    if (n->kind == 'f' && n->bytes == 8)
        memcpy((double *)t->data + at, &x, sizeof x);
    else if (n->kind == 'f' && n->bytes == 2)
        ((float *)t->data)[at] = half((uint32_t)x);
    else if (n->kind == 'f' || n->kind == 'V')
        memcpy((float *)t->data + at, &bits, sizeof bits);
    else {
        int unused = 64 - 8 * n->bytes;
        if ((n->kind == 'b' && x > 1) || (n->kind == 'u' && x > INT64_MAX)) return false;
        ((int64_t *)t->data)[at] = n->kind == 'i' ? (int64_t)(x << unused) >> unused : (int64_t)x;
    }
    return true;
}

/* ---- the numbers ---- */

/* Row-major index of the number that stands at place `index` of a file in Fortran order. */
static int64_t row_major(const npy *n, int64_t index)
{
    int64_t at = 0, stride[PFC_MAX_DIMS], s = 1;
    for (int k = n->ndim - 1; k >= 0; k--) {
        stride[k] = s;
        s *= n->dims[k];
    }
    for (int k = 0; k < n->ndim; k++) {
        at += index % n->dims[k] * stride[k];
        index /= n->dims[k];
    }
    return at;
}

static int read_numbers(npy *n, pfc_tensor *t, int64_t elements)
{
    static unsigned char buffer[CHUNK];
    int64_t most = CHUNK / n->bytes;
    for (int64_t first = 0; first < elements; first += most) {
        int64_t count = elements - first < most ? elements - first : most;
        if (fread(buffer, (size_t)n->bytes, (size_t)count, n->file) != (size_t)count)
            return refuse(n, "cannot read: %s", ferror(n->file) ? strerror(errno) : "too short");
        for (int64_t i = 0; i < count; i++)
            if (!store(n, buffer + i * n->bytes, t, n->fortran ? row_major(n, first + i) : first + i))
                return refuse(n, "element %" PRId64 ": found a number that is no int64 or bool", first + i);
    }
    return 0;
}

/* The file's length says whether the shape is true. */
static int check_length(npy *n, int64_t *elements)
{
    int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
    if (!pfc_dims_elements(n->ndim, n->dims, elements) || *elements > memory / 8) return refuse(n, "found more elements than this machine's memory holds");
    int64_t expected = n->data + *elements * n->bytes;
    if (n->size == expected) return 0;
    return refuse(n, "found %" PRId64 " bytes, expected %" PRId64 " for the shape in its header", n->size, expected);
}

static int open_file(npy *n)
{
    struct stat s;
    int descriptor = open(n->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe would keep us waiting */
    if (descriptor < 0 || fstat(descriptor, &s)) {
        if (descriptor >= 0) close(descriptor);
        return refuse(n, "found nothing readable (%s), expected a .npy file", strerror(errno));
    }
    n->file = S_ISREG(s.st_mode) ? fdopen(descriptor, "rb") : NULL;
    n->size = (int64_t)s.st_size;
    if (n->file) return 0;
    close(descriptor);
    return refuse(n, "found no regular file, expected a .npy file");
}

/* Rows [first, first + count) of a whole array, to its beginning. */
static void keep_rows(pfc_tensor *t, pfc_shard part)
{
    size_t row = t->dims[0] ? (size_t)(pfc_tensor_elements(t) / t->dims[0]) * pfc_dtype_size(t->dtype) : 0;
    memmove(t->data, (char *)t->data + (size_t)part.start * row, (size_t)part.count * row);
    t->dims[0] = part.count;
}

/* The numbers of a file with a good header; of the first axis the part of `rank` of `ranks`. In Fortran order a part lies everywhere: all is read first. */
static int read_array(npy *n, const char *name, int rank, int ranks, pfc_tensor_list *list, int64_t elements, const char *stored)
{
    pfc_dtype dtype = n->kind == 'f' && n->bytes == 8 ? PFC_F64 : n->kind == 'f' || n->kind == 'V' ? PFC_F32 : PFC_I64;
    pfc_shard part = pfc_shard_of(n->ndim ? n->dims[0] : 1, ranks, rank);
    if (!n->fortran && n->ndim && n->dims[0] > 0) {
        int64_t row = elements / n->dims[0];
        n->dims[0] = part.count;
        elements = part.count * row;
        if (fseeko(n->file, (off_t)(n->data + part.start * row * n->bytes), SEEK_SET)) return refuse(n, "cannot read: %s", strerror(errno));
    }
    pfc_tensor *t = pfc_tensor_add(MPI_COMM_SELF, list, name, dtype, n->ndim, n->dims, PFC_DIST_NONE, 0);
    if (!t) return pfc_diag_fail(n->diag, PFC_EXIT_FILE, "%s: out of memory, or a name too long", n->path);
    memcpy(t->stored, stored, sizeof t->stored);
    if (read_numbers(n, t, elements)) return n->diag->exit_status;
    if (n->fortran && n->ndim && ranks > 1) keep_rows(t, part);
    return 0;
}

int pfc_npy_read_part(const char *path, const char *name, int rank, int ranks, pfc_tensor_list *list, int64_t *rows, pfc_diag *diag)
{
    npy n = { .path = path, .diag = diag };
    char stored[8] = "";
    int64_t elements = 0;
    if (open_file(&n)) return diag->exit_status;
    if (!read_header(&n) && !read_type(&n, stored) && !check_length(&n, &elements)) {
        *rows = n.ndim ? n.dims[0] : 1;
        read_array(&n, name, rank, ranks, list, elements, stored);
    }
    fclose(n.file);
    return diag->exit_status;
}

int pfc_npy_read(const char *path, const char *name, pfc_tensor_list *list, pfc_diag *diag)
{
    int64_t rows;
    return pfc_npy_read_part(path, name, 0, 1, list, &rows, diag);
}
