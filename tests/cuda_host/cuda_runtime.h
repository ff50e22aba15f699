/* cuda_runtime.h: the few calls of the CUDA runtime that the backend makes, on the host. With this and cublas_v2.h beside it the sources of
 * src/backend/cuda compile for the CPU (launch.h then runs its loops one after the other), so that their logic is tested where there is no GPU. It says
 * nothing of a GPU: info shows the device "host". Memory is filled with NaNs, and what is freed is checked for being allocated. */
#ifndef PFC_CUDA_HOST_RUNTIME_H
#define PFC_CUDA_HOST_RUNTIME_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PFC_CUDA_HOST 1

typedef enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation = 2, cudaErrorNoDevice = 100 } cudaError_t;
typedef enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 } cudaMemcpyKind;
typedef void *cudaStream_t;
typedef struct cudaDeviceProp {
    int major, minor;
    char name[256];
} cudaDeviceProp;
enum { cudaHostAllocDefault = 0 };
typedef enum cudaDeviceAttr { cudaDevAttrSingleToDoublePrecisionPerfRatio = 87 } cudaDeviceAttr;

static inline const char *cudaGetErrorString(cudaError_t e)
{
    return e == cudaSuccess ? "no error" : e == cudaErrorMemoryAllocation ? "out of memory" : "no CUDA-capable device is detected";
}

static inline cudaError_t cudaGetLastError(void) { return cudaSuccess; }

/* PFC_CUDA_HOST_DEVICES: how many devices there are; default 1. */
static inline cudaError_t cudaGetDeviceCount(int *n)
{
    const char *asked = getenv("PFC_CUDA_HOST_DEVICES");
    *n = asked ? atoi(asked) : 1;
    return *n > 0 ? cudaSuccess : cudaErrorNoDevice;
}

static inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }

static inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "host");
    return cudaSuccess;
}

/* PFC_CUDA_HOST_RATIO: how many times slower than float double is said to be; default 2. */
static inline cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int)
{
    const char *asked = getenv("PFC_CUDA_HOST_RATIO");
    *value = asked ? atoi(asked) : 2;
    return cudaSuccess;
}

static inline cudaError_t cudaMalloc(void **p, size_t bytes)
{
    *p = bytes < (size_t)1 << 46 ? malloc(bytes) : NULL;
    if (*p) memset(*p, 0xff, bytes);
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

static inline cudaError_t cudaFree(void *p)
{
    free(p);
    return cudaSuccess;
}

static inline cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) { return cudaMalloc(p, bytes); }
static inline cudaError_t cudaFreeHost(void *p) { return cudaFree(p); }

static inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t)
{
    memmove(to, from, bytes);
    return cudaSuccess;
}

static inline cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t)
{
    memset(p, value, bytes);
    return cudaSuccess;
}

static inline cudaError_t cudaStreamCreate(cudaStream_t *s)
{
    *s = NULL;
    return cudaSuccess;
}

static inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
static inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

#endif
