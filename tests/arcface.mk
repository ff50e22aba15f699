## Tests of arcface_head and adaptive_margins, and of the bounds that it shares with partial_fc.
mpi_programs += \
    tests/test_arcface \
    tests/test_arcface_rules \
    tests/test_head_bounds
tests_test_head_bounds_SOURCES = tests/test_head_bounds.c tests/same_bounds.c tests/same_bounds.h
tests_test_arcface_SOURCES = tests/test_arcface.c tests/arcface_problem.c tests/arcface_problem.h
tests_test_arcface_rules_SOURCES = tests/test_arcface_rules.c tests/arcface_problem.c tests/arcface_problem.h
MPI_TESTS += \
    tests/test_head_bounds-1.mpi \
    tests/test_head_bounds-3.mpi \
    tests/test_arcface-1.mpi \
    tests/test_arcface-2.mpi \
    tests/test_arcface-3.mpi \
    tests/test_arcface-5.mpi \
    tests/test_arcface-8.mpi \
    tests/test_arcface_rules-1.mpi \
    tests/test_arcface_rules-2.mpi \
    tests/test_arcface_rules-3.mpi \
    tests/test_arcface_rules-5.mpi \
    tests/test_arcface_rules-8.mpi

EXTRA_DIST += \
    tests/cases/arc_easy.h5 \
    tests/cases/arc_k3_margins.h5 \
    tests/cases/arc_soft.h5 \
    tests/cases/margins_golden.h5 \
    tests/exact_v1_arcface.py \
    tests/peer_torch_arcface.py \
    tests/tiny_cases_arcface.py
