/* pfc_test.c: see pfc_test.h. */
#include "pfc_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TEXT = 1024 };

int pfc_test_rank(void)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

int pfc_test_ranks(void)
{
    int ranks;
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    return ranks;
}

pfc_ctx *pfc_test_ctx(MPI_Comm comm, pfc_options options)
{
    pfc_ctx *ctx = NULL;
    char why[256] = "";
    ck_assert_msg(pfc_ctx_create(comm, &options, &ctx, why, sizeof why) == PFC_OK, "%s", why);
    return ctx;
}

const char *pfc_test_path(const char *name)
{
    static char path[TEXT + 100];
    char folder[TEXT];
    ck_assert(getcwd(folder, sizeof folder) != NULL);
    snprintf(path, sizeof path, "%s/tests/%.60s-%d.tmp", folder, name, pfc_test_ranks());
    return path;
}

void *pfc_test_zeros(int64_t count)
{
    void *p = calloc((size_t)count + 1, 8);
    ck_assert_ptr_nonnull(p);
    return p;
}

void pfc_test_place(double *whole, int64_t cols, pfc_view local, int64_t row, int64_t col)
{
    for (int64_t i = 0; i < local.rows; i++)
        for (int64_t j = 0; j < local.cols; j++) {
            int64_t at = i * local.ld + j;
            double *to = &whole[(row + i) * cols + col + j];
            *to = local.dtype == PFC_F32   ? (double)((const float *)local.data)[at]
                  : local.dtype == PFC_F64 ? ((const double *)local.data)[at]
                                           : (double)((const int64_t *)local.data)[at];
        }
}

bool pfc_test_agree(MPI_Comm comm, bool ok, int *first)
{
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    int mine = ok ? ranks : rank;
    MPI_Allreduce(&mine, first, 1, MPI_INT, MPI_MIN, comm);
    return *first == ranks;
}

/* Prints test i's line on rank 0, its name as words; for a failure, what the first failing rank says. Returns whether it passed on all ranks. */
static bool report(int i, TestResult *result)
{
    int first;
    bool ok = pfc_test_agree(MPI_COMM_WORLD, tr_rtype(result) == CK_PASS, &first);
    char text[TEXT] = "";
    if (!ok && first == pfc_test_rank()) {
        const char *file = tr_lfile(result), *message = tr_msg(result);
        snprintf(text, TEXT, "rank %d: %s:%d: %s", first, file ? file : "?", tr_lno(result), message ? message : "no message");
    }
    if (!ok) MPI_Bcast(text, TEXT, MPI_CHAR, first, MPI_COMM_WORLD);
    if (pfc_test_rank() == 0) {
        printf("%sok %d - ", ok ? "" : "not ", i + 1);
        for (const char *c = tr_tcname(result); *c; c++) putchar(*c == '_' ? ' ' : *c);
        putchar('\n');
        if (!ok) printf("# %s\n", text);
        fflush(stdout);
    }
    return ok;
}

/* The number of failures, or -1 if the ranks did not run the same tests, or none. */
static int run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_SILENT);

    int counts[2] = { srunner_ntests_run(runner), -srunner_ntests_run(runner) };
    MPI_Allreduce(MPI_IN_PLACE, counts, 2, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    int failed = counts[0] > 0 && counts[0] == -counts[1] ? 0 : -1;
    TestResult **results = srunner_results(runner);
    if (failed < 0 && pfc_test_rank() == 0) printf("Bail out! ranks ran between %d and %d tests\n", counts[0], -counts[1]);
    if (failed == 0) {
        for (int i = 0; i < counts[0]; i++) failed += !report(i, results[i]);
        if (pfc_test_rank() == 0) printf("1..%d\n# %d of %d failed on %d ranks\n", counts[0], failed, counts[0], pfc_test_ranks());
    }
    free(results);
    srunner_free(runner);
    return failed;
}

int pfc_test_main(int *argc, char ***argv, const pfc_test *tests, size_t count)
{
    int provided;
    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
    Suite *suite = suite_create("");
    for (size_t i = 0; i < count; i++) { /* a case for each test, as Check keeps the names of cases */
        TCase *tc = tcase_create(tests[i].test->name);
        tcase_add_loop_test(tc, tests[i].test, 0, tests[i].count);
        suite_add_tcase(suite, tc);
    }
    int failed = run(suite);
    MPI_Finalize();
    return failed < 0 ? 99 : failed > 0;
}
