/* ops.c: the operations of backend PFC_BACKEND beside those of the cpu backend (ops.h). Prints a line for every chain; status 0 if all agree, 77 if there is
 * nothing to compare. A plain program, so that it can be taken to a machine with a device. */
#include "ops.h"

#include "core/px.h"
#include <pfc/rng.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a side ---- */

static void give_up(const char *what)
{
    fprintf(stderr, "backend_ops: %s\n", what);
    exit(99);
}

static void *memory(size_t bytes)
{
    void *p = calloc(bytes + 1, 1);
    if (!p) give_up("out of memory");
    return p;
}

void side_called(side *s, size_t at, const char *op, pfc_status status)
{
    s->called[(at - offsetof(pfc_ops, alloc)) / sizeof(void (*)(void))] = true;
    if (status != PFC_OK && !s->failure[0]) snprintf(s->failure, sizeof s->failure, "%s: status %d: %s", op, (int)status, s->be->error);
}

int side_not_called(const side *s)
{
    int n = (int)((sizeof(pfc_ops) - offsetof(pfc_ops, alloc)) / sizeof(void (*)(void)));
    for (int i = 0; i < n && i < MAX_OPS; i++) {
        void (*operation)(void);
        memcpy(&operation, (const char *)s->ops + offsetof(pfc_ops, alloc) + (size_t)i * sizeof operation, sizeof operation);
        if (operation && !s->called[i]) return i;
    }
    return -1;
}

void side_clear(side *s)
{
    for (int i = 0; i < s->count; i++) free(s->list[i].data);
    for (int i = 0; i < s->owned_count; i++) s->ops->free(s->be, s->owned[i]);
    CALLED(s, free);
    s->count = s->owned_count = 0;
    s->failure[0] = 0;
}

static void *owned(side *s, size_t bytes)
{
    void *p = NULL;
    CALL(s, alloc, bytes, &p);
    if (!p) give_up(s->failure);
    if (s->owned_count == MAX_OWNED) give_up("too many matrices");
    return s->owned[s->owned_count++] = p;
}

void *side_array(side *s, const void *host, int64_t n, size_t size)
{
    void *p = owned(s, (size_t)n * size);
    if (host) CALL(s, upload, p, host, (size_t)n * size);
    return p;
}

pfc_view side_matrix(side *s, int64_t rows, int64_t cols, const double *values)
{
    int64_t n = rows * cols;
    bool wide = s->ops->real == PFC_F64;
    pfc_view v = pfc_view_make(owned(s, (size_t)n * pfc_dtype_size(s->ops->real)), s->ops->real, rows, cols);
    v.place = s->ops->place;
    if (!values) return v;
    void *host = memory((size_t)n * 8);
    for (int64_t i = 0; i < n; i++) {
        if (wide)
            ((double *)host)[i] = (double)(float)values[i];
        else
            ((float *)host)[i] = (float)values[i];
    }
    CALL(s, upload, v.data, host, (size_t)n * pfc_dtype_size(s->ops->real));
    free(host);
    return v;
}

void keep_host(side *s, const char *name, pfc_dtype dtype, const void *data, int64_t n)
{
    size_t bytes = (size_t)n * pfc_dtype_size(dtype);
    if (s->count == MAX_RESULTS) give_up("too many results");
    result *r = &s->list[s->count++];
    snprintf(r->name, sizeof r->name, "%s", name);
    r->dtype = dtype;
    r->count = n;
    r->data = memory(bytes);
    memcpy(r->data, data, bytes);
}

void keep(side *s, const char *name, pfc_view v)
{
    size_t bytes = (size_t)(v.rows * v.cols) * pfc_dtype_size(v.dtype);
    void *host = memory(bytes);
    CALL(s, download, host, v.data, bytes);
    keep_host(s, name, v.dtype, host, v.rows * v.cols);
    free(host);
}

void keep_i32(side *s, const char *name, const int32_t *p, int64_t n)
{
    int32_t *host = memory((size_t)n * sizeof *host);
    CALL(s, download, host, p, (size_t)n * sizeof *host);
    keep_host(s, name, PFC_I32, host, n);
    free(host);
}

void keep_acc(side *s, const char *name, pfc_acc *acc, const pfc_rows_info *rows, pfc_view value)
{
    char text[64];
    CALL(s, acc_fold, acc, rows);
    snprintf(text, sizeof text, "acc_value of %s", name);
    CALL(s, acc_value, acc, 0, acc->rows, value);
    keep(s, text, value);
    if (!acc->expo) return;
    snprintf(text, sizeof text, "exponents of %s", name);
    keep_host(s, text, PFC_I32, acc->expo, acc->rows);
}

/* ---- numbers ---- */

double *numbers(int tensor, int64_t n, bool wild)
{
    double *x = memory((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        double u = pfc_uniform(7, i, (uint32_t)tensor + 64, 9);
        x[i] = pfc_normal(7, i, (uint32_t)tensor, 9);
        if (wild && u < 0.02)
            x[i] = u < 0.004 ? PX_NAN : u < 0.008 ? PX_INF : u < 0.012 ? -PX_INF : 0.0;
        else if (wild && u < 0.3)
            x[i] = ldexp(x[i], (int)(u * 400.0) - 60);
    }
    return x;
}

/* ---- comparing ---- */

static double number_of(const result *r, int64_t i)
{
    switch (r->dtype) {
    case PFC_F64: return ((const double *)r->data)[i];
    case PFC_F32: return (double)((const float *)r->data)[i];
    case PFC_I32: return (double)((const int32_t *)r->data)[i];
    default: return (double)((const int64_t *)r->data)[i];
    }
}

/* What sums in another order, in float32 with float32 operands, may differ by: of the largest number of the result, or of 1 where everything has
 * cancelled (inputs are of order 1). An exp of numbers up to 20 makes 2^-19 of float32's 2^-24, a few such errors meet. Fast mode's true judge are the
 * bounds of the goldens; this finds what is plainly wrong, and names it. */
#define FAST_TOLERANCE 0x1p-16

static int compare_one(const result *want, const result *got, pfc_mode mode, char *text, size_t size)
{
    double largest = 1.0;
    bool integers = want->dtype == PFC_I32 || want->dtype == PFC_I64;
    if (strcmp(want->name, got->name) || want->count != got->count || want->dtype != got->dtype) return snprintf(text, size, "%s: not alike", want->name);
    for (int64_t i = 0; i < want->count; i++)
        if (isfinite(number_of(want, i))) largest = fmax(largest, fabs(number_of(want, i)));
    for (int64_t i = 0; i < want->count; i++) {
        double a = number_of(want, i), b = number_of(got, i);
        bool same = memcmp((const char *)want->data + (size_t)i * pfc_dtype_size(want->dtype), (const char *)got->data + (size_t)i * pfc_dtype_size(got->dtype),
                           pfc_dtype_size(want->dtype)) == 0 ||
                    (isnan(a) && isnan(b));
        if (same || (mode == PFC_FAST && !integers && (a == b || fabs(a - b) <= FAST_TOLERANCE * largest))) continue;
        return snprintf(text, size, "%s: element %lld of %lld: got %.17g (%a), want %.17g (%a)", want->name, (long long)i, (long long)want->count, b, b, a, a);
    }
    return 0;
}

static int compare(const side *want, const side *got, char *text, size_t size)
{
    if (got->failure[0]) return snprintf(text, size, "%s", got->failure);
    if (want->failure[0]) return snprintf(text, size, "cpu: %s", want->failure);
    if (want->count != got->count) return snprintf(text, size, "found %d results, expected %d", got->count, want->count);
    for (int i = 0; i < want->count; i++) {
        int n = compare_one(&want->list[i], &got->list[i], want->ops->mode, text, size);
        if (n) return n;
    }
    return 0;
}

/* ---- all chains in one mode ---- */

static const chain *const chains[] = { &head_chain, &angular_chain, &matrix_chain, &sinkhorn_chain, &batch_norm_chain };

static int open_side(side *s, const char *backend, pfc_mode mode)
{
    char why[256];
    const char *engine = getenv("PFC_ENGINE"); /* of the exact products of the backend that is looked at */
    bool chosen = engine && *engine && mode == PFC_EXACT && strcmp(backend, "cpu") != 0;
    pfc_options options = { .mode = mode, .backend = backend, .engine = chosen ? engine : "auto", .threads = 1, .self_check = 1 };
    memset(s, 0, sizeof *s);
    pfc_status st = pfc_backend_open(&options, &s->be, why, sizeof why);
    if (st == PFC_OK)
        s->ops = s->be->ops;
    else
        fprintf(stderr, "backend_ops: %s: %s\n", backend, why);
    return st == PFC_OK ? 0 : 1;
}

static int run_chain(const chain *c, side *want, side *got)
{
    int results = 0, variants = want->ops->mode == PFC_FAST ? c->wild_from : c->variants;
    char text[400];
    for (int v = 0; v < variants; v++) {
        c->run(want, v);
        c->run(got, v);
        int different = compare(want, got, text, sizeof text);
        results += want->count;
        side_clear(want);
        side_clear(got);
        if (!different) continue;
        printf("%-6s %-11s variant %d: %s\n", want->ops->mode == PFC_EXACT ? "exact" : "fast", c->name, v, text);
        return 1;
    }
    printf("%-6s %-11s %d variants, %d results alike\n", want->ops->mode == PFC_EXACT ? "exact" : "fast", c->name, variants, results);
    return 0;
}

static int run_mode(const char *backend, pfc_mode mode)
{
    static side want, got;
    int bad = 0;
    if (open_side(&want, "cpu", mode) || open_side(&got, backend, mode)) return 4;
    for (size_t i = 0; i < sizeof chains / sizeof *chains; i++) bad |= run_chain(chains[i], &want, &got);
    int missed = side_not_called(&got);
    if (missed >= 0 && !bad) {
        printf("operation %d of pfc_ops (from alloc = 0) was not called\n", missed);
        bad = 1;
    }
    pfc_backend_close(want.be);
    pfc_backend_close(got.be);
    return bad;
}

int main(void)
{
    const char *backend = getenv("PFC_BACKEND");
    if (!backend || !*backend) backend = "checked";
    setvbuf(stdout, NULL, _IOLBF, 0);
    int exact = run_mode(backend, PFC_EXACT), fast = run_mode(backend, PFC_FAST);
    if (!exact && !fast) printf("backend %s: every operation as the cpu backend's\n", backend);
    return exact > fast ? exact : fast;
}
