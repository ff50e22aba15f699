/* reduce_scatter_bench.c: three ways to sum a feature gradient over ranks and leave each rank its rows; why comm.c uses the third.
 * Build: mpicc -O2 tools/reduce_scatter_bench.c -o /tmp/rsb; run: mpirun -np 4 /tmp/rsb [elements per rank] */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int rank, ranks;

static void library(int64_t *x, int64_t *work, int n) { MPI_Reduce_scatter_block(x, work, n, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD); }

static void all_reduce(int64_t *x, int64_t *work, int n)
{
    MPI_Allreduce(x, work, n * ranks, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    memmove(work, work + (size_t)rank * (size_t)n, (size_t)n * sizeof *work);
}

static void all_to_all(int64_t *x, int64_t *work, int n)
{
    MPI_Alltoall(x, n, MPI_INT64_T, work, n, MPI_INT64_T, MPI_COMM_WORLD);
    for (int r = 1; r < ranks; r++)
        for (int i = 0; i < n; i++) work[i] += work[(size_t)r * (size_t)n + (size_t)i];
}

static int ascending(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static double median_us(void (*way)(int64_t *, int64_t *, int), int64_t *x, int64_t *work, int n)
{
    double t[21];
    for (int i = 0; i < 21; i++) {
        MPI_Barrier(MPI_COMM_WORLD);
        t[i] = -MPI_Wtime();
        way(x, work, n);
        t[i] += MPI_Wtime();
    }
    qsort(t, 21, sizeof *t, ascending);
    return 1e6 * t[10];
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int n = argc > 1 ? atoi(argv[1]) : 4 * 128 * 512 / ranks; /* four limbs of a 128 x 512 gradient */
    int64_t *x = calloc((size_t)n * (size_t)ranks, sizeof *x), *work = calloc((size_t)n * (size_t)ranks, sizeof *work);
    if (!x || !work) MPI_Abort(MPI_COMM_WORLD, 5);
    double a = median_us(library, x, work, n), b = median_us(all_reduce, x, work, n), c = median_us(all_to_all, x, work, n);
    if (rank == 0) printf("%d ranks, %d int64 per rank: reduce_scatter_block %.0f us, allreduce %.0f us, alltoall and sum %.0f us\n", ranks, n, a, b, c);
    free(x);
    free(work);
    MPI_Finalize();
    return 0;
}
