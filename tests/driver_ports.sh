#!/usr/bin/env bash
# check --dtype f32 on plain float32 ports (tests/float32_ports.py): the right ones pass, where exp underflows and where a softmax is certain, too, and
# the wrong ones are found. NaN is a result like another; what float32 cannot decide at all is VACUOUS.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }
ports=$PFC_TOP_SRCDIR/tests/float32_ports.py

check_ports() { # golden
    "$PYTHON" "$ports" ports "$1" "$work" >"$work/list.txt" || fail "$1: the ports did not run"
    while read -r want file; do
        expect "$want" alone check "$1" "$file" --dtype f32
    done <"$work/list.txt"
}

for case in sk_g sk_v1 sk_v2 sk_vissl sk_log sk_plain sk_faint sk_ties sk_overflow_w2 moco_plain_w2 moco_sharp_w2; do
    check_ports "$PFC_TOP_SRCDIR/data/$case.h5"
done

"$PYTHON" "$ports" cases "$work" >"$work/cases.txt" || exit 99
while read -r np case; do
    expect 0 "$np" golden "$work/$case.h5" -o "$work/made"
    check_ports "$work/made/$case.h5"
done <"$work/cases.txt"

# A row sum of 0 in float32 only: a port is neither right nor wrong.
"$PYTHON" "$ports" ports "$PFC_TOP_SRCDIR/data/sk_tiny.h5" "$work" >"$work/list.txt"
while read -r _ file; do
    expect 3 alone check "$PFC_TOP_SRCDIR/data/sk_tiny.h5" "$file" --dtype f32
    says err "VACUOUS"
done <"$work/list.txt"
[ "$checks" -gt 30 ] || fail "only $checks checks were made"
finish
