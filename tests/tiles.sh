#!/usr/bin/env bash
# The driver with the tile engines on the tile model: every shipped golden in exact mode on int8 tiles, bit for bit, and in fast mode with bf16x6 within the
# f32 bounds; what is said where tiles cannot be used.
PFC_REF=${PFC_TOP_BUILDDIR:-.}/tests/tiles/pfc_ref
[ -x "$PFC_REF" ] || { echo "skipped: this build has no tile kernels"; exit 77; }
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99

expect 0 alone info
if grep -q '^exact, amx *not available' "$work/out"; then
    echo "skipped: $(sed -n 's/^exact, amx *//p' "$work/out")"
    exit 77
fi
says out "exact, amx      backend cpu, instruction set avx512, engine amx, transport host"
says out "fast, bf16x6    backend cpu, instruction set amx, engine bf16x6, transport host"
for np in 1 2; do
    PFC_ENGINE=amx expect 0 $np verify --mode exact
    says out ", 0 cases different"
done
PFC_ENGINE=amx expect 0 alone verify --mode exact --threads 3

# bf16x6: only where it is asked for, and told in the report.
expect 0 alone verify --mode fast --json "$work/auto.json"
grep -q '"engine": *"none"' "$work/auto.json" || fail "fast mode of itself: no engine none in the report"
for np in 1 3; do
    PFC_ENGINE=bf16x6 expect 0 $np verify --mode fast --json "$work/tiles.json"
    says out ", 0 cases different"
    grep -q '"engine": *"bf16x6"' "$work/tiles.json" || fail "np $np: no engine bf16x6 in the report"
done
PFC_ENGINE=bf16x6 expect 0 2 verify --mode fast --backend checked

# The same bits for any number of threads. More blocks than a golden has; sampled rows; numbers of every size.
while read -r number case; do
    rm -rf "$work/made"
    # shellcheck disable=SC2086
    expect 0 alone golden $case -o "$work/made" --quiet
    golden=$(echo "$work"/made/*.h5)
    for threads in 1 3; do
        PFC_ENGINE=bf16x6 expect 0 alone run "$golden" -o "$work/$threads.h5" --mode fast --threads $threads --quiet
    done
    same "$work/1.h5" "$work/3.h5"
    expect 0 alone check "$golden" "$work/1.h5" --dtype f32 --quiet
    expect 0 alone run "$golden" -o "$work/ordinary.h5" --mode fast --quiet
    ! cmp -s "$work/1.h5" "$work/ordinary.h5" || fail "case $number: bf16x6 gave the ordinary bits"
done <<'END'
1 partial_fc --size N=40,C=1700,D=70 --param head=arc,scale=30,margin=0.3,sample_rate=0.5
2 partial_fc --size N=16,C=250,D=12 --fill hard --param head=circle,scale=8,margin=0.25
END

PFC_ENGINE=bf16x6 PFC_MAX_ISA=avx512 expect 4 alone verify --mode fast
says err "product engine bf16x6 cannot run here: PFC_MAX_ISA is avx512"
PFC_ENGINE=bf16x6 expect 4 alone verify --mode exact
says err "only fast mode has the product engine 'bf16x6'"
PFC_ENGINE=abacus expect 4 2 verify --mode fast
says err "unknown product engine 'abacus'"
finish
