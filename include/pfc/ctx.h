/* ctx.h: the context of all calls: communicator, backend, numeric mode, workspace, error text, tap.
 *
 * No globals: a program may hold several contexts over different communicators. The context duplicates the communicator it is given. */
#ifndef PFC_CTX_H
#define PFC_CTX_H

#include <mpi.h>
#include <pfc/status.h>
#include <pfc/view.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pfc_ctx pfc_ctx;

typedef enum pfc_mode {
    PFC_EXACT, /* float64 results defined by integers: same bits everywhere (doc/exact-v1.md) */
    PFC_FAST   /* float32 storage, SIMD kernels, float64 for long sums */
} pfc_mode;

typedef struct pfc_options {
    pfc_mode mode;
    const char *backend; /* "cpu", "cuda", "checked"; NULL: PFC_BACKEND or "cpu" */
    const char *engine;  /* products; NULL: PFC_ENGINE or "auto". cpu, exact mode: "amx", "ifma", "dgemm", "int128", "auto": the first of the three
                          * that can run; fast mode: "bf16x6", or "auto" and the names of exact mode's: the ordinary ones. cuda, exact mode: "dgemm",
                          * "int8", "auto": which of them is faster on this device; fast mode: "sgemm" (auto), "tf32" */
    int threads;         /* OpenMP threads inside this rank; 0: what OpenMP would use */
    int self_check;      /* 1: verify every integer product by a checksum; 0: PFC_SELF_CHECK decides; -1: never */
} pfc_options;

/* Collective over comm. options may be NULL (exact, cpu). PFC_MAX_ISA=scalar|avx2|avx512|ifma|amx caps the kernels.
 * On failure *out is NULL and the reason is in `why` (size bytes), if why is not NULL. Errors: PFC_ERR_UNSUPPORTED (a backend or engine that is unknown
 * or cannot run: never a silent fallback), PFC_ERR_NOMEM, PFC_ERR_RUNTIME. */
pfc_status pfc_ctx_create(MPI_Comm comm, const pfc_options *options, pfc_ctx **out, char *why, size_t size);
void pfc_ctx_destroy(pfc_ctx **ctx); /* collective; NULL-safe */
/* The same, and says what backend "checked" found at the end: PFC_ERR_RUNTIME and a text in `why` (size bytes) on every rank, if a rank's objects were not
 * destroyed before. Other backends do not look. Collective; NULL-safe. */
pfc_status pfc_ctx_close(pfc_ctx **ctx, char *why, size_t size);

/* What a context is. Local, all of them; they cannot fail. Texts live as long as the context, that of pfc_ctx_error until the next failure. */
int pfc_ctx_rank(const pfc_ctx *ctx);
int pfc_ctx_ranks(const pfc_ctx *ctx);
pfc_mode pfc_ctx_mode(const pfc_ctx *ctx);
pfc_dtype pfc_ctx_real(const pfc_ctx *ctx);  /* storage of real results: PFC_F64 in exact mode, PFC_F32 in fast mode */
const char *pfc_ctx_isa(const pfc_ctx *ctx); /* "scalar", "avx2", "avx512", "amx" (fast mode with bf16x6) or the device */
const char *pfc_ctx_backend_name(const pfc_ctx *ctx);
const char *pfc_ctx_engine_name(const pfc_ctx *ctx); /* that of the products: one of pfc_options.engine; "none": the ordinary one of fast mode */
const char *pfc_ctx_transport(const pfc_ctx *ctx);   /* where MPI finds what ranks exchange: "host" memory; "pinned host": copied
                                                      * from and to a device; "CUDA-aware MPI": sums of products on the device itself */
const char *pfc_ctx_error(const pfc_ctx *ctx);       /* text of the last failure, one line, never NULL */

/* Where the rows or columns of a tapped tensor live. */
typedef enum pfc_layout {
    PFC_REPLICATED, /* every rank holds all of it */
    PFC_BATCH_ROWS, /* rank r holds rows [r*N/P, (r+1)*N/P) */
    PFC_CLASS_ROWS, /* rows are split by pfc_shard_of */
    PFC_CLASS_COLS, /* columns are split by pfc_shard_of */
    PFC_RANK_SLICES /* the tensor's first axis has an element for each rank: rank r holds slice r, as a matrix */
} pfc_layout;

/* Called with every named intermediate result, in data-flow order, on every rank. The view is host memory, valid during the call. */
typedef void (*pfc_tap_fn)(void *user, const char *name, pfc_view local, pfc_layout layout);
void pfc_ctx_set_tap(pfc_ctx *ctx, pfc_tap_fn tap, void *user); /* NULL: no tap. Local, but must be set on all ranks alike */

#ifdef __cplusplus
}
#endif
#endif
