#!/usr/bin/env bash
# check's hints: every pattern is recognised in the results of a port that has the mistake, and none where there is another one.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }
data=$PFC_TOP_SRCDIR/data
expect 0 3 golden partial_fc --size N=12,C=31,D=16 --name layer --steps --param head=arc,scale=16,margin=0.5,lr=0.1 --dtype f32 -o "$work"
expect 0 alone golden partial_fc --size N=64,C=200,D=64 --name large --steps --param head=cos,scale=16,margin=0.35,xgrad_scale=1 --dtype f32,bf16 -o "$work"
expect 0 2 golden "$data/moco_plain_w2.h5" "$data/bn_sync_w2.h5" "$data/swav_w2.h5" --steps --dtype f32 -o "$work"
export PFC_REF
"$PYTHON" - "$work" "$PFC_TOP_SRCDIR/tests" <<'END2' || fail "hints"
import sys
import h5py
import numpy as np
work = sys.argv[1]
sys.path.insert(0, sys.argv[2])
from check_ports import Golden, check

rng = np.random.default_rng(1)
failed = []

def hint(g, name, x, piece, steps=(), dtype="<f4", options=()):
    """The tensor fails; its hints contain the text, or are none (piece None)."""
    status, j = check(g.path, g.file("port", {name: x}, dtype, steps), *options)
    t = j["by_name"][name]
    told = "; ".join(t["hints"])
    right = status == 1 and t["verdict"] in ("FAIL", "NONFINITE") and (told == "" if piece is None else piece in told)
    right = right and all("hint: " + h in j["stdout"] for h in t["hints"])
    if not right:
        failed.append((g.path.rsplit("/", 1)[1], name, piece, status, t["verdict"], t["hints"]))

g = Golden(work + "/layer.h5")
x, w, dw, w0 = g.out["x_grad"], g.out["weight"], g.out["weight_grad"], g.inputs["weight"].astype("f8")
hint(g, "loss", np.full(1, 69.0775527898), "belong to no rank")
hint(g, "loss", np.log([31.0]), "log 31")
hint(g, "x_grad", 3 * x, "times 3, the number of ranks")
hint(g, "x_grad", x / 3, "divided by 3, the number of ranks")
hint(g, "x_grad", 12 * x, "times 12, the batch size:")
hint(g, "x_grad", x / 4, "divided by 4, the batch size of a rank")
hint(g, "weight_grad", dw / 16, "divided by 16, scale")
hint(g, "x_grad", 2 * x, "times 2, 2: counted twice")
hint(g, "x_grad", -x, "opposite sign")
hint(g, "x_grad", 1.5 * x, "times 1.5 throughout")
hint(g, "x_grad", 0 * x, "all zero")
hint(g, "weight", w0, "equals the input /in/weight")
hint(g, "weight", w0 + 3 * (w - w0), "the update of the state is the golden's times 3, the number of ranks")
hint(g, "weight", w0 - (w - w0), "the update of the state has the opposite sign")
hint(g, "weight", w0 + 1.7 * (w - w0), "the state moves 1.7")
hint(g, "weight_grad", w, "equals the golden's /out/weight")
hint(g, "x_grad", np.roll(x, 1, axis=0), "moved by +1: off by one")
hint(g, "x_grad", np.roll(x, -1, axis=0), "moved by -1: off by one")
hint(g, "x_grad", np.roll(x, 4, axis=0), "moved by +4: the part of the next rank")
hint(g, "x_grad", x[[3, 0, 5, 7, 1, 2, 9, 4, 11, 6, 8, 10]], "in another order")
hint(g, "x_grad", x.T.reshape(x.shape), "order of the other axis")
wrong = x + rng.normal(size=x.shape) * abs(x)
hint(g, "x_grad", np.concatenate([wrong[:4], x[4:8], wrong[8:]]), "only the part of rank 1 is right")
hint(g, "x_grad", np.concatenate([x[:8], wrong[8:]]), "only the part of rank 2 is wrong")
f = g.inputs["features"].astype("f8")
hint(g, "x_grad", x + 0.1 * abs(x).max() * f / np.linalg.norm(f, axis=1, keepdims=True), "part along its features: the projection")
nan = x.copy()
nan[2:4] = np.nan
hint(g, "x_grad", nan, "2 whole rows of the last axis are not finite, rows 2 to 3")
hint(g, "x_grad", x * np.nan, "no element is finite")
nan = x.copy()
nan[5, 1] = np.inf
hint(g, "x_grad", nan, "1 of 192 elements are not finite")
p = g.step["dlogits"] * 12
hint(g, "dlogits", np.where(p > 0, p * 1.01, p) / 12, "do not add up", steps=["dlogits"])
# In bf16 a factor is known less well, but known.
h = Golden(work + "/large.h5")
x16 = h.out["x_grad"]
bf16 = ("--dtype", "bf16")
hint(h, "x_grad", 4 * x16, "times 4 throughout", options=bf16)
hint(h, "x_grad", 64 * x16, "times 64, the batch size", options=bf16)
hint(h, "x_grad", -x16, "opposite sign", options=bf16)
hint(h, "logits", 1.02 * h.step["logits"], "times 1.02 throughout", steps=["logits"], options=bf16)
# A part without --rank, on any number of ranks.
for piece, ranks in ((x16[16:32], 4), (x16[:32], 2), (x16[:63], None)):
    with h5py.File(work + "/piece.h5", "w") as file:
        for n, v in h.out.items():
            file["out/" + n] = h.real(piece if n == "x_grad" else v)
    status, j = check(h.path, work + "/piece.h5")
    told = j["by_name"]["x_grad"]["hints"]
    if status != 3 or (("one of %s ranks" % ranks in told[0]) if ranks else told == []) is not True:
        failed.append(("part", ranks, status, told))
# No pattern: nothing is said but where it is.
b = np.where(np.isfinite(g.bound["x_grad"]), g.bound["x_grad"], 0)
hint(g, "x_grad", x + 1e5 * b * rng.normal(size=x.shape), None)  # not orthogonal either, but no missing projection
hint(g, "weight", w + 100 * g.noise("weight", 1, rng), None)
hint(g, "loss", 1.37 * g.out["loss"], None)
hint(g, "loss", g.out["loss"] + 0.01, None)
hint(g, "weight", w * (1 + 0.1 * rng.normal(size=w.shape)), None)
with_step = np.array(g.step["row_sum"])
hint(g, "row_sum", with_step * (1 + 0.1 * rng.normal(size=12)), None, steps=["row_sum"])

m = Golden(work + "/moco_plain_w2.h5")
with h5py.File(m.path, "r") as file:
    mu = float(file["param"].attrs["momentum"])
k, q = (m.inputs[n].astype("f8") for n in ("params_k", "params_q"))
hint(m, "params_k", (1 - mu) * k + mu * q, "1 - momentum are swapped")
hint(m, "params_k", k, "not written back")
hint(m, "queue", m.inputs["queue"], "not written back")
hint(m, "key", m.inputs["key"].astype("f8"), "equals the input /in/key")
hint(m, "query_grad", m.out["query_grad"] / 2, "the number of ranks")
rows = m.inputs["queue"].shape[0] + 1
hint(m, "loss", np.full(2, np.log(rows)), "log %d" % rows)

n = Golden(work + "/bn_sync_w2.h5")
with h5py.File(n.path, "r") as file:
    mu = float(file["param"].attrs["momentum"])
old = n.inputs["running_mean"].astype("f8")
new = (n.out["running_mean"] - (1 - mu) * old) / mu
hint(n, "running_mean", mu * old + (1 - mu) * new, "1 - momentum are swapped")
hint(n, "running_mean", old, "not written back")
old = n.inputs["running_var"].astype("f8")
var = (n.out["running_var"] - (1 - mu) * old) / mu
M = n.inputs["x"].size // n.inputs["x"].shape[1]
for factor, piece in ((M / (M - 1), "times M/(M-1) with M = %d" % M), ((M - 1) / M, "times (M-1)/M with M = %d" % M)):
    hint(n, "running_var", (1 - mu) * old + mu * factor * var, piece)
hint(n, "var", n.step["var"] * M / (M - 1), "M/(M-1) with M = %d" % M, steps=["var"])
hint(n, "var", 1.37 * n.step["var"], None, steps=["var"])  # 3.7 samples there are not

s = Golden(work + "/swav_w2.h5")
clusters = s.inputs["prototypes"].shape[0]
hint(s, "loss", np.full(2, np.log(clusters)), "log %d" % clusters)
hint(s, "prototypes_grad", 2 * s.out["prototypes_grad"], "times 2, the number of ranks")
hint(s, "prototypes", s.inputs["prototypes"].astype("f8"), "not written back")
for line in failed:
    print(*line)
sys.exit(len(failed) > 0)
END2
finish
