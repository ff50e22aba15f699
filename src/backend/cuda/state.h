/* state.h (internal): a device, its stream, its memory and its errors.
 *
 * Every launch and copy goes to one stream. A failure is kept in the state, what follows does nothing, and the entry of the table that was called
 * returns it (finish). */
#ifndef PFC_CUDA_STATE_H
#define PFC_CUDA_STATE_H

#include "backend/backend.h"

#include <cublas_v2.h>
#include <cuda_runtime.h>

/* Device memory that is kept between calls; each grows to the largest size asked for. */
enum { SCRATCH_COLUMNS, SCRATCH_A, SCRATCH_B, SCRATCH_LEVELS, SCRATCH_LIMBS, SCRATCH_CHECK, SCRATCH_COUNT };

struct cuda {
    pfc_backend *be;
    cudaStream_t stream;
    cublasHandle_t blas;
    bool failed;
    pfc_status status; /* of the failure; its text is in be->error */
    struct {
        void *p;
        int64_t bytes;
    } scratch[SCRATCH_COUNT];
    char *staging; /* pinned: what crosses between host and device goes through it */
};

static inline cuda &cuda_of(pfc_backend *be) { return *(cuda *)be->state; }

/* Keeps the first failure. */
void note(cuda &d, cudaError_t error);
void note(cuda &d, cublasStatus_t error, const char *what);
void note(cuda &d, pfc_status status, const char *text);

/* What the entry returns; clears the failure. */
pfc_status finish(cuda &d);

/* Device memory of at least `bytes`, good until the next call with the same name; NULL after a failure. */
void *scratch(cuda &d, int which, int64_t bytes);

/* Whether sums of products stay there after acc_fold: no rank wants them, or MPI takes them from there. */
bool stays_on_device(const cuda &d);

/* Copies through the staging memory; done on return. */
void to_device(cuda &d, void *device, const void *host, int64_t bytes);
void to_host(cuda &d, void *host, const void *device, int64_t bytes);
void fill_zero(cuda &d, void *device, int64_t bytes);

/* Device memory; NULL after a failure. */
void *device_alloc(cuda &d, int64_t bytes);
void device_free(cuda &d, void *p);

/* The entries of the tables by subject; each fills its fields of both. */
void add_acc(pfc_ops &exact, pfc_ops &fast);
void add_rows(pfc_ops &exact, pfc_ops &fast);
void add_products(pfc_ops &exact, pfc_ops &fast);
void add_softmax(pfc_ops &exact, pfc_ops &fast);
void add_matrix(pfc_ops &exact, pfc_ops &fast);
void add_arcface(pfc_ops &exact, pfc_ops &fast);
void add_sinkhorn(pfc_ops &exact, pfc_ops &fast);
void add_swav(pfc_ops &exact, pfc_ops &fast);
void add_moco(pfc_ops &exact, pfc_ops &fast);
void add_batch_norm(pfc_ops &exact, pfc_ops &fast);

#endif
