## How to add a test:
##   tests/test_NAME.c on one rank       C_TESTS += tests/test_NAME
##   the same file on 3 ranks            mpi_programs += tests/test_NAME (once), MPI_TESTS += tests/test_NAME-3.mpi
##   a script, tests/NAME.sh or NAME.py  SCRIPT_TESTS += tests/NAME.sh
## C tests link the library, the case and dense code and pfc_test; more than one source file: tests_test_NAME_SOURCES = ...
## Scripts find the binary in $PFC_REF, how to start ranks in $MPIRUN $MPIRUN_FLAGS, and write only into a directory of their own
## below the current one. Exit 77 is a skip.
## What belongs to one family stands in tests/FAMILY.mk.
## Documents: tests/doc_blocks.py runs their examples, tests/doc_links.py checks their links; after a change of source, tests/doc_links.py --fix finds the lines again.
C_TESTS = \
    tests/test_core \
    tests/test_engines \
    tests/test_openblas

mpi_programs = \
    tests/test_case \
    tests/test_case_file \
    tests/test_comm \
    tests/test_family \
    tests/test_matrix \
    tests/test_sum_lengths
MPI_TESTS = \
    tests/test_case-1.mpi \
    tests/test_case-2.mpi \
    tests/test_case-3.mpi \
    tests/test_case-5.mpi \
    tests/test_case_file-1.mpi \
    tests/test_case_file-2.mpi \
    tests/test_case_file-3.mpi \
    tests/test_case_file-5.mpi \
    tests/test_comm-1.mpi \
    tests/test_comm-2.mpi \
    tests/test_comm-3.mpi \
    tests/test_comm-5.mpi \
    tests/test_comm-8.mpi \
    tests/test_family-1.mpi \
    tests/test_family-3.mpi \
    tests/test_family-5.mpi \
    tests/test_family-8.mpi \
    tests/test_matrix-1.mpi \
    tests/test_matrix-2.mpi \
    tests/test_matrix-3.mpi \
    tests/test_matrix-5.mpi \
    tests/test_sum_lengths-1.mpi \
    tests/test_sum_lengths-3.mpi

## The driver from outside: exit statuses, files, comparisons (tests/driver_lib.sh says how).
SCRIPT_TESTS = \
    tests/bit_matrix.sh \
    tests/doc_blocks.py \
    tests/doc_links.py \
    tests/driver_bad_files.sh \
    tests/driver_bench.sh \
    tests/driver_cases.sh \
    tests/driver_check.sh \
    tests/driver_check_gates.sh \
    tests/driver_check_hints.sh \
    tests/driver_check_npy.sh \
    tests/driver_goldens.sh \
    tests/driver_inputs.sh \
    tests/driver_isa.sh \
    tests/driver_memory.sh \
    tests/driver_ports.sh \
    tests/driver_ranks.sh \
    tests/driver_sizes.sh \
    tests/driver_status.sh \
    tests/driver_suite.sh \
    tests/driver_verify.sh \
    tests/exact_integers.sh \
    tests/peer_agree.sh \
    tests/peer_torch.sh \
    tests/test_harness.sh \
    tests/test_headers.sh \
    tests/test_isa.sh \
    tests/torch_port.sh

include tests/partial_fc.mk
include tests/arcface.mk
include tests/swav.mk
include tests/moco.mk
include tests/batch_norm.mk
include tests/train.mk
include tests/explain.mk
include tests/ports.mk
include tests/checked.mk
include tests/emulate.mk
include tests/hostile.mk
include tests/cuda.mk
include tests/tiles.mk

check_LIBRARIES += libpfctest.a
libpfctest_a_SOURCES = tests/pfc_test.c tests/pfc_test.h
if PFC_SANITIZE
libpfctest_a_SOURCES += tests/sanitize_dlclose.c
endif

tests_test_case_SOURCES = tests/test_case.c tests/case_toy.c tests/case_toy.h
tests_test_case_file_SOURCES = tests/test_case_file.c tests/case_toy.c tests/case_toy.h
tests_test_family_SOURCES = tests/test_family.c tests/case_toy.c tests/case_toy.h

## harness_fails fails on purpose: tests/test_harness.sh looks at how.
check_PROGRAMS += tests/harness_fails $(C_TESTS) $(mpi_programs)
LDADD = libpfctest.a $(everything) $(CHECK_LIBS)
TESTS += $(C_TESTS) $(MPI_TESTS) $(SCRIPT_TESTS)
EXTRA_DIST += $(SCRIPT_TESTS) tests/env.sh tests/mpi-env.sh tests/mpi-log-compiler.sh tests/python-log-compiler.sh \
    tests/lsan.supp tests/sanitize_dlclose.c tests/installcheck.sh

EXTRA_DIST += \
    tests/check_ports.py \
    tests/driver_lib.sh \
    tests/exact_v1.py \
    tests/exact_v1_core.py \
    tests/fills.py \
    tests/float32_ports.py \
    tests/make_bad_cases.py \
    tests/make_tiny_cases.py \
    tests/peer_lib.py \
    tests/suite_table.py

## The stub of an MPI test only carries its name.
$(MPI_TESTS):
	@$(MKDIR_P) $(@D)
	@: >$@
CLEANFILES += $(MPI_TESTS)

## Folders that scripts leave when they fail.
clean-local:
	rm -rf tests/*.dir tests/*.tmp bit_matrix.* doc_blocks.* exact_integers.* peer_encoder.* peer_torch.* installcheck.*

TEST_EXTENSIONS = .mpi .sh .py
MPI_LOG_COMPILER = $(srcdir)/tests/mpi-log-compiler.sh
SH_LOG_COMPILER = bash
PY_LOG_COMPILER = $(srcdir)/tests/python-log-compiler.sh
AM_TESTS_ENVIRONMENT = \
    MPIRUN='$(MPIRUN)'; MPIRUN_FLAGS='$(MPIRUN_FLAGS)'; PYTHON='$(PYTHON)'; CC='$(CC)'; OBJDUMP='$(OBJDUMP)'; CFLAGS='$(CFLAGS)'; \
    PFC_TOP_SRCDIR='$(abs_top_srcdir)'; PFC_TOP_BUILDDIR='$(abs_top_builddir)'; PFC_REF='$(abs_top_builddir)/pfc_ref$(EXEEXT)'; \
    export MPIRUN MPIRUN_FLAGS PYTHON CC OBJDUMP CFLAGS PFC_TOP_SRCDIR PFC_TOP_BUILDDIR PFC_REF; . '$(abs_top_srcdir)/tests/env.sh';
