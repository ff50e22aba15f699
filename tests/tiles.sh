#!/usr/bin/env bash
# The driver with the tile engines on the tile model: every shipped golden in exact mode on int8 tiles, bit for bit.
PFC_REF=${PFC_TOP_BUILDDIR:-.}/tests/tiles/pfc_ref
[ -x "$PFC_REF" ] || { echo "skipped: this build has no tile kernels"; exit 77; }
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99

expect 0 alone info
if grep -q '^exact, amx *not available' "$work/out"; then
    echo "skipped: $(sed -n 's/^exact, amx *//p' "$work/out")"
    exit 77
fi
says out "exact           backend cpu, instruction set avx512, engine amx"
for np in 1 2; do
    PFC_ENGINE=amx expect 0 $np verify --mode exact
    says out ", 0 cases different"
done
PFC_ENGINE=amx expect 0 alone verify --mode exact --threads 3
finish
