/* state.cu: opening the device, its memory and copies, and its errors. */
#include "backend/cuda/state.h"

#include "backend/cuda/acc.h"
#include "backend/mean_loss.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t STAGING = 1 << 22;

/* ---- errors ---- */

void note(cuda &d, pfc_status status, const char *text)
{
    if (status == PFC_OK || d.failed) return;
    d.failed = true;
    d.status = status;
    snprintf(d.be->error, sizeof d.be->error, "%s", text);
}

void note(cuda &d, cudaError_t error)
{
    if (error == cudaSuccess || d.failed) return;
    char text[200];
    snprintf(text, sizeof text, "cuda: %s", cudaGetErrorString(error));
    note(d, error == cudaErrorMemoryAllocation ? PFC_ERR_NOMEM : PFC_ERR_RUNTIME, text);
}

void note(cuda &d, cublasStatus_t error, const char *what)
{
    if (error == CUBLAS_STATUS_SUCCESS || d.failed) return;
    char text[200];
    snprintf(text, sizeof text, "cuda: %s failed: %s", what, cublasGetStatusString(error));
    note(d, error == CUBLAS_STATUS_ALLOC_FAILED ? PFC_ERR_NOMEM : PFC_ERR_RUNTIME, text);
}

pfc_status finish(cuda &d)
{
    pfc_status status = d.failed ? d.status : PFC_OK;
    d.failed = false;
    return status;
}

/* ---- memory ---- */

void *device_alloc(cuda &d, int64_t bytes)
{
    void *p = NULL;
    if (d.failed) return NULL;
    cudaError_t error = cudaMalloc(&p, bytes > 0 ? (size_t)bytes : 64);
    if (error == cudaErrorMemoryAllocation) {
        char text[100];
        snprintf(text, sizeof text, "cuda: out of device memory: %lld bytes", (long long)bytes);
        cudaGetLastError(); /* clear it: the device goes on */
        note(d, PFC_ERR_NOMEM, text);
        return NULL;
    }
    note(d, error);
    return d.failed ? NULL : p;
}

void device_free(cuda &d, void *p)
{
    if (p) note(d, cudaFree(p));
}

void *scratch(cuda &d, int which, int64_t bytes)
{
    if (d.failed) return NULL;
    if (d.scratch[which].bytes >= bytes && d.scratch[which].p) return d.scratch[which].p;
    device_free(d, d.scratch[which].p); /* waits for what still uses it */
    d.scratch[which].p = device_alloc(d, bytes);
    d.scratch[which].bytes = d.scratch[which].p ? bytes : 0;
    return d.scratch[which].p;
}

void to_device(cuda &d, void *device, const void *host, int64_t bytes)
{
    for (int64_t at = 0; at < bytes && !d.failed; at += STAGING) {
        size_t part = (size_t)(bytes - at < STAGING ? bytes - at : STAGING);
        memcpy(d.staging, (const char *)host + at, part);
        note(d, cudaMemcpyAsync((char *)device + at, d.staging, part, cudaMemcpyHostToDevice, d.stream));
        note(d, cudaStreamSynchronize(d.stream));
    }
}

void to_host(cuda &d, void *host, const void *device, int64_t bytes)
{
    for (int64_t at = 0; at < bytes && !d.failed; at += STAGING) {
        size_t part = (size_t)(bytes - at < STAGING ? bytes - at : STAGING);
        note(d, cudaMemcpyAsync(d.staging, (const char *)device + at, part, cudaMemcpyDeviceToHost, d.stream));
        note(d, cudaStreamSynchronize(d.stream));
        memcpy((char *)host + at, d.staging, part);
    }
}

void fill_zero(cuda &d, void *device, int64_t bytes)
{
    if (bytes > 0 && !d.failed) note(d, cudaMemsetAsync(device, 0, (size_t)bytes, d.stream));
}

/* ---- entries ---- */

static pfc_status cuda_alloc(pfc_backend *be, size_t bytes, void **out)
{
    *out = device_alloc(cuda_of(be), (int64_t)bytes);
    return finish(cuda_of(be));
}

static void cuda_free(pfc_backend *be, void *p)
{
    device_free(cuda_of(be), p);
    finish(cuda_of(be));
}

static pfc_status cuda_upload(pfc_backend *be, void *dst, const void *host, size_t bytes)
{
    to_device(cuda_of(be), dst, host, (int64_t)bytes);
    return finish(cuda_of(be));
}

static pfc_status cuda_download(pfc_backend *be, void *host, const void *src, size_t bytes)
{
    to_host(cuda_of(be), host, src, (int64_t)bytes);
    return finish(cuda_of(be));
}

static pfc_status cuda_sync(pfc_backend *be)
{
    note(cuda_of(be), cudaStreamSynchronize(cuda_of(be).stream));
    return finish(cuda_of(be));
}

/* One stream, one lane: blocks run one after the other, each of them on the whole device. */
static void cuda_for_lanes(pfc_backend *be, int lanes, pfc_lane_fn fn, void *arg)
{
    (void)be;
    for (int lane = 0; lane < lanes; lane++) fn(arg, lane);
}

/* ---- the tables ---- */

static pfc_ops exact_ops, fast_ops;

static void common(pfc_ops &t)
{
    t.name = "cuda";
    t.place = PFC_DEVICE;
    t.lanes = 1;
    t.alloc = cuda_alloc;
    t.free = cuda_free;
    t.upload = cuda_upload;
    t.download = cuda_download;
    t.sync = cuda_sync;
    t.for_lanes = cuda_for_lanes;
    t.mean_loss = pfc_mean_loss;
}

static void fill_tables(const char *isa)
{
    exact_ops.mode = PFC_EXACT;
    exact_ops.real = PFC_F64;
    fast_ops.mode = PFC_FAST;
    fast_ops.real = PFC_F32;
    common(exact_ops);
    common(fast_ops);
    exact_ops.isa = fast_ops.isa = isa;
    exact_ops.block_classes = 1 << 15; /* slices and levels of a block are large */
    fast_ops.block_classes = 1 << 20;
    add_acc(exact_ops, fast_ops);
    add_rows(exact_ops, fast_ops);
    add_products(exact_ops, fast_ops);
    add_softmax(exact_ops, fast_ops);
    add_matrix(exact_ops, fast_ops);
    add_arcface(exact_ops, fast_ops);
    add_sinkhorn(exact_ops, fast_ops);
    add_swav(exact_ops, fast_ops);
    add_moco(exact_ops, fast_ops);
    add_batch_norm(exact_ops, fast_ops);
}

/* Both tables, without a device: what info shows. */
extern "C" void pfc_cuda_tables(const pfc_ops *out[2])
{
    fill_tables(exact_ops.isa ? exact_ops.isa : "no device");
    out[0] = &exact_ops;
    out[1] = &fast_ops;
}

/* ---- opening ---- */

static void close_device(pfc_backend *be)
{
    cuda *d = (cuda *)be->state;
    if (!d) return;
    for (int i = 0; i < SCRATCH_COUNT; i++) cudaFree(d->scratch[i].p);
    if (d->staging) cudaFreeHost(d->staging);
    if (d->blas) cublasDestroy(d->blas);
    if (d->stream) cudaStreamDestroy(d->stream);
    free(d);
    be->state = NULL;
}

/* cuBLAS: no emulated arithmetic, the same sums in every run. */
static void open_blas(cuda &d, const char *engine)
{
    unsetenv("CUBLAS_EMULATE_DOUBLE_PRECISION");
    unsetenv("CUBLAS_EMULATE_SINGLE_PRECISION");
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
    note(d, cublasCreate(&d.blas), "cublasCreate");
    if (d.failed) return;
    note(d, cublasSetStream(d.blas, d.stream), "cublasSetStream");
    note(d, cublasSetMathMode(d.blas, strcmp(engine, "tf32") == 0 ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_PEDANTIC_MATH), "cublasSetMathMode");
}

static pfc_status choose_engine(pfc_backend *be, pfc_mode mode, const char *asked)
{
    const char *const names[2][2] = { { "dgemm", "int8" }, { "sgemm", "tf32" } };
    for (int i = 0; i < 2; i++)
        if (strcmp(asked, "auto") == 0 || strcmp(asked, names[mode == PFC_FAST][i]) == 0) {
            be->engine = names[mode == PFC_FAST][i];
            return PFC_OK;
        }
    snprintf(be->error, sizeof be->error, "product engine '%s' is not of backend cuda; expected %s", asked,
             mode == PFC_FAST ? "auto, sgemm or tf32 in fast mode" : "auto, dgemm or int8 in exact mode");
    return PFC_ERR_UNSUPPORTED;
}

/* A device without units for double: 16 times slower than float and more. There int8 makes the products. */
static bool slow_doubles(cuda &d, int device)
{
    int ratio = 1;
    note(d, cudaDeviceGetAttribute(&ratio, cudaDevAttrSingleToDoublePrecisionPerfRatio, device));
    return ratio >= 16;
}

/* PFC_TRANSPORT: host, device, or auto: device where MPI takes pointers to it. */
static pfc_status choose_transport(pfc_backend *be)
{
    const char *asked = getenv("PFC_TRANSPORT");
    bool possible = be->site.device_mpi;
#ifdef PFC_CUDA_HOST
    possible = true; /* tests/cuda_host: the device's memory is the host's */
#endif
    if (!asked || !*asked) asked = "auto";
    bool host = strcmp(asked, "host") == 0, device = strcmp(asked, "device") == 0;
    if (device && !possible)
        snprintf(be->error, sizeof be->error, "PFC_TRANSPORT is device, but this MPI says that it takes no pointers to a CUDA device; expected host or auto");
    else if (!host && !device && strcmp(asked, "auto") != 0)
        snprintf(be->error, sizeof be->error, "PFC_TRANSPORT is '%s'; expected auto, host or device", asked);
    else {
        be->transport = device || (!host && be->site.device_mpi) ? "CUDA-aware MPI" : "pinned host";
        return PFC_OK;
    }
    return PFC_ERR_UNSUPPORTED;
}

bool stays_on_device(const cuda &d) { return d.be->site.alone || strcmp(d.be->transport, "CUDA-aware MPI") == 0; }

extern "C" pfc_status pfc_cuda_open(pfc_backend *be, pfc_mode mode, const char *engine)
{
    static char isa[16];
    int devices = 0;
    cudaDeviceProp p;
    PFC_TRY(choose_engine(be, mode, engine));
    PFC_TRY(choose_transport(be));
    cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess || devices == 0) {
        snprintf(be->error, sizeof be->error, "backend cuda cannot run here: %s", error != cudaSuccess ? cudaGetErrorString(error) : "no device");
        return PFC_ERR_UNSUPPORTED;
    }
    cuda *d = (cuda *)calloc(1, sizeof *d);
    if (!d) return PFC_ERR_NOMEM;
    be->state = d;
    be->close = close_device;
    d->be = be;
    note(*d, cudaSetDevice(be->site.local_rank % devices));
    note(*d, cudaGetDeviceProperties(&p, be->site.local_rank % devices));
    note(*d, cudaStreamCreate(&d->stream));
    note(*d, cudaHostAlloc((void **)&d->staging, STAGING, cudaHostAllocDefault));
    if (mode == PFC_EXACT && strcmp(engine, "auto") == 0 && slow_doubles(*d, be->site.local_rank % devices)) be->engine = "int8";
    if (!d->failed) open_blas(*d, be->engine);
    if (d->failed) return finish(*d);
#ifdef PFC_CUDA_HOST
    snprintf(isa, sizeof isa, "host"); /* tests/cuda_host: no GPU */
#else
    snprintf(isa, sizeof isa, "sm_%d%d", p.major, p.minor);
#endif
    fill_tables(isa);
    be->ops = mode == PFC_EXACT ? &exact_ops : &fast_ops;
    be->threads = be->lanes = 1;
    return PFC_OK;
}
