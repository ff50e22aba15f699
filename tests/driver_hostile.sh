#!/usr/bin/env bash
# Hostile files from outside, with the true driver: what check reads (golden or candidate), what run, golden, list and verify read, on one and several ranks.
# Status 0, 1 or 3, at most one line on stderr, within seconds, within 1 GiB. Cases that are merely wrong: tests/driver_bad_files.sh; many more changed
# bytes: tests/test_damaged.c; the fuzzer: tests/fuzz/run.sh.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }
asan=$(nm -D "$PFC_REF" 2>/dev/null | grep -c __asan)
seconds=20 # on a busy machine; most take less than one

# survives NP ARGUMENT...: any of the three statuses; says which.
survives() {
    local start=$SECONDS lines
    run "$@"
    [ $((SECONDS - start)) -le $seconds ] || fail "$command_line: $((SECONDS - start)) s"
    lines=$(wc -l <"$work/err")
    case $status in
    0 | 1) [ "$lines" = 0 ] || fail "$command_line: status $status: $(head -c 600 "$work/err")" ;;
    3) [ "$lines" = 1 ] && grep -q '^pfc_ref: ' "$work/err" || fail "$command_line: expected one line: $(head -c 600 "$work/err")" ;;
    *) fail "$command_line: status $status: $(head -c 600 "$work/err")" ;;
    esac
}

expect 0 alone golden partial_fc --size N=12,C=15,D=8 --name golden --steps --param head=arc,scale=16,margin=0.5,lr=0.1,xgrad_scale=1 -o "$work"
golden=$work/golden.h5
"$PYTHON" "$PFC_TOP_SRCDIR/tests/make_hostile_results.py" "$golden" "$work" || exit 99

# As a candidate and as a golden: refused with that text; or good for both.
while IFS=$'\t' read -r name text; do
    file=$work/results/$name.h5
    if [ "$text" = match ]; then
        expect 0 alone check "$golden" "$file" --dtype exact
        expect 0 alone check "$file" "$golden" --dtype exact
        continue
    fi
    expect 3 alone check "$golden" "$file"
    says err "$text"
    expect 3 alone check "$file" "$golden"
    says err "$text"
done <"$work/results.txt"
[ "$(wc -l <"$work/results.txt")" -gt 20 ] || fail "so few results were tried"

# HDF5 itself crashes on these.
for seed in "$PFC_TOP_SRCDIR"/tests/fuzz/seeds/*.h5; do
    expect 3 alone run "$seed" -o "$work/x.h5"
    expect 3 3 run "$seed" -o "$work/x.h5"
    expect 3 2 golden "$seed" -o "$work/g"
    expect 3 alone check "$golden" "$seed"
    expect 3 alone check "$seed" "$golden"
done
mkdir "$work/data"
cp "$PFC_TOP_SRCDIR"/tests/fuzz/seeds/*.h5 "$golden" "$work/data"
PFC_DATA=$work/data expect 0 alone list
PFC_DATA=$work/data run 2 verify
[ "$status" = 3 ] || fail "$command_line: status $status"
[ "$(grep -c '^pfc_ref: .*damaged' "$work/err")" = 3 ] || fail "$command_line: $(head -c 600 "$work/err")"

# Cut at many lengths and changed in one byte, seeded.
outcomes=
while IFS= read -r name; do
    file=$work/changed/$name
    case $name in
    case*) [ $((checks % 3)) = 0 ] && np=$((2 + checks % 2)) || np=alone
        survives $np run "$file" -o "$work/x.h5" ;;
    *) survives alone check "$golden" "$file" --dtype f32
        survives alone check "$file" "$golden" --dtype f32 ;;
    esac
    outcomes="$outcomes $status"
done <"$work/changed.txt"
echo "statuses: $(tr ' ' '\n' <<<"$outcomes" | sort | uniq -c | tr '\n' ' ')"

# Memory of the worst ones.
if [ "$asan" = 0 ]; then
    for file in "$work"/results/{huge,wide_chunk,filled}.h5 "$PFC_TOP_SRCDIR/tests/fuzz/seeds/chunk_memory.h5"; do
        kib=$("$PYTHON" - "$PFC_REF" "$golden" "$file" <<'PY'
import resource, subprocess, sys
subprocess.run([sys.argv[1], "check"] + sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
PY
        )
        [ "$kib" -lt 1048576 ] || fail "check of $file took $kib KiB"
    done
fi
finish
