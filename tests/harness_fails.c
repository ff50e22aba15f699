/* Fails on purpose, for tests/test_harness.sh: a plain assertion on the last rank, and a collective one that is false on rank 0. */
#include "pfc_test.h"

START_TEST(passes)
{
    ck_assert_int_ge(pfc_test_ranks(), 1);
}
END_TEST

START_TEST(fails_on_last)
{
    ck_assert_msg(pfc_test_rank() + 1 < pfc_test_ranks(), "the last rank does not like it");
}
END_TEST

START_TEST(fails_collectively)
{
    PFC_AGREE(MPI_COMM_WORLD, pfc_test_rank() != 0);
    MPI_Barrier(MPI_COMM_WORLD); /* would hang if only rank 0 had left */
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(passes),
        PFC_ONCE(fails_on_last),
        PFC_ONCE(fails_collectively),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
