#!/usr/bin/env python3
"""Writes tiny cases of every family into a folder: every switch and corner, small enough for Python integers.

    make_tiny_cases.py FOLDER [FAMILY...]

A family is a file tiny_cases_FAMILY.py beside this one with cases() -> (file name, algorithm, parameters, inputs), ... File names begin with the
rank counts to run them with: any_ (1 and 3 ranks) or wP_ (P ranks only). Dictionaries: parameters are int, float or str; inputs are arrays of the
types that the file shall have. The files are the same on every machine up to the libm of a few logarithms.
"""
import glob
import importlib
import os
import re
import sys

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def families():
    return sorted(os.path.basename(path)[len("tiny_cases_"):-len(".py")] for path in glob.glob(os.path.join(HERE, "tiny_cases_*.py")))


def write(path, algorithm, param, inputs):
    with h5py.File(path, "w", libver=("earliest", "v108")) as h5:
        h5.attrs["format"] = np.bytes_("pfc-case")
        h5.attrs["format_version"] = np.int64(1)
        h5.attrs["algorithm"] = np.bytes_(algorithm)
        group = h5.create_group("param")
        for key, value in param.items():
            group.attrs[key] = np.bytes_(value) if isinstance(value, str) else np.int64(value) if isinstance(value, int) else np.float64(value)
        group = h5.create_group("in")
        for key, value in inputs.items():
            group.create_dataset(key, data=np.asarray(value))


def main():
    if len(sys.argv) < 2:
        print("usage: make_tiny_cases.py FOLDER [FAMILY...]", file=sys.stderr)
        return 2
    for family in sys.argv[2:] or families():
        for name, algorithm, param, inputs in importlib.import_module("tiny_cases_" + family).cases():
            path = os.path.join(sys.argv[1], name + ".h5")
            if os.path.exists(path) or not re.match("any_|w[1-9][0-9]*_", name):
                raise SystemExit("tiny_cases_%s: %s: found twice, or its name does not begin with any_ or w1_, w2_, ..." % (family, name))
            write(path, algorithm, param, inputs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
