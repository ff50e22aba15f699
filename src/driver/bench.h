/* bench.h: the bench command: clocks, what the machine can do, one record for each case. */
#ifndef PFC_DRIVER_BENCH_H
#define PFC_DRIVER_BENCH_H

#include "driver/driver.h"

enum { PFC_MAX_ROUNDS = 1000 };

/* ---- clocks and memory (bench.c) ---- */

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
/* Whether CPU time is what counts: one rank with one thread, where other load on the machine does not matter. Else wall time. */
bool pfc_bench_by_cpu(const pfc_cli *cli);
double pfc_median(const double *values, int count);
double pfc_least(const double *values, int count);
double pfc_most(const double *values, int count);

/* Resident memory of the largest rank: now; the most since the process began, or since pfc_rss_restart where the system can forget (Linux). Collective. */
int64_t pfc_rss_now(MPI_Comm comm);
int64_t pfc_rss_peak(MPI_Comm comm);
void pfc_rss_restart(void);
/* A line "KEY: NUMBER kB" of a file of /proc in bytes; 0: there is none. Local. */
int64_t pfc_proc_bytes(const char *path, const char *key);

/* Median and all rounds under both keys. */
void pfc_json_timing(pfc_json *j, const char *cpu_key, const char *wall_key, const pfc_timing *t);

/* ---- the machine (bench_machine.c) ---- */

enum { PFC_MEMORY_SIZES = 7 };

/* Rates a second of all ranks together, each with `threads` threads, all at once; the best of some tries.
 *   flops    multiply and add in registers, instruction set `isa`, in the type of the mode
 *   bytes    of each pattern, over as many bytes of each rank as sizes[] says: small sizes stay in the caches
 *   gemm     OpenBLAS's product of 512^3; information, no bound */
typedef struct pfc_machine {
    const char *isa;
    int sizes; /* measured */
    int64_t size[PFC_MEMORY_SIZES];
    double flops, bytes[PFC_BYTES_PATTERNS][PFC_MEMORY_SIZES], gemm;
} pfc_machine;

/* Measures and keeps the better of what *m holds already; zeros at first. Collective. */
int pfc_machine_measure(const pfc_cli *cli, pfc_mode mode, pfc_machine *m, pfc_diag *diag);
/* Bytes a second of a pattern that works on this many bytes in each rank: the rate of the largest size not above it, so that it is no less than what can be
 * reached. Local. */
double pfc_machine_rate(const pfc_machine *m, pfc_bytes_pattern pattern, int64_t working_set);
const char *pfc_bytes_pattern_name(pfc_bytes_pattern pattern);
void pfc_machine_print(const pfc_cli *cli, pfc_mode mode, const pfc_machine *m);
void pfc_machine_json(const pfc_cli *cli, pfc_mode mode, const pfc_machine *m, pfc_json *j);

/* ---- cases ---- */

/* What every case is told by. Those who measure fill the first part; pfc_bench_figures the second. */
typedef struct pfc_bench_record {
    char name[48], skipped[160]; /* skipped: why it was not run; "": it was */
    pfc_timing step;
    int64_t peak, inputs; /* resident bytes of the largest rank: at most, and before the step had memory of its own */
    int64_t working_set;  /* bytes of a rank that a step goes through, at least: they decide which cache they fit in */
    bool has_cost;
    double flops, bytes[PFC_BYTES_PATTERNS];

    double cpu, wall, seconds;                   /* medians; seconds: the one of pfc_bench_by_cpu */
    double moved, compute, memory, bound, share; /* all bytes; flops / peak; bytes / rate, added over the patterns; the larger; bound / seconds */
} pfc_bench_record;

/* One standard case (bench_cases.c). */
typedef struct pfc_bench_standard {
    const char *name, *algorithm, *size, *quick, *param; /* quick: sizes for --quick */
} pfc_bench_standard;

/* What one command measures with. */
typedef struct pfc_bench {
    pfc_cli *cli;
    pfc_mode mode;
    pfc_machine machine;
    bool alone; /* one algorithm: everything is told, and partial_fc stands beside plain products */
} pfc_bench;

/* The first standard case of an algorithm; NULL: it has none. */
const pfc_bench_standard *pfc_bench_standard_of(const char *algorithm);
/* Sizes and parameters that are not given: of the standard case, or where there is none (NULL) those of the algorithm's any_ranks. Local. */
int pfc_bench_defaults(const pfc_cli *cli, const pfc_bench_standard *s, pfc_case *c, pfc_diag *diag);
/* Room on this machine for `bytes` in each rank; else a failure. Local. */
int pfc_bench_room(const pfc_cli *cli, double bytes, pfc_diag *diag);
/* Every standard case: a table, one object each to json, and the records for the plot. Collective. */
int pfc_bench_all(pfc_bench *bench, pfc_json *json, pfc_bench_record **records, int *count, pfc_diag *diag);

/* Times c, a case with its sizes and parameters, and adds one object to json. A case that does not fit fails with status 2 or 3 before anything was measured.
 * By the next two: partial_fc (bench_partial_fc.c); any other algorithm, by its bench hooks, or by `run` (bench_step.c). Collective. */
int pfc_bench_case(pfc_bench *bench, pfc_case *c, pfc_bench_record *r, pfc_json *json, pfc_diag *diag);
int pfc_bench_any(pfc_bench *bench, pfc_case *c, pfc_bench_record *r, pfc_json *json, pfc_diag *diag);
int pfc_bench_partial_fc(pfc_bench *bench, pfc_case *c, pfc_bench_record *r, pfc_json *json, pfc_diag *diag);

/* ---- telling (bench_report.c, bench_plot.c) ---- */

/* The second part of the record. Measures the machine once more: other load on it comes and goes.
 * Collective. */
int pfc_bench_figures(pfc_bench *bench, const pfc_ctx *ctx, pfc_bench_record *r, pfc_diag *diag);
/* Lines on stdout; a row of a table; keys in an open object. */
void pfc_bench_print(const pfc_bench *bench, const pfc_case *c, const pfc_ctx *ctx, const pfc_bench_record *r);
pfc_table *pfc_bench_table(void);
void pfc_bench_row(pfc_table *t, const pfc_bench_record *r);
void pfc_bench_json(const pfc_bench *bench, const pfc_case *c, const pfc_ctx *ctx, const pfc_bench_record *r, pfc_json *j);
/* "2 ranks x 1 thread"; what bounds a case: compute or memory. */
const char *pfc_bench_ranks(const pfc_cli *cli);
const char *pfc_bench_limit(const pfc_bench_record *r);

/* Share of the bound of each case as bars. Collective. */
int pfc_bench_plot(const pfc_bench *bench, const pfc_bench_record *records, int count, pfc_diag *diag);

/* ---- exact products alone (bench_products.c) ---- */

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

#endif
