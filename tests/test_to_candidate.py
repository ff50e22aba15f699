#!/usr/bin/env python3
"""tools/to_candidate.py: what a port saved as .safetensors, .pt, .npz or .npy is what pfc_ref check reads; a bad file gets one line and leaves nothing."""
import contextlib
import io
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
TOOL = os.path.join(TOP, "tools", "to_candidate.py")
GOLDEN = os.path.join(TOP, "data", "pfc_full_arc.h5")
sys.path.insert(0, os.path.join(TOP, "tools"))
import to_candidate  # noqa: E402
from pfc_golden import from_bf16, load, to_bf16  # noqa: E402

TYPES = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64", "<i4": "I32", "<i2": "I16", "|i1": "I8", "|u1": "U8", "|b1": "BOOL"}


def convert(status, results, *arguments, python=sys.executable):
    """stderr: one line that begins with the program and the file; nothing but the result is left."""
    target = os.path.join(os.path.dirname(results), "candidate.h5")
    if os.path.exists(target):
        os.remove(target)
    if python == sys.executable:  # a start takes longer than most conversions
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            try:
                returned = to_candidate.main([results, "-o", target, *arguments])
            except SystemExit as e:
                returned = e.code
        done = subprocess.CompletedProcess([results, *arguments], returned, "", said.getvalue())
    else:
        done = subprocess.run([python, TOOL, results, "-o", target, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, (done, status)
    assert os.path.exists(target) == (status == 0) and not os.path.exists(target + ".part")
    if status == 3:
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("to_candidate.py: "), done.stderr
    return done.stderr if status else target


def check(candidate, dtype, status=0):
    done = subprocess.run([PFC_REF, "check", GOLDEN, candidate, "--dtype", dtype], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, (done, status)
    return done.stdout


def safetensors(path, tensors, header=None, data=None, length=None):
    entries, raw = {"__metadata__": {"format": "pt"}}, b""
    for name, a in tensors.items():
        entries[name] = {"dtype": TYPES.get(a.dtype.str, "BF16"), "shape": list(a.shape), "data_offsets": [len(raw), len(raw) + a.nbytes]}
        raw += a.tobytes()
    text = header if header is not None else json.dumps(entries).encode()
    with open(path, "wb") as f:
        f.write((len(text) if length is None else length).to_bytes(8, "little") + text + (raw if data is None else data))
    return path


def port():
    golden = load(GOLDEN)
    out, step = ({n: a.astype("f4") if a.dtype.kind == "f" else a for n, a in part.items()} for part in (golden.out, golden.step))
    return out, step


def test_names(folder):
    out, step = port()
    mixed = {"loss": out["loss"], **{"out." + n: out[n] for n in ("x_grad", "weight")}, **{"out/" + n: out[n] for n in ("weight_grad", "weight_momentum", "sampled")},
             "step.logits": step["logits"], "step_row_sum": step["row_sum"]}
    candidate = convert(0, safetensors(os.path.join(folder, "a.safetensors"), mixed), "--golden", GOLDEN)
    said = check(candidate, "f32")
    assert "/step/logits" in said and "/step/row_sum" in said and "/step/row_max" not in said, said
    with h5py.File(candidate, "r") as f:
        assert f.attrs["algorithm"] == b"partial_fc" and sorted(f["step"]) == ["logits", "row_sum"] and f["out/sampled"].dtype == "i8"
        assert all(np.array_equal(f["out"][n][()], a) for n, a in out.items())
    path = os.path.join(folder, "a.npz")
    np.savez(path, **mixed)
    check(convert(0, path), "f32")
    whole = os.path.join(folder, "arrays")
    os.makedirs(os.path.join(whole, "step"))
    for name, a in mixed.items():
        np.save(os.path.join(whole, name.replace("out/", "")), a)
    check(convert(0, whole, "--golden", GOLDEN), "f32")
    wrong = {**mixed, "out.x_grad": -out["x_grad"]}
    check(convert(0, safetensors(path := os.path.join(folder, "b.safetensors"), wrong)), "f32", 1)
    assert 'found a tensor "grad", expected one of loss ' in (said := convert(3, safetensors(path, {"grad": out["loss"]}), "--golden", GOLDEN)), said
    assert "step.row_sum" in said and path in said, said
    assert "expected one of" in convert(3, safetensors(path, {"step.los": out["loss"]}), "--golden", GOLDEN)
    assert "expected names such as" in convert(3, safetensors(path, {"model.head.weight": out["weight"]}))
    assert "expected names such as" in convert(3, safetensors(path, {"out/": out["weight"]}))
    assert "/out/loss twice" in convert(3, safetensors(path, {"loss": out["loss"], "out.loss": out["loss"]}))
    assert "found no tensors" in convert(3, safetensors(path, {}))


def test_types(folder):
    """Every type of the format is stored as it was; pfc_ref reads bfloat16 and float16."""
    x = np.array([[1, -2, 3], [0, 100, 7]])
    tensors = {t.strip("<|"): x.astype(t) for t in TYPES}
    tensors["bf16"] = to_bf16(x.astype("f4") / 3)
    tensors["scalar"], tensors["empty"] = np.float32(5), np.zeros((0, 3), "f4")
    candidate = convert(0, safetensors(os.path.join(folder, "types.safetensors"), tensors))
    with h5py.File(candidate, "r") as f:
        for name, a in tensors.items():
            stored = f["out"][name]
            want = from_bf16(a) if name == "bf16" else a.astype("i8") if name == "b1" else a
            assert stored.shape == a.shape and stored.dtype == want.dtype and np.array_equal(stored[()], want), name
            assert name != "bf16" or stored.id.get_type().get_size() == 2
    out, _ = port()
    for convert_type, name in ((to_bf16, "bf16"), (lambda a: a.astype("f2"), "f16")):
        short = {n: convert_type(a) if a.dtype.kind == "f" else a for n, a in out.items()}
        short["loss"] = convert_type(out["loss"] * np.float32(1.05))
        said = check(convert(0, safetensors(os.path.join(folder, name + ".safetensors"), short)), "f32", 1)
        assert re.search(r"/out/loss +FAIL ", said), said


def test_bad_safetensors(folder):
    path, a = os.path.join(folder, "bad.safetensors"), np.arange(6, dtype="f4").reshape(2, 3)

    def entry(**changes):
        return json.dumps({"loss": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **changes}}).encode()

    two = b'{"loss":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"x":{"dtype":"F32","shape":[3],"data_offsets":[%d,%d]}}'
    for header, data, length, said in (
        (b"", b"", None, "no JSON"),
        (None, None, 1 << 63, "found a header of 9223372036854775808 bytes"),
        (None, None, 300, "found a header of 300 bytes"),
        (b"{", None, None, "no JSON"),
        (b"\xff\xfe", None, None, "no JSON"),
        (b"[" * 100000, None, None, "no JSON"),
        (b"[]", None, None, "no JSON object"),
        (b'{"loss":1,"loss":1}', None, None, "stands there twice"),
        (b'{"loss":1}', None, None, "found dtype None"),
        (entry(dtype="F8_E4M3"), None, None, "found dtype F8_E4M3, expected one of F64 F32"),
        (entry(dtype=["F32"]), None, None, "expected one of F64 F32"),
        (entry(shape=[2, -3]), None, None, "found shape [2, -3]"),
        (entry(shape=[2, True]), None, None, "found shape"),
        (entry(shape=[2, 3.0]), None, None, "found shape"),
        (entry(shape=[1] * 9), None, None, "up to 8 sizes"),
        (entry(shape=[2**62, 2**62]), None, None, "found data_offsets 0, 24 for shape"),
        (entry(shape=[2, 2]), None, None, "found data_offsets 0, 24 for shape (2, 2)"),
        (entry(data_offsets=[0]), None, None, "expected two positions"),
        (entry(data_offsets=[24, 0]), None, None, "data_offsets 24, 0"),
        (entry(data_offsets=[4, 28]), None, None, "expected 0 as where the one before ends"),
        (entry(), bytes(23), None, "in 23 bytes of data"),
        (entry(), bytes(25), None, "found 25 bytes of data, expected 24"),
        (two % (8, 20), bytes(24), None, "expected 12"),
        (two % (16, 28), bytes(28), None, "expected 12"),
    ):
        text = convert(3, safetensors(path, {"loss": a}, header, data, length))
        assert said in text, (said, text)
    with open(path, "wb") as f:
        f.write(b"1234567")
    assert "expected a .safetensors file" in convert(3, path)


def test_bad_others(folder):
    for name, data in (("a.npz", b"no zip"), ("b.npz", b"PK\x03\x04 torn"), ("c.pt", b"no pickle"), ("d.bin", b""), ("none.npz", None)):
        path = os.path.join(folder, name)
        if data is not None:
            with open(path, "wb") as f:
                f.write(data)
        assert path in convert(3, path)
    np.savez(os.path.join(folder, "e.npz"), loss=np.array([{}], dtype=object))
    convert(3, os.path.join(folder, "e.npz"))
    np.savez(os.path.join(folder, "f.npz"), loss=np.array(["word"]))
    assert "expected real numbers or integers" in convert(3, os.path.join(folder, "f.npz"))
    os.mkdir(os.path.join(folder, "empty"))
    assert "found no tensors" in convert(3, os.path.join(folder, "empty"))
    good = safetensors(os.path.join(folder, "g.safetensors"), {"loss": np.ones(1, "f4")})
    assert "d.bin" in convert(3, good, "--golden", os.path.join(folder, "d.bin"))
    convert(2, good, "--nonsense")
    done = subprocess.run([sys.executable, TOOL, good, "-o", good], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "one of the inputs" in done.stderr, done


def test_torch(folder):
    python = next((p for p in (sys.executable, "python3", "/usr/bin/python3") if subprocess.run(
        [p, "-c", "import torch, h5py, numpy"], capture_output=True, check=False).returncode == 0), None) if shutil.which("python3") else None
    if not python:
        print("no PyTorch: not run")
        return
    path = os.path.join(folder, "a.pt")
    out, _ = port()
    np.savez(os.path.join(folder, "a.npz"), **out)
    script = """if True:
        import sys, numpy, torch
        out = {n: torch.from_numpy(a) for n, a in numpy.load(sys.argv[1] + "/a.npz").items()}
        out["x_grad"].requires_grad_()
        torch.save({"out": out, "step.row_max": torch.ones(3)}, sys.argv[1] + "/a.pt")
        torch.save({"loss": torch.tensor([1.5, -3]).bfloat16(), "x_grad": torch.tensor(2.0).half()}, sys.argv[1] + "/b.pth")
        torch.save([torch.ones(3)], sys.argv[1] + "/c.pt")
    """
    subprocess.run([python, "-c", script, folder], check=True)
    check(convert(0, path, python=python), "f32", 3)  # row_max has the wrong shape
    with h5py.File(convert(0, os.path.join(folder, "b.pth"), python=python), "r") as f:
        assert f["out/loss"].id.get_type().get_size() == 2 and f["out/loss"][()].tolist() == [1.5, -3] and f["out/x_grad"].dtype == "f2"
    assert "found a list, expected a dict of tensors" in convert(3, os.path.join(folder, "c.pt"), python=python)


def main():
    for test in (test_names, test_types, test_bad_safetensors, test_bad_others, test_torch):
        folder = tempfile.mkdtemp(prefix="to_candidate.", dir=".")
        try:
            test(os.path.abspath(folder))
        finally:
            shutil.rmtree(folder)
        print("ok", test.__name__)


if __name__ == "__main__":
    main()
