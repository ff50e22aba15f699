/* bench.c: clocks, peaks and samples of the bench command. */
#include "driver/bench.h"
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

pfc_clock pfc_clock_start(MPI_Comm comm)
{
    MPI_Barrier(comm);
    return (pfc_clock){ cpu_now(), MPI_Wtime() };
}

void pfc_clock_stop(MPI_Comm comm, pfc_clock start, pfc_timing *timing)
{
    double cpu = cpu_now() - start.cpu, wall = MPI_Wtime() - start.wall;
    MPI_Allreduce(MPI_IN_PLACE, &cpu, 1, MPI_DOUBLE, MPI_SUM, comm);
    MPI_Allreduce(MPI_IN_PLACE, &wall, 1, MPI_DOUBLE, MPI_MAX, comm);
    if (timing->count == PFC_MAX_ROUNDS) return;
    timing->cpu[timing->count] = cpu;
    timing->wall[timing->count++] = wall;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double pfc_median(const double *values, int count)
{
    double sorted[PFC_MAX_ROUNDS];
    if (count < 1) return 0.0;
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    return count % 2 ? sorted[count / 2] : 0.5 * (sorted[count / 2 - 1] + sorted[count / 2]);
}

/* Linux keeps the peak of this program apart; getrusage's ru_maxrss begins with that of the process that started it. */
int64_t pfc_peak_rss(MPI_Comm comm)
{
    long long kib = -1;
    char line[128];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lld kB", &kib) == 1) break;
    if (f) fclose(f);
    if (kib < 0) {
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        kib = usage.ru_maxrss;
    }
    int64_t bytes = (int64_t)kib * 1024;
    MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_INT64_T, MPI_MAX, comm);
    return bytes;
}

/* One GEMM of 512^3; a, b, c hold 512^2 elements of the mode's type. */
static void square_gemm(pfc_mode mode, const void *a, const void *b, void *c)
{
    enum { N = 512 };
    if (mode == PFC_FAST)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, N, N, N, 1.0f, a, N, b, N, 0.0f, c, N);
    else
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, N, N, N, 1.0, a, N, b, N, 0.0, c, N);
}

/* Best of some, by wall time. */
static double gemm_rate(MPI_Comm comm, pfc_mode mode, double *memory)
{
    enum { N2 = 512 * 512, TRIES = 12 };
    double best = 1e30;
    for (int i = 0; i < 3 * N2; i++) {
        if (mode == PFC_FAST)
            ((float *)memory)[i] = (float)(i % 7) - 3.0f;
        else
            memory[i] = (double)(i % 7) - 3.0;
    }
    size_t size = mode == PFC_FAST ? sizeof(float) : sizeof(double);
    char *a = (char *)memory, *b = a + N2 * size, *c = b + N2 * size;
    for (int i = 0; i < TRIES; i++) {
        MPI_Barrier(comm);
        double start = MPI_Wtime();
        square_gemm(mode, a, b, c);
        double seconds = MPI_Wtime() - start;
        if (seconds < best) best = seconds;
    }
    return 2.0 * 512.0 * 512.0 * 512.0 / best;
}

static double memory_rate(MPI_Comm comm, double *memory, int64_t n, int threads)
{
    double best = 1e30, *a = memory, *b = memory + n, *c = memory + 2 * n;
    for (int round = 0; round < 4; round++) { /* the first one touches the pages */
        MPI_Barrier(comm);
        double start = MPI_Wtime();
#pragma omp parallel for num_threads(threads)
        for (int64_t i = 0; i < n; i++) a[i] = b[i] + 3.0 * c[i];
        double seconds = MPI_Wtime() - start;
        if (round && seconds < best) best = seconds;
    }
    return 24.0 * (double)n / best;
}

pfc_peaks pfc_measure_peaks(MPI_Comm comm, pfc_mode mode, int threads, pfc_diag *diag)
{
    int64_t n = (int64_t)1 << 24; /* 128 MiB */
    pfc_peaks peaks = { 0.0, 0.0 };
    double *memory = malloc((size_t)(3 * n) * sizeof *memory);
    if (!memory) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for measuring peaks");
    if (!pfc_diag_agree(comm, diag)) {
        for (int64_t i = 0; i < 3 * n; i++) memory[i] = (double)(i & 7);
        peaks.memory = memory_rate(comm, memory, n, threads);
        pfc_openblas_threads(threads);
        peaks.flops = gemm_rate(comm, mode, memory);
        pfc_openblas_threads(1);
        MPI_Allreduce(MPI_IN_PLACE, &peaks.flops, 1, MPI_DOUBLE, MPI_SUM, comm);
        MPI_Allreduce(MPI_IN_PLACE, &peaks.memory, 1, MPI_DOUBLE, MPI_SUM, comm);
    }
    free(memory);
    return peaks;
}

/* ---- telling ---- */

void pfc_json_timing(pfc_json *j, const char *cpu_key, const char *wall_key, const pfc_timing *t)
{
    char key[64];
    pfc_json_real(j, cpu_key, pfc_median(t->cpu, t->count));
    snprintf(key, sizeof key, "%s_rounds", cpu_key);
    pfc_json_begin(j, key, '[');
    for (int i = 0; i < t->count; i++) pfc_json_real(j, NULL, t->cpu[i]);
    pfc_json_end(j);
    pfc_json_real(j, wall_key, pfc_median(t->wall, t->count));
    snprintf(key, sizeof key, "%s_rounds", wall_key);
    pfc_json_begin(j, key, '[');
    for (int i = 0; i < t->count; i++) pfc_json_real(j, NULL, t->wall[i]);
    pfc_json_end(j);
}

void pfc_json_params(pfc_json *j, const pfc_case *c)
{
    pfc_json_begin(j, "param", '{');
    for (int i = 0; c->algorithm->params && c->algorithm->params[i].name; i++) {
        const pfc_param_spec *spec = &c->algorithm->params[i];
        if (!c->param[i].present) continue;
        if (spec->type == PFC_PARAM_WORD) pfc_json_text(j, spec->name, c->param[i].word);
        if (spec->type == PFC_PARAM_INT) pfc_json_int(j, spec->name, c->param[i].i);
        if (spec->type == PFC_PARAM_REAL) pfc_json_real(j, spec->name, c->param[i].r);
    }
    pfc_json_end(j);
}
