/* openblas.c: moves OpenBLAS off kernels that are slower than this CPU's. */
#include "driver/driver.h"
#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Entry points of OpenBLAS builds with run-time dispatch (DYNAMIC_ARCH); others lack them. */
void gotoblas_dynamic_init(void) __attribute__((weak));
void gotoblas_dynamic_quit(void) __attribute__((weak));

static pfc_openblas state;

static void read_core(char *text, size_t size)
{
    const char *core = openblas_get_corename();
    snprintf(text, size, "%s", core ? core : "unknown");
}

/* The kernels for this CPU, NULL if the slowest are all there is. */
static const char *wanted_core(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd"))
        return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
#endif
    return NULL;
}

/* OpenBLAS takes the slowest kernels for a CPU it does not know, and those for AVX2 for one by AMD that has AVX-512. */
static bool is_slower(const char *core, const char *wanted)
{
    static const char *const slow[] = { "Prescott", "Generic", "Core2", "Unknown", NULL }, *const avx2[] = { "Haswell", "Zen", NULL };
    for (int i = 0; slow[i]; i++)
        if (strcasecmp(core, slow[i]) == 0) return true;
    for (int i = 0; strcmp(wanted, "SkylakeX") == 0 && avx2[i]; i++)
        if (strcasecmp(core, avx2[i]) == 0) return true;
    return false;
}

pfc_openblas pfc_openblas_mend(void)
{
    read_core(state.found, sizeof state.found);
    const char *wanted = wanted_core(), *given = getenv("OPENBLAS_CORETYPE");
    if (!(given && *given) && wanted && is_slower(state.found, wanted) && gotoblas_dynamic_quit && gotoblas_dynamic_init) {
        setenv("OPENBLAS_CORETYPE", wanted, 1);
        gotoblas_dynamic_quit();
        gotoblas_dynamic_init();
        unsetenv("OPENBLAS_CORETYPE");
    }
    read_core(state.core, sizeof state.core);
    state.mended = strcmp(state.found, state.core) != 0;
    openblas_set_num_threads(1);
    return state;
}

const pfc_openblas *pfc_openblas_state(void) { return &state; }

void pfc_openblas_threads(int threads) { openblas_set_num_threads(threads); }
