/* fuzz_readers.c: libFuzzer's target for all readers (tests/fuzz/run.sh builds and runs it). */
#include "fuzz/readers.h"

#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    MPI_Init(argc, argv);
    snprintf(path, sizeof path, "/dev/shm/pfc_fuzz_%ld", (long)getpid());
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pfc_try_bytes(path, data, size);
    unlink(path);
    return 0;
}
