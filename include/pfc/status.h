/* status.h: what a library call returns.
 *
 * The library never prints, exits or aborts. A call that fails returns a negative status and leaves one line of text in the
 * context (pfc_ctx_error). Collective calls agree: if one rank fails, every rank returns the same status and text. */
#ifndef PFC_STATUS_H
#define PFC_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pfc_status {
    PFC_OK = 0,
    PFC_ERR_ARG = -1,         /* a bad argument; nothing was changed */
    PFC_ERR_SHAPE = -2,       /* dimensions, or the number of ranks, do not fit; nothing was changed */
    PFC_ERR_DATA = -3,        /* the data itself is not acceptable: a label out of range, a NaN in an input */
    PFC_ERR_NOMEM = -4,       /* out of memory */
    PFC_ERR_UNSUPPORTED = -5, /* the backend lacks the operation or cannot run here; the text names it */
    PFC_ERR_IO = -6,          /* reading or writing a file failed */
    PFC_ERR_RUNTIME = -7      /* MPI, BLAS or device said no; outputs are undefined */
} pfc_status;

/* A word for the status ("bad argument", ...). Local; never NULL. */
const char *pfc_status_string(pfc_status status);

/* Return from the calling function if the call failed. */
#define PFC_TRY(call)                                          \
    do {                                                       \
        pfc_status pfc_try_status_ = (call);                   \
        if (pfc_try_status_ != PFC_OK) return pfc_try_status_; \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
