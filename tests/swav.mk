## Tests of sinkhorn, swav and lr_schedule; bounds for tf32, bf16 and f16.
mpi_programs += \
    tests/test_low_precision \
    tests/test_sinkhorn \
    tests/test_swav \
    tests/test_swav_state
tests_test_low_precision_SOURCES = tests/test_low_precision.c tests/low_precision.c tests/low_precision.h
tests_test_swav_SOURCES = tests/test_swav.c tests/swav_problem.c tests/swav_problem.h
tests_test_swav_state_SOURCES = tests/test_swav_state.c tests/swav_problem.c tests/swav_problem.h
MPI_TESTS += \
    tests/test_low_precision-1.mpi \
    tests/test_low_precision-3.mpi \
    tests/test_sinkhorn-1.mpi \
    tests/test_sinkhorn-2.mpi \
    tests/test_sinkhorn-3.mpi \
    tests/test_sinkhorn-5.mpi \
    tests/test_sinkhorn-8.mpi \
    tests/test_swav-1.mpi \
    tests/test_swav-2.mpi \
    tests/test_swav-3.mpi \
    tests/test_swav-5.mpi \
    tests/test_swav-8.mpi \
    tests/test_swav_state-1.mpi \
    tests/test_swav_state-2.mpi \
    tests/test_swav_state-3.mpi \
    tests/test_swav_state-5.mpi \
    tests/test_swav_state-8.mpi

EXTRA_DIST += \
    tests/cases/lr_default.h5 \
    tests/cases/sk_iter3.h5 \
    tests/cases/sk_overflow_w2.h5 \
    tests/cases/sk_vissl.h5 \
    tests/cases/swav_plain_w2.h5 \
    tests/cases/swav_queue_w2.h5 \
    tests/exact_v1_swav.py \
    tests/peer_torch_swav.py \
    tests/tiny_cases_swav.py
