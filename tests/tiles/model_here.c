/* model_here.c: in the place of src/backend/cpuid_tiles.c: the tile model runs wherever the vector code around it does. */
#include "backend/cpuid.h"

#include <stdio.h>

bool pfc_cpu_has_amx(pfc_tile_kind kind, char *why, size_t size)
{
    (void)kind;
    if (pfc_cpu_has_avx512()) return true;
    snprintf(why, size, "the CPU has no AVX-512, which the kernels around the tiles need");
    return false;
}
