#!/usr/bin/env python3
"""data/make_cases.py still makes the inputs and parameters of the shipped goldens of every family, bit for bit, none is missing, and data/README.md
lists every kind."""
import glob
import os
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np

TOP = os.environ.get("PFC_TOP_SRCDIR", os.path.join(os.path.dirname(__file__), os.pardir))


def differences(made, shipped):
    """What of a made case is not in the shipped golden; the golden has more parameters: the resolved defaults."""
    for name, value in made["param"].attrs.items():
        found = shipped["param"].attrs.get(name)
        if found is None or (found != value and not (found != found and value != value)):  # NaN: a cumulative average
            yield f"parameter {name}: found {found}, expected {value}"
    if set(made["in"]) != set(shipped["in"]):
        yield f"inputs: found {sorted(shipped['in'])}, expected {sorted(made['in'])}"
        return
    for name, data in made["in"].items():
        found, expected = shipped["in"][name][()], data[()]
        if found.dtype != expected.dtype or found.shape != expected.shape or found.tobytes() != expected.tobytes():
            yield f"input {name} differs in {np.sum(found != expected) if found.shape == expected.shape else 'shape'}"


def main():
    work = tempfile.mkdtemp(prefix="test_cases.", dir=".")
    bad = []
    try:
        subprocess.run([sys.executable, os.path.join(TOP, "data", "make_cases.py"), work], check=True)
        made = {os.path.basename(p): p for p in glob.glob(os.path.join(work, "**", "*.h5"), recursive=True)}
        shipped = {os.path.basename(p) for p in glob.glob(os.path.join(TOP, "data", "*.h5"))}
        bad += [f"{name}: only one of make_cases.py and data/ has it" for name in sorted(set(made) ^ shipped)]
        with open(os.path.join(TOP, "data", "README.md"), encoding="utf-8") as readme:
            table = readme.read()
        bad += [f"{kind}_*.h5: not in the table of data/README.md" for kind in sorted({name.split("_")[0] for name in shipped}) if f"`{kind}_*.h5`" not in table]
        for name in sorted(set(made) & shipped):
            with h5py.File(made[name], "r") as a, h5py.File(os.path.join(TOP, "data", name), "r") as b:
                bad += [f"{name}: {text}" for text in differences(a, b)]
                if ("step" in b) != ("steps" in made[name].split(os.sep)):
                    bad.append(f"{name}: /step is in the golden or in STEPS of its family, not in both")
    finally:
        shutil.rmtree(work)
    print(*bad, f"{len(made)} cases, {len(bad)} differences", sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
