/* cpuid.c: what the CPU can do, the operating system's part (XCR0) included; tiles are in cpuid_tiles.c. Compiled with baseline flags. */
#include "backend/cpuid.h"

#if defined(__x86_64__)
#include <cpuid.h>

unsigned pfc_cpu_saved_state(void)
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
    if ((pfc_cpu_saved_state() & 0x6) != 0x6 || !__get_cpuid(1, &a, &b, &c, &d)) return 0;
    return (c & bit_AVX) && (c & bit_FMA) && has_leaf7(bit_AVX2);
}

int pfc_cpu_has_avx512(void)
{
    return pfc_cpu_has_avx2() && (pfc_cpu_saved_state() & 0xe6) == 0xe6 && has_leaf7(bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL);
}

#else
unsigned pfc_cpu_saved_state(void) { return 0; }
int pfc_cpu_has_avx2(void) { return 0; }
int pfc_cpu_has_avx512(void) { return 0; }
#endif
