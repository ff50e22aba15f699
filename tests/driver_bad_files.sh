#!/usr/bin/env bash
# Every kind of bad file: status 3, one line that names the trouble, no output, an existing output untouched. The odd but good files give the
# results of the plain one. PFC_TEST_FULL=1 tries all of them on 8 ranks, too; else every sixth.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }
"$PYTHON" "$PFC_TOP_SRCDIR/tests/make_bad_cases.py" "$work" || exit 99
out=$work/result.h5
before=$(cd "$work" && find . | sort)

count=0
while IFS=$'\t' read -r -a words; do
    expect 3 alone run "$work/bad/${words[0]}.h5" -o "$out"
    for word in "${words[@]:1}"; do says err "$word"; done
    [ ! -e "$out" ] || fail "$command_line: wrote an output"
    rm -f "$out"
    count=$((count + 1))
    if [ "${PFC_TEST_FULL:-0}" = 1 ] || [ $((count % 6)) = 0 ]; then
        echo untouched >"$out"
        expect 3 8 run "$work/bad/${words[0]}.h5" -o "$out"
        [ "$(cat "$out")" = untouched ] || fail "$command_line: changed the existing output"
        rm -f "$out"
    fi
done <"$work/bad.txt"
[ "$count" -gt 40 ] || fail "only $count bad files were tried"

expect 0 alone run "$work/good/plain.h5" -o "$work/plain_result.h5" --no-inputs
count=0
while IFS=$'\t' read -r case changed; do
    rm -f "$out"
    expect 0 alone run "$work/good/$case.h5" -o "$out" --no-inputs
    [ "$changed" = 0 ] || says out "$changed input values were rounded"
    expect 0 alone check "$work/plain_result.h5" "$out" --dtype exact
    count=$((count + 1))
done <"$work/good.txt"
[ "$count" -gt 10 ] || fail "only $count good files were tried"

rm -f "$out" "$work/plain_result.h5" "$work/out" "$work/err"
left=$(comm -13 <(echo "$before") <(cd "$work" && find . | sort))
[ -z "$left" ] || fail "left behind: $left"
finish
