#!/usr/bin/env bash
# explain: every algorithm on 1 to 4 ranks. Steps are those of the algorithm's file, lines fit 80 columns, pages and pictures are well-formed, bytes are those
# of the algorithm's header, numbers do not depend on the number of ranks.
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
        grep -q 'no step knows' "$work/out" && fail "$command_line: an exchange that the table does not have"
        awk 'length > 80 || / $/ { exit 1 }' "$work/out" || fail "$command_line: a line longer than 80 columns, or a blank at its end"
        mv "$work/out" "$work/$name.$np.txt"
    done
done
for name in $algorithms; do same "$work/$name.4.svg" "$PFC_TOP_SRCDIR/doc/pictures/$name.svg"; done # else: make pictures
# The same work in fast mode, with settings of one's own, and where ranks have nothing.
for name in $algorithms; do expect 0 3 explain "$name" --mode fast -q; done
[ ! -s "$work/out" ] || fail "$command_line: something on stdout with -q"
for set in partial_fc:head=linear partial_fc:head=circle,margin=0.25,sample_rate=1 partial_fc:sample_rule=global,loss=lse partial_fc:steps=2,momentum_rule=dense \
    arcface_head:eval=1 arcface_head:num_subcenters=3,easy_margin=1 sinkhorn:version=log sinkhorn:version=vissl swav:crops=3,version=v2 batch_norm:kind=sub,num_splits=2 \
    batch_norm:num_sync_devices=2 batch_norm:training=0 group_gather:num_sync_devices=1,num_groups=4 moco:queue_wrap=1,queue_ptr=5; do
    expect 0 4 explain "${set%%:*}" --param "${set#*:}"
    grep -q 'no step knows' "$work/out" && fail "$command_line: an exchange that the table does not have"
done
expect 0 12 explain partial_fc -q

if [ "${PYTHON:-no}" != no ]; then
    for rule in 1 4; do
        expect 0 $rule explain partial_fc --param sample_rule=global,xgrad_scale=1
        mv "$work/out" "$work/partial_fc_global.$rule.txt"
    done
    expect 0 4 explain partial_fc --mode fast -q --json "$work/partial_fc.fast.json"
    "$PYTHON" "$PFC_TOP_SRCDIR/tests/explain_pages.py" "$PFC_TOP_SRCDIR" "$work" $algorithms || fail "what explain wrote"
    checks=$((checks + 1))
fi
finish
