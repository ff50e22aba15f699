/* ctx.h (internal): the context's inside, failing with a text, and agreeing on failure. */
#ifndef PFC_CORE_CTX_H
#define PFC_CORE_CTX_H

#include "backend/backend.h"
#include "comm/comm.h"
#include "core/format.h"
#include "core/rng_kernels.h"

#include <pfc/ctx.h>

struct pfc_ctx {
    pfc_comm comm;
    pfc_backend *be;
    const pfc_rng_kernels *rng;
    pfc_tap_fn tap;
    void *tap_user;
    /* Told the name of an unfinished file (begun), and later that it is gone or has its own. NULL: nobody asks. For programs that may be ended in between. */
    void (*unfinished)(const char *path, bool begun);
    char error[512];
};

/* Keeps the text (printf) and returns the status. Local. */
pfc_status pfc_fail(pfc_ctx *ctx, pfc_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Collective: PFC_OK only if `mine` is PFC_OK on every rank; else the status and text of the lowest failing rank, on all ranks.
 * Texts of the backend and of comm are picked up. */
pfc_status pfc_agree(pfc_ctx *ctx, pfc_status mine);

/* The context's matrix products take their operands as a port in this type does (backend/emulate/emulate.h); format NULL: as they are. No layer exists that
 * would see the change. Collective. */
pfc_status pfc_ctx_emulate(pfc_ctx *ctx, const pfc_format *format, int how);

/* The integers of exact mode hold sums of up to 2^24 terms (doc/exact-v1.md 1.5). */
enum { PFC_MAX_TERMS = 1 << 24 };

/* `status` with a text if a times b terms, a >= 0, b >= 1, are more;
 * PFC_OK in fast mode. name: what is summed over, "K" or "rows of all ranks (b x P)". Every algorithm asks for each of its lengths. Local. */
pfc_status pfc_check_terms(pfc_ctx *ctx, pfc_status status, const char *name, int64_t a, int64_t b);

/* Memory in the table's place; freed by pfc_ws_free. rows x cols of dtype, uninitialised. */
pfc_status pfc_ws_view(pfc_ctx *ctx, pfc_dtype dtype, int64_t rows, int64_t cols, pfc_view *out);
void pfc_ws_free(pfc_ctx *ctx, pfc_view *view); /* NULL-safe */

/* real (rows,1) <- maximum over ranks, NaN wins. Collective. */
pfc_status pfc_max_over_ranks(pfc_ctx *ctx, pfc_view x);
/* real (rows,1) to doubles in host memory. Local. */
pfc_status pfc_download_f64(pfc_ctx *ctx, pfc_view x, double *host);

#endif
