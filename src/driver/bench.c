/* bench.c: clocks, samples and memory of the bench command. */
#include "driver/bench.h"
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

bool pfc_bench_by_cpu(const pfc_cli *cli) { return cli->ranks * cli->threads == 1; }

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

double pfc_least(const double *values, int count)
{
    double least = count > 0 ? values[0] : 0.0;
    for (int i = 1; i < count; i++)
        if (values[i] < least) least = values[i];
    return least;
}

double pfc_most(const double *values, int count)
{
    double most = count > 0 ? values[0] : 0.0;
    for (int i = 1; i < count; i++)
        if (values[i] > most) most = values[i];
    return most;
}

/* ---- memory ---- */

int64_t pfc_proc_bytes(const char *path, const char *key)
{
    char line[256];
    long long kib = 0;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) kib = atoll(line + strlen(key));
    if (f) fclose(f);
    return kib * 1024;
}

static int64_t largest(MPI_Comm comm, int64_t bytes)
{
    MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_INT64_T, MPI_MAX, comm);
    return bytes;
}

int64_t pfc_rss_now(MPI_Comm comm) { return largest(comm, pfc_proc_bytes("/proc/self/status", "VmRSS:")); }

int64_t pfc_rss_peak(MPI_Comm comm)
{
    struct rusage usage;
    int64_t bytes = pfc_proc_bytes("/proc/self/status", "VmHWM:");
    getrusage(RUSAGE_SELF, &usage);
    return largest(comm, bytes ? bytes : (int64_t)usage.ru_maxrss * 1024);
}

void pfc_rss_restart(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return;
    fputs("5", f);
    fclose(f);
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
