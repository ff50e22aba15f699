/* checked.h (internal): the checked backend. For tests: another backend behind a table that mistrusts both sides, so that the mistakes which would only
 * show on a device show on a CPU. pfc_options.backend "checked" or PFC_BACKEND=checked puts it around the cpu backend, in either mode.
 *
 * Towards the algorithms it is a device. alloc hands out an address in a range that nobody may touch (PROT_NONE); the data is in a buffer of the inner
 * backend. An algorithm that reads or writes device memory itself ends at once with SIGSEGV at the faulty line, as it would on a GPU; the failing
 * address begins 0x3dead. (A range filled with NaN would not stop: a read would only make some result wrong much later, or nothing at all where an
 * integer is read.) Addresses are never used twice, so that freed memory is always known as such.
 *
 * Towards the inner backend it checks every operation, argument by argument, by what the contract says of it:
 *   any         is memory of this backend, not freed, inside its buffer; a view says PFC_DEVICE
 *   read-only   holds the same bits afterwards
 *   output      is a copy filled with a signalling NaN (integers: a loud number) between guards: every element has to be written, nothing beside it;
 *               overlaps no other argument
 *   both        or shared with other lanes: in place; only the guards around the buffer are looked at
 *   host        is not device memory
 * New memory is filled with the same pattern. What is wrong is PFC_ERR_RUNTIME and one line in be->error: "checked: operation cosines: argument w: ...".
 * What free finds is said by the next operation, at the latest by pfc_backend_finish, which also says what was never freed.
 *
 * Run any test or command over it with PFC_BACKEND=checked; stage "checked" of .ci/run does so with all that use a backend.
 *
 * To add an operation: write its wrapper in wrap_FAMILY.c with the macros below and SET it at the end of that file. A new family: a new file and one line
 * in checked.c. An operation that the inner table has and nobody has wrapped is an error when the backend is opened, never passed through. */
#ifndef PFC_CHECKED_H
#define PFC_CHECKED_H

#include "backend/backend.h"

#include <pthread.h>

typedef struct checked_buffer {
    uintptr_t address; /* what the algorithms see */
    size_t bytes;
    char *memory;   /* of the inner backend, at the data; guards of CHECKED_GUARD bytes before and after it. NULL: freed */
    pfc_dtype real; /* whose pattern the guards have */
} checked_buffer;

enum { CHECKED_GUARD = 256 };

/* State of the backend (memory.c). */
typedef struct pfc_checked {
    pfc_backend *inner;
    pfc_ops table;
    pthread_rwlock_t lock; /* of all that follows */
    uintptr_t arena, next, end;
    checked_buffer *buffer; /* rising addresses */
    size_t count, room;
    char pending[200]; /* found where no status could be returned */
} pfc_checked;

typedef enum checked_kind {
    CHECKED_IN,    /* read-only */
    CHECKED_OUT,   /* written, every element */
    CHECKED_INOUT, /* read and written, or written in part, or shared with other lanes */
    CHECKED_HOST   /* output in host memory, every element */
} checked_kind;

typedef struct checked_arg {
    const char *name;
    checked_kind kind;
    pfc_dtype dtype;
    char *real; /* the data: row 0, or the base of a set of rows */
    char *work; /* what the operation gets: the data or, for an output, its copy */
    char *copy; /* of an input as it was; of an output with its guards */
    size_t before, size;
    int64_t rows, cols, ld;
    bool shared;          /* the contract lets it overlap the other shared argument */
    const int64_t *index; /* as in pfc_rowset; first: of row 0 */
    int64_t first;
    int64_t extent_rows; /* rows of memory from `real` */
    checked_buffer buffer;
} checked_arg;

enum { CHECKED_ARGS = 24 };

/* One call of an operation. */
typedef struct checked_call {
    pfc_backend *be, *inner;
    const char *operation;
    pfc_status status;
    char error[256];
    int count;
    checked_arg arg[CHECKED_ARGS];
    pfc_rows_info rows;
} checked_call;

/* ---- memory.c ---- */
pfc_status pfc_checked_memory_open(pfc_checked *s);
void pfc_checked_memory_close(pfc_checked *s, char *error, size_t size); /* error: what was not freed */
pfc_status pfc_checked_alloc(pfc_backend *be, size_t bytes, void **out);
void pfc_checked_free(pfc_backend *be, void *p);
/* The buffer that p is in or ends; false and a text: there is none. */
bool pfc_checked_find(pfc_checked *s, const void *p, checked_buffer *out, char *why, size_t size);
bool pfc_checked_is_device(const pfc_checked *s, const void *p);
/* First byte of a guard that was overwritten, relative to the data; 0: none. */
int64_t pfc_checked_guard(const checked_buffer *b);
/* Guards of all buffers. Local. */
pfc_status pfc_checked_guards(pfc_backend *be);
/* bytes of pattern from p on, for elements of size bytes; whether an element is the pattern. */
void pfc_checked_fill(void *p, size_t bytes, pfc_dtype dtype);
bool pfc_checked_is_fill(const void *p, pfc_dtype dtype);

/* ---- call.c ---- */
void checked_begin(checked_call *c, pfc_backend *be, const char *operation);
pfc_status checked_end(checked_call *c);
/* Each replaces what the operation gets. A NULL is passed on only by the optional forms. */
void checked_view(checked_call *c, checked_kind kind, const char *name, pfc_view *v, bool optional);
/* An output that may be the input itself, or lie anywhere in the same matrix. Where it does, both are worked on in place. */
void checked_pair(checked_call *c, const char *in_name, pfc_view *in, const char *out_name, pfc_view *out, bool anywhere);
void checked_rowset(checked_call *c, checked_kind kind, const char *name, pfc_rowset *rows, bool optional);
void *checked_array(checked_call *c, checked_kind kind, const char *name, const void *p, pfc_dtype dtype, int64_t count, bool optional);
void checked_host(checked_call *c, const char *name, const void *p);
const pfc_rows_info *checked_rows_info(checked_call *c, const pfc_rows_info *rows, checked_kind target_logit);

/* A wrapper in five lines:
 *
 *     static pfc_status checked_NAME(pfc_backend *be, int lane, pfc_view x, const int32_t *expo, pfc_view y)
 *     {
 *         BEGIN(NAME);
 *         IN(x), ARRAY_IN(expo, PFC_I32, x.rows), OUT(y);
 *         END(NAME, lane, x, expo, y);
 *     }
 */
#define BEGIN(op)      \
    checked_call call; \
    checked_begin(&call, be, #op)
#define VIEW(kind, v) checked_view(&call, kind, #v, &(v), false)
#define IN(v) VIEW(CHECKED_IN, v)
#define OUT(v) VIEW(CHECKED_OUT, v)
#define INOUT(v) VIEW(CHECKED_INOUT, v)
#define OPTIONAL_IN(v) checked_view(&call, CHECKED_IN, #v, &(v), true) /* data may be NULL */
#define OPTIONAL_OUT(v) checked_view(&call, CHECKED_OUT, #v, &(v), true)
#define IN_PLACE(in, out) checked_pair(&call, #in, &(in), #out, &(out), false) /* out may be in */
#define MOVE(from, to) checked_pair(&call, #from, &(from), #to, &(to), true)   /* they may overlap */
#define ROWSET(kind, r) checked_rowset(&call, kind, #r, &(r), false)
#define OPTIONAL_ROWSET(kind, r) checked_rowset(&call, kind, #r, &(r), true)
#define ARRAY(kind, p, type, n) ((p) = checked_array(&call, kind, #p, p, type, n, false))
#define ARRAY_IN(p, type, n) ARRAY(CHECKED_IN, p, type, n)
#define ARRAY_OUT(p, type, n) ARRAY(CHECKED_OUT, p, type, n)
#define OPTIONAL_ARRAY(kind, p, type, n) ((p) = checked_array(&call, kind, #p, p, type, n, true))
#define HOST_IN(p) checked_host(&call, #p, p)
#define HOST_OUT(p, type, n) ARRAY(CHECKED_HOST, p, type, n)
#define ROWS_INFO(r, target_logit) ((r) = checked_rows_info(&call, r, target_logit))
#define END(op, ...)                                                                       \
    if (call.status == PFC_OK) call.status = call.inner->ops->op(call.inner, __VA_ARGS__); \
    return checked_end(&call)
#define SET(op) table->op = checked_##op

/* Each sets the wrappers of its groups. */
void pfc_checked_wrap_core(pfc_ops *table);
void pfc_checked_wrap_partial_fc(pfc_ops *table);
void pfc_checked_wrap_matrix(pfc_ops *table);
void pfc_checked_wrap_arcface(pfc_ops *table);
void pfc_checked_wrap_swav(pfc_ops *table);
void pfc_checked_wrap_moco(pfc_ops *table);
void pfc_checked_wrap_batch_norm(pfc_ops *table);

/* ---- checked.c ---- */
static inline pfc_checked *checked_of(pfc_backend *be) { return be->state; }
/* Puts the checked backend around inner, which it owns from now on, also when it fails (then inner is closed and the reason in be->error). */
pfc_status pfc_checked_open(pfc_backend *be, pfc_backend *inner);

#endif
