/* memory.c: addresses that nobody may touch, and the buffers behind them. */
#include "backend/checked/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

static const uintptr_t HINT = 0x3dead0000000u;                /* where the addresses start if the system agrees */
static const size_t MOST = (size_t)1 << 42, LEAST = 1u << 30; /* address space; no memory */

/* ---- the pattern ---- */

/* Signalling NaNs that no arithmetic makes; integers that are no index and no exponent. */
static const uint64_t FILL_F64 = 0x7ff5a55a5ec0ffe5u, FILL_I64 = 0xa5a5a5a55ec0ffe5u;
static const uint32_t FILL_F32 = 0x7fa55ac5u, FILL_I32 = 0xa5a55ac5u;
static const uint8_t FILL_U8 = 0xa5u;

static const void *pattern(pfc_dtype dtype)
{
    switch (dtype) {
    case PFC_F64: return &FILL_F64;
    case PFC_I64: return &FILL_I64;
    case PFC_F32: return &FILL_F32;
    case PFC_I32: return &FILL_I32;
    case PFC_U8: return &FILL_U8;
    }
    return &FILL_U8;
}

void pfc_checked_fill(void *p, size_t bytes, pfc_dtype dtype)
{
    size_t size = pfc_dtype_size(dtype);
    for (size_t i = 0; i < bytes; i += size) memcpy((char *)p + i, pattern(dtype), size < bytes - i ? size : bytes - i);
}

bool pfc_checked_is_fill(const void *p, pfc_dtype dtype) { return memcmp(p, pattern(dtype), pfc_dtype_size(dtype)) == 0; }

/* ---- opening and closing ---- */

pfc_status pfc_checked_memory_open(pfc_checked *s)
{
    void *p = MAP_FAILED;
    size_t size = MOST;
    for (; p == MAP_FAILED && size >= LEAST; size /= 2) p = mmap((void *)HINT, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return PFC_ERR_NOMEM;
    if (pthread_rwlock_init(&s->lock, NULL) != 0) {
        munmap(p, 2 * size);
        return PFC_ERR_NOMEM;
    }
    s->arena = s->next = (uintptr_t)p;
    s->end = s->arena + 2 * size; /* the loop has halved it once more */
    return PFC_OK;
}

static void release(pfc_checked *s, const checked_buffer *b) { s->inner->ops->free(s->inner, b->memory - CHECKED_GUARD); }

void pfc_checked_memory_close(pfc_checked *s, char *error, size_t size)
{
    size_t left = 0, first = 0;
    if (!s->arena) return;
    for (size_t i = 0; i < s->count; i++) {
        if (!s->buffer[i].memory) continue;
        if (left++ == 0) first = i;
        int64_t at = pfc_checked_guard(&s->buffer[i]);
        if (at && !s->pending[0]) snprintf(s->pending, sizeof s->pending, "byte %" PRId64 " of a buffer of %zu was overwritten", at, s->buffer[i].bytes);
        release(s, &s->buffer[i]);
    }
    if (s->pending[0])
        snprintf(error, size, "checked: %s", s->pending);
    else if (left)
        snprintf(error, size, "checked: %zu buffer%s not freed; the first is allocation %zu, of %zu bytes", left, left > 1 ? "s" : "", first + 1,
                 s->buffer[first].bytes);
    munmap((void *)s->arena, s->end - s->arena);
    pthread_rwlock_destroy(&s->lock);
    free(s->buffer);
}

/* ---- finding ---- */

bool pfc_checked_is_device(const pfc_checked *s, const void *p) { return (uintptr_t)p >= s->arena && (uintptr_t)p < s->end; }

/* The last buffer that starts at p or before; NULL: none. Under the lock. */
static checked_buffer *last_before(pfc_checked *s, uintptr_t p)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->buffer[middle].address <= p)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &s->buffer[low - 1] : NULL;
}

bool pfc_checked_find(pfc_checked *s, const void *p, checked_buffer *out, char *why, size_t size)
{
    if (!pfc_checked_is_device(s, p)) {
        snprintf(why, size, p ? "is host memory" : "is NULL");
        return false;
    }
    pthread_rwlock_rdlock(&s->lock);
    checked_buffer *b = last_before(s, (uintptr_t)p);
    bool found = b && (uintptr_t)p < s->next;
    if (found) *out = *b;
    pthread_rwlock_unlock(&s->lock);
    if (!found)
        snprintf(why, size, "was never allocated");
    else if (!out->memory)
        snprintf(why, size, "was freed before");
    return found && out->memory;
}

/* ---- guards ---- */

int64_t pfc_checked_guard(const checked_buffer *b)
{
    size_t size = pfc_dtype_size(b->real);
    for (size_t i = 0; i < CHECKED_GUARD; i += size) {
        if (!pfc_checked_is_fill(b->memory - size - i, b->real)) return -(int64_t)(size + i);
        if (!pfc_checked_is_fill(b->memory + b->bytes + i, b->real)) return (int64_t)(b->bytes + i) + (b->bytes == 0);
    }
    return 0;
}

pfc_status pfc_checked_guards(pfc_backend *be)
{
    pfc_checked *s = checked_of(be);
    pthread_rwlock_rdlock(&s->lock);
    pfc_status st = PFC_OK;
    for (size_t i = 0; i < s->count && st == PFC_OK; i++) {
        int64_t at = s->buffer[i].memory ? pfc_checked_guard(&s->buffer[i]) : 0;
        if (!at) continue;
        st = PFC_ERR_RUNTIME;
        snprintf(be->error, sizeof be->error, "checked: byte %" PRId64 " of a buffer of %zu was overwritten (allocation %zu)", at, s->buffer[i].bytes, i + 1);
    }
    pthread_rwlock_unlock(&s->lock);
    return st;
}

/* ---- allocating and freeing ---- */

/* Room for one more buffer. Under the lock. */
static bool make_room(pfc_checked *s, size_t span)
{
    if (span > s->end - s->next) return false;
    if (s->count < s->room) return true;
    size_t room = 2 * s->room + 64;
    checked_buffer *more = realloc(s->buffer, room * sizeof *more);
    if (!more) return false;
    s->buffer = more;
    s->room = room;
    return true;
}

pfc_status pfc_checked_alloc(pfc_backend *be, size_t bytes, void **out)
{
    checked_call c;
    void *p = NULL;
    *out = NULL;
    checked_begin(&c, be, "alloc");
    if (c.status == PFC_OK) c.status = c.inner->ops->alloc(c.inner, bytes + 2 * CHECKED_GUARD, &p);
    if (c.status != PFC_OK) return checked_end(&c);
    pfc_checked *s = checked_of(be);
    size_t span = (bytes / PAGE + 2) * PAGE; /* at least a page behind, so that an address beyond a buffer is in no other */
    checked_buffer b = { 0, bytes, (char *)p + CHECKED_GUARD, be->ops->real };
    pfc_checked_fill(p, CHECKED_GUARD + bytes, b.real);
    pfc_checked_fill(b.memory + bytes, CHECKED_GUARD, b.real);
    pthread_rwlock_wrlock(&s->lock);
    bool fits = make_room(s, span);
    if (fits) {
        b.address = s->next;
        s->buffer[s->count++] = b;
        *out = (void *)s->next;
        s->next += span;
    }
    pthread_rwlock_unlock(&s->lock);
    if (!fits) {
        c.inner->ops->free(c.inner, p);
        snprintf(c.error, sizeof c.error, "checked: out of memory or addresses: %zu bytes", bytes);
        c.status = PFC_ERR_NOMEM;
    }
    return checked_end(&c);
}

/* Takes the buffer that starts at p off the list; false and a text: there is none. Under the lock. */
static bool take(pfc_checked *s, uintptr_t p, checked_buffer *out, char *why, size_t size)
{
    checked_buffer *b = p >= s->arena && p < s->next ? last_before(s, p) : NULL;
    if (!b)
        snprintf(why, size, p >= s->arena && p < s->end ? "was never allocated" : "is host memory");
    else if (!b->memory)
        snprintf(why, size, "was freed before");
    else if (b->address != p)
        snprintf(why, size, "is %zu bytes inside a buffer", (size_t)(p - b->address));
    if (!b || !b->memory || b->address != p) return false;
    *out = *b;
    b->memory = NULL;
    return true;
}

void pfc_checked_free(pfc_backend *be, void *p)
{
    pfc_checked *s = checked_of(be);
    checked_buffer b;
    char why[64];
    if (!p) return;
    pthread_rwlock_wrlock(&s->lock);
    bool taken = take(s, (uintptr_t)p, &b, why, sizeof why);
    int64_t at = taken ? pfc_checked_guard(&b) : 0;
    if (!taken && !s->pending[0]) snprintf(s->pending, sizeof s->pending, "operation free: argument p %s", why);
    if (at && !s->pending[0]) snprintf(s->pending, sizeof s->pending, "operation free: byte %" PRId64 " of a buffer of %zu was overwritten", at, b.bytes);
    pthread_rwlock_unlock(&s->lock);
    if (!taken) return;
    pfc_checked_fill(b.memory, b.bytes, b.real); /* whoever still has it reads NaN */
    release(s, &b);
}
