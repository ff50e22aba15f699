/* exact.h (internal): the state of the exact cpu tables: kernels, product engine, scratch per lane, operands, accumulators. */
#ifndef PFC_CPU_EXACT_H
#define PFC_CPU_EXACT_H

#include "backend/backend.h"
#include "backend/cpu/exact_kernels.h"
#include "core/exactint.h"

enum {
    EXACT_BLOCK = 256,        /* classes of a block */
    EXACT_PARALLEL = 1 << 14, /* elements from which threads pay */
};

/* Scratch buffers of a lane; each grows and is kept. */
enum {
    SCRATCH_LOGIT,
    SCRATCH_SLOPE,
    SCRATCH_TARGETS,
    SCRATCH_ROWS,
    SCRATCH_W,
    SCRATCH_H,
    SCRATCH_LEVELS,
    SCRATCH_SUMS,
    SCRATCH_EXTRA_A,
    SCRATCH_EXTRA_B,
    SCRATCH_T,
    SCRATCH_CHECK,
    SCRATCH_U,
    SCRATCH_COUNT
};

typedef struct exact_scratch {
    void *p;
    size_t bytes;
} exact_scratch;

struct pfc_engine;

typedef struct exact_lane {
    exact_scratch buffer[SCRATCH_COUNT];
    const pfc_exact_kernels *k;
    bool self_check;
    char error[160];
} exact_lane;

typedef struct pfc_exact {
    const pfc_exact_kernels *k;
    const struct pfc_engine *engine;
    exact_lane *lane;
    int lanes;
} pfc_exact;

/* A set of sliced rows (engines dgemm and int128): V = s0*2^42 + s1*2^21 + s2 with |s| <= 2^20. Almost all float32 rows have s2 = 0; the few others
 * ("wide" rows) are treated apart by the DGEMM engine, so that the common case multiplies two slices instead of three. Slice j (0 = most significant) of
 * element (i, k) is at p[place(j)*plane + ...], place(j) = j, or 2 - j if reversed; the rest of the index is i*ld + k, or k*ld + i if by_k (k is the row
 * of memory). */
typedef struct exact_slices {
    const double *p;
    int64_t plane, ld;
    bool reversed, by_k;
    const double *sum; /* s0 + s1 in one plane, index i*sum_ld + k, or k*sum_ld + i if by_k; NULL: not made */
    int64_t sum_ld;
    int64_t wide;              /* how many wide entries: rows (or k, if by_k) with a third slice */
    const int64_t *wide_index; /* which */
} exact_slices;

struct pfc_operand {
    int64_t n, d;
    double *storage; /* the engine's: slices or panels */
    const struct amx_operand *panels;
    exact_slices rows; /* [x2|x1|x0] per row: K = D, for cosines */
    exact_slices cols; /* [x2; x1; x0]: K = N, for weight_grad */
    int64_t *wide_index;
    const double *norm; /* raw */
    double *sx;         /* 2^(e - 62) per row */
    double *pow_e;      /* 2^e per row */
    double *dx;         /* max(norm, 1e-12) */
    double *inverse;    /* 1/dx; NULL if a dx is above 2^200 */
    pfc_view x;
    const int32_t *expo;
    bool any_nonfinite;
};

/* Lane accumulators of products: levels as the engine fills them. */
typedef struct exact_product_acc {
    double *level; /* 5 x rows x cols, exact integers */
    int64_t *high; /* 6 x rows x cols, carried */
    int64_t *limb; /* rows x cols x PFC_LIMBS (int128 engine) */
    int64_t *sum;  /* 4 x rows x cols words of base 2^32 (engines amx and ifma) */
    unsigned char *mark;
    double *max;     /* per row: largest |term|, before the grid is fixed */
    int64_t pending; /* terms in `level`, or chunks in `sum`, since the last carry */
} exact_product_acc;

/* Lane accumulators of scalar sums. */
typedef struct exact_scalar_acc {
    int64_t *a, *b; /* rows */
    unsigned char *mark;
    double *max; /* per row: running maximum of the logits (row sums), or largest |term| (dots) */
} exact_scalar_acc;

typedef struct exact_acc_state {
    exact_product_acc *product; /* per lane */
    exact_scalar_acc *scalar;
} exact_acc_state;

/* An engine computes the integers of exact-v1 1.2; no bit depends on which. Operands are rows of doubles with a grid exponent each. */
typedef struct pfc_engine {
    const char *name;
    int64_t strip; /* classes per call of weight that keep its result in cache; 0: a whole block */
    /* Fills storage and what hangs on it; x, norm, expo and the scales are set. */
    pfc_status (*prepare)(exact_lane *lane, pfc_operand *x);
    /* t (w.count, N) = RN(sum_d W_cd X_nd). */
    pfc_status (*forward)(exact_lane *lane, pfc_rowset w, const int32_t *expo, const pfc_operand *x, double *t);
    /* t (g.count, D) = RN(sum_n G_cn X_nd). */
    pfc_status (*weight)(exact_lane *lane, pfc_rowset g, const int32_t *expo, const pfc_operand *x, double *t);
    /* acc (N, D) += sum_c H_cn W_cd; grid: exponents of the columns of h. */
    pfc_status (*feature)(exact_lane *lane, pfc_rowset h, const int32_t *grid, pfc_rowset w, const int32_t *expo, exact_product_acc *acc);
} pfc_engine;

extern const pfc_engine pfc_engine_dgemm, pfc_engine_int128, pfc_engine_ifma, pfc_engine_amx;
const pfc_engine *pfc_engine_find(const char *name); /* NULL: unknown */
/* Whether the amx engine can run here: built, CPU, operating system, permission, known answers, PFC_MAX_ISA. false: why, in one line. */
bool pfc_engine_amx_usable(char *why, size_t size);
/* The same of the ifma engine. */
bool pfc_engine_ifma_usable(char *why, size_t size);

/* ---- exact_slices.c ---- */
/* by_k: [s2; s1; s0], for sums over the rows; else [s0|s1|s2] per row. Scratch `which`. */
pfc_status pfc_slice_rows(exact_lane *lane, int which, pfc_rowset w, const int32_t *expo, bool by_k, exact_slices *out);
/* Grid exponent per column, [s0; s1; s2]. */
pfc_status pfc_slice_columns(exact_lane *lane, int which, pfc_rowset h, const int32_t *grid, exact_slices *out);
/* prepare of the engines on slices. */
pfc_status pfc_slice_operand(exact_lane *lane, pfc_operand *x);

/* forward of the dgemm engine after slicing: tests give it slices that are too large (engine_dgemm.c). */
pfc_status pfc_dgemm_forward(exact_lane *lane, int64_t m, const exact_slices *w, const pfc_operand *x, double *t);

/* ---- exact_acc.c ---- */
/* p, or count zeros of 8 bytes if p is NULL. */
void *pfc_exact_zeros(void *p, int64_t count);
/* Makes acc->sum (`size` outputs) if it is not there, and room in its words for `chunks` more terms of less than 2^53. */
pfc_status pfc_exact_sum_words(exact_product_acc *acc, int64_t size, int64_t chunks);

/* ---- exact_matrix.c ---- */
/* The scalar sum of a_i b_i on the grid of its largest term (1.3). */
double pfc_exact_dot(const pfc_exact_kernels *k, const double *a, const double *b, int64_t n);

/* ---- exact_state.c ---- */
pfc_status pfc_exact_open(pfc_backend *be, const char *engine, const pfc_exact_kernels *k);
void pfc_exact_close(pfc_backend *be);
/* Memory of at least `count` doubles, kept until close; NULL: out of memory. */
double *pfc_exact_scratch(exact_lane *lane, int which, int64_t count);
/* PFC_OK if this thread rounds to nearest and keeps subnormals; a library that sets FTZ or DAZ process-wide would change bits. */
pfc_status pfc_exact_environment(exact_lane *lane);
/* Returns the status; of a failure the lane's text, or "out of memory", goes into the backend (first failure wins well enough: every text is a true one). */
pfc_status pfc_exact_fail(pfc_backend *be, int lane, pfc_status status);
/* The end of an entry that cannot fail otherwise: whether the environment of this thread was right. */
pfc_status pfc_exact_finish(pfc_backend *be, int lane);
/* PFC_ERR_RUNTIME: a product (m, n) over k terms is not what its self-check says. who: "DGEMM". */
pfc_status pfc_exact_check_failed(exact_lane *lane, const char *who, int64_t m, int64_t n, int64_t k);

/* r of the self-checks: an odd number per column. */
static inline uint64_t exact_odd(int64_t i) { return ((uint64_t)i * 0x9E3779B97F4A7C15u + 0xD1B54A32D192ED03u) | 1; }

static inline pfc_exact *exact_of(pfc_backend *be) { return be->state; }
static inline exact_product_acc *exact_product_lane(pfc_acc *acc, int lane) { return &((exact_acc_state *)acc->state)->product[lane]; }
static inline exact_scalar_acc *exact_scalar_lane(pfc_acc *acc, int lane) { return &((exact_acc_state *)acc->state)->scalar[lane]; }

/* Row i of a matrix, and of a set. */
static inline double *exact_at(pfc_view v, int64_t i) { return (double *)v.data + i * v.ld; }
static inline double *exact_row(pfc_rowset set, int64_t i) { return exact_at(set.base, pfc_row_index(set, i)); }

/* max(norm, 1e-12); NaN stays. */
static inline double exact_divisor(double norm) { return norm < PFC_NORM_MIN ? PFC_NORM_MIN : norm; }

/* The entries of the tables, pfc_exact_NAME with the type of NAME in struct pfc_ops; backend.h has their meaning. */
#define FIELD(name, value)
#define ENTRY(name) __typeof__(*((const pfc_ops *)0)->name) pfc_exact_##name;
#include "backend/cpu/exact_ops.inc"
#undef FIELD
#undef ENTRY

#endif
