/* view.h: a borrowed row-major matrix. Passed by value; never owns, never allocates. */
#ifndef PFC_VIEW_H
#define PFC_VIEW_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pfc_dtype { PFC_F32, PFC_F64, PFC_I64, PFC_I32, PFC_U8 } pfc_dtype;
typedef enum pfc_place { PFC_HOST, PFC_DEVICE } pfc_place;

typedef struct pfc_view {
    void *data;
    pfc_dtype dtype;
    pfc_place place;
    int64_t rows, cols;
    int64_t ld; /* elements from the start of one row to the start of the next, >= cols */
} pfc_view;

/* Bytes of one element. Local. */
size_t pfc_dtype_size(pfc_dtype dtype);

/* A host view of rows x cols contiguous elements. Local. */
static inline pfc_view pfc_view_make(void *data, pfc_dtype dtype, int64_t rows, int64_t cols)
{
    pfc_view v = { data, dtype, PFC_HOST, rows, cols, cols };
    return v;
}

#ifdef __cplusplus
}
#endif
#endif
