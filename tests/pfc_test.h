/* pfc_test.h: a program of Check tests that runs on all ranks at once, and what such programs share.
 *
 * Every rank runs every test, in one process (no fork after MPI_Init). A test passes if it passes on all ranks. Rank 0 prints one TAP line per
 * test, with its name, and, for a failure, the text of the first failing rank.
 *
 *     START_TEST(one_and_one_are_two) { PFC_AGREE(MPI_COMM_WORLD, 1 + 1 == 2); } END_TEST
 *     int main(int argc, char **argv)
 *     {
 *         const pfc_test tests[] = { PFC_ONCE(one_and_one_are_two) };
 *         return PFC_TEST_MAIN(argc, argv, tests);
 *     }
 *
 * An assertion that fails on one rank leaves the test on that rank only: when collective calls follow, use PFC_AGREE. */
#ifndef PFC_TEST_H
#define PFC_TEST_H

#include <check.h>
#include <mpi.h>
#include <pfc/ctx.h>
#include <pfc/view.h>
#include <stdbool.h>

typedef struct pfc_test {
    const TTest *test;
    int count;
} pfc_test;
#define PFC_ONCE(test) \
    {                  \
        (test), 1      \
    }
#define PFC_LOOP(test, count) \
    {                         \
        (test), (int)(count)  \
    } /* for _i = 0 ... count - 1, a line each */

/* MPI_Init, the tests, MPI_Finalize. Returns the exit status, the same on all ranks: 0 all passed, 1 a failure, 99 no test ran. */
int pfc_test_main(int *argc, char ***argv, const pfc_test *tests, size_t count);
#define PFC_TEST_MAIN(argc, argv, tests) pfc_test_main(&(argc), &(argv), tests, sizeof(tests) / sizeof *(tests))

/* True if ok on every rank; *first is the lowest rank where it is not. Collective. */
bool pfc_test_agree(MPI_Comm comm, bool ok, int *first);

int pfc_test_rank(void); /* in MPI_COMM_WORLD */
int pfc_test_ranks(void);

/* A context; the test fails where there is none. Collective over comm. */
pfc_ctx *pfc_test_ctx(MPI_Comm comm, pfc_options options);

/* The absolute path of a file or folder that only this program on this number of ranks writes, in a static place until the next call. */
const char *pfc_test_path(const char *name);

/* count numbers of 8 bytes, all 0. */
void *pfc_test_zeros(int64_t count);
/* local into the whole (rows, cols) matrix at (row, col), as doubles. */
void pfc_test_place(double *whole, int64_t cols, pfc_view local, int64_t row, int64_t col);

/* Collective assertion: fails on all ranks if it fails on one, so that none is left waiting. */
#define PFC_AGREE(comm, condition)                                                                                       \
    do {                                                                                                                 \
        int pfc_first_ = -1;                                                                                             \
        ck_assert_msg(pfc_test_agree((comm), (condition), &pfc_first_), "fails on rank %d: %s", pfc_first_, #condition); \
    } while (0)

#endif
