/* bench_machine.c: what the machine can do: multiply and add in registers, memory by pattern and size. */
#include "backend/backend.h"
#include "driver/bench.h"
#include "driver/peak_kernels.h"
#include <cblas.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TRIES = 4 };

static const pfc_peak_kernels *find_kernels(pfc_diag *diag)
{
    static const pfc_peak_kernels *const all[] = {
#ifdef PFC_HAVE_AVX512
        &pfc_peak_avx512,
#endif
#ifdef PFC_HAVE_AVX2
        &pfc_peak_avx2,
#endif
        &pfc_peak_scalar,
    };
    char why[200] = "";
    const char *isa = pfc_cpu_isa(why, sizeof why);
    for (size_t i = 0; isa && i < sizeof all / sizeof all[0]; i++)
        if (strcmp(all[i]->isa, isa) == 0) return all[i];
    pfc_diag_fail(diag, PFC_EXIT_BACKEND, "bench: %s", isa ? isa : why);
    return NULL;
}

/* What one try does in every thread. */
typedef struct effort {
    pfc_memory_loop *loop;
    double (*fma)(int64_t);
    float *memory;
    int64_t part, repeats; /* floats of a thread; calls, or rounds of fma */
} effort;

static void run_job(MPI_Comm comm, const effort *job, int threads, pfc_timing *timing)
{
    static volatile double sink; /* the work cannot be left out */
    double kept = 0.0;
    pfc_clock start = pfc_clock_start(comm);
#pragma omp parallel num_threads(threads) reduction(+ : kept)
    {
        float *mine = job->memory + job->part * omp_get_thread_num();
        if (job->fma) kept = job->fma(job->repeats);
        for (int64_t i = 0; job->loop && i < job->repeats; i++) kept += (double)job->loop(mine, job->part);
    }
    pfc_clock_stop(comm, start, timing);
    sink = kept;
    (void)sink;
}

/* By the clock that cases are told by, so that other load on the machine does not make their bounds easier. */
static double least_seconds(const pfc_cli *cli, const pfc_timing *t) { return pfc_least(pfc_bench_by_cpu(cli) ? t->cpu : t->wall, t->count); }

static double best_of(const pfc_cli *cli, const effort *job)
{
    pfc_timing timing = { .count = 0 };
    for (int i = 0; i < TRIES; i++) run_job(cli->comm, job, cli->threads, &timing);
    return least_seconds(cli, &timing);
}

/* Bytes a second of all ranks; 0 without a loop. weight: bytes moved over bytes that there are. */
static double loop_rate(const pfc_cli *cli, pfc_memory_loop *loop, float *memory, int64_t bytes, double weight)
{
    int64_t part = bytes / (int64_t)sizeof(float) / cli->threads / PFC_PEAK_STEP * PFC_PEAK_STEP;
    if (!loop) return 0.0;
    if (part == 0) part = PFC_PEAK_STEP; /* more threads than the size is made for */
    effort job = { .loop = loop, .memory = memory, .part = part, .repeats = 1 + ((int64_t)48 << 20) / bytes };
    double moved = weight * (double)sizeof(float) * (double)part * cli->threads * (double)job.repeats * cli->ranks;
    return moved / best_of(cli, &job);
}

static double larger(double a, double b) { return a > b ? a : b; }

static void measure_memory(const pfc_cli *cli, const pfc_peak_kernels *k, float *memory, pfc_machine *m)
{
    for (int i = 0; i < m->sizes; i++) {
        const struct {
            pfc_bytes_pattern pattern;
            pfc_memory_loop *loop;
            double weight;
        } loops[] = { { PFC_BYTES_COPY, k->copy, 1.0 },   { PFC_BYTES_COPY, k->copy_stream, 1.0 },   { PFC_BYTES_READ, k->read, 1.0 },
                      { PFC_BYTES_TRIAD, k->triad, 1.0 }, { PFC_BYTES_TRIAD, k->triad_stream, 1.0 }, { PFC_BYTES_UPDATE, k->update, 2.0 } };
        for (size_t l = 0; l < sizeof loops / sizeof loops[0]; l++) {
            double *rate = &m->bytes[loops[l].pattern][i];
            *rate = larger(*rate, loop_rate(cli, loops[l].loop, memory, m->size[i], loops[l].weight));
        }
    }
}

static double fma_rate(const pfc_cli *cli, const pfc_peak_kernels *k, pfc_mode mode)
{
    effort job = { .fma = mode == PFC_FAST ? k->fma_f32 : k->fma_f64, .repeats = 2000000 };
    double flops = (mode == PFC_FAST ? k->flops_f32 : k->flops_f64) * (double)job.repeats * cli->threads * cli->ranks;
    return flops / best_of(cli, &job);
}

static double gemm_rate(const pfc_cli *cli, pfc_mode mode, void *memory)
{
    enum { N = 512 };
    pfc_timing timing = { .count = 0 };
    float *f = memory;
    double *d = memory;
    for (int i = 0; i < TRIES; i++) {
        pfc_clock start = pfc_clock_start(cli->comm);
        if (mode == PFC_FAST)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, N, N, N, 1.0f, f, N, f + N * N, N, 0.0f, f + 2 * N * N, N);
        else
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, N, N, N, 1.0, d, N, d + N * N, N, 0.0, d + 2 * N * N, N);
        pfc_clock_stop(cli->comm, start, &timing);
    }
    return 2.0 * N * N * N * cli->ranks / least_seconds(cli, &timing);
}

/* At most a sixteenth of the machine's memory for all ranks; --quick: 16 MiB of a rank. */
static void choose_sizes(const pfc_cli *cli, pfc_machine *m)
{
    static const int64_t mib[PFC_MEMORY_SIZES] = { 0, 1, 4, 16, 64, 128, 512 };
    m->sizes = 0;
    double room = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 16.0 / cli->node_ranks;
    for (int i = 0; i < PFC_MEMORY_SIZES; i++) {
        int64_t bytes = mib[i] ? mib[i] << 20 : (int64_t)256 << 10;
        if (i < 4 || (!cli->quick && (double)bytes <= room)) m->size[m->sizes++] = bytes;
    }
}

int pfc_machine_measure(const pfc_cli *cli, pfc_mode mode, pfc_machine *m, pfc_diag *diag)
{
    choose_sizes(cli, m);
    const pfc_peak_kernels *kernels = find_kernels(diag);
    size_t most = (size_t)m->size[m->sizes - 1];
    void *memory = kernels ? aligned_alloc((size_t)2 << 20, most) : NULL;
    if (kernels && !memory) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for measuring the machine");
    if (!pfc_diag_agree(cli->comm, diag)) {
        m->isa = kernels->isa;
        madvise(memory, most, MADV_HUGEPAGE); /* advice: it may fail */
        memset(memory, 0, most);
        m->flops = larger(m->flops, fma_rate(cli, kernels, mode));
        measure_memory(cli, kernels, memory, m);
        memset(memory, 0, most < (size_t)8 << 20 ? most : (size_t)8 << 20);
        pfc_openblas_threads(cli->threads);
        m->gemm = larger(m->gemm, gemm_rate(cli, mode, memory));
        pfc_openblas_threads(1);
    }
    free(memory);
    return diag->exit_status;
}

double pfc_machine_rate(const pfc_machine *m, pfc_bytes_pattern pattern, int64_t working_set)
{
    int i = m->sizes - 1;
    while (i > 0 && m->size[i] > working_set) i--;
    return m->bytes[pattern][i];
}

/* ---- telling ---- */

const char *pfc_bytes_pattern_name(pfc_bytes_pattern pattern)
{
    static const char *const names[PFC_BYTES_PATTERNS] = { "copy", "read", "triad", "update" };
    return names[pattern];
}

static const char *size_text(int64_t bytes, char text[24])
{
    if (bytes < (int64_t)1 << 20)
        snprintf(text, 24, "%lld KiB", (long long)(bytes >> 10));
    else
        snprintf(text, 24, "%lld MiB", (long long)(bytes >> 20));
    return text;
}

void pfc_machine_print(const pfc_cli *cli, pfc_mode mode, const pfc_machine *m)
{
    char text[24];
    if (cli->rank != 0 || cli->quiet) return;
    printf("machine: %s, all at once; %s %s: %.1f GFLOP/s multiply-add, %.1f GFLOP/s OpenBLAS GEMM 512^3 (core %s)\n", pfc_bench_ranks(cli), m->isa,
           mode == PFC_FAST ? "float" : "double", m->flops * 1e-9, m->gemm * 1e-9, pfc_openblas_state()->core);
    printf("%-22s", "GB/s, bytes of a rank:");
    for (int i = 0; i < m->sizes; i++) printf("  %8s", size_text(m->size[i], text));
    for (int p = 0; p < PFC_BYTES_PATTERNS; p++) {
        static const char *const what[PFC_BYTES_PATTERNS] = { "copy", "read", "triad (2 read)", "update (read, written)" };
        printf("\n%-22s", what[p]);
        for (int i = 0; i < m->sizes; i++) printf("  %8.1f", m->bytes[p][i] * 1e-9);
    }
    printf("\n\n");
}

void pfc_machine_json(const pfc_cli *cli, pfc_mode mode, const pfc_machine *m, pfc_json *j)
{
    pfc_json_begin(j, "machine", '{');
    pfc_json_int(j, "ranks", cli->ranks);
    pfc_json_int(j, "threads", cli->threads);
    pfc_json_text(j, "isa", m->isa);
    pfc_json_text(j, "type", mode == PFC_FAST ? "float32" : "float64");
    pfc_json_real(j, "flops_per_second", m->flops);
    pfc_json_real(j, "gemm_flops_per_second", m->gemm);
    pfc_json_text(j, "openblas_core", pfc_openblas_state()->core);
    pfc_json_begin(j, "memory", '[');
    for (int i = 0; i < m->sizes; i++) {
        pfc_json_begin(j, NULL, '{');
        pfc_json_int(j, "bytes_per_rank", m->size[i]);
        for (int p = 0; p < PFC_BYTES_PATTERNS; p++) pfc_json_real(j, pfc_bytes_pattern_name((pfc_bytes_pattern)p), m->bytes[p][i]);
        pfc_json_end(j);
    }
    pfc_json_end(j);
    pfc_json_end(j);
}
