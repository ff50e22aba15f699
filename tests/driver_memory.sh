#!/usr/bin/env bash
# Memory of a step of partial_fc: no rank takes more than weights, momentum, the cosines of its sampled classes and 64 MiB. The sizes are such that one more
# copy of any of the three would show. --quick: the machine is measured in 16 MiB, below what may be more, where the peak cannot be set back.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
nm -D "$PFC_REF" 2>/dev/null | grep __asan >/dev/null && { echo "skipped: the address sanitizer has memory of its own"; exit 77; }
slack=$((64 << 20))

number() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" "$work/json" | head -1; }

# within NP BYTES-OF-A-NUMBER N C D OPTION...: C and the sampled classes are the same on every rank.
within() {
    local np=$1 real=$2 n=$3 c=$4 d=$5 weights cosines peak
    shift 5
    expect 0 "$np" bench partial_fc --quick --size "N=$n,C=$c,D=$d" --rounds 1 --json "$work/json" "$@"
    weights=$((real * c / np * d)) cosines=$((real * n * $(number sampled_classes) / np)) peak=$(number peak_rss_bytes)
    [ $weights -gt $slack ] && [ $cosines -gt $slack ] || fail "$command_line: sizes at which a copy would not show"
    echo "$command_line: weights and momentum 2 x $weights, cosines $cosines, peak $peak: $((peak - 2 * weights - cosines)) more"
    [ "$peak" -ge $((2 * weights + cosines)) ] || fail "$command_line: peak $peak is less than what a step needs"
    [ "$peak" -le $((2 * weights + cosines + slack)) ] || fail "$command_line: peak $peak, promised $((2 * weights + cosines + slack))"
}

within 1 4 96 200000 128 --mode fast
within 2 4 96 360000 128 --mode fast
within 3 4 96 540000 128 --mode fast
within 1 4 192 200000 128 --mode fast --param sample_rate=0.5
within 2 4 192 400000 128 --mode fast --param sample_rate=0.5,sample_rule=global
within 1 4 96 200000 128 --mode fast --threads 2
within 1 8 96 100000 96 --mode exact

# Without stored cosines two copies of the weights and 64 MiB are all.
expect 0 1 bench partial_fc --quick --size N=192,C=200000,D=128 --rounds 1 --json "$work/json" --mode fast --recompute
peak=$(number peak_rss_bytes)
[ "$peak" -le $((2 * 4 * 200000 * 128 + slack)) ] || fail "$command_line: peak $peak"

# The figure is that of the program, not of the one that started it.
bash -c 'x=$(head -c 150000000 /dev/zero | tr "\0" x); exec "$@"' start "$PFC_REF" bench partial_fc --quick --size N=8,C=100,D=8 --rounds 1 --json "$work/json" >"$work/out" 2>&1 || fail "bench from a large shell"
peak=$(number peak_rss_bytes)
[ "$peak" -le $slack ] || fail "a small step started by a large shell: peak $peak"
finish
