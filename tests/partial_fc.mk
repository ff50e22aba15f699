## Tests of partial_fc.
C_TESTS += \
    tests/test_dense \
    tests/test_exact_kernels \
    tests/test_fast_kernels \
    tests/test_large
tests_test_fast_kernels_SOURCES = tests/test_fast_kernels.c tests/fast_reference.c tests/fast_step.c tests/fast_step.h

mpi_programs += \
    tests/test_partial_fc \
    tests/test_partial_fc_bounds \
    tests/test_partial_fc_gradients \
    tests/test_partial_fc_rules \
    tests/test_partial_fc_variants
tests_test_partial_fc_SOURCES = tests/test_partial_fc.c tests/partial_fc_problem.c tests/partial_fc_problem.h
tests_test_partial_fc_bounds_SOURCES = tests/test_partial_fc_bounds.c tests/same_bounds.c tests/same_bounds.h
tests_test_partial_fc_gradients_SOURCES = tests/test_partial_fc_gradients.c tests/partial_fc_problem.c tests/partial_fc_problem.h
tests_test_partial_fc_rules_SOURCES = tests/test_partial_fc_rules.c tests/partial_fc_problem.c tests/partial_fc_problem.h
MPI_TESTS += \
    tests/test_partial_fc-1.mpi \
    tests/test_partial_fc-2.mpi \
    tests/test_partial_fc-3.mpi \
    tests/test_partial_fc-5.mpi \
    tests/test_partial_fc-8.mpi \
    tests/test_partial_fc_bounds-1.mpi \
    tests/test_partial_fc_bounds-3.mpi \
    tests/test_partial_fc_gradients-1.mpi \
    tests/test_partial_fc_gradients-3.mpi \
    tests/test_partial_fc_rules-1.mpi \
    tests/test_partial_fc_rules-2.mpi \
    tests/test_partial_fc_rules-3.mpi \
    tests/test_partial_fc_rules-5.mpi \
    tests/test_partial_fc_rules-8.mpi \
    tests/test_partial_fc_variants-1.mpi \
    tests/test_partial_fc_variants-3.mpi

EXTRA_DIST += \
    tests/cases/pfc_arc_pole_nan.h5 \
    tests/cases/pfc_encoding.h5 \
    tests/cases/pfc_full_arc.h5 \
    tests/cases/pfc_full_cos.h5 \
    tests/cases/pfc_full_steps_w2.h5 \
    tests/cases/pfc_sampled_cos_w2.h5 \
    tests/cases/pfc_sampled_linear_w3.h5 \
    tests/cases/pfc_switch_straight.h5 \
    tests/cases/pfc_unowned.h5 \
    tests/exact_v1_partial_fc.py \
    tests/make_matrix_cases.py \
    tests/peer_torch_partial_fc.py \
    tests/tiny_cases_partial_fc.py
