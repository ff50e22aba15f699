## How to add a test:
##   tests/test_NAME.c on one rank       C_TESTS += tests/test_NAME
##   the same file on 3 ranks            mpi_programs += tests/test_NAME (once), MPI_TESTS += tests/test_NAME-3.mpi
##   a script, tests/NAME.sh or NAME.py  SCRIPT_TESTS += tests/NAME.sh
## C tests link the library, the case and dense code and pfc_test; more than one source file: tests_test_NAME_SOURCES = ...
## Scripts find the binary in $PFC_REF, how to start ranks in $MPIRUN $MPIRUN_FLAGS, and write only into a directory of their own
## below the current one. Exit 77 is a skip.
C_TESTS = \
    tests/test_dense \
    tests/test_engines \
    tests/test_fast_kernels

mpi_programs = \
    tests/test_case \
    tests/test_case_file \
    tests/test_partial_fc \
    tests/test_partial_fc_bounds \
    tests/test_partial_fc_gradients \
    tests/test_partial_fc_rules
MPI_TESTS = \
    tests/test_case-1.mpi \
    tests/test_case-2.mpi \
    tests/test_case-3.mpi \
    tests/test_case-5.mpi \
    tests/test_case_file-1.mpi \
    tests/test_case_file-2.mpi \
    tests/test_case_file-3.mpi \
    tests/test_case_file-5.mpi \
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
    tests/test_partial_fc_rules-8.mpi

SCRIPT_TESTS = \
    tests/bit_matrix.sh \
    tests/exact_integers.sh \
    tests/peer_torch.sh \
    tests/test_harness.sh \
    tests/test_headers.sh \
    tests/test_isa.sh

check_LIBRARIES += libpfctest.a
libpfctest_a_SOURCES = tests/pfc_test.c tests/pfc_test.h
if PFC_SANITIZE
libpfctest_a_SOURCES += tests/sanitize_dlclose.c
endif

tests_test_case_SOURCES = tests/test_case.c tests/case_toy.c tests/case_toy.h
tests_test_case_file_SOURCES = tests/test_case_file.c tests/case_toy.c tests/case_toy.h
tests_test_fast_kernels_SOURCES = tests/test_fast_kernels.c tests/fast_reference.c tests/fast_step.c tests/fast_step.h
tests_test_partial_fc_SOURCES = tests/test_partial_fc.c tests/partial_fc_problem.c tests/partial_fc_problem.h
tests_test_partial_fc_gradients_SOURCES = tests/test_partial_fc_gradients.c tests/partial_fc_problem.c tests/partial_fc_problem.h
tests_test_partial_fc_rules_SOURCES = tests/test_partial_fc_rules.c tests/partial_fc_problem.c tests/partial_fc_problem.h

## harness_fails fails on purpose: tests/test_harness.sh looks at how.
check_PROGRAMS += tests/harness_fails $(C_TESTS) $(mpi_programs)
LDADD = libpfctest.a $(everything) $(CHECK_LIBS)
TESTS += $(C_TESTS) $(MPI_TESTS) $(SCRIPT_TESTS)
EXTRA_DIST += $(SCRIPT_TESTS) tests/env.sh tests/mpi-env.sh tests/mpi-log-compiler.sh tests/python-log-compiler.sh \
    tests/lsan.supp tests/sanitize_dlclose.c tests/installcheck.sh

EXTRA_DIST += \
    tests/exact_v1.py \
    tests/exact_v1_spec.py \
    tests/make_matrix_cases.py \
    tests/make_tiny_cases.py \
    tests/peer_torch_partial_fc.py

## The stub of an MPI test only carries its name.
$(MPI_TESTS):
	@$(MKDIR_P) tests
	@: >$@
CLEANFILES += $(MPI_TESTS)

## Folders that scripts leave when they fail.
clean-local:
	rm -rf tests/*.dir bit_matrix.* exact_integers.* peer_torch.* installcheck.*

TEST_EXTENSIONS = .mpi .sh .py
MPI_LOG_COMPILER = $(srcdir)/tests/mpi-log-compiler.sh
SH_LOG_COMPILER = bash
PY_LOG_COMPILER = $(srcdir)/tests/python-log-compiler.sh
AM_TESTS_ENVIRONMENT = \
    MPIRUN='$(MPIRUN)'; MPIRUN_FLAGS='$(MPIRUN_FLAGS)'; PYTHON='$(PYTHON)'; CC='$(CC)'; OBJDUMP='$(OBJDUMP)'; CFLAGS='$(CFLAGS)'; \
    PFC_TOP_SRCDIR='$(abs_top_srcdir)'; PFC_TOP_BUILDDIR='$(abs_top_builddir)'; PFC_REF='$(abs_top_builddir)/pfc_ref$(EXEEXT)'; \
    export MPIRUN MPIRUN_FLAGS PYTHON CC OBJDUMP CFLAGS PFC_TOP_SRCDIR PFC_TOP_BUILDDIR PFC_REF; . '$(abs_top_srcdir)/tests/env.sh';

## The driver from outside: exit statuses, files, comparisons (tests/driver_lib.sh says how).
SCRIPT_TESTS += \
    tests/driver_bad_files.sh \
    tests/driver_cases.sh \
    tests/driver_check.sh \
    tests/driver_goldens.sh \
    tests/driver_ranks.sh \
    tests/driver_status.sh \
    tests/driver_verify.sh
EXTRA_DIST += tests/driver_lib.sh tests/make_bad_cases.py $(driver_cases)
driver_cases = \
    tests/cases/pfc_arc_pole_nan.h5 \
    tests/cases/pfc_encoding.h5 \
    tests/cases/pfc_full_arc.h5 \
    tests/cases/pfc_full_cos.h5 \
    tests/cases/pfc_full_steps_w2.h5 \
    tests/cases/pfc_sampled_cos_w2.h5 \
    tests/cases/pfc_sampled_linear_w3.h5 \
    tests/cases/pfc_switch_straight.h5 \
    tests/cases/pfc_unowned.h5

## OpenBLAS moved off the wrong core.
C_TESTS += tests/test_openblas

C_TESTS += tests/test_core tests/test_exact_kernels
mpi_programs += tests/test_comm
MPI_TESTS += \
    tests/test_comm-1.mpi \
    tests/test_comm-2.mpi \
    tests/test_comm-3.mpi \
    tests/test_comm-5.mpi \
    tests/test_comm-8.mpi

## Products, softmax and normalising of whole matrices.
mpi_programs += tests/test_matrix
MPI_TESTS += \
    tests/test_matrix-1.mpi \
    tests/test_matrix-2.mpi \
    tests/test_matrix-3.mpi \
    tests/test_matrix-5.mpi
