"""Candidates for tests of `pfc_ref check`: the results of a golden, changed, as a file or as a folder of .npy files."""
import json
import os
import subprocess

import h5py
import numpy as np


class Golden:
    def __init__(self, path):
        self.path, self.folder = path, os.path.dirname(path)
        with h5py.File(path, "r") as f:
            self.out = {n: f["out"][n][()] for n in f["out"]}
            self.step = {n: f["step"][n][()] for n in f["step"]} if "step" in f else {}
            self.inputs = {n: f["in"][n][()] for n in f["in"]}
            self.bound = {}
            for kind in f["bound/f32"]:
                for n, d in f["bound/f32/" + kind].items():
                    like = f[kind][n].shape
                    self.bound[n] = np.broadcast_to(d[()], like).copy() if d.shape != like else d[()]

    def real(self, x, dtype="<f4"):
        return np.asarray(x).astype(dtype) if np.asarray(x).dtype.kind == "f" else np.asarray(x)

    def file(self, name, changes=None, dtype="<f4", steps=()):
        """FOLDER/name.h5: every result, those in `changes` replaced."""
        changes = changes or {}
        path = "%s/%s.h5" % (self.folder, name)
        with h5py.File(path, "w") as f:
            for kind, tensors in (("out", self.out), ("step", {n: self.step[n] for n in steps})):
                for n, x in tensors.items():
                    f["%s/%s" % (kind, n)] = self.real(changes.get(n, x), dtype)
        return path

    def noise(self, name, share, rng):
        """Errors of `share` of the bound, signs at random."""
        return share * np.where(np.isfinite(self.bound[name]), self.bound[name], 0) * rng.choice([-1.0, 1.0], self.bound[name].shape)


def check(golden, candidate, *options):
    """Status and JSON of pfc_ref check; the tensors by name."""
    path = str(candidate) + ".json"
    run = subprocess.run([os.environ["PFC_REF"], "check", golden, candidate, "--json", path, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         stdin=subprocess.DEVNULL, universal_newlines=True, timeout=120)
    if not os.path.exists(path):
        return run.returncode, {"stdout": run.stdout, "stderr": run.stderr, "by_name": {}}
    with open(path) as f:
        result = json.load(f)
    os.remove(path)
    result["by_name"] = {t["tensor"].rsplit("/", 1)[1]: t for t in result.get("tensors", [])}
    result["stdout"], result["stderr"] = run.stdout, run.stderr
    return run.returncode, result
