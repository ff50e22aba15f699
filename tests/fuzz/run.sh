#!/usr/bin/env bash
# Builds the fuzz target of all readers with clang, the address and the undefined-behaviour sanitizer, and runs it:
#     tests/fuzz/run.sh [SECONDS [BUILD FOLDER]]       60 s in build-fuzz
# The corpus starts from the cases and goldens of the tree and grows in BUILD FOLDER/corpus. A finding is a file BUILD FOLDER/found-*, and status 1.
# SOURCE: another source tree (a configured one cannot be built twice).
set -eu
seconds=${1:-60} build=${2:-build-fuzz}
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${SOURCE:=$top}"
export PFC_TOP_SRCDIR=$top
. "$top/tests/env.sh"
mkdir -p "$build/corpus" "$build/seeds"
cd "$build"
export OMPI_CC=clang
[ -e Makefile ] || "$SOURCE/configure" -q --without-cuda --enable-sanitizers --disable-dependency-tracking CFLAGS='-g -O1 -fsanitize=fuzzer-no-link'
make -s -j "$(nproc)" tests/fuzz/fuzz_readers
find "$SOURCE/tests/cases" "$SOURCE/data" "$SOURCE/tests/fuzz/seeds" -name '*.h5' -size -40k -exec cp {} seeds \;
printf '# keys\n0.5\n0x1p-3\n 7 # seven\nnan\n' >seeds/numbers.txt
for type in '<f4' '>f8' '<i8' '|u1' '<f2'; do # six numbers
    printf '\223NUMPY\001\000v\000%-117s\n%0*d' "{'descr': '$type', 'fortran_order': True, 'shape': (2, 3), }" $((6 * ${type: -1})) 0 >"seeds/$(tr -dc 'a-z0-9' <<<"$type").npy"
done
{ # two characters of one pixel in one face
    printf 'hanglyph\1\0\0\0\1\0\0\0\2\0\0\0\1\0\0\0\1\116\0\0\2\116\0\0'
    printf 'key%029d' 0 | tr 0 '\0'
    printf '\1\377\0'
} >seeds/glyphs.bin
export ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0:allocator_may_return_null=1" # leaks: the tests under --enable-sanitizers
exec ./tests/fuzz/fuzz_readers -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=3000 -malloc_limit_mb=2000 -artifact_prefix=found- \
    -print_final_stats=1 -verbosity=1 corpus seeds
