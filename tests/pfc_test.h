/* pfc_test.h: a Check suite that runs on all ranks at once.
 *
 * Every rank runs every test, in one process (no fork after MPI_Init). A test passes if it passes on all ranks. Rank 0 prints one TAP line per
 * test and, for a failure, the text of the first failing rank.
 *
 *     START_TEST(adds) { PFC_AGREE(MPI_COMM_WORLD, 1 + 1 == 2); } END_TEST
 *     static Suite *make(void) { ... }
 *     int main(int argc, char **argv) { return pfc_test_main(&argc, &argv, make); }
 *
 * An assertion that fails on one rank leaves the test on that rank only: when collective calls follow, use PFC_AGREE. */
#ifndef PFC_TEST_H
#define PFC_TEST_H

#include <check.h>
#include <mpi.h>
#include <stdbool.h>

/* MPI_Init, the suite, MPI_Finalize. Returns the exit status, the same on all ranks: 0 all passed, 1 a failure, 99 no test ran. */
int pfc_test_main(int *argc, char ***argv, Suite *(*make)(void));

/* True if ok on every rank; *first is the lowest rank where it is not. Collective. */
bool pfc_test_agree(MPI_Comm comm, bool ok, int *first);

int pfc_test_rank(void); /* in MPI_COMM_WORLD */
int pfc_test_ranks(void);

/* Collective assertion: fails on all ranks if it fails on one, so that none is left waiting. */
#define PFC_AGREE(comm, condition)                                                                                       \
    do {                                                                                                                 \
        int pfc_first_ = -1;                                                                                             \
        ck_assert_msg(pfc_test_agree((comm), (condition), &pfc_first_), "fails on rank %d: %s", pfc_first_, #condition); \
    } while (0)

#endif
