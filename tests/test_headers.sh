#!/usr/bin/env bash
# Every public header compiles alone, in C11 and (where a C++ compiler is there) in C++11, without a warning.
set -u
include=$PFC_TOP_SRCDIR/include
failed=0 count=0
languages="c:-std=c11"
# OMPI_SKIP_MPICXX: mpi.h would pull in Open MPI's old C++ bindings.
if echo '#include <cstddef>' | $CC -x c++ -std=c++11 -fsyntax-only - 2>/dev/null; then languages="$languages c++:-std=c++11"; fi
for header in "$include"/pfc/*.h; do
    name=pfc/$(basename "$header")
    for language in $languages; do
        count=$((count + 1))
        printf '#include <%s>\n#include <%s>\nint pfc_test_only;\n' "$name" "$name" |
            $CC -x "${language%%:*}" "${language#*:}" -pedantic -Wall -Wextra -Werror -DOMPI_SKIP_MPICXX -I"$include" -fsyntax-only - ||
            { echo "FAIL $name as ${language%%:*}"; failed=$((failed + 1)); }
    done
    grep -q "$name" "$PFC_TOP_SRCDIR/Makefile.am" || { echo "FAIL $name is not installed by Makefile.am"; failed=$((failed + 1)); }
done
echo "$count compilations ($languages), $failed failed"
[ "$count" -gt 0 ] && [ "$failed" = 0 ]
