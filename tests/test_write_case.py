#!/usr/bin/env python3
"""tools/write_case.py: the bytes are repeatable, the format is the contract's, pfc_ref runs what it wrote, and bad values leave no file."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

TOP = os.environ.get("PFC_TOP_SRCDIR", os.path.join(os.path.dirname(__file__), os.pardir))
sys.path.insert(0, os.path.join(TOP, "tools"))
from write_case import write_case  # noqa: E402

PARAMS = {"head": "arc", "scale": 16, "margin": 0.5, "xgrad_scale": 1.0, "lr": 0.5}
INPUTS = {
    "features": np.sin(np.arange(24, dtype=np.float64)).reshape(6, 4),
    "labels": np.array([0, 4, 2, 2, 1, 3], np.int32),
    "weight": np.cos(np.arange(40)).astype(np.float32).reshape(10, 4)[::2],  # not contiguous
}


def contents(path):
    with open(path, "rb") as f:
        return f.read()


def test_bytes(folder):
    first, second = os.path.join(folder, "a.h5"), os.path.join(folder, "b.h5")
    write_case(first, "partial_fc", PARAMS, INPUTS)
    time.sleep(1.1)  # a time stamp anywhere in the file would differ
    write_case(second, "partial_fc", dict(reversed(PARAMS.items())), dict(reversed(INPUTS.items())))
    assert contents(first) == contents(second)


def test_format(folder):
    path = os.path.join(folder, "a.h5")
    write_case(path, "partial_fc", PARAMS, INPUTS)
    with h5py.File(path, "r") as f:
        assert f.attrs["format"] == b"pfc-case" and f.attrs["algorithm"] == b"partial_fc" and f.attrs["format_version"] == 1
        for name in ("format", "algorithm"):
            assert not f.attrs.get_id(name).get_type().is_variable_str()
        types = {name: f["param"].attrs.get_id(name).dtype for name in f["param"].attrs}
        assert types == {"head": "S3", "scale": "<i8", "margin": "<f8", "xgrad_scale": "<f8", "lr": "<f8"}, types
        stored = {name: (d.dtype, d.chunks) for name, d in f["in"].items()}
        assert stored == {"features": ("<f8", None), "labels": ("<i4", None), "weight": ("<f4", None)}, stored
        for name, value in INPUTS.items():
            assert np.array_equal(f["in"][name][()], value)


def test_bad_values(folder):
    path = os.path.join(folder, "a.h5")
    for params, inputs in (({"head": None}, {}), ({}, {"labels": np.array(["x"])}), ({}, {"features": np.ones(3, np.float16)}), ({}, {"x": np.ones(2, np.uint64)})):
        try:
            write_case(path, "partial_fc", params, inputs)
        except TypeError:
            pass
        else:
            raise AssertionError("no TypeError")
        assert os.listdir(folder) == []


def test_command(folder):
    """The shell form writes the same bytes; pfc_ref, where it is built, runs the case."""
    path, same = os.path.join(folder, "a.h5"), os.path.join(folder, "b.h5")
    write_case(path, "partial_fc", PARAMS, INPUTS)
    command = [sys.executable, os.path.join(TOP, "tools", "write_case.py"), "-o", same, "partial_fc"]
    for name, value in PARAMS.items():
        command += ["-p", f"{name}={value}"]
    for name, value in INPUTS.items():
        np.save(os.path.join(folder, name + ".npy"), value)
        command += ["-i", f"{name}={os.path.join(folder, name)}.npy"]
    subprocess.run(command, check=True)
    assert contents(path) == contents(same)
    bad = subprocess.run(command[:-1] + ["x=/nosuch.npy"], capture_output=True, text=True, check=False)
    assert bad.returncode == 3 and len(bad.stderr.splitlines()) == 1, bad
    pfc_ref = os.environ.get("PFC_REF")
    if not pfc_ref or not os.path.exists(pfc_ref):
        print("no pfc_ref: not run")
        return
    result = os.path.join(folder, "out.h5")
    subprocess.run([pfc_ref, "run", path, "-o", result], check=True, stdout=subprocess.DEVNULL)
    with h5py.File(result, "r") as f:
        assert f["out/weight"].shape == (5, 4) and np.isfinite(f["out/loss"][()]).all()
        assert np.array_equal(f["in/features"][()], INPUTS["features"].astype(np.float32))


for name, test in list(globals().items()):
    if name.startswith("test_"):
        work = tempfile.mkdtemp(prefix="test_write_case.", dir=".")
        try:
            test(work)
        finally:
            shutil.rmtree(work)
        print("ok", name)
