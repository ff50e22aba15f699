#!/usr/bin/env bash
# check: accepts what is right, names what is wrong, and never passes on nothing.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }
expect 0 alone golden partial_fc --size N=12,C=15,D=8 --name golden --steps --param head=arc,scale=16,margin=0.5,lr=0.1,xgrad_scale=1 --dtype f32 -o "$work"
golden=$work/golden.h5

# Candidates: what a port would write.
"$PYTHON" - "$work" <<'END'
import sys
import h5py
import numpy as np
work = sys.argv[1]
golden = h5py.File(work + "/golden.h5", "r")

def port(name, change=lambda n, x: x, dtype="<f4", out=None, steps=(), header=True):
    with h5py.File("%s/%s.h5" % (work, name), "w") as f:
        if header:
            f.attrs["format"], f.attrs["format_version"], f.attrs["algorithm"] = np.bytes_("pfc-case"), 1, np.bytes_("partial_fc")
        for group, names in (("out", golden["out"] if out is None else out), ("step", steps)):
            for n in names:
                x = golden[group][n][()]
                y = change(n, x.astype(dtype) if x.dtype.kind == "f" else x)
                f["%s/%s" % (group, n)] = y

def off(which, factor):
    return lambda n, x: x * x.dtype.type(factor) if n == which else x

order = sorted(golden["step"], key=lambda n: golden["step"][n].attrs["order"])
port("f32")
port("bare", header=False)
port("f64", dtype="<f8")
port("f16", dtype="<f2")
port("late", off("x_grad", 1.001))
port("late64", off("x_grad", 1 + 1e-9), dtype="<f8")
port("missing", out=["loss", "x_grad"])
port("shape", lambda n, x: x[:-1] if n == "weight" else x)
port("floats", lambda n, x: x.astype("<f4") if n == "sampled" else x)
port("nan", lambda n, x: np.where(np.arange(x.size).reshape(x.shape) == 3, np.nan, x).astype(x.dtype) if n == "x_grad" else x)
port("label", lambda n, x: np.roll(x, 1) if n == "sampled" else x)
port("steps", steps=order)
port("step_off", lambda n, x: x * x.dtype.type(1.01) if n in order[order.index("row_sum"):] + ["x_grad"] else x, steps=order)
port("step_shape", lambda n, x: x[:-1] if n == "cosine" else x, steps=order)
port("step_shape_off", lambda n, x: x[:-1] if n == "cosine" else x * x.dtype.type(1.01) if n == "row_sum" else x, steps=order)
port("behind", off("x_grad", 1.001), steps=order)
port("nothing", out=[])
port("shard", lambda n, x: x[4:8] if n == "x_grad" else x if n == "loss" else x[5:10])
with h5py.File(work + "/other.h5", "w") as f:
    f.attrs["format"], f.attrs["format_version"], f.attrs["algorithm"] = np.bytes_("pfc-case"), 1, np.bytes_("other")
    f["out/loss"] = golden["out/loss"][()]
END
# A golden whose data no longer has its digest; one without bounds.
for spoiled in damaged damaged_step boundless; do cp "$golden" "$work/$spoiled.h5"; done
"$PYTHON" - "$work" <<'END'
import sys
import h5py
with h5py.File(sys.argv[1] + "/damaged.h5", "r+") as f:
    f["out/x_grad"][0, 0] *= 1.5
with h5py.File(sys.argv[1] + "/damaged_step.h5", "r+") as f:
    f["step/cosine"][0, 0] *= 1.5
with h5py.File(sys.argv[1] + "/boundless.h5", "r+") as f:
    del f["bound"]
END

for np in alone 3; do
    expect 0 $np check "$golden" "$golden"
    expect 0 $np check "$golden" "$golden" --dtype exact
    says out "same bits"
    expect 0 $np check "$golden" "$work/f32.h5"
    says out "compared as f32"
    says out "repeat: pfc_ref check"
    expect 1 $np check "$golden" "$work/late.h5" --json "$work/late.json"
    says out "DIFFERENT"
    says out "first result that differs: /out/x_grad"
    expect 3 $np check "$golden" "$work/missing.h5"
    says err "MISSING"
done
expect 0 alone check "$golden" "$work/bare.h5"
expect 0 alone check "$golden" "$work/f64.h5"
expect 0 alone check "$golden" "$work/f64.h5" --dtype f32
expect 0 alone check "$golden" "$work/steps.h5"
expect 0 alone check "$work/boundless.h5" "$work/f64.h5"
says out "compared as exact"
expect 0 alone check "$golden" "$work/shard.h5" --rank 1 --of 3
# A batch whose ranks hold 3 0 1 4 2 rows: what each rank writes, cut by /in/rows.
uneven=$PFC_TOP_SRCDIR/data/bn_sync_rows_count_w5.h5
expect 0 5 golden "$uneven" -o "$work" --steps --quiet
uneven=$work/bn_sync_rows_count_w5.h5
"$PYTHON" - "$uneven" "$work" <<'END'
import sys
import h5py
import numpy as np
with h5py.File(sys.argv[1], "r") as golden:
    rows = golden["in/rows"][()]
    assert len(set(rows)) > 2, rows
    starts = np.concatenate([[0], np.cumsum(rows)])
    for rank, count in enumerate(rows):
        with h5py.File("%s/uneven_%d.h5" % (sys.argv[2], rank), "w") as f:
            for path in ["out/" + n for n in golden["out"]] + ["step/" + n for n in golden["step"]]:
                first, n = (starts[rank], count) if golden[path].shape[0] == starts[-1] else (rank, 1)
                f[path] = golden[path][first:first + n].astype("f4")
END
for rank in 0 1 2 3 4; do
    expect 0 alone check "$uneven" "$work/uneven_$rank.h5" --rank $rank --of 5
done
expect 1 alone check "$uneven" "$work/uneven_3.h5" --rank 2 --of 5
says out "SHAPE"
expect 3 alone check "$uneven" "$work/uneven_1.h5" --rank 1 --of 4
says err "axis of 5 ranks, expected --of 4"
expect 1 alone check "$golden" "$work/late64.h5"
expect 0 alone check "$golden" "$work/late64.h5" --dtype f32
expect 1 alone check "$golden" "$work/nan.h5"
says out "NONFINITE"
expect 1 alone check "$golden" "$work/step_off.h5"
says out "first divergence in data-flow order: /step/row_sum"
lacks out "first result"
expect 1 alone check "$golden" "$work/behind.h5"
says out "first result that differs: /out/x_grad"
says out "all 6 steps compared agree, up to /step/dlogits"
# A step of another shape is no divergence; what differs goes first.
expect 3 alone check "$golden" "$work/step_shape.h5"
says err "/step/cosine: SHAPE"
lacks out "first divergence"
expect 1 alone check "$golden" "$work/step_shape_off.h5"
says out "first divergence in data-flow order: /step/row_sum"
# A port in a coarser type that does not say so, and one that says so; a golden without bounds for it.
expect 0 alone run "$golden" -o "$work/bf16.h5" --emulate bf16 --quiet
expect 0 alone golden "$golden" -o "$work/types" --quiet
expect 1 alone check "$work/types/golden.h5" "$work/bf16.h5"
says out "all of it would match as bf16: say --dtype bf16"
expect 1 alone check "$work/types/golden.h5" "$work/bf16.h5" --dtype f32
lacks out "would match"
expect 1 alone check "$work/types/golden.h5" "$work/late.h5"
lacks out "would match as f32"
expect 3 alone check "$golden" "$work/f32.h5" --dtype exact
says err "DTYPE"
expect 3 alone check "$golden" "$work/shape.h5"
says err "SHAPE"
expect 3 alone check "$golden" "$work/floats.h5"
says err "DTYPE"
expect 3 alone check "$golden" "$work/nothing.h5"
expect 3 alone check "$golden" "$work/other.h5"
expect 3 alone check "$golden" "$work/none.h5"
expect 3 alone check "$work/f32.h5" "$work/none.h5"
for spoiled in damaged damaged_step; do
    expect 3 alone check "$work/$spoiled.h5" "$work/f64.h5"
    says err "sha256"
done
expect 3 alone check "$work/boundless.h5" "$work/f32.h5"
says err "/bound/f32"
expect 3 alone check "$golden" "$work/f16.h5"
says err "/bound/f16: found only those for f32"
head -c 5000 "$golden" >"$work/cut.h5"
expect 3 alone check "$work/cut.h5" "$work/f32.h5"
says err "truncated file"
expect 3 alone check "$golden" "$work/f32.h5" --dtype tf32
expect 3 alone check "$golden" "$work/shard.h5" --rank 0 --of 2
"$PYTHON" - "$work/late.json" <<'END' || fail "late.json does not say what the table says"
import json
import sys
j = json.load(open(sys.argv[1]))
wrong = [t["tensor"] for t in j["tensors"] if t["verdict"] != "PASS"]
assert j["verdict"] == "different" and j["exit_status"] == 1 and wrong == ["/out/x_grad"], j
END
finish
