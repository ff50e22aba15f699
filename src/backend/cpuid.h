/* cpuid.h: what the CPU and the operating system allow. */
#ifndef PFC_CPUID_H
#define PFC_CPUID_H
#include <stdbool.h>
#include <stddef.h>

int pfc_cpu_has_avx2(void);   /* AVX2 and FMA */
int pfc_cpu_has_avx512(void); /* F, DQ, BW, VL, and the above */
int pfc_cpu_has_ifma(void);   /* AVX512-IFMA and the above */
/* AMX int8 tiles and the above; asks Linux for the permission to use them (once per process is enough, again does no harm). false: why, in one line. */
bool pfc_cpu_has_amx(char *why, size_t size);
#endif
