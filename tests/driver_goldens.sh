#!/usr/bin/env bash
# The shipped goldens made again, and the suite, on 1, 2, 3, 5 and 8 ranks and on the one number that they name: every result has the digest listed in
# data/digests.txt, and every shipped case is listed.
# PFC_WRITE_DIGESTS=FILE writes the list instead of comparing it.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
export LC_ALL=C # one order everywhere
shipped=$PFC_TOP_SRCDIR/data
counts=$(PFC_DATA=$shipped "$PFC_REF" list --quiet --json "$work/list.json" && grep -o '"world": *[1-9][0-9]*' "$work/list.json" | grep -o '[0-9]*')
for np in $(printf '%s\n' 1 2 3 5 8 $counts | sort -nu); do
    PFC_DATA=$shipped expect 0 $np golden -o "$work/$np" --dtype f32 --json "$work/$np.json" --quiet
    awk -F'"' '/"name":/ { name = $4 } $4 ~ /^[0-9a-f]+$/ && length($4) == 64 { print $4 "  " name "/out/" $2 }' "$work/$np.json"
done >"$work/all.txt"
sort -u "$work/all.txt" | sort -k 2 >"$work/digests.txt"
cut -d ' ' -f 3 "$work/digests.txt" | uniq -d | while read -r name; do echo "$name: not the same on all rank counts"; done >"$work/unequal.txt"
[ ! -s "$work/unequal.txt" ] || fail "$(cat "$work/unequal.txt")"
for file in "$shipped"/*.h5; do
    name=$(basename "$file" .h5)
    grep -q "  $name/" "$work/digests.txt" || fail "$name was not made on any of these rank counts"
done
if [ -n "${PFC_WRITE_DIGESTS:-}" ]; then
    cp "$work/digests.txt" "$PFC_WRITE_DIGESTS"
elif ! diff -u "$shipped/digests.txt" "$work/digests.txt" >"$work/diff.txt" 2>&1; then
    fail "data/digests.txt and the goldens made now differ: $(head -20 "$work/diff.txt")"
fi
[ "$(wc -l <"$work/digests.txt")" -ge 6 ] || fail "nothing was compared"
finish
