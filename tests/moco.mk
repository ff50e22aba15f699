## Tests of moco_shuffle and moco.
mpi_programs += \
    tests/test_moco \
    tests/test_moco_shuffle
tests_test_moco_SOURCES = tests/test_moco.c tests/moco_problem.c tests/moco_problem.h
MPI_TESTS += \
    tests/test_moco-1.mpi \
    tests/test_moco-2.mpi \
    tests/test_moco-3.mpi \
    tests/test_moco-5.mpi \
    tests/test_moco-8.mpi \
    tests/test_moco_shuffle-1.mpi \
    tests/test_moco_shuffle-2.mpi \
    tests/test_moco_shuffle-3.mpi \
    tests/test_moco_shuffle-5.mpi \
    tests/test_moco_shuffle-8.mpi

SCRIPT_TESTS += tests/driver_moco.sh
EXTRA_DIST += \
    tests/cases/moco_first_w2.h5 \
    tests/cases/moco_w2.h5 \
    tests/cases/shuffle_rows.h5 \
    tests/exact_v1_moco.py \
    tests/peer_torch_moco.py \
    tests/tiny_cases_moco.py
