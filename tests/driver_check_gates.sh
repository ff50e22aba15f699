#!/usr/bin/env bash
# check, gates G2 to G4, sound and rz bounds, stored types, near ties, owners: each in the way that it is meant to catch or to let pass.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }
head=head=arc,scale=16,margin=0.5,lr=0.1
expect 0 3 golden partial_fc --size N=12,C=31,D=16 --name golden --steps --param $head --dtype f32 -o "$work"
expect 0 alone golden arcface_head --size N=6,C=7,D=8 --name arcface --param scale=8,num_subcenters=3 --dtype f32 -o "$work"
expect 0 alone golden arcface_head --size N=8,C=40,D=8 --name rows --steps --param scale=8 --dtype f32 -o "$work"
expect 0 2 golden moco --size N=8,K=24,D=16 --name moco --dtype f32 -o "$work"
expect 0 2 golden swav --size B=4,K=20,D=16 --param crops=3 --name swav --dtype f32 -o "$work"
expect 0 alone golden sinkhorn --size N=8,K=20 --name sinkhorn --dtype f32 -o "$work"
expect 0 alone golden sinkhorn --size N=120,K=1 --name ones --dtype f32 -o "$work"
export PFC_REF
"$PYTHON" - "$work" "$PFC_TOP_SRCDIR/tests" <<'END2' || fail "gates"
import shutil
import sys
import h5py
import numpy as np
work = sys.argv[1]
sys.path.insert(0, sys.argv[2])
from check_ports import Golden, check

rng = np.random.default_rng(1)
g = Golden(work + "/golden.h5")
bounds = {n: np.where(np.isfinite(b), b, 0) for n, b in g.bound.items()}
sign = np.sign

def says(name, changes, status, gate=None, steps=(), golden=g, dtype="<f8", options=("--dtype", "f32")):
    """One tensor is changed; it alone fails, by this gate."""
    path = golden.file(name, changes, dtype, steps)
    found, j = check(golden.path, path, *options)
    t = j["by_name"].get(next(iter(changes)) if changes else "loss", {})
    failed = t.get("failed_gate")
    wrong = [n for n, x in j["by_name"].items() if x["verdict"] == "FAIL"]
    assert found == status and failed == gate and wrong == ([next(iter(changes))] if gate else []), (name, found, j["stderr"], wrong, t)
    return t, j

# Errors of nearly the bound that point anywhere, and small ones that point one way, pass; the same pointing one way fail.
x, b = g.out["x_grad"], bounds["x_grad"]
says("anywhere", {"weight": g.out["weight"] + g.noise("weight", 0.9, rng)}, 0)
says("small", {"x_grad": x + 0.3 * b * sign(x)}, 0)
t, j = says("slope", {"x_grad": x + 0.9 * b * sign(x)}, 1, "G3")
assert t["bad"] == 0 and t["gates"]["G1"] == "pass" and t["slope_error"] > t["slope_limit"] > 0, t
assert "G3 slope - 1" in j["stdout"] and "by G3" in j["stdout"] and "/out/x_grad           FAIL G3       192    0" in j["stdout"], j["stdout"]
t, j = says("mean", {"x_grad": x + 0.9 * b}, 1, "G3")
assert "G3 mean of the errors" in j["stdout"] and abs(t["mean_error"]) > t["mean_limit"], j["stdout"]
t, j = says("outside", {"x_grad": x + 2 * g.noise("x_grad", 1, rng)}, 1, "G1")
assert t["bad"] == x.size and t["bad_share"] == 1.0 and 1.5 < t["worst_ratio"] < 2.5, t

# A few numbers do not average: no gate but G1.
t, j = says("loss", {"loss": g.out["loss"] + 0.9 * bounds["loss"]}, 0)
assert t["gates"] == {"G1": "pass", "G2": "n/a", "G3": "n/a", "G4": "n/a"}, t

# Errors along the features, of either sign: only G4 sees them.
along = x + 0.9 * b * sign(g.inputs["features"]) * rng.choice([-1.0, 1.0], (len(x), 1))
t, j = says("along", {"x_grad": along}, 1, "G4")
assert "orthogonal" in t["invariant"] and "projection" in t["hints"][0], t
w = g.out["weight_grad"]
says("along_w", {"weight_grad": w + 0.9 * bounds["weight_grad"] * sign(g.inputs["weight"]) * rng.choice([-1.0, 1.0], (len(w), 1))}, 1, "G4")
# So it is in every family, with lengths and sums that are known.
for name, tensor, along, steps in (("moco", "query_grad", "query", ()), ("moco", "key", None, ()), ("swav", "embedding_grad", "embedding", ()),
                                   ("swav", "prototypes", None, ()), ("sinkhorn", "assignment", 1.0, ()), ("rows", "prob", 1.0, ("prob",))):
    family = Golden("%s/%s.h5" % (work, name))
    want, room = {**family.out, **family.step}[tensor], np.where(np.isfinite(family.bound[tensor]), family.bound[tensor], 0)
    direction = want if along is None else family.inputs[along] if isinstance(along, str) else along
    rows = np.where(np.arange(want.size // want.shape[-1]) % 2, 1.0, -1.0).reshape(*want.shape[:-1], 1)
    says("along_" + name, {tensor: want + 0.9 * room * sign(direction) * rows}, 1, "G4", steps=steps, golden=family)
# Equal numbers have equal errors, which may all point one way.
ones = Golden(work + "/ones.h5")
t, j = says("biased_ones", {"assignment": 1 + 0.9 * ones.bound["assignment"]}, 0, golden=ones)
assert t["gates"]["G3"] == "n/a", t
# Probabilities that do not add up, by less than any bound.
d, e = g.step["dlogits"], bounds["dlogits"]
t, j = says("sums", {"dlogits": d + 0.3 * e * rng.choice([-1.0, 1.0], (len(d), 1))}, 1, "G4", steps=["dlogits"])
assert "denominator" in t["hints"][0] and j["first_divergence"] == "/step/dlogits", t
balanced = d * 0.3 * np.min(e / abs(d), axis=1, keepdims=True) * rng.choice([-1.0, 1.0], (len(d), 1))
t, j = says("balanced", {"dlogits": d + balanced}, 0, steps=["dlogits"])
assert t["gates"]["G4"] == "pass", t

# G2: bounds for bf16 that are wide, an oracle's emulation that is much better than they are.
def with_bounds(name, group, factor, rms=None):
    path = "%s/%s.h5" % (work, name)
    shutil.copy(g.path, path)
    with h5py.File(path, "r+") as f:
        if group in f["bound"]:
            del f["bound/" + group]
        for kind in f["bound/f32"]:
            for n, b in f["bound/f32/" + kind].items():
                f["bound/%s/%s/%s" % (group, kind, n)] = b[()] * factor
                if rms is not None:
                    f["bound/%s/%s/%s" % (group, kind, n)].attrs["rms"] = rms
    return Golden(path)

bf16 = ("--dtype", "bf16")
size = float(np.sqrt(np.mean(b ** 2)))
worse = {"x_grad": x + 100 * g.noise("x_grad", 1, rng)}
t, j = says("rms", worse, 1, "G2", golden=with_bounds("rms_golden", "bf16", 256, 20 * size), options=bf16)
assert t["bad"] == 0 and abs(t["rms"] / (100 * size) - 1) < 1e-6 and abs(t["rms_limit"] / (61 * size) - 1) < 1e-6, t
assert "G2 rms of the errors" in j["stdout"]
t, j = says("rms_fine", worse, 0, golden=with_bounds("fine_golden", "bf16", 256, 40 * size), options=bf16)
assert t["gates"]["G2"] == "pass", t
t, j = says("rms_none", worse, 0, golden=with_bounds("none_golden", "bf16", 256), options=bf16)
assert t["gates"]["G2"] == "n/a", t

# rz and sound: their own groups; what they allow may all point one way.
biased = {"x_grad": x + 240 * b * sign(x)}
says("plain", biased, 1, "G3", golden=with_bounds("plain_golden", "bf16", 256), options=bf16)
for group, options in (("bf16-rz", ("--operand-rounding", "rz")), ("bf16-sound", ("--sound",))):
    golden = with_bounds(group, group, 256)
    t, j = says("biased", biased, 0, golden=golden, options=bf16 + options)
    assert j["bounds"] == group and " ".join(options) in j["repeat"], j
    found, j = check(g.path, g.file("any"), *bf16, *options)
    assert found == 3 and "golden --dtype " + group in j["stderr"] and j["stderr"].count("\n") == 1, j
for options in (("--operand-rounding", "rz"), ("--operand-rounding", "up"), ("--dtype", "tf32", "--operand-rounding", "rz", "--sound")):
    found, j = check(g.path, g.file("any"), *options)
    assert found == 2, (options, found, j)

# What is stored in f16 may be off by its rounding; what is stored in f32 may not.
f16 = {n: v.astype("<f2") for n, v in g.out.items() if v.dtype.kind == "f"}
assert check(g.path, g.file("stored", dtype="<f2"), "--dtype", "f32")[0] == 0
assert check(g.path, g.file("not_stored", f16), "--dtype", "f32")[0] == 1

# Near ties of integers: where the golden's bound is infinite.
a = Golden(work + "/arcface.h5")
shutil.copy(a.path, work + "/tied.h5")
with h5py.File(work + "/tied.h5", "r+") as f:
    if "subcenter" in f["bound/f32/out"]:
        del f["bound/f32/out/subcenter"]
    free = np.zeros(a.out["subcenter"].shape)
    free[1, 2] = free[3, 4] = free[5, 6] = np.inf
    f["bound/f32/out/subcenter"] = free
other = a.out["subcenter"].copy()
other[1, 2] = other[3, 4] = 9
found, j = check(work + "/tied.h5", a.file("ties", {"subcenter": other}))
t = j["by_name"]["subcenter"]
assert found == 0 and t["verdict"] == "PASS" and t["ties"] == 2 and t["undecided"] == 3 and "subcenter: 2 ties" in j["stdout"], (found, t, j["stdout"])
other[0, 0] = 9
found, j = check(work + "/tied.h5", a.file("ties", {"subcenter": other}))
t = j["by_name"]["subcenter"]
assert found == 1 and t["verdict"] == "FAIL" and t["bad"] == 1 and t["worst_at"] == "[0, 0]", t

# Whose element is the worst one, its bits, its error in units of the last place. The golden is for 3 ranks.
y = x.astype("f4")
y[9, 5] = np.nextafter(np.nextafter(y[9, 5], np.float32(9)), np.float32(9)) + np.float32(4096 * abs(y[9, 5]) * 2.0 ** -23)
t, j = says("owner", {"x_grad": y}, 1, "G1", dtype="<f4", options=())
assert (t["worst_at"], t["rank"], t["ranks"], t["local_at"]) == ("[9, 5]", 2, 3, "[1, 5]"), t
assert float.fromhex(t["got_hex"]) == y[9, 5] == t["got"] and float.fromhex(t["want_hex"]) == x[9, 5], t
ulp = abs(float(y[9, 5]) - x[9, 5]) / float(np.spacing(np.float32(abs(x[9, 5]))))
assert t["ulp_of"] == "f32" and abs(t["ulp"] - ulp) < 1e-6 * ulp, (t, ulp)
assert "rank 2 of 3 there [1, 5]" in j["stdout"] and "ulp of f32" in j["stdout"] and t["got_hex"] in j["stdout"], j["stdout"]
assert j["first_different_result"] == "/out/x_grad" and "first result that differs: /out/x_grad" in j["stdout"]
# One rank's part: its own index and the one in the whole.
with h5py.File(work + "/part.h5", "w") as f:
    f["out/loss"] = g.out["loss"].astype("f4")
    for n, v in g.out.items():
        if n != "loss":
            f["out/" + n] = g.real(y if n == "x_grad" else v)[8:12] if n == "x_grad" else g.real(v)[21:31]
found, j = check(g.path, work + "/part.h5", "--rank", "2", "--of", "3")
t = j["by_name"]["x_grad"]
assert found == 1 and (t["worst_at"], t["worst_index"], t["rank"], t["local_at"]) == ("[9, 5]", 9 * 16 + 5, 2, "[1, 5]"), (found, t, j["stderr"])
# --of alone: a whole candidate of so many ranks.
found, j = check(a.path, a.file("whole", {"logits": np.where(np.arange(7) == 5, 9.0, a.out["logits"])}), "--of", "2")
t = j["by_name"]["logits"]
assert found == 1 and t["rank"] == 1 and t["local_at"].endswith(", 1]"), t
# Rows of a class stay together: 7 classes with 3 sub-centers each on 2 ranks are 12 and 9 rows.
for rank, rows, classes in ((0, slice(0, 12), slice(0, 4)), (1, slice(12, 21), slice(4, 7))):
    with h5py.File(work + "/rows.h5", "w") as f:
        for n, v in a.out.items():
            v = a.real(v)
            f["out/" + n] = v[rows] if n in ("weight_grad", "bias_grad") else v[:, classes] if n in ("logits", "subcenter") else v[3 * rank:3 * rank + 3] if n == "x_grad" else v
    found, j = check(a.path, work + "/rows.h5", "--rank", str(rank), "--of", "2")
    assert found == 0, j["stderr"]
END2
# The line that repeats a check does.
expect 1 alone check "$work/golden.h5" "$work/slope.h5" --dtype f32
line=$(sed -n 's/^repeat: pfc_ref //p' "$work/out")
cp "$work/out" "$work/before"
eval "expect 1 alone $line"
same "$work/before" "$work/out"
finish
