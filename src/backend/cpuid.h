/* cpuid.h (internal): what the CPU and the operating system allow. */
#ifndef PFC_CPUID_H
#define PFC_CPUID_H
#include <stdbool.h>
#include <stddef.h>

int pfc_cpu_has_avx2(void);         /* AVX2 and FMA */
int pfc_cpu_has_avx512(void);       /* F, DQ, BW, VL, and the above */
int pfc_cpu_has_ifma(void);         /* AVX512-IFMA and the above */
unsigned pfc_cpu_saved_state(void); /* register state that the operating system saves, as XCR0: bit 1 SSE, 2 AVX, 5-7 AVX-512, 17-18 tiles */

typedef enum pfc_tile_kind { PFC_TILES_INT8, PFC_TILES_BF16 } pfc_tile_kind;
/* AMX tiles with products of this kind, and AVX-512; asks Linux for the permission to use them (once per process is enough, again does no harm). false:
 * why, in one line. */
bool pfc_cpu_has_amx(pfc_tile_kind kind, char *why, size_t size);
#endif
