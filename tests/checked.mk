## Tests of the checked backend itself. PFC_BACKEND=checked make check runs the others over it; .ci/run has a stage that does.
C_TESTS += tests/test_checked tests/test_checked_use
tests_test_checked_SOURCES = tests/test_checked.c tests/checked_world.c tests/checked_world.h
tests_test_checked_use_SOURCES = tests/test_checked_use.c tests/checked_world.c tests/checked_world.h

## Where a new backend begins (doc/backend.md).
mpi_programs += tests/test_skeleton
tests_test_skeleton_SOURCES = tests/test_skeleton.c tests/skeleton_backend.c tests/skeleton_backend.h tests/skeleton_device.h tests/skeleton_products.c
MPI_TESTS += tests/test_skeleton-1.mpi tests/test_skeleton-3.mpi
SCRIPT_TESTS += tests/skeleton_lists_all.sh
