#!/usr/bin/env bash
# verify, list, info and bench: verdicts and statuses of verify on folders of its own, and JSON files that can be read.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
param=head=cos,scale=16,margin=0.4,lr=0.1
for folder in good other; do mkdir "$work/$folder"; done
expect 0 3 golden partial_fc --size N=12,C=11,D=8 --name any --steps --param $param,xgrad_scale=1 -o "$work/good"
expect 0 2 golden partial_fc --size N=12,C=11,D=8 --name two --param $param -o "$work/other"
cp "$work/other/two.h5" "$work/good"

for np in 1 2 3; do
    PFC_DATA=$work/good expect 0 $np verify --json "$work/verify$np.json"
    grep -q '^match: ' "$work/out" || fail "$command_line: no verdict"
    [ $np = 2 ] || grep -q 'two .*n/a: for 2 ranks' "$work/out" || fail "$command_line: no n/a row for the case of 2 ranks"
done
PFC_DATA=$work/good expect 0 1
PFC_DATA=$work/good expect 0 1 --mode exact
PFC_DATA=$work/good expect 0 1 --mode fast
PFC_DATA=$work/good expect 0 2 golden -o "$work/again"
for file in any two; do same "$work/good/$file.h5" "$work/again/$file.h5"; done
# What fast mode writes is a float32 port's file.
for np in 1 3; do
    expect 0 $np run "$work/good/any.h5" -o "$work/again/fast.h5" --mode fast --steps
    expect 0 1 check "$work/good/any.h5" "$work/again/fast.h5"
    says out "compared as f32"
done
# Where no shipped case fits, the one made on the spot is left; in fast mode alone it has no golden, and nothing compared is no success.
for np in 1 5 7; do
    PFC_DATA=$work/other expect 0 $np verify
    grep -q 'any_ranks .*match' "$work/out" || fail "$command_line: no row for the case made on the spot"
done
PFC_DATA=$work/other expect 3 1 verify --mode fast
PFC_DATA=$work expect 3 1 verify

# The build tree's program finds the shipped cases from anywhere, without PFC_DATA.
if [ "$(dirname "$PFC_REF")" = "${PFC_TOP_BUILDDIR:-}" ]; then
    (cd / && env -u PFC_DATA "$PFC_REF" list) >"$work/out" 2>"$work/err" || fail "list in another folder: $(cat "$work/err")"
    says out "pfc_full_cos "
fi

if [ "${PYTHON:-no}" != no ]; then
    # A golden of which one bit is wrong, and a broken file beside good ones.
    mkdir "$work/wrong" "$work/broken"
    cp "$work/good/any.h5" "$work/wrong/any.h5"
    cp "$work/good/any.h5" "$work/broken/any.h5"
    head -c 3000 "$work/good/two.h5" >"$work/broken/cut.h5"
    "$PYTHON" - "$work/wrong/any.h5" <<'END'
import sys
import h5py
import numpy as np
with h5py.File(sys.argv[1], "r+") as f:
    f["out/weight_grad"][3, 2] = np.nextafter(f["out/weight_grad"][3, 2], np.inf)
END
    for np in 1 3; do
        PFC_DATA=$work/wrong expect 1 $np verify
        says out "weight_grad"
        PFC_DATA=$work/broken expect 3 $np verify
        says out "ERROR"
    done
    expect 0 2 list --json "$work/list.json"
    expect 0 2 info --json "$work/info.json"
    expect 0 2 bench partial_fc --size N=8,C=300,D=16 --rounds 3 --mode exact --json "$work/bench.json" --param sample_rate=0.5
    names='import json, sys; print(*[a["name"] for a in json.load(open(sys.argv[1]))["algorithms"] if a["name"] != "partial_fc"])'
    for algorithm in $("$PYTHON" -c "$names" "$work/list.json"); do
        expect 0 2 bench "$algorithm" --quick --rounds 1 --json "$work/bench_$algorithm.json"
    done
    "$PYTHON" - "$work" <<'END' || fail "a JSON file does not hold what it should"
import json
import sys
read = lambda name: json.load(open("%s/%s.json" % (sys.argv[1], name)))
v = read("verify2")
made = [r for r in v["results"] if r["case"] == "any_ranks"]
assert v["verdict"] == "match" and v["cases"] == len(made) + 2 >= 3 and all(r["exact_against_golden"]["wrong"] == 0 for r in v["results"])
assert read("verify1")["not_applicable"] == 1
a = [a for a in read("list")["algorithms"] if a["name"] == "partial_fc"][0]
assert {p["name"]: p for p in a["parameters"]}["head"]["required"]
assert read("info")["spec"] == "exact-v1"
b = read("bench")["cases"][0]
assert len(b["cpu_seconds_rounds"]) == 3 and b["cpu_seconds"] > 0 and b["peak_rss_bytes"] > 1e6 and b["bound_seconds"] > 0
for a in [a for a in read("list")["algorithms"] if a["name"] != "partial_fc"]:
    c = read("bench_" + a["name"])["cases"][0]
    assert c["algorithm"] == a["name"] and c["cpu_seconds"] > 0 and c["bound_seconds"] > 0 and len(c["wall_seconds_rounds"]) == 1 and "param" in c
assert b["sampled_classes"] >= 150 and b["flops"] == 6 * 8 * 16 * b["sampled_classes"] and b["ranks"] == 2
END
fi
finish
