/* test_openblas.c: OpenBLAS started on its slowest kernels is moved to this CPU's, once, unless the user asked for them; products stay right. */
#include "driver/driver.h"
#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void gotoblas_dynamic_init(void) __attribute__((weak));
void gotoblas_dynamic_quit(void) __attribute__((weak));

static int fail(const char *what, const pfc_openblas *blas)
{
    printf("FAIL %s: found %s, now %s, mended %d\n", what, blas->found, blas->core, blas->mended);
    return 1;
}

/* 3 x 3 integers: any kernel gives them exactly. */
static int products_are_right(void)
{
    double a[9] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, c[9] = { 0 };
    const double want[9] = { 30, 36, 42, 66, 81, 96, 102, 126, 150 };
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, 3, 3, 3, 1.0, a, 3, a, 3, 0.0, c, 3);
    return memcmp(c, want, sizeof c) == 0;
}

int main(int argc, char **argv)
{
    (void)argc;
    /* The core type is read when the library is loaded: start again with the slow one, as if the CPU were not known. */
    if (!getenv("PFC_TEST_SLOW_CORE")) {
        setenv("OPENBLAS_CORETYPE", "Prescott", 1);
        setenv("PFC_TEST_SLOW_CORE", "1", 1);
        execv("/proc/self/exe", argv);
        printf("skipped: cannot start again\n");
        return 77;
    }
    if (!gotoblas_dynamic_init || strcmp(openblas_get_corename(), "Prescott")) {
        printf("skipped: this OpenBLAS (%s) does not choose its kernels at run time\n", openblas_get_corename());
        return 77;
    }
    pfc_openblas blas = pfc_openblas_mend();
    if (blas.mended) return fail("the user's choice was overridden", &blas);
    unsetenv("OPENBLAS_CORETYPE");
    blas = pfc_openblas_mend();
    int fast = 0;
#ifdef __x86_64__
    fast = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    if (fast && (!blas.mended || strcmp(blas.core, "Prescott") == 0)) return fail("the slow core was kept", &blas);
    if (!products_are_right()) return fail("wrong product", &blas);
    blas = pfc_openblas_mend();
    if (blas.mended) return fail("mended twice", &blas);
#ifdef __x86_64__
    if (strcmp(blas.core, "SkylakeX") == 0) { /* as for a CPU by AMD with AVX-512 that is taken for one without */
        setenv("OPENBLAS_CORETYPE", "Haswell", 1);
        gotoblas_dynamic_quit();
        gotoblas_dynamic_init();
        unsetenv("OPENBLAS_CORETYPE");
        blas = pfc_openblas_mend();
        if (strcmp(blas.found, "Haswell") || strcmp(blas.core, "SkylakeX")) return fail("the kernels for AVX2 were kept", &blas);
    }
#endif
    printf("core now %s\n", blas.core);
    return getenv("OPENBLAS_CORETYPE") ? fail("the environment was left changed", &blas) : 0;
}
