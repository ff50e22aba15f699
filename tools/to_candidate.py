#!/usr/bin/env python3
"""Converts a port's results to a file for `pfc_ref check`. Needs h5py and numpy, and PyTorch for its files.

    to_candidate.py RESULTS -o CANDIDATE.h5 [--golden GOLDEN.h5]

RESULTS is a .safetensors file, a .pt or .pth file (a dict of tensors), a .npz file, or a folder of .npy files. A tensor called "loss", "out.loss" or
"out/loss" is the result /out/loss, and "step.logits" or "step/logits" is the step /step/logits ("_" does as well). Types stay as they are, bfloat16 and float16 too.
With --golden a name that the golden doesn't have is an error. Exit status: 0, 2 usage, 3 bad file.
"""
import argparse
import json
import math
import os
import re
import sys
import zipfile
import zlib

import h5py
import numpy as np

from pfc_golden import BF16, as_array, write_candidate

SAFETENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": BF16, "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}
MAX_HEADER = 100_000_000


class BadFile(Exception):
    pass


# ---- .safetensors: 8 bytes of length, a JSON header of that length, the data ----

def read_safetensors(path):
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        start = f.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, MAX_HEADER):
            raise BadFile(f"found a header of {length} bytes in a file of {size}, expected a .safetensors file")
        header = parse_header(f.read(length))
        data = f.read()
    tensors, at = {}, 0
    for name, (begin, end, dtype, shape) in sorted(header.items(), key=lambda item: item[1][:2]):
        if begin != at:
            raise BadFile(f"tensor {name}: found data_offsets {begin}, {end}, expected {at} as where the one before ends")
        if end > len(data) or end - begin != math.prod(shape) * dtype.itemsize:
            raise BadFile(f"tensor {name}: found data_offsets {begin}, {end} for shape {shape} in {len(data)} bytes of data")
        tensors[name] = np.frombuffer(data, dtype, math.prod(shape), begin).reshape(shape)
        at = end
    if at != len(data):
        raise BadFile(f"found {len(data)} bytes of data, expected {at} as in the header")
    return tensors


def parse_header(text):
    """Name -> begin, end, dtype, shape."""
    try:
        header = json.loads(text.decode(), object_pairs_hook=once)
    except (UnicodeDecodeError, ValueError, RecursionError) as e:
        raise BadFile(f"found a header that is no JSON ({e})") from e
    if not isinstance(header, dict):
        raise BadFile("found a header that is no JSON object")
    header.pop("__metadata__", None)
    return {name: parse_entry(name, entry) for name, entry in header.items()}


def once(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands there twice")
    return dict(pairs)


def parse_entry(name, entry):
    entry = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in SAFETENSORS:
        raise BadFile(f"tensor {name}: found dtype {dtype}, expected one of {' '.join(SAFETENSORS)}")
    if not sizes(shape) or len(shape) > 8:
        raise BadFile(f"tensor {name}: found shape {shape}, expected up to 8 sizes")
    if not sizes(offsets) or len(offsets) != 2:
        raise BadFile(f"tensor {name}: found data_offsets {offsets}, expected two positions")
    return offsets[0], offsets[1], np.dtype(SAFETENSORS[dtype]), tuple(shape)


def sizes(value):
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


# ---- the others ----

def read_torch(path):
    try:
        import torch
    except ImportError as e:
        raise BadFile(f"reading it needs PyTorch ({e})") from e
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # of many kinds, from the unpickler up
        raise BadFile(f"torch.load(weights_only=True): {e}") from e
    if not isinstance(found, dict):
        raise BadFile(f"found a {type(found).__name__}, expected a dict of tensors")
    flat = {}
    for name, value in found.items():
        flat.update({f"{name}/{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {name: value})
    return flat


def read_npz(path):
    with np.load(path, allow_pickle=False) as f:
        if not isinstance(f, np.lib.npyio.NpzFile):
            raise BadFile("found no .npz file")
        return {name: f[name] for name in f.files}


def read_folder(path):
    tensors = {}
    for where, prefix in ((path, ""), (os.path.join(path, "out"), "out/"), (os.path.join(path, "step"), "step/")):
        for name in sorted(os.listdir(where)) if os.path.isdir(where) else ():
            if name.endswith(".npy"):
                tensors[prefix + name[:-4]] = np.load(os.path.join(where, name), allow_pickle=False)
    return tensors


def read(path):
    readers = {".safetensors": read_safetensors, ".pt": read_torch, ".pth": read_torch, ".npz": read_npz}
    reader = read_folder if os.path.isdir(path) else readers.get(os.path.splitext(path)[1])
    if not reader:
        raise BadFile("expected a .safetensors, .pt, .pth or .npz file or a folder of .npy files")
    return reader(path)


# ---- names ----

def place(tensors, expected):
    """(out, step), by name. expected: the same of the golden, or None."""
    placed = {"out": {}, "step": {}}
    for full, value in tensors.items():
        group, name = re.fullmatch(r"(?:(out|step)[./_])?(.*)", str(full), re.DOTALL).groups()
        group = group or "out"
        if not re.fullmatch(r"[A-Za-z0-9_]{1,63}", name):
            raise BadFile(f"found a tensor \"{full}\", expected names such as loss, out.loss or step.logits")
        if expected and name not in expected[group]:
            known = [n for n in expected["out"]] + ["step." + n for n in expected["step"]]
            raise BadFile(f"found a tensor \"{full}\", expected one of {' '.join(known)}")
        if name in placed[group]:
            raise BadFile(f"found /{group}/{name} twice, the second as \"{full}\"")
        try:
            placed[group][name] = as_array(value)
        except (TypeError, RuntimeError) as e:
            raise BadFile(f"tensor {full}: {e}") from e
    if not placed["out"] and not placed["step"]:
        raise BadFile("found no tensors")
    return placed


def read_golden(path):
    with h5py.File(path, "r") as f:
        algorithm = f.attrs.get("algorithm")
        if algorithm is None or "out" not in f:
            raise BadFile("found no golden, expected attribute algorithm and results in /out")
        return {"algorithm": algorithm, "out": list(f["out"]), "step": list(f.get("step", {}))}


def attempt(path, work, *arguments):
    """An error of any kind as one line that begins with the file."""
    try:
        return work(*arguments)
    except (BadFile, OSError, EOFError, KeyError, MemoryError, ValueError, zipfile.BadZipFile, zlib.error) as e:
        raise BadFile(" ".join(f"{path}: {e}".split())) from e


def main(arguments=None):
    p = argparse.ArgumentParser(prog="to_candidate.py", description="Converts a port's results to a file for pfc_ref check.")
    p.add_argument("results", help=".safetensors, .pt, .pth, .npz or a folder of .npy files")
    p.add_argument("-o", "--out", required=True, metavar="CANDIDATE.h5")
    p.add_argument("--golden", metavar="GOLDEN.h5", help="check the names against it")
    a = p.parse_args(arguments)
    if os.path.realpath(a.out) in (os.path.realpath(a.results), a.golden and os.path.realpath(a.golden)):
        p.error("the output is one of the inputs")
    try:
        expected = attempt(a.golden, read_golden, a.golden) if a.golden else None
        tensors = attempt(a.results, read, a.results)
        placed = attempt(a.results, place, tensors, expected)
        attempt(a.out, write_candidate, a.out, expected and expected["algorithm"], placed["out"], placed["step"])
    except BadFile as e:
        print(f"{p.prog}: {e}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
