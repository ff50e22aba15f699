/* test_damaged.c: files cut at many lengths and with one byte changed, seeded: no reader crashes, hangs, or takes much memory, and what is refused is refused
 * with one line. All in one process; the driver from outside is tests/driver_hostile.sh. */
#include "case/internal.h"
#include "fuzz/readers.h"
#include <pfc/pfc.h>

#include <mpi.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { CUTS = 24, FLIPS = 72, SECONDS = 20, MOST_BYTES = 1 << 18, MOST_KIB = 1 << 20 };

/* By h5py in its oldest format, which has no checksums, and by pfc_ref in the newer one, which has. */
static const char *const seeds[] = {
    "tests/cases/pfc_sampled_cos_w2.h5",
    "tests/cases/pfc_switch_straight.h5",
    "tests/cases/arc_k3_margins.h5",
    "tests/cases/sk_iter3.h5",
    "tests/cases/swav_plain_w2.h5",
    "tests/cases/moco_w2.h5",
    "tests/cases/bn_plain_w2.h5",
    "tests/cases/lr_default.h5",
    "data/pfc_g_sampled.h5",
    "data/lr_default.h5",
    "tests/fuzz/seeds/checkpoint.h5",
    /* On these HDF5 1.10.8 crashes, or takes 2 GiB. */
    "tests/fuzz/seeds/names_segfault.h5",
    "tests/fuzz/seeds/heap_segfault.h5",
    "tests/fuzz/seeds/chunk_memory.h5",
    "npy",
    NULL,
};

static char now[256], path[1024]; /* what is tried; the file */

/* Which bytes did it. */
static void tell(int sig)
{
    static const char end[] = ": a signal\n";
    if (write(2, now, strlen(now)) < 0 || write(2, end, sizeof end - 1) < 0) _exit(98);
    signal(sig, SIG_DFL);
    raise(sig);
}

/* Two rows of three float32. */
static size_t make_npy(unsigned char *bytes)
{
    int header = sprintf((char *)bytes, "\223NUMPY\001%cv%c%-117s\n", 0, 0, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
    memset(bytes + header, 'A', 24);
    return (size_t)header + 24;
}

static size_t read_seed(const char *name, unsigned char *bytes)
{
    char place[1024];
    if (strcmp(name, "npy") == 0) return make_npy(bytes);
    const char *top = getenv("PFC_TOP_SRCDIR");
    snprintf(place, sizeof place, "%s/%s", top ? top : ".", name);
    FILE *file = fopen(place, "r");
    size_t size = file ? fread(bytes, 1, MOST_BYTES, file) : 0;
    if (file) fclose(file);
    if (size > 0 && size < MOST_BYTES) return size;
    fprintf(stderr, "%s: cannot be read\n", place);
    exit(99);
}

static int count[3];

static void try(const unsigned char *bytes, size_t size)
{
    alarm(SECONDS);
    count[pfc_try_bytes(path, bytes, size)]++;
    alarm(0);
}

static void spoil(int k)
{
    static unsigned char bytes[MOST_BYTES], spoilt[MOST_BYTES];
    size_t size = read_seed(seeds[k], bytes);
    snprintf(now, sizeof now, "%s", seeds[k]);
    try(bytes, size);
    for (int i = 0; i < CUTS; i++) {
        size_t length = (size_t)i * size / CUTS;
        snprintf(now, sizeof now, "%s cut after %zu bytes", seeds[k], length);
        try(bytes, length);
    }
    for (int i = 0; i < FLIPS; i++) {
        uint32_t r[4], counter[4] = { (uint32_t)i, (uint32_t)k, 0, 0 }, key[2] = { 11, 0 };
        pfc_philox4x32(counter, key, r);
        size_t at = r[0] % size;
        memcpy(spoilt, bytes, size);
        spoilt[at] ^= (unsigned char)(i % 2 ? 1u << r[1] % 8 : 1 + r[1] % 255);
        snprintf(now, sizeof now, "%s with byte %zu changed from 0x%02x to 0x%02x", seeds[k], at, bytes[at], spoilt[at]);
        try(spoilt, size);
    }
}

#ifdef PFC_SANITIZE
/* HDF5 does not free all that it allocates for a file that it then cannot open. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }
#endif

int main(int argc, char **argv)
{
    struct rusage used;
    static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGALRM };
    MPI_Init(&argc, &argv);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) signal(signals[i], tell);
    char folder[800];
    if (!getcwd(folder, sizeof folder)) return 99;
    snprintf(path, sizeof path, "%s/tests/test_damaged_%ld.tmp", folder, (long)getpid());
    pfc_h5_quiet_begin();
    for (int k = 0; seeds[k]; k++) spoil(k);
    unlink(path);
    getrusage(RUSAGE_SELF, &used);
    printf("%d refused in advance, %d refused, %d readable, %ld KiB\n", count[PFC_REFUSED_FIRST], count[PFC_REFUSED], count[PFC_READABLE], used.ru_maxrss);
    /* A change of data alone is legal, so both kinds must have been there. */
    int status = count[PFC_REFUSED] > 100 && count[PFC_READABLE] > 100 ? 0 : 1;
#ifndef PFC_SANITIZE
    if (used.ru_maxrss > MOST_KIB) status = 1;
#endif
    MPI_Finalize();
    return status;
}
