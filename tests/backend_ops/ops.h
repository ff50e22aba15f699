/* ops.h: every operation of a backend, called with the same inputs as the cpu backend's, result by result.
 *
 * A side is one of the two backends. A chain (ops_*.c) calls operations on a side and keeps what each made; then the two lists are compared: exact mode
 * bit for bit (NaN equals NaN), fast mode to some units of float32. The first difference names the operation. */
#ifndef PFC_TEST_OPS_H
#define PFC_TEST_OPS_H

#include "backend/backend.h"
#include "core/ctx.h"

#include <stddef.h>

typedef struct result {
    char name[64]; /* "weight_grad" or "acc_value of feature" */
    pfc_dtype dtype;
    int64_t count;
    void *data;
} result;

enum { MAX_RESULTS = 256, MAX_OWNED = 256, MAX_OPS = 256 };

typedef struct side {
    pfc_backend *be;
    const pfc_ops *ops;
    result list[MAX_RESULTS];
    int count;
    void *owned[MAX_OWNED]; /* backend memory, freed by side_clear */
    int owned_count;
    bool called[MAX_OPS]; /* by position in pfc_ops; over all chains */
    char failure[400];    /* the first */
} side;

/* Calls an operation that returns a status. */
#define CALL(s, op, ...) side_called((s), offsetof(pfc_ops, op), #op, (s)->ops->op((s)->be, __VA_ARGS__))
/* An operation without one was called. */
#define CALLED(s, op) side_called((s), offsetof(pfc_ops, op), #op, PFC_OK)

void side_called(side *s, size_t at, const char *op, pfc_status status);
/* Name of the place of an operation that the table has and no chain has called, in names of the order of backend.h; -1: none. */
int side_not_called(const side *s);
void side_clear(side *s);

/* Memory of the backend, (rows, cols) of the mode's real: values in row-major order, rounded to float32 (both modes then start from the same numbers); NULL:
 * undefined. */
pfc_view side_matrix(side *s, int64_t rows, int64_t cols, const double *values);
/* n elements of `size` bytes. */
void *side_array(side *s, const void *host, int64_t n, size_t size);

/* Keeps a matrix; numbers that are in host memory; an array of int32 in the backend's. */
void keep(side *s, const char *name, pfc_view v);
void keep_host(side *s, const char *name, pfc_dtype dtype, const void *data, int64_t n);
void keep_i32(side *s, const char *name, const int32_t *p, int64_t n);
/* acc_fold (rows: of fast row sums), then its values, its exponents and marks. */
void keep_acc(side *s, const char *name, pfc_acc *acc, const pfc_rows_info *rows, pfc_view value);

/* Numbers of stream `tensor`: normal; wild: with zeros, infinities, NaN and wide magnitudes among them. */
double *numbers(int tensor, int64_t n, bool wild);

typedef struct chain {
    const char *name;
    void (*run)(side *s, int variant); /* 0 .. variants - 1 */
    int variants;
    int wild_from; /* variants from here on have numbers that are not finite: exact mode only */
} chain;

extern const chain head_chain, angular_chain, matrix_chain, sinkhorn_chain, batch_norm_chain;

#endif
