/* cpuid_tiles.c: whether tiles may be used: the CPU, the operating system, its permission. Apart from cpuid.c, so that a test can answer in its place
 * (tests/tiles). Compiled with baseline flags. */
#include "backend/cpuid.h"

#include <stdio.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <errno.h>
#include <string.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Linux gives the 8 KB of tile registers only to a process that asks. ENOSPC: an alternate signal stack is too small for them. */
static bool tile_permission(char *why, size_t size)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { REQUEST_STATE = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    if (syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0) return true;
    snprintf(why, size, "Linux refuses the tile registers (arch_prctl: %s)", strerror(errno));
#else
    snprintf(why, size, "asking for the tile registers is known only on Linux");
#endif
    return false;
}

bool pfc_cpu_has_amx(pfc_tile_kind kind, char *why, size_t size)
{
    enum { BF16 = 1 << 22, TILE = 1 << 24, INT8 = 1 << 25, TILE_STATE = 3 << 17 }; /* leaf 7 EDX; XCR0 */
    const unsigned want = TILE | (kind == PFC_TILES_BF16 ? BF16 : INT8);
    unsigned a, b, c, d;
    if (!pfc_cpu_has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & want) != want) {
        snprintf(why, size, "the CPU has no AMX %s tiles, or no AVX-512", kind == PFC_TILES_BF16 ? "bf16" : "int8");
        return false;
    }
    if ((pfc_cpu_saved_state() & TILE_STATE) != TILE_STATE) {
        snprintf(why, size, "the operating system does not save tile registers");
        return false;
    }
    return tile_permission(why, size);
}

#else
bool pfc_cpu_has_amx(pfc_tile_kind kind, char *why, size_t size)
{
    (void)kind;
    snprintf(why, size, "not an x86-64 CPU");
    return false;
}
#endif
