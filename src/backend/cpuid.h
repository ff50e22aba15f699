/* cpuid.h: what the CPU and the operating system allow. */
#ifndef PFC_CPUID_H
#define PFC_CPUID_H
int pfc_cpu_has_avx2(void);   /* AVX2 and FMA */
int pfc_cpu_has_avx512(void); /* F, DQ, BW, VL, and the above */
#endif
