/* call.c: one call of an operation: what happens to its arguments before and after. */
#include "backend/checked/checked.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is wrong with an argument; the first is kept. */
__attribute__((format(printf, 3, 4))) static void checked_fail(checked_call *c, const char *argument, const char *format, ...)
{
    char text[160];
    va_list args;
    if (c->status != PFC_OK) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(c->error, sizeof c->error, "checked: operation %s: argument %s %s", c->operation, argument, text);
    c->status = PFC_ERR_RUNTIME;
}

void checked_begin(checked_call *c, pfc_backend *be, const char *operation)
{
    pfc_checked *s = checked_of(be);
    c->be = be;
    c->inner = s->inner;
    c->operation = operation;
    c->status = PFC_OK;
    c->error[0] = 0;
    c->count = 0;
    pthread_rwlock_rdlock(&s->lock);
    if (s->pending[0]) {
        snprintf(c->error, sizeof c->error, "checked: %s", s->pending);
        c->status = PFC_ERR_RUNTIME;
    }
    pthread_rwlock_unlock(&s->lock);
}

/* ---- the elements of an argument ---- */

static size_t row_bytes(const checked_arg *a) { return (size_t)a->cols * pfc_dtype_size(a->dtype); }
static size_t stride(const checked_arg *a) { return (size_t)a->ld * pfc_dtype_size(a->dtype); }
static size_t row_offset(const checked_arg *a, int64_t i) { return (size_t)(a->index ? a->index[i] : a->first + i) * stride(a); }
/* From the first to the last byte; slack after the last row is nobody's. */
static size_t extent(const checked_arg *a) { return a->extent_rows > 0 && a->cols > 0 ? (size_t)(a->extent_rows - 1) * stride(a) + row_bytes(a) : 0; }

/* ---- before ---- */

/* The argument's data in the inner backend, all of it inside one buffer. */
static void locate(checked_call *c, checked_arg *a, const void *given)
{
    pfc_checked *s = checked_of(c->be);
    char why[64];
    size_t bytes = extent(a);
    a->real = NULL;
    memset(&a->buffer, 0, sizeof a->buffer);
    if (a->rows < 0 || a->cols < 0 || (a->rows > 1 && a->ld < a->cols)) {
        checked_fail(c, a->name, "has shape (%" PRId64 ",%" PRId64 ") and ld %" PRId64, a->rows, a->cols, a->ld);
        return;
    }
    if (!pfc_checked_find(s, given, &a->buffer, why, sizeof why)) {
        if (bytes || given) checked_fail(c, a->name, "%s", why);
        return;
    }
    size_t at = (uintptr_t)given - a->buffer.address, end = at + bytes;
    if (end > a->buffer.bytes)
        checked_fail(c, a->name, "is outside its buffer of %zu bytes by %zu bytes", a->buffer.bytes, end - a->buffer.bytes);
    else
        a->real = a->buffer.memory + at;
}

/* Two arguments with a common byte. Rows of the same stride may lie side by side. */
static bool overlap(const checked_arg *a, const checked_arg *b)
{
    size_t na = extent(a), nb = extent(b);
    if (!na || !nb || a->real + na <= b->real || b->real + nb <= a->real) return false;
    if (stride(a) != stride(b) || stride(a) == 0) return true;
    size_t delta = (size_t)(((b->real - a->real) % (ptrdiff_t)stride(a) + (ptrdiff_t)stride(a)) % (ptrdiff_t)stride(a));
    return delta < row_bytes(a) || stride(a) - delta < row_bytes(b);
}

static void check_overlap(checked_call *c, const checked_arg *a)
{
    for (const checked_arg *b = c->arg; b < a; b++)
        if ((a->kind != CHECKED_IN || b->kind != CHECKED_IN) && a->kind != CHECKED_HOST && b->kind != CHECKED_HOST && !(a->shared && b->shared) &&
            overlap(a, b))
            checked_fail(c, a->name, "overlaps argument %s", b->name);
}

/* A copy of the elements, row after row. */
static void keep_input(checked_call *c, checked_arg *a)
{
    a->copy = malloc((size_t)a->rows * row_bytes(a) + 1);
    if (!a->copy) {
        c->status = PFC_ERR_NOMEM;
        return;
    }
    for (int64_t i = 0; i < a->rows; i++) memcpy(a->copy + (size_t)i * row_bytes(a), a->real + row_offset(a, i), row_bytes(a));
}

/* The output's copy: the pattern everywhere, a row and more before and behind, aligned as the data is. */
static void make_output(checked_call *c, checked_arg *a)
{
    size_t guard = (stride(a) + CHECKED_GUARD + 63) / 64 * 64;
    a->before = guard + (uintptr_t)a->real % 64;
    a->size = (a->before + extent(a) + guard + 63) / 64 * 64;
    a->copy = aligned_alloc(64, a->size);
    if (!a->copy) {
        c->status = PFC_ERR_NOMEM;
        return;
    }
    pfc_checked_fill(a->copy, a->size, a->dtype);
    a->work = a->copy + a->before;
}

static checked_arg *add(checked_call *c, checked_kind kind, const char *name)
{
    checked_arg *a = &c->arg[c->count];
    if (c->count == CHECKED_ARGS) {
        checked_fail(c, name, "is one too many: raise CHECKED_ARGS");
        return NULL;
    }
    memset(a, 0, sizeof *a);
    a->name = name;
    a->kind = kind;
    c->count++;
    return a;
}

static void prepare(checked_call *c, checked_arg *a)
{
    if (c->status == PFC_OK) check_overlap(c, a);
    a->work = a->real;
    if (c->status != PFC_OK || !a->real) return;
    if (a->kind == CHECKED_IN) keep_input(c, a);
    if (a->kind == CHECKED_OUT) make_output(c, a);
}

static void add_view(checked_call *c, checked_kind kind, const char *name, pfc_view *v, bool shared)
{
    checked_arg *a = add(c, kind, name);
    if (!a) return;
    a->dtype = v->dtype, a->rows = a->extent_rows = v->rows, a->cols = v->cols, a->ld = v->ld;
    a->shared = shared;
    locate(c, a, v->data);
    if (v->place != PFC_DEVICE) checked_fail(c, name, "is called host memory, but is device memory");
    prepare(c, a);
    v->data = a->work;
    v->place = c->inner->ops->place;
}

void checked_view(checked_call *c, checked_kind kind, const char *name, pfc_view *v, bool optional)
{
    if (c->status == PFC_OK && !(optional && !v->data)) add_view(c, kind, name, v, false);
}

static bool views_meet(const pfc_view *a, const pfc_view *b)
{
    const char *p = a->data, *q = b->data;
    size_t size = pfc_dtype_size(a->dtype), na = (size_t)(a->rows * a->ld) * size, nb = (size_t)(b->rows * b->ld) * size;
    return p && q && p < q + nb && q < p + na;
}

void checked_pair(checked_call *c, const char *in_name, pfc_view *in, const char *out_name, pfc_view *out, bool anywhere)
{
    bool same = in->data == out->data && in->ld == out->ld, shared = anywhere ? views_meet(in, out) : same && in->data;
    if (c->status == PFC_OK) add_view(c, shared ? CHECKED_INOUT : CHECKED_IN, in_name, in, shared);
    if (c->status == PFC_OK) add_view(c, shared ? CHECKED_INOUT : CHECKED_OUT, out_name, out, shared);
}

void *checked_array(checked_call *c, checked_kind kind, const char *name, const void *p, pfc_dtype dtype, int64_t count, bool optional)
{
    void *host = (void *)(uintptr_t)p;
    if (c->status != PFC_OK || (optional && !p)) return host;
    checked_arg *a = add(c, kind, name);
    if (!a) return host;
    a->dtype = dtype, a->rows = a->extent_rows = 1, a->cols = a->ld = count;
    if (kind != CHECKED_HOST) {
        locate(c, a, p);
        prepare(c, a);
        return a->work;
    }
    checked_host(c, name, p);
    a->real = a->work = host;
    if (c->status == PFC_OK) pfc_checked_fill(host, row_bytes(a), dtype);
    return host;
}

void checked_host(checked_call *c, const char *name, const void *p)
{
    if (pfc_checked_is_device(checked_of(c->be), p)) checked_fail(c, name, "is device memory, expected host memory");
}

void checked_rowset(checked_call *c, checked_kind kind, const char *name, pfc_rowset *rows, bool optional)
{
    if (c->status != PFC_OK || (optional && !rows->base.data)) return;
    rows->index = checked_array(c, CHECKED_IN, "index", rows->index, PFC_I64, rows->count, true);
    checked_arg *a = c->status == PFC_OK ? add(c, kind, name) : NULL;
    if (!a) return;
    a->dtype = rows->base.dtype, a->cols = rows->base.cols, a->ld = rows->base.ld;
    a->rows = rows->count, a->extent_rows = rows->base.rows;
    a->index = rows->index, a->first = rows->first;
    locate(c, a, rows->base.data);
    if (rows->base.place != PFC_DEVICE) checked_fail(c, name, "is called host memory, but is device memory");
    for (int64_t i = 0; c->status == PFC_OK && i < a->rows; i++) {
        int64_t r = a->index ? a->index[i] : a->first + i;
        if (r < 0 || r >= a->extent_rows) checked_fail(c, name, "takes row %" PRId64 " of %" PRId64, r, a->extent_rows);
    }
    prepare(c, a);
    rows->base.data = a->work;
    rows->base.place = c->inner->ops->place;
}

const pfc_rows_info *checked_rows_info(checked_call *c, const pfc_rows_info *rows, checked_kind target_logit)
{
    if (!rows) return NULL;
    pfc_rows_info *r = &c->rows;
    int64_t n = rows->target_logit.rows;
    *r = *rows;
    r->target = checked_array(c, CHECKED_IN, "rows->target", r->target, PFC_I64, n, false);
    r->valid = checked_array(c, CHECKED_IN, "rows->valid", r->valid, PFC_U8, n, true);
    checked_view(c, target_logit, "rows->target_logit", &r->target_logit, false);
    checked_view(c, CHECKED_IN, "rows->max", &r->max, false);
    checked_view(c, CHECKED_IN, "rows->sum", &r->sum, false);
    return r;
}

/* ---- after ---- */

static void verify_input(checked_call *c, const checked_arg *a)
{
    size_t size = pfc_dtype_size(a->dtype);
    for (int64_t i = 0; i < a->rows; i++) {
        const char *now = a->real + row_offset(a, i), *was = a->copy + (size_t)i * row_bytes(a);
        if (memcmp(now, was, row_bytes(a)) == 0) continue;
        for (int64_t j = 0; j < a->cols; j++)
            if (memcmp(now + (size_t)j * size, was + (size_t)j * size, size) != 0) {
                checked_fail(c, a->name, "was changed: row %" PRId64 ", column %" PRId64, i, j);
                return;
            }
    }
}

/* The bytes [from, to) of an output's copy, which nobody may have written. */
static void verify_fence(checked_call *c, const checked_arg *a, size_t from, size_t to)
{
    size_t size = pfc_dtype_size(a->dtype);
    for (size_t i = from; i + size <= to; i += size)
        if (!pfc_checked_is_fill(a->copy + i, a->dtype)) {
            checked_fail(c, a->name, "was written outside: %" PRId64 " elements from its start", ((int64_t)i - (int64_t)a->before) / (int64_t)size);
            return;
        }
}

/* Every element written, nothing beside it. Any byte may be data, so bytes count as not written only if none was. */
static void verify_output(checked_call *c, const checked_arg *a, const char *data)
{
    size_t size = pfc_dtype_size(a->dtype);
    int64_t left = 0, row = 0, col = 0;
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t j = 0; j < a->cols; j++)
            if (pfc_checked_is_fill(data + (size_t)i * stride(a) + (size_t)j * size, a->dtype) && left++ == 0) row = i, col = j;
    if (left > 0 && (a->dtype != PFC_U8 || (left == a->rows * a->cols && left >= 8)))
        checked_fail(c, a->name, "was not written: row %" PRId64 ", column %" PRId64 "; %" PRId64 " elements in all", row, col, left);
    if (a->kind == CHECKED_HOST) return;
    verify_fence(c, a, 0, a->before);
    for (int64_t i = 0; i + 1 < a->rows; i++) verify_fence(c, a, a->before + (size_t)i * stride(a) + row_bytes(a), a->before + (size_t)(i + 1) * stride(a));
    verify_fence(c, a, a->before + extent(a), a->size);
}

static void verify(checked_call *c, const checked_arg *a)
{
    int64_t at = a->buffer.memory ? pfc_checked_guard(&a->buffer) : 0;
    if (a->kind == CHECKED_IN && a->copy) verify_input(c, a);
    if (a->kind == CHECKED_OUT && a->copy) verify_output(c, a, a->work);
    if (a->kind == CHECKED_HOST && a->real) verify_output(c, a, a->real);
    if (at) checked_fail(c, a->name, "lies in a buffer of %zu bytes whose byte %" PRId64 " was overwritten", a->buffer.bytes, at);
}

/* Only the elements: what lies between them may be another lane's. */
static void copy_back(const checked_arg *a)
{
    for (int64_t i = 0; i < a->rows; i++) memcpy(a->real + row_offset(a, i), a->work + row_offset(a, i), row_bytes(a));
}

/* The text for the caller: what this call found, or what the inner backend said. */
static void report(checked_call *c)
{
    pfc_checked *s = checked_of(c->be);
    pthread_rwlock_wrlock(&s->lock);
    if (c->error[0])
        snprintf(c->be->error, sizeof c->be->error, "%s", c->error);
    else if (c->inner->error[0])
        snprintf(c->be->error, sizeof c->be->error, "%s", c->inner->error);
    else
        snprintf(c->be->error, sizeof c->be->error, "checked: operation %s failed", c->operation);
    pthread_rwlock_unlock(&s->lock);
}

pfc_status checked_end(checked_call *c)
{
    for (int i = 0; i < c->count && c->status == PFC_OK; i++) verify(c, &c->arg[i]);
    for (int i = 0; i < c->count; i++) {
        if (c->status == PFC_OK && c->arg[i].kind == CHECKED_OUT && c->arg[i].copy) copy_back(&c->arg[i]);
        free(c->arg[i].copy);
    }
    if (c->status != PFC_OK) report(c);
    return c->status;
}
