## Files that are damaged on purpose, and ranks that fail on purpose.
C_TESTS += tests/test_damaged
tests_test_damaged_SOURCES = tests/test_damaged.c tests/fuzz/readers.c tests/fuzz/readers.h
tests_test_damaged_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests

## libFuzzer's target, with clang and only when asked for: tests/fuzz/run.sh.
EXTRA_PROGRAMS += tests/fuzz/fuzz_readers
tests_fuzz_fuzz_readers_SOURCES = tests/fuzz/fuzz_readers.c tests/fuzz/readers.c tests/fuzz/readers.h
tests_fuzz_fuzz_readers_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_fuzz_fuzz_readers_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
EXTRA_DIST += \
    tests/fuzz/run.sh \
    tests/fuzz/seeds/chunk_memory.h5 \
    tests/fuzz/seeds/heap_segfault.h5 \
    tests/fuzz/seeds/names_segfault.h5

SCRIPT_TESTS += tests/driver_hostile.sh tests/faults.sh
EXTRA_DIST += tests/fault_shim.c tests/make_hostile_results.py
