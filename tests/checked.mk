## Tests of the checked backend itself. PFC_BACKEND=checked make check runs the others over it; .ci/run has a stage that does.
C_TESTS += tests/test_checked
