/* case.h: cases and goldens in memory: parameters, distributed tensors, and the table of algorithms that describes them.
 *
 * The file format is doc/case-format.md. Everything generic (reading, checking, defaults, listing, writing, digests, comparing) works
 * from the tables in pfc_algorithm; a family adds a table, a `check` and a `run`, and nothing else in this folder changes.
 *
 * Every function marked Collective must be called by all ranks of the communicator and returns the same result on all of them. */
#ifndef PFC_CASE_H
#define PFC_CASE_H

#include "case/precision.h"

#include <pfc/pfc.h>
#include <stdbool.h>
#include <stdio.h>

/* ---- errors: one line of text and the exit status of case-format.md section 3 ---- */

enum { PFC_EXIT_OK = 0, PFC_EXIT_DIFFERENT = 1, PFC_EXIT_USAGE = 2, PFC_EXIT_FILE = 3, PFC_EXIT_BACKEND = 4, PFC_EXIT_RUNTIME = 5 };

typedef struct pfc_diag {
    int exit_status; /* 0: fine */
    char text[768];  /* "FILE: /in/labels: found shape (3), expected (N) with N = 24" */
} pfc_diag;

/* Sets the text (printf) and status of the first failure only; returns exit_status, never 0. Local. */
int pfc_diag_fail(pfc_diag *diag, int exit_status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Collective: the lowest failing rank's text and status on all ranks; 0 if none failed. */
int pfc_diag_agree(MPI_Comm comm, pfc_diag *diag);
/* A library status as an exit status (DATA, ARG, SHAPE: 3; UNSUPPORTED: 4; else 5) with the context's text. Local. */
int pfc_diag_from_status(pfc_diag *diag, pfc_status status, const pfc_ctx *ctx, const char *item);

/* ---- descriptions (tables; const) ---- */

typedef enum pfc_param_type { PFC_PARAM_INT, PFC_PARAM_REAL, PFC_PARAM_WORD, PFC_PARAM_TEXT } pfc_param_type; /* TEXT: free; for settings, not for cases */

typedef struct pfc_param_spec {
    const char *name;
    pfc_param_type type;
    const char *def;   /* default as text; NULL: required; "": optional, absent unless given */
    const char *words; /* PFC_PARAM_WORD: "clamp|lse"; PFC_PARAM_INT switches: "0|1"; else NULL */
    const char *help;
} pfc_param_spec;

typedef enum pfc_tensor_kind {
    PFC_KIND_REAL,   /* inputs: float32 (f64 is rounded); results: the mode's real */
    PFC_KIND_REAL64, /* stays float64 (margins, sample_keys) */
    PFC_KIND_INT     /* int64 */
} pfc_tensor_kind;

/* Which axis is cut over the ranks, and how. */
typedef enum pfc_dist {
    PFC_DIST_NONE,  /* every rank holds all of it; rank 0 writes */
    PFC_DIST_BATCH, /* rank r holds [r*n/P, (r+1)*n/P) of the axis; n divisible by P */
    PFC_DIST_CLASS, /* pfc_shard_of */
    PFC_DIST_RANK   /* axis of length P: one slice each */
} pfc_dist;

typedef struct pfc_tensor_spec {
    const char *name;
    pfc_tensor_kind kind;
    /* Alternatives separated by '|', axes by ',': "N,D|steps,N,D". "" is a scalar (shape (1,) is accepted). A single capital letter binds a
     * size that must agree over all tensors; P is the number of ranks; a word that names an integer parameter must equal it; a letter times such
     * a word ("C*num_subcenters") is their product, and where it is cut, parts of that many elements stay together; anything else ("V*bs", "...")
     * is left to the algorithm's check. */
    const char *shape;
    pfc_dist dist;
    char cut; /* the letter of the axis that dist cuts ('N', 'C', 'P'); 0 with PFC_DIST_NONE */
    bool optional;
    const char *help;
} pfc_tensor_spec;

/* ---- values ---- */

enum { PFC_MAX_DIMS = 8, PFC_MAX_WORD = 128, PFC_MAX_NAME = 64 };

typedef struct pfc_param {
    bool present; /* given, or has a default */
    bool given;   /* stood in the file or on the command line */
    int64_t i;
    double r;
    char word[PFC_MAX_WORD]; /* or text */
} pfc_param;

/* A global tensor of which this rank holds one block along `axis`. data is the local block, row-major, contiguous. */
typedef struct pfc_tensor {
    char name[PFC_MAX_NAME];
    pfc_dtype dtype; /* PFC_F32, PFC_F64, PFC_I64 */
    int ndim;        /* 0: scalar */
    int64_t dims[PFC_MAX_DIMS];
    pfc_dist dist;
    int axis;             /* the cut axis; 0 with PFC_DIST_NONE */
    int64_t unit;         /* so many elements of that axis stay together: the rows of one class; 1: each is alone */
    int64_t start, count; /* this rank's part of that axis */
    void *data;
    int order;      /* steps: position in the data flow */
    char stored[8]; /* how a file held it: "f32", "f64", "f16", "bf16", "i32" ...; "" if made here */
    char sha256[65];
    double rms; /* of a bound: the error of the emulated port that it is for, root mean square (emulate.h); NaN: not known */
} pfc_tensor;

typedef struct pfc_tensor_list {
    pfc_tensor *items;
    int count;
} pfc_tensor_list;

typedef struct pfc_bound_set { /* bounds for ports in one precision */
    const pfc_precision *precision;
    pfc_tensor_list out, step;
} pfc_bound_set;

struct pfc_algorithm;

typedef struct pfc_case {
    const struct pfc_algorithm *algorithm;
    char name[256];   /* file name without folder and suffix, or the name of a generated case */
    char path[1024];  /* for messages */
    pfc_param *param; /* one per algorithm->params, same order */
    int64_t world;    /* the case is defined for exactly this many ranks; -1: any */
    int64_t allow_nonfinite;
    bool recompute;        /* of the run, not of the case: partial_fc forms its cosines again instead of keeping them; the results are the same */
    int64_t size[26];      /* bound letters, size['N'-'A']; -1: unbound */
    int64_t rounded;       /* input values that changed when read as float32 */
    bool depends_on_world; /* set by check: the result depends on the number of ranks, so `world` is written */
    pfc_tensor_list in, out, step;
    pfc_tensor_list bound_out, bound_step; /* the bounds that algorithm->bounds made last, or those for f32 of a file; same names */
    pfc_bound_set kept[PFC_PRECISIONS];    /* pfc_case_keep_bounds */
    int kept_count;
    char spec[16]; /* "exact-v1" or "fast"; "" before a run */
} pfc_case;

/* How bytes move, for the bounds of `bench`: a machine has a rate for each. Bytes count what is read and what is written. */
typedef enum pfc_bytes_pattern {
    PFC_BYTES_COPY,   /* one array read, another written */
    PFC_BYTES_READ,   /* read only */
    PFC_BYTES_TRIAD,  /* two read, a third written */
    PFC_BYTES_UPDATE, /* two read and both written, as weights and momentum by SGD */
    PFC_BYTES_PATTERNS
} pfc_bytes_pattern;

typedef struct pfc_algorithm {
    const char *name, *help;
    const pfc_param_spec *params; /* ends with name NULL; `world` and `allow_nonfinite` are implied */
    const pfc_tensor_spec *in, *out, *step;
    /* An optional integer input (P): where a case has it, it says how many elements of axis N each rank of a port holds, instead of the tables' even cut,
     * which is that of files. NULL: there is none. */
    const char *rows;
    /* Real inputs that a port holds in its narrow type: those of algorithms without matrix products. Ends with NULL; NULL: none. */
    const char *const *narrow;
    /* After generic checks and defaults: conditions between parameters, values, shapes; sets resolved values and depends_on_world.
     * Collective. Fills diag and returns non-zero on a bad case. */
    int (*check)(MPI_Comm comm, pfc_case *c, pfc_diag *diag);
    /* Computes c->out (and c->step if want_steps) from c->in. Collective. */
    int (*run)(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag);
    /* The textbook equations, serial, in double, on rank 0's gathered inputs; fills `out` on rank 0. Collective. May be NULL. */
    int (*dense)(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag);
    /* Makes c->bound_out and c->bound_step for ports of this precision after an exact run with steps. Collective. May be NULL. */
    int (*bounds)(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag);
    /* Makes c->in for `golden ALGORITHM --size --fill`: sizes are in c->size, parameters in c->param. Collective. */
    int (*fill)(MPI_Comm comm, pfc_case *c, const char *fill, int64_t seed, pfc_diag *diag);
    const char *sizes; /* the letters of --size that `fill` takes, for people; NULL: none */
    /* Sizes and parameters of a small case that is defined for this many ranks; `verify` fills and runs it whatever the number of ranks is. It should have
     * the same results on any number; where `check` sets depends_on_world it is compared with the dense equations and the bounds only. Local. May be NULL. */
    int (*any_ranks)(pfc_case *c, int ranks, pfc_diag *diag);
    /* `bench`: makes what a step needs from a filled and checked case, so that bench_step is the library's work alone. NULL, and a failure in diag: it
     * cannot. Without bench_open and bench_step (both NULL) `run` is timed. Collective, but bench_close (NULL: nothing to free) may be local. */
    void *(*bench_open)(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag);
    int (*bench_step)(void *bench, pfc_diag *diag);
    void (*bench_close)(void *bench);
    /* Floating-point operations of one step over all ranks, and bytes that it must move at least, with reals of this type: bytes[PFC_BYTES_PATTERNS], by how
     * they move, zero before the call. Local. May be NULL. */
    void (*bench_cost)(const pfc_case *c, int ranks, pfc_dtype real, double *flops, double *bytes);
} pfc_algorithm;

/* All algorithms, ending with NULL; find returns NULL for an unknown name. Local. */
extern const pfc_algorithm *const pfc_algorithms[];
const pfc_algorithm *pfc_algorithm_find(const char *name);

/* ---- cases (case.c, params.c, tensor.c) ---- */

/* An empty case of an algorithm: parameters unset, sizes unbound. Local. NULL: out of memory. */
pfc_case *pfc_case_new(const pfc_algorithm *algorithm);
void pfc_case_free(pfc_case *c); /* NULL-safe */
/* Moves c->bound_out and c->bound_step to c->kept, from where pfc_case_write takes them. Local. */
void pfc_case_keep_bounds(pfc_case *c, const pfc_precision *precision);

int pfc_param_index(const pfc_algorithm *a, const char *name); /* -1: unknown. Local. */
/* Sets one parameter from text ("head", "arc"); also `world` and `allow_nonfinite`. Local. */
int pfc_case_set_param(pfc_case *c, const char *name, const char *text, pfc_diag *diag);
/* Values of a parameter that the caller knows to exist in the table. Local. */
int64_t pfc_param_int(const pfc_case *c, const char *name);
double pfc_param_real(const pfc_case *c, const char *name);
const char *pfc_param_word(const pfc_case *c, const char *name);
bool pfc_param_present(const pfc_case *c, const char *name);
/* Index of the parameter's word among the alternatives of its table. Local. */
int pfc_param_choice(const pfc_case *c, const char *name);
void pfc_param_resolve_real(pfc_case *c, const char *name, double value); /* a default that only `check` knows */
void pfc_param_resolve_int(pfc_case *c, const char *name, int64_t value);

/* Defaults, required parameters and inputs, ranks of the tensors, letters, world size, non-finite inputs, then algorithm->check. Collective. */
int pfc_case_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag);

/* Appends a zero-filled tensor and returns it; NULL: out of memory. dims are global. Local, but every rank must do the same. */
pfc_tensor *pfc_tensor_add(MPI_Comm comm, pfc_tensor_list *list, const char *name, pfc_dtype dtype, int ndim, const int64_t *dims, pfc_dist dist, int axis);
/* The same with `unit` elements of the cut axis kept together. */
pfc_tensor *pfc_tensor_add_units(MPI_Comm comm, pfc_tensor_list *list, const char *name, pfc_dtype dtype, int ndim, const int64_t *dims, pfc_dist dist,
                                 int axis, int64_t unit);
pfc_tensor *pfc_tensor_find(const pfc_tensor_list *list, const char *name); /* NULL: absent */
void pfc_tensor_list_free(pfc_tensor_list *list);
/* Moves this rank's large blocks to where numerical libraries put them: whole pages, huge ones if the system gives them. For `bench`; pointers to the data
 * are not good any more. */
void pfc_tensor_list_align(pfc_tensor_list *list);
int64_t pfc_tensor_elements(const pfc_tensor *t); /* global */
int64_t pfc_tensor_local(const pfc_tensor *t);    /* of this rank */
/* Local element i (row-major within the block) as its global row-major index. */
int64_t pfc_tensor_global_index(const pfc_tensor *t, int64_t local);
double pfc_tensor_get(const pfc_tensor *t, int64_t local);
/* The whole tensor on rank 0 (row-major; NULL elsewhere); caller frees. Collective. */
int pfc_tensor_gather(MPI_Comm comm, const pfc_tensor *t, void **whole, pfc_diag *diag);
/* NaN to 0x7ff8000000000000 (f32: 0x7fc00000), -0 to +0, for computed reals. Local. */
void pfc_tensor_canonical(pfc_tensor *t);
/* SHA-256 of the global little-endian row-major bytes into t->sha256. Collective. */
int pfc_tensor_digest(MPI_Comm comm, pfc_tensor *t, pfc_diag *diag);

/* ---- files (file_read.c, file_write.c) ---- */

enum { PFC_READ_INPUTS = 1, PFC_READ_RESULTS = 2, PFC_READ_BOUNDS = 4 };

/* Reads /param and /in of a case or golden (and /out, /step, /bound if asked), checks it. Collective. On failure *out is NULL. */
int pfc_case_read(MPI_Comm comm, const char *path, int what, pfc_case **out, pfc_diag *diag);

/* The same, with inputs that are given beside the file or instead of it: whole on every rank, float64 or int64. Collective. */
int pfc_case_read_with(MPI_Comm comm, const char *path, int what, const pfc_tensor_list *given, pfc_case **out, pfc_diag *diag);

enum { PFC_WRITE_INPUTS = 1, PFC_WRITE_STEPS = 2, PFC_WRITE_BOUNDS = 4 };

/* Writes a case, result or golden: to PATH.tmp-like name in the same folder, closed, read back and compared by digest, synced, renamed. The
 * bytes do not depend on the number of ranks. Collective. On failure nothing new is left and an existing PATH is untouched. */
int pfc_case_write(MPI_Comm comm, const char *path, pfc_case *c, int what, pfc_diag *diag);

/* ---- comparing (compare.c) ---- */

typedef enum pfc_verdict { PFC_PASS, PFC_FAIL, PFC_VACUOUS, PFC_MISSING, PFC_BAD_SHAPE, PFC_BAD_DTYPE, PFC_NONFINITE } pfc_verdict;

typedef struct pfc_comparison {
    char name[PFC_MAX_NAME + 8]; /* "/out/loss" */
    pfc_verdict verdict;
    bool digest_match;
    int64_t elements, bad; /* how many, and how many outside their bound */
    int64_t undecided;     /* whose bound is infinite */
    int64_t ties;          /* integers among these that differ: near ties, not errors */
    double worst_ratio;    /* max |got - want| / bound; 0 where equal */
    double worst_abs, worst_rel;
    int64_t worst_index;     /* global, row-major; -1: none */
    double got, want, bound; /* there */
} pfc_comparison;

/* got against want, element by element: |got - want| <= bound (bound NULL: bit for bit). Integers exactly, but where the bound is +inf. NaN equals NaN,
 * inf equals inf of the same sign; elsewhere a non-finite value is NONFINITE. got and want must be cut alike; bound has the same shape, or one row or one
 * element to be broadcast. Collective. */
int pfc_compare(MPI_Comm comm, const pfc_tensor *got, const pfc_tensor *want, const pfc_tensor *bound, pfc_comparison *result, pfc_diag *diag);
const char *pfc_verdict_string(pfc_verdict v);
/* The bound of every local element of t, row-major. False: its shape cannot be broadcast to t's. Local. */
bool pfc_bound_spread(const pfc_tensor *t, const pfc_tensor *bound, double *all);

#endif
