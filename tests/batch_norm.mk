## Tests of group_gather and batch_norm.
EXTRA_DIST += \
    tests/cases/bn_plain_w2.h5 \
    tests/cases/bn_sub_eval_w2.h5 \
    tests/cases/bn_sub_w2.h5 \
    tests/cases/bn_sync_groups_w4.h5 \
    tests/cases/bn_sync_w2.h5 \
    tests/cases/gather_w4.h5 \
    tests/exact_v1_batch_norm.py \
    tests/peer_torch_batch_norm.py \
    tests/tiny_cases_batch_norm.py
mpi_programs += \
    tests/test_batch_norm \
    tests/test_batch_norm_fast \
    tests/test_batch_norm_rules
tests_test_batch_norm_SOURCES = tests/test_batch_norm.c tests/batch_norm_problem.c tests/batch_norm_problem.h
tests_test_batch_norm_rules_SOURCES = tests/test_batch_norm_rules.c tests/batch_norm_problem.c tests/batch_norm_problem.h
MPI_TESTS += \
    tests/test_batch_norm-1.mpi \
    tests/test_batch_norm-2.mpi \
    tests/test_batch_norm-3.mpi \
    tests/test_batch_norm-5.mpi \
    tests/test_batch_norm-8.mpi \
    tests/test_batch_norm_fast-1.mpi \
    tests/test_batch_norm_fast-2.mpi \
    tests/test_batch_norm_rules-1.mpi \
    tests/test_batch_norm_rules-2.mpi \
    tests/test_batch_norm_rules-3.mpi \
    tests/test_batch_norm_rules-5.mpi \
    tests/test_batch_norm_rules-8.mpi
SCRIPT_TESTS += tests/driver_batch_norm.sh
