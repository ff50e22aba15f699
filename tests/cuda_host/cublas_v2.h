/* cublas_v2.h: the calls of cuBLAS that the backend makes, by the host's CBLAS; column-major as there. */
#ifndef PFC_CUDA_HOST_CUBLAS_H
#define PFC_CUDA_HOST_CUBLAS_H

#include "cuda_runtime.h"

#include <cblas.h>

typedef enum cublasStatus_t { CUBLAS_STATUS_SUCCESS, CUBLAS_STATUS_ALLOC_FAILED = 3, CUBLAS_STATUS_NOT_SUPPORTED = 15 } cublasStatus_t;
typedef enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T } cublasOperation_t;
typedef enum cublasMath_t { CUBLAS_PEDANTIC_MATH = 2, CUBLAS_TF32_TENSOR_OP_MATH = 3 } cublasMath_t;
typedef enum cudaDataType { CUDA_R_8I = 3, CUDA_R_32I = 10 } cudaDataType;
typedef enum cublasComputeType_t { CUBLAS_COMPUTE_32I = 72 } cublasComputeType_t;
typedef enum cublasGemmAlgo_t { CUBLAS_GEMM_DEFAULT = -1 } cublasGemmAlgo_t;
typedef void *cublasHandle_t;

static inline const char *cublasGetStatusString(cublasStatus_t) { return "status"; }

static inline cublasStatus_t cublasCreate(cublasHandle_t *h)
{
    *h = NULL;
    return CUBLAS_STATUS_SUCCESS;
}

static inline cublasStatus_t cublasDestroy(cublasHandle_t) { return CUBLAS_STATUS_SUCCESS; }
static inline cublasStatus_t cublasSetStream(cublasHandle_t, cudaStream_t) { return CUBLAS_STATUS_SUCCESS; }
static inline cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }
static inline CBLAS_TRANSPOSE cblas_op(cublasOperation_t op) { return op == CUBLAS_OP_N ? CblasNoTrans : CblasTrans; }

static inline cublasStatus_t cublasDgemmStridedBatched(cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const double *alpha,
                                                       const double *a, int lda, long long sa, const double *b, int ldb, long long sb, const double *beta,
                                                       double *c, int ldc, long long sc, int batch)
{
    for (int q = 0; q < batch; q++)
        cblas_dgemm(CblasColMajor, cblas_op(ta), cblas_op(tb), m, n, k, *alpha, a + q * sa, lda, b + q * sb, ldb, *beta, c + q * sc, ldc);
    return CUBLAS_STATUS_SUCCESS;
}

/* int8 in, int32 out, the one form that the tensor cores take: a transposed, b not. */
static inline cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const void *alpha,
                                                        const void *a, cudaDataType, int lda, long long sa, const void *b, cudaDataType, int ldb, long long sb,
                                                        const void *beta, void *c, cudaDataType, int ldc, long long sc, int batch, cublasComputeType_t,
                                                        cublasGemmAlgo_t)
{
    bool aligned = m % 4 == 0 && k % 4 == 0 && lda % 4 == 0 && ldb % 4 == 0 && ldc % 4 == 0 && (uintptr_t)a % 4 == 0 && (uintptr_t)b % 4 == 0;
    if (ta != CUBLAS_OP_T || tb != CUBLAS_OP_N || !aligned || *(const int32_t *)alpha != 1 || *(const int32_t *)beta != 0) return CUBLAS_STATUS_NOT_SUPPORTED;
    for (int q = 0; q < batch; q++)
        for (int j = 0; j < n; j++)
            for (int i = 0; i < m; i++) {
                const int8_t *x = (const int8_t *)a + q * sa + (long long)i * lda, *y = (const int8_t *)b + q * sb + (long long)j * ldb;
                int32_t sum = 0;
                for (int l = 0; l < k; l++) sum += x[l] * y[l];
                ((int32_t *)c)[q * sc + (long long)j * ldc + i] = sum;
            }
    return CUBLAS_STATUS_SUCCESS;
}

static inline cublasStatus_t cublasSgemm(cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const float *alpha, const float *a,
                                         int lda, const float *b, int ldb, const float *beta, float *c, int ldc)
{
    cblas_sgemm(CblasColMajor, cblas_op(ta), cblas_op(tb), m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);
    return CUBLAS_STATUS_SUCCESS;
}

#endif
