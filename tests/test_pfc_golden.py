#!/usr/bin/env python3
"""tools/pfc_golden.py says what `pfc_ref check` says: tensor by tensor, for right and wrong candidates of every kind and for every rank's part."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np

TOP = os.environ.get("PFC_TOP_SRCDIR", os.path.join(os.path.dirname(__file__), os.pardir))
PFC_REF = os.path.abspath(os.environ.get("PFC_REF", "./pfc_ref"))
sys.path.insert(0, os.path.join(TOP, "tools"))
from pfc_golden import BF16, as_array, assert_golden, compare, from_bf16, load, status, to_bf16, write_candidate  # noqa: E402

SIZE = ["--size", "N=12,C=15,D=8", "--param", "head=arc,scale=16,margin=0.5,lr=0.1,xgrad_scale=1,sample_rate=0.5,sample_rule=global"]


def pfc_ref(*arguments, ranks=0):
    launcher = [*os.environ.get("MPIRUN", "mpirun").split(), *os.environ.get("MPIRUN_FLAGS", "").split(), "-np", str(ranks)] if ranks else []
    done = subprocess.run([*launcher, PFC_REF, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def both(folder, golden, out, step=None, dtype="f32", rank=None, of=None, same_verdicts=True):
    """The status that both come to."""
    mine, report = os.path.join(folder, "mine.h5"), os.path.join(folder, "check.json")
    write_candidate(mine, golden.algorithm, out, step)
    shard = [] if rank is None else ["--rank", str(rank), "--of", str(of)]
    theirs, said = pfc_ref("check", golden.path, mine, "--dtype", dtype, "--json", report, *shard)
    try:
        results = compare(golden, out, step, dtype, rank, of)
        ours = status(results)
    except ValueError as e:
        results, ours = [], 3
        said += str(e)
    assert ours == theirs, (ours, theirs, said)
    if results and same_verdicts:
        with open(report) as f:
            verdicts = {t["tensor"]: (t["verdict"], t["bad"]) for t in json.load(f)["tensors"] if t["tensor"].startswith(("/out/", "/step/"))}
        # a part of no elements is right here, and VACUOUS there
        found = {r.name: (verdicts[r.name][0] if r.note.startswith("this rank holds nothing") else r.verdict, r.bad) for r in results}
        assert found == verdicts, (found, verdicts)
    return ours


def f32(tensors):
    return {n: a.astype("f4") if a.dtype.kind == "f" else a for n, a in tensors.items()}


def changed(tensors, name, value):
    return {**tensors, name: value(tensors[name])}


def spot(a, value):
    a = a.copy()
    a.flat[3] = value
    return a


def test_candidates(folder):
    code, said = pfc_ref("golden", "partial_fc", *SIZE, "--name", "golden", "--steps", "--dtype", "f32", "-o", folder)
    assert code == 0, said
    golden = load(os.path.join(folder, "golden.h5"))
    assert golden.algorithm == "partial_fc" and golden.param["head"] == "arc" and golden.param["scale"] == 16
    assert golden.inputs["features"].shape == (12, 8) and golden.bound("f32")["out/weight"].shape == (15, 8)
    assert np.array_equal(golden.bound("f64")["out/weight"], golden.bound("f32")["out/weight"] * 2.0**-29)
    assert list(golden.step)[-1] == "dlogits" and list(golden.step).index("cosine") < list(golden.step).index("row_max")
    out, step = f32(golden.out), f32(golden.step)
    keys = {"sample_keys": golden.step["sample_keys"]}
    step.update(keys)
    for arguments, expected in (
        ((out,), 0),
        ((out, step), 0),
        ((golden.out, golden.step), 0),
        ((golden.out, golden.step, "exact"), 0),
        ((golden.out, changed(golden.step, "logits", lambda a: np.where(np.isnan(a), -np.nan, a)), "exact"), 0),  # the sign of a NaN is none
        ((golden.out, golden.step, "f64"), 0),
        ((changed(golden.out, "x_grad", lambda a: a * (1 + 1e-9)), None, "f64"), 1),
        ((changed(golden.out, "x_grad", lambda a: a * (1 + 1e-9)), None, "f32"), 0),
        ((changed(golden.out, "x_grad", lambda a: spot(a, np.nextafter(a.flat[3], 9))), None, "exact"), 1),
        ((out, None, "exact"), 3),
        ((changed(out, "x_grad", lambda a: a * np.float32(1.001)),), 1),
        ((changed(out, "x_grad", lambda a: spot(a, np.nan)),), 1),
        ((changed(out, "x_grad", lambda a: spot(a, -np.inf)),), 1),
        ((changed(out, "weight", lambda a: a[:-1]),), 3),
        ((changed(changed(out, "weight", lambda a: a[:-1]), "x_grad", lambda a: -a),), 1),
        ((changed(out, "sampled", lambda a: a.astype("f4")),), 3),
        ((changed(out, "sampled", lambda a: np.roll(a, 1)),), 1),
        ((changed(out, "sampled", lambda a: a.astype("i4")),), 0),
        ((changed(out, "loss", lambda a: a.astype("i8")),), 3),
        (({n: out[n] for n in ("loss", "x_grad")},), 3),
        ((out, changed(step, "logits", lambda a: a * np.float32(1.01))), 1),
        ((out, changed(step, "logits", lambda a: a[:5])), 3),
        ((out, changed(step, "dlogits", lambda a: np.nan_to_num(a))), 1),  # NaN where not sampled is part of the result
        ((out, None, "tf32"), 3),
    ):
        assert both(folder, golden, *arguments) == expected, arguments
    # the f64 bounds do not hold for what a float32 port rounds
    assert both(folder, golden, out, None, "f64") == 1


def test_vacuous(folder):
    golden = load(os.path.join(TOP, "data", "pfc_pole.h5"))  # its logits may be NaN or not: nothing to compare
    out = f32(golden.out)
    names = [n for n, b in golden.bound().items() if np.all(np.isinf(b))]
    assert both(folder, golden, out) == (3 if names else 0), names
    name = names[0].split("/")[1]
    assert_raises(lambda: assert_golden(golden.path, out), "/out/%s VACUOUS" % name)


def test_parts(folder):
    """Every rank's part of every shipped golden of that many ranks, and, with their steps, of one for each algorithm; and another rank's part is wrong."""
    tried, steps = 0, [os.path.join(TOP, "data", n + ".h5") for n in ("pfc_sampled_shard_w2", "arc_plain", "sk_v1", "swav_w2", "moco_plain_w2", "bn_sync_w2")]
    if shutil.which(os.environ.get("MPIRUN", "mpirun").split()[0]):
        code, said = pfc_ref("golden", *steps, "--steps", "-o", folder, ranks=2)
        assert code == 0, said
        steps = [os.path.join(folder, os.path.basename(path)) for path in steps]
        assert all(load(path).step for path in steps)
    for path in sorted(glob.glob(os.path.join(TOP, "data", "*_w[235].h5"))) + steps:
        golden = load(path)
        of = golden.param.get("world", 2)
        for rank in range(of):
            out, step = (f32({n: take(golden, n, a, rank, of) for n, a in part.items()}) for part in (golden.out, golden.step))
            got = both(folder, golden, out, step, "f32", rank, of)
            results = compare(golden, out, step, "f32", rank, of)
            assert got == 0 or {r.verdict for r in results} == {"PASS", "VACUOUS"}, (path, rank, results)
            tried += 1
    assert tried > 40, tried
    golden = load(os.path.join(TOP, "data", "pfc_full_arc.h5"))
    other = f32({n: take(golden, n, a, 1, 2) for n, a in golden.out.items()})
    assert both(folder, golden, other, None, "f32", 0, 2) in (1, 3)
    assert both(folder, golden, f32(golden.out), None, "f32", 0, 2) == 3
    moved = changed(other, "x_grad", lambda a: spot(a, a.flat[3] + np.float32(1)))
    error = assert_raises(lambda: assert_golden(golden.path, moved, rank=1, of=2), "/out/x_grad FAIL: 1 of ")
    n, d = golden.out["x_grad"].shape
    assert "at (%d,%d), (%d,%d) of this rank's part" % (n // 2 + 3 // d, 3 % d, 3 // d, 3 % d) in error, error
    assert_raises(lambda: assert_golden(golden.path, other, rank=1, of=7), "not cut over 7 ranks", ValueError)
    for rank, of in ((1, None), (None, 2), (2, 2), (-1, 2), (0, 0)):
        assert_raises(lambda: assert_golden(golden.path, other, rank=rank, of=of), "found rank=%s, of=%s, expected" % (rank, of), ValueError)


def test_subcenters(folder):
    """The sub-centers of a class stay on one rank: 7 classes of 3 are 9, 6 and 6 rows."""
    golden = load(os.path.join(TOP, "data", "arc_k3_margins.h5"))
    out = {n: a for n, a in f32(golden.out).items() if n != "weight_grad"}
    for rank, (start, end) in enumerate(((0, 9), (9, 15), (15, 21))):
        mine = {n: take(golden, n, a, rank, 3) for n, a in out.items()}
        assert_golden(golden.path, {**mine, "weight_grad": golden.out["weight_grad"][start:end].astype("f4")}, rank=rank, of=3)


def take(golden, name, a, rank, of):
    """By the contract's words, not by pfc_golden's table: which axis is N, C or P in the shapes of case-format.md."""
    shapes = {"partial_fc": "x_grad ND weight_grad CD weight CD weight_momentum CD sampled C sample_keys C cosine _C logits _C dlogits _C",
              "arcface_head": "logits _C subcenter _C x_grad N weight_grad C bias_grad C cosine _C prob _C", "sinkhorn": "assignment N",
              "swav": "loss P assignment P embedding_grad P queue P scores P dscores P", "moco_shuffle": "shuffled N unshuffled N",
              "moco": "loss P query_grad N key N logits N", "group_gather": "output P grad_input P",
              "batch_norm": "y N x_grad N running_mean P running_var P split_running_mean P split_running_var P weight_grad P bias_grad P mean P var P sum_g P sum_gx P"}
    words = shapes[golden.algorithm].split()
    shape = dict(zip(words[::2], words[1::2])).get(name)
    if not shape or a.ndim == 0:
        return a
    if "rows" in golden.inputs and shape[0] == "N":
        ends = np.cumsum(golden.inputs["rows"])
        return a[ends[rank] - golden.inputs["rows"][rank]:ends[rank]]
    axis = 1 if shape[0] == "_" else 0
    return np.array_split(a, of, axis)[rank]  # the first ones are longer


def test_message(folder):
    golden = load(os.path.join(TOP, "data", "pfc_full_arc.h5"))
    out, step = f32(golden.out), f32(golden.step)
    assert_golden(golden.path, out, step)
    wrong = changed(changed(changed(step, "row_sum", lambda a: a * np.float32(1.5)), "dlogits", lambda a: -a), "prob_target", lambda a: spot(a, 0))
    error = assert_raises(lambda: assert_golden(golden.path, changed(out, "loss", lambda a: a + np.float32(1)), wrong), "first divergence in data-flow order: /step/row_sum;")
    assert re.search(r"/step/row_sum FAIL: (\d+) of \1 elements \(100 %\), worst is \S+ times its bound, at \(\d+\): got \S+, want \S+, bound \S+\n", error), error
    assert re.search(r"/step/prob_target FAIL: 1 of \d+ elements .* at \(3\): got 0, want ", error), error
    assert error.index("row_sum FAIL") < error.index("prob_target FAIL") < error.index("dlogits FAIL") < error.index("/out/loss FAIL")
    assert_raises(lambda: assert_golden(golden.path, changed(out, "loss", lambda a: -a)), "no steps were given")
    assert_raises(lambda: assert_golden(golden.path, {}), "/out/loss MISSING: found nothing, expected float64 (1)")
    assert_raises(lambda: assert_golden(golden.path, {**out, "los": out["loss"]}), 'found out "los", expected one of loss, ')
    assert_raises(lambda: assert_golden(golden.path, out, {"logit": 1}), 'found step "logit", expected one of cosine, logits')
    assert_raises(lambda: assert_golden(golden.path, out, dtype="bf17"), "/bound/bf17: found nothing, expected one of f32", ValueError)
    assert_raises(lambda: assert_golden(golden.path, {"loss": object()}), "expected real numbers or integers", TypeError)


def test_damaged(folder):
    path = shutil.copy(os.path.join(TOP, "data", "pfc_full_arc.h5"), os.path.join(folder, "damaged.h5"))
    os.chmod(path, 0o644)
    with h5py.File(path, "r+") as f:
        f["out/x_grad"][0, 0] *= 1.5
    assert_raises(lambda: load(path), "digest", ValueError)
    candidate = os.path.join(folder, "bare.h5")
    write_candidate(candidate, "partial_fc", {})
    assert_raises(lambda: load(candidate), "found no golden of pfc_ref", ValueError)


def test_short_types(folder):
    """bfloat16 and float16 are stored as such, read back by h5py and by pfc_ref, and their rounding is allowed for."""
    x = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, -3.4e38, 2**-133, np.inf, -np.inf, np.nan], "f4")
    assert np.array_equal(from_bf16(to_bf16(x)), np.array([1, 1, 1 + 2**-6, -np.inf, 2**-133, np.inf, -np.inf, np.nan], "f4"), equal_nan=True)
    golden = load(os.path.join(TOP, "data", "pfc_full_arc.h5"))
    path = os.path.join(folder, "short.h5")
    for kind, convert in (("bf16", to_bf16), ("f16", lambda a: a.astype("f2"))):
        out = {n: convert(a.astype("f4")) if a.dtype.kind == "f" else a for n, a in golden.out.items()}
        write_candidate(path, golden.algorithm, out)
        with h5py.File(path, "r") as f:
            assert f["out/weight"].id.get_type().get_size() == 2
            back = from_bf16(out["weight"]) if kind == "bf16" else out["weight"]
            assert np.array_equal(f["out/weight"][()], back)
        assert status(compare(golden, out)) == 0
        assert status(compare(golden, {**out, "weight": convert(golden.out["weight"].astype("f4") * np.float32(1.02))})) == 1
        code, said = pfc_ref("check", golden.path, path)  # the type it is stored in chooses the bounds
        assert code == (0 if kind in golden.dtypes else 3) and (kind in golden.dtypes or "/bound/" + kind in said), said
    assert as_array(np.array(True)).dtype == np.int64 and to_bf16(np.float32(2)).shape == () and to_bf16(x).dtype == BF16


def test_short_dtypes(folder):
    """Bounds for bfloat16 and float16, results stored in that type or in float32."""
    code, said = pfc_ref("golden", "partial_fc", *SIZE, "--name", "golden", "--dtype", "f32,bf16,f16", "-o", folder)
    assert code == 0, said
    golden = load(os.path.join(folder, "golden.h5"))
    for kind, convert in (("bf16", to_bf16), ("f16", lambda a: a.astype("f2"))):
        for stored in (convert, lambda a: a):
            out = {n: stored(a) if a.dtype.kind == "f" else a for n, a in f32(golden.out).items()}
            assert both(folder, golden, out, None, kind) == 0
            wrong = stored((golden.out["x_grad"] * 1.5).astype("f4"))
            assert both(folder, golden, {**out, "x_grad": wrong}, None, kind) == 1
            assert_golden(golden.path, out, dtype=kind)
            assert_raises(lambda: assert_golden(golden.path, {**out, "x_grad": wrong}, dtype=kind), "/out/x_grad FAIL")


def assert_raises(call, text, kind=AssertionError):
    try:
        call()
    except kind as e:
        assert text in str(e), str(e)
        return str(e)
    raise RuntimeError("nothing raised, expected: " + text)


def main():
    for test in (test_candidates, test_vacuous, test_parts, test_subcenters, test_message, test_damaged, test_short_types, test_short_dtypes):
        folder = tempfile.mkdtemp(prefix="pfc_golden.", dir=".")
        try:
            test(folder)
        finally:
            shutil.rmtree(folder)
        print("ok", test.__name__)


if __name__ == "__main__":
    main()
