/* cpuid.c: the only file that asks the CPU what it can do, the operating system's part (XCR0) included. Compiled with baseline flags. */
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

/* Register state that the operating system saves: bit 1 SSE, 2 AVX, 5-7 AVX-512. */
static unsigned saved_state(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return a;
}

static int has_leaf7(unsigned mask)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & mask) == mask;
}

int pfc_cpu_has_avx2(void)
{
    unsigned a, b, c, d;
    if ((saved_state() & 0x6) != 0x6 || !__get_cpuid(1, &a, &b, &c, &d)) return 0;
    return (c & bit_AVX) && (c & bit_FMA) && has_leaf7(bit_AVX2);
}

int pfc_cpu_has_avx512(void)
{
    return pfc_cpu_has_avx2() && (saved_state() & 0xe6) == 0xe6 && has_leaf7(bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL);
}

int pfc_cpu_has_ifma(void) { return pfc_cpu_has_avx512() && has_leaf7(bit_AVX512IFMA); }

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

bool pfc_cpu_has_amx(char *why, size_t size)
{
    enum { TILE = 1 << 24, INT8 = 1 << 25, TILE_STATE = 3 << 17 }; /* leaf 7 EDX; XCR0 */
    unsigned a, b, c, d;
    if (!pfc_cpu_has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (TILE | INT8)) != (TILE | INT8)) {
        snprintf(why, size, "the CPU has no AMX int8 tiles, or no AVX-512");
        return false;
    }
    if ((saved_state() & TILE_STATE) != TILE_STATE) {
        snprintf(why, size, "the operating system does not save tile registers");
        return false;
    }
    return tile_permission(why, size);
}

#else
bool pfc_cpu_has_amx(char *why, size_t size)
{
    snprintf(why, size, "not an x86-64 CPU");
    return false;
}
int pfc_cpu_has_avx2(void) { return 0; }
int pfc_cpu_has_avx512(void) { return 0; }
int pfc_cpu_has_ifma(void) { return 0; }
#endif
