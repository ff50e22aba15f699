## Tests of the checked backend. `make check-checked` runs the tests over it: see .ci/run.
C_TESTS += tests/test_checked
