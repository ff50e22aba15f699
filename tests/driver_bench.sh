#!/usr/bin/env bash
# bench: the table, JSON whose figures agree with each other, statuses, the plot.
. "$(dirname "$0")/driver_lib.sh"

# The runs whose figures are looked at below.
measure() {
    expect 0 "$1" bench --quick --rounds 3 --json "$work/all_$1.json"
    for text in "GFLOP/s multiply-add" "update (read, written)" "partial_fc A, 10 %" "sinkhorn 4096" "moco_shuffle" "batch_norm" "beyond inputs"; do
        says out "$text"
    done
    expect 0 "$1" bench partial_fc --quick --size N=8,C=3000,D=32 --param sample_rate=0.5 --rounds 3 --json "$work/one_$1.json"
    says out "step/products"
    expect 0 "$1" bench sinkhorn --quick --rounds 3 --mode exact --json "$work/exact_$1.json"
}

measure_3() { expect 0 3 bench --quick --rounds 1 --json "$work/all_3.json"; }

measure alone
measure 2
measure_3
says out "skipped: --size: found N = 8, expected a multiple of the number of ranks, 3"
PFC_MAX_ISA=scalar expect 0 alone bench sinkhorn --quick --rounds 2
says out "scalar float"
PFC_MAX_ISA=sse9 expect 4 alone bench --quick
expect 0 alone bench --quick --rounds 1 --quiet
[ ! -s "$work/out" ] || fail "$command_line: --quiet printed something"

for np in alone 2; do
    expect 2 $np bench nonsense
    expect 2 $np bench --size N=8
    expect 2 $np bench --param sample_rate=0.1
    expect 2 $np bench --rounds 0
    expect 2 $np bench --rounds 1001
    expect 2 $np bench partial_fc sinkhorn
    expect 2 $np bench partial_fc --size N=8,Q
    expect 2 $np bench --plot "$work/plot.pdf"
    expect 2 $np bench partial_fc --size N=128,C=16000000,D=100000
    expect 5 $np bench --quick --json "$work/none/x.json"
done

# A link stays one.
ln -s real.json "$work/link.json"
expect 0 alone bench sinkhorn --quick --rounds 1 --json "$work/link.json"
[ -L "$work/link.json" ] && grep -q '"cases"' "$work/real.json" || fail "$command_line: the link is gone"

if command -v gnuplot >/dev/null; then
    expect 0 2 bench --quick --rounds 1 --plot "$work/plot.svg"
    grep -q 'moco_shuffle' "$work/plot.svg" || fail "the plot does not name its cases"
    expect 0 alone bench sinkhorn --quick --rounds 1 --plot "$work/plot.png"
    [ -s "$work/plot.png" ] || fail "$command_line: no plot"
    expect 5 alone bench sinkhorn --quick --rounds 1 --plot "$work/none/plot.svg"
else
    expect 4 alone bench --quick --plot "$work/plot.svg"
    says err "gnuplot not found"
fi
# No gnuplot to be found.
# shellcheck disable=SC2086
$MPIRUN $MPIRUN_FLAGS -np 2 "$(command -v env)" PATH=/nonexistent "$PFC_REF" bench --quick --plot "$work/other.svg" >"$work/out" 2>"$work/err" </dev/null
status=$?
command_line="bench --plot without gnuplot"
[ $status = 4 ] || fail "$command_line: status $status"
says err "pfc_ref: --plot: gnuplot not found"
[ ! -e "$work/other.svg" ] || fail "$command_line: wrote a file"

# Status 9: all that is wrong is a share above 110 %. A bound that is too high shows every time; once or twice it is a machine that had less time for the
# bound's measurement than for the step's, above all by wall time on several ranks.
figures() {
    "$PYTHON" - "$work" <<'END'
import json
import statistics
import sys

high = []
near = lambda a, b: abs(a - b) <= 1e-9 * max(abs(a), abs(b))


def look(name, ranks, skips=False):
    made = json.load(open("%s/%s.json" % (sys.argv[1], name)))
    machine, cases = made["machine"], made["cases"]
    assert machine["ranks"] == ranks and machine["flops_per_second"] > 1e8 and machine["gemm_flops_per_second"] > 0
    assert all(m[p] > 1e7 for m in machine["memory"] for p in ("copy", "read", "triad", "update"))
    done = [c for c in cases if "skipped" not in c]
    assert done and (skips or len(done) == len(cases)) and all(c["skipped"] for c in cases if c not in done)
    for c in done:
        wall, cpu = c["wall_seconds_rounds"], c["cpu_seconds_rounds"]
        assert c["ranks"] == ranks and len(wall) == len(cpu) == c["rounds"] and near(c["cpu_seconds"], statistics.median(cpu))
        assert c["time"] == ("cpu" if ranks == 1 else "wall") and c["seconds"] == c[c["time"] + "_seconds"]
        assert near(c["flops_per_second"] * c["seconds"], c["flops"]) and near(c["bytes_per_second"] * c["seconds"], c["bytes"])
        assert near(c["bytes"], sum(c["bytes_by_pattern"].values()))
        assert near(c["compute_seconds"], c["flops"] / c["peak_flops_per_second"]) and c["peak_flops_per_second"] <= machine["flops_per_second"]
        rates = {p: [m[p] for m in machine["memory"]] for p in c["bytes_by_pattern"]}
        assert c["memory_seconds"] >= 0.999 * sum(b / max(rates[p]) for p, b in c["bytes_by_pattern"].items())
        assert near(c["bound_seconds"], max(c["compute_seconds"], c["memory_seconds"]))
        assert near(c["share_of_bound"], c["bound_seconds"] / c["seconds"]) and c["share_of_bound"] >= 0, c["name"]
        if c["share_of_bound"] > (1.1 if c["time"] == "cpu" else 2):
            high.append("%s, %s ranks: share %.2f" % (c["name"], ranks, c["share_of_bound"]))
        assert c["peak_rss_bytes"] > 1e6 and 0 <= c["beyond_inputs_bytes"] < c["peak_rss_bytes"]
    return done


for ranks, np in ((1, "alone"), (2, "2")):
    assert {c["algorithm"] for c in look("all_" + np, ranks)} >= {"partial_fc", "arcface_head", "sinkhorn", "swav", "moco", "moco_shuffle", "batch_norm", "group_gather"}
    c, = look("one_" + np, ranks)
    assert 1500 <= c["sampled_classes"] <= 3000 and c["flops"] == 6 * 8 * 32 * c["sampled_classes"] and c["step_over_gemm"] > 0 and c["size"]["C"] == 3000
    look("exact_" + np, ranks)
look("all_3", 3, skips=True)
print(*high, sep="\n", end="\n" if high else "")
sys.exit(9 if high else 0)
END
}

if [ "${PYTHON:-no}" != no ]; then
    figures
    status=$?
    for try in 2 3; do
        [ $status = 9 ] || break
        echo "measured again, $try"
        measure alone
        measure 2
        measure_3
        figures
        status=$?
    done
    [ $status = 0 ] || fail "the figures of a JSON file do not agree: status $status"
fi
finish
