#!/usr/bin/env bash
# explain: every algorithm on 1 to 4 ranks. Steps are those of the algorithm's file, lines fit 80 columns, pages and pictures are well-formed, bytes are those
# of the algorithm's header, exchanges are those that the settings ask for (explain_exchanges.txt), numbers do not depend on the number of ranks.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
algorithms="partial_fc arcface_head adaptive_margins sinkhorn swav lr_schedule moco_shuffle moco group_gather batch_norm"

expect 2 alone explain
expect 2 2 explain nothing
for name in $algorithms; do says err "$name"; done
expect 3 2 explain partial_fc --param head=none
expect 5 2 explain sinkhorn --html "$work/none/page.html"
[ ! -s "$work/out" ] || fail "$command_line: something on stdout"

for np in 1 2 3 4 8; do
    for name in $algorithms; do
        expect 0 $np explain "$name" --html "$work/$name.$np.html" --svg "$work/$name.$np.svg" --json "$work/$name.$np.json"
        says out "All results match."
        awk 'length > 80 || / $/ { exit 1 }' "$work/out" || fail "$command_line: a line longer than 80 columns, or a blank at its end"
        mv "$work/out" "$work/$name.$np.txt"
    done
done
for name in $algorithms; do same "$work/$name.4.svg" "$PFC_TOP_SRCDIR/doc/pictures/$name.svg"; done # else: make pictures
# With settings of one's own: explain fails where it tells of an exchange that it has not seen, or has seen one that it does not tell of.
i=0
while read -r name set ranks mode _; do
    [ "$name" = "#" ] && continue
    args=(--mode "${mode%:}")
    [ "$set" = - ] || args+=(--param "$set")
    expect 0 "$ranks" explain "$name" "${args[@]}" --json "$work/line$i.json"
    mv "$work/out" "$work/line$i.txt"
    i=$((i + 1))
done <"$PFC_TOP_SRCDIR/tests/explain_exchanges.txt"
expect 0 12 explain partial_fc -q
[ ! -s "$work/out" ] || fail "$command_line: something on stdout with -q"

if [ "${PYTHON:-no}" != no ]; then
    for rule in 1 4; do
        expect 0 $rule explain partial_fc --param sample_rule=global,xgrad_scale=1
        mv "$work/out" "$work/partial_fc_global.$rule.txt"
    done
    expect 0 2 explain sinkhorn --param iterations=2
    mv "$work/out" "$work/sinkhorn_two.txt"
    expect 0 4 explain partial_fc --mode fast -q --json "$work/partial_fc.fast.json"
    "$PYTHON" "$PFC_TOP_SRCDIR/tests/explain_pages.py" "$PFC_TOP_SRCDIR" "$work" $algorithms || fail "what explain wrote"
    checks=$((checks + 1))
fi
finish
