/* fault_shim.c: makes one rank fail inside one MPI call or file operation. A shared object for LD_PRELOAD; tests/faults.sh builds and drives it.
 *
 *   PFC_FAULT_CLASS  comm    collectives and messages, of the program and of HDF5
 *                    file    MPI_File_ calls that open, write, read, sync, close
 *                    bytes   writes of contiguous bytes
 *                    rename  a file gets its final name
 *   PFC_FAULT_RANK   of MPI_COMM_WORLD
 *   PFC_FAULT_AT     which of its calls of that class, from 1; 0: none
 *   PFC_FAULT_KIND   kill   SIGKILL          exit   the process ends without MPI_Finalize
 *                    error  the call fails   delay  it comes 2 s late
 *                    spoil  class bytes: the middle byte comes out wrong, and the call says that all is well
 *   PFC_FAULT_NOTE   this file gets the name of the call that failed
 *   PFC_FAULT_COUNT  PFC_FAULT_COUNT.RANK gets a line "CLASS CALLS" for each class, at MPI_Finalize */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COMM, FILES, BYTES, RENAME, CLASSES };
static const char *const classes[] = { "comm", "file", "bytes", "rename" };
static long calls[CLASSES];

static const char *setting(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

static int my_rank(void)
{
    int started = 0, ended = 0, rank = -1;
    PMPI_Initialized(&started);
    PMPI_Finalized(&ended);
    if (started && !ended) PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

static void write_counts(void)
{
    char path[1024];
    if (!*setting("PFC_FAULT_COUNT")) return;
    snprintf(path, sizeof path, "%s.%d", setting("PFC_FAULT_COUNT"), my_rank());
    FILE *file = fopen(path, "w");
    if (!file) return;
    for (int k = 0; k < CLASSES; k++) fprintf(file, "%s %ld\n", classes[k], calls[k]);
    fclose(file);
}

static void note_fault(const char *name)
{
    FILE *file = *setting("PFC_FAULT_NOTE") ? fopen(setting("PFC_FAULT_NOTE"), "w") : NULL;
    if (!file) return;
    fprintf(file, "%s\n", name);
    fclose(file);
}

/* One more call of a class. 1: it is to fail. */
static int strike(int class, const char *name)
{
    const char *kind = setting("PFC_FAULT_KIND");
    calls[class]++;
    if (strcmp(setting("PFC_FAULT_CLASS"), classes[class]) || atol(setting("PFC_FAULT_AT")) != calls[class] || atoi(setting("PFC_FAULT_RANK")) != my_rank())
        return 0;
    note_fault(name);
    if (strcmp(kind, "kill") == 0) raise(SIGKILL);
    if (strcmp(kind, "exit") == 0) _exit(0);
    if (strcmp(kind, "delay") == 0) sleep(2);
    return strcmp(kind, "error") == 0 || strcmp(kind, "spoil") == 0;
}

/* What is written in the place of n elements; nobody frees it. */
static const void *to_write(const void *bytes, int n, MPI_Datatype type, const char *name)
{
    if (type != MPI_BYTE || n == 0 || !strike(BYTES, name)) return bytes;
    char *wrong = malloc((size_t)n);
    if (!wrong) abort();
    memcpy(wrong, bytes, (size_t)n);
    wrong[n / 2] ^= 1;
    return wrong;
}

int MPI_Finalize(void)
{
    write_counts();
    return PMPI_Finalize();
}

/* Fails without taking part, by way of the communicator's error handler, as MPI does. */
#define OVER(comm, name, params, args)                     \
    int MPI_##name params;                                 \
    int MPI_##name params                                  \
    {                                                      \
        if (!strike(COMM, #name)) return PMPI_##name args; \
        PMPI_Comm_call_errhandler(comm, MPI_ERR_OTHER);    \
        return MPI_ERR_OTHER;                              \
    }

OVER(c, Allreduce, (const void *s, void *r, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c), (s, r, n, t, o, c))
OVER(c, Bcast, (void *b, int n, MPI_Datatype t, int root, MPI_Comm c), (b, n, t, root, c))
OVER(c, Barrier, (MPI_Comm c), (c))
OVER(c, Allgather, (const void *s, int n, MPI_Datatype t, void *r, int m, MPI_Datatype u, MPI_Comm c), (s, n, t, r, m, u, c))
OVER(c, Allgatherv, (const void *s, int n, MPI_Datatype t, void *r, const int *m, const int *d, MPI_Datatype u, MPI_Comm c), (s, n, t, r, m, d, u, c))
OVER(c, Iallgather, (const void *s, int n, MPI_Datatype t, void *r, int m, MPI_Datatype u, MPI_Comm c, MPI_Request *q), (s, n, t, r, m, u, c, q))
OVER(c, Iallreduce, (const void *s, void *r, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c, MPI_Request *q), (s, r, n, t, o, c, q))
OVER(c, Alltoall, (const void *s, int n, MPI_Datatype t, void *r, int m, MPI_Datatype u, MPI_Comm c), (s, n, t, r, m, u, c))
OVER(c, Alltoallv, (const void *s, const int *n, const int *d, MPI_Datatype t, void *r, const int *m, const int *e, MPI_Datatype u, MPI_Comm c),
     (s, n, d, t, r, m, e, u, c))
OVER(c, Gather, (const void *s, int n, MPI_Datatype t, void *r, int m, MPI_Datatype u, int root, MPI_Comm c), (s, n, t, r, m, u, root, c))
OVER(c, Gatherv, (const void *s, int n, MPI_Datatype t, void *r, const int *m, const int *d, MPI_Datatype u, int root, MPI_Comm c),
     (s, n, t, r, m, d, u, root, c))
OVER(c, Scatterv, (const void *s, const int *n, const int *d, MPI_Datatype t, void *r, int m, MPI_Datatype u, int root, MPI_Comm c),
     (s, n, d, t, r, m, u, root, c))
OVER(c, Comm_dup, (MPI_Comm c, MPI_Comm *out), (c, out))
OVER(c, Comm_split, (MPI_Comm c, int colour, int key, MPI_Comm *out), (c, colour, key, out))
OVER(c, Comm_split_type, (MPI_Comm c, int type, int key, MPI_Info info, MPI_Comm *out), (c, type, key, info, out))
OVER(c, Send, (const void *b, int n, MPI_Datatype t, int to, int tag, MPI_Comm c), (b, n, t, to, tag, c))
OVER(c, Recv, (void *b, int n, MPI_Datatype t, int from, int tag, MPI_Comm c, MPI_Status *s), (b, n, t, from, tag, c, s))
OVER(c, Isend, (const void *b, int n, MPI_Datatype t, int to, int tag, MPI_Comm c, MPI_Request *q), (b, n, t, to, tag, c, q))
OVER(c, Irecv, (void *b, int n, MPI_Datatype t, int from, int tag, MPI_Comm c, MPI_Request *q), (b, n, t, from, tag, c, q))

/* An operation of one rank fails undone; one that all take part in is done, and then fails. */
#define OVER_FILE(file, done, name, params, args)                   \
    int MPI_File_##name params;                                     \
    int MPI_File_##name params                                      \
    {                                                               \
        int fails = strike(FILES, "File_" #name), rc = MPI_SUCCESS; \
        MPI_File handle = file;                                     \
        if (fails) PMPI_File_call_errhandler(handle, MPI_ERR_IO);   \
        if (!fails || done) rc = PMPI_File_##name args;             \
        return fails ? MPI_ERR_IO : rc;                             \
    }

OVER_FILE(MPI_FILE_NULL, 1, open, (MPI_Comm c, const char *path, int mode, MPI_Info info, MPI_File *out), (c, path, mode, info, out))
OVER_FILE(*f, 1, close, (MPI_File * f), (f))
OVER_FILE(f, 1, sync, (MPI_File f), (f))
OVER_FILE(f, 1, set_size, (MPI_File f, MPI_Offset size), (f, size))
OVER_FILE(f, 1, set_view, (MPI_File f, MPI_Offset at, MPI_Datatype e, MPI_Datatype t, const char *rep, MPI_Info info), (f, at, e, t, rep, info))
OVER_FILE(f, 0, write_at, (MPI_File f, MPI_Offset at, const void *b, int n, MPI_Datatype t, MPI_Status *s),
          (f, at, to_write(b, n, t, "File_write_at"), n, t, s))
OVER_FILE(f, 1, write_at_all, (MPI_File f, MPI_Offset at, const void *b, int n, MPI_Datatype t, MPI_Status *s),
          (f, at, to_write(b, n, t, "File_write_at_all"), n, t, s))
OVER_FILE(f, 0, read_at, (MPI_File f, MPI_Offset at, void *b, int n, MPI_Datatype t, MPI_Status *s), (f, at, b, n, t, s))
OVER_FILE(f, 1, read_at_all, (MPI_File f, MPI_Offset at, void *b, int n, MPI_Datatype t, MPI_Status *s), (f, at, b, n, t, s))

int rename(const char *from, const char *to)
{
    static int (*real)(const char *, const char *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "rename");
    if (!strike(RENAME, "rename")) return real(from, to);
    errno = EIO;
    return -1;
}
