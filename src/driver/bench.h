/* bench.h: clocks, peaks and samples of the bench command. */
#ifndef PFC_DRIVER_BENCH_H
#define PFC_DRIVER_BENCH_H

#include "driver/driver.h"

enum { PFC_MAX_ROUNDS = 1000 };

/* Seconds of one action, over all ranks: CPU summed, wall the longest. */
typedef struct pfc_timing {
    double cpu[PFC_MAX_ROUNDS], wall[PFC_MAX_ROUNDS];
    int count;
} pfc_timing;

typedef struct pfc_clock {
    double cpu, wall;
} pfc_clock;

/* Barrier, then start. Collective. */
pfc_clock pfc_clock_start(MPI_Comm comm);
/* Appends the time since. Collective. */
void pfc_clock_stop(MPI_Comm comm, pfc_clock start, pfc_timing *timing);
double pfc_median(const double *values, int count);

/* Largest resident memory of any rank so far. Collective. */
int64_t pfc_peak_rss(MPI_Comm comm);

/* Peaks of all ranks together, working at the same time with `threads` threads each. Collective.
 *   flops    OpenBLAS's GEMM of 512^3 in the type of the mode: what a portable FMA loop would understate
 *   memory   a[i] = b[i] + 3 c[i] over three arrays of 128 MiB, 24 bytes an element */
typedef struct pfc_peaks {
    double flops, memory; /* per second */
} pfc_peaks;
pfc_peaks pfc_measure_peaks(MPI_Comm comm, pfc_mode mode, int threads, pfc_diag *diag);

/* Median and all rounds under both keys; the parameters that have a value. */
void pfc_json_timing(pfc_json *j, const char *cpu_key, const char *wall_key, const pfc_timing *t);
void pfc_json_params(pfc_json *j, const pfc_case *c);

/* Any algorithm, by its bench hooks, or by `run` (bench_step.c). c: a case with the command line's parameters and sizes; adds one object to json.
 * Collective. */
int pfc_bench_any(pfc_cli *cli, pfc_case *c, pfc_json *json, pfc_diag *diag);
/* Exact mode's three products alone on the cpu backend (bench_products.c). n, c, d: the batch, the classes of this rank, the dimension. x (n,d), w (c,d) and
 * f (c,n) are memory of the caller that is overwritten, here and by other products of the same shapes between runs (not x and w). Collective. */
typedef struct pfc_bench_products pfc_bench_products;
pfc_bench_products *pfc_bench_products_open(MPI_Comm comm, const char *engine, int threads, int64_t n, int64_t c, int64_t d, double *x, double *w, double *f,
                                            pfc_diag *diag);
int pfc_bench_products_run(pfc_bench_products *b, pfc_diag *diag);
void pfc_bench_products_close(pfc_bench_products *b);
/* Lines on stdout; keys in an open object. plain: the three DGEMMs. */
void pfc_bench_products_print(const pfc_bench_products *b, const pfc_timing *plain);
void pfc_bench_products_json(const pfc_bench_products *b, const pfc_timing *plain, pfc_json *j);

/* partial_fc beside three plain products of the same shapes. */
int pfc_bench_partial_fc(pfc_cli *cli, pfc_case *c, pfc_json *json, pfc_diag *diag);

#endif
