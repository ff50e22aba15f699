#!/usr/bin/env python3
"""Writes a case for `pfc_ref run` from NumPy arrays (the format is doc/case-format.md). Needs h5py and numpy.

From Python:

    from write_case import write_case
    write_case("mine.h5", "partial_fc", {"head": "arc", "scale": 64, "margin": 0.5},
               {"features": x, "labels": y, "weight": w})

From the shell, with one .npy file for each input:

    python3 tools/write_case.py -o mine.h5 partial_fc -p head=arc -p scale=64 -p margin=0.5 \\
        -i features=x.npy -i labels=y.npy -i weight=w.npy
    mpirun -np 2 ./pfc_ref run mine.h5 -o result.h5

Real inputs may be float32 or float64, and integer inputs int32 or int64; pfc_ref checks names, shapes and values when it reads the file.
"""
import argparse
import os
import sys

import h5py
import numpy as np

FORMAT_VERSION = 1


def write_case(path, algorithm, params, inputs):
    """path: the .h5 file; params: name -> int, float or str; inputs: name -> array. The same arguments give the same bytes."""
    part = os.fspath(path) + ".part"
    try:
        with _create(part) as f:
            f.attrs["format"] = np.bytes_("pfc-case")
            f.attrs["format_version"] = np.int64(FORMAT_VERSION)
            f.attrs["algorithm"] = np.bytes_(algorithm)
            group = _group(f, b"param")
            for name in sorted(params):
                group.attrs[name] = _parameter(name, params[name])
            group = _group(f, b"in")
            for name in sorted(inputs):
                group.create_dataset(name, data=_tensor(name, inputs[name]), track_times=False)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


def _create(path):
    """A new file of the 1.8 format without time stamps; h5py.File cannot switch off those of the root group."""
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_obj_track_times(False)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V18)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    return h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, fcpl=creation, fapl=access))


def _group(f, name):
    creation = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    creation.set_obj_track_times(False)
    return h5py.Group(h5py.h5g.create(f.id, name, gcpl=creation))


def _parameter(name, value):
    if isinstance(value, str):
        return np.bytes_(value)
    if isinstance(value, (bool, int, np.bool_, np.integer)):
        return np.int64(value)
    if isinstance(value, (float, np.floating)):
        return np.float64(value)
    raise TypeError(f"parameter {name}: found {type(value).__name__}, expected int, float or str")


def _tensor(name, value):
    a = np.ascontiguousarray(value).reshape(np.shape(value))
    if a.dtype.kind in "iub" and np.can_cast(a.dtype, np.int64):
        return a.astype("<i4" if a.dtype == np.int32 else "<i8")
    if a.dtype.kind == "f" and a.dtype.itemsize in (4, 8):
        return a.astype(a.dtype.newbyteorder("<"))
    raise TypeError(f"input {name}: found {a.dtype}, expected float32, float64 or an integer type within int64")


def _split(text):
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"found '{text}', expected NAME=VALUE")
    return name, value


def _number(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def main():
    p = argparse.ArgumentParser(description="Writes a case for pfc_ref from .npy files.")
    p.add_argument("algorithm", help="such as partial_fc; `pfc_ref list` shows all with their parameters")
    p.add_argument("-o", "--out", required=True, metavar="CASE.h5")
    p.add_argument("-p", "--param", action="append", default=[], type=_split, metavar="NAME=VALUE")
    p.add_argument("-i", "--in", dest="inputs", action="append", default=[], type=_split, metavar="NAME=FILE.npy")
    a = p.parse_args()
    try:
        inputs = {name: np.load(path, allow_pickle=False) for name, path in a.inputs}
        write_case(a.out, a.algorithm, {name: _number(value) for name, value in a.param}, inputs)
    except (OSError, TypeError, ValueError) as e:
        print(f"{p.prog}: {e}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
