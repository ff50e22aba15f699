/* host_rows.h (internal): the caller's matrices, float or double in host memory, to and from the table's place. */
#ifndef PFC_ALGO_HOST_ROWS_H
#define PFC_ALGO_HOST_ROWS_H

#include "core/ctx.h"

/* The caller's matrix as a contiguous real one in the place, rounded to float32 on the way if `narrow`: borrowed where it is that already, else a copy.
 * Free with pfc_host_release. Local. */
typedef struct pfc_host_rows {
    pfc_view v;
    bool owned;
} pfc_host_rows;
pfc_status pfc_host_take(pfc_ctx *ctx, pfc_view caller, bool narrow, pfc_host_rows *out);
/* Memory for results: the caller's own where it is real, contiguous and in the place, else new. pfc_host_give copies new memory out. */
pfc_status pfc_host_room(pfc_ctx *ctx, pfc_view caller, pfc_host_rows *out);
pfc_status pfc_host_give(pfc_ctx *ctx, const pfc_host_rows *from, pfc_view caller);
void pfc_host_release(pfc_ctx *ctx, pfc_host_rows *rows);

/* place <- caller, caller <- place; place is contiguous and real. Local. */
pfc_status pfc_host_in(pfc_ctx *ctx, pfc_view caller, bool narrow, pfc_view place);
pfc_status pfc_host_out(pfc_ctx *ctx, pfc_view place, pfc_view caller);

/* Sends numbers that all ranks hold to the tap, in the storage of the mode. Collective in the sense that all ranks must call it. */
pfc_status pfc_tap_numbers(pfc_ctx *ctx, const char *name, const double *x, int64_t count);
/* Sends a matrix of the place, (rows, cols), to the tap. */
pfc_status pfc_tap_matrix(pfc_ctx *ctx, const char *name, pfc_view v, pfc_layout layout);

#endif
