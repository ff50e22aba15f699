#!/usr/bin/env python3
"""Spoils a golden for tests/driver_hostile.sh.

    make_hostile_results.py GOLDEN.h5 DIR

DIR/results/NAME.h5: whole or cut copies of the golden with one hostile thing in /out; DIR/results.txt: lines "NAME<TAB>what check must say", or
"NAME<TAB>match" where it must find no difference.
DIR/changed/NAME.h5: the golden and a small case (tests/make_bad_cases.py) cut at some lengths and with one byte changed; DIR/changed.txt: their names.
"""
import os
import random
import shutil
import sys
import zlib

import h5py
import numpy as np

import make_bad_cases as cases


def replace(f, name, value=None, **how):
    attrs = dict(f[name].attrs)
    cases.replace(f, name, value, **how)
    for key in attrs:
        f[name].attrs[key] = attrs[key]
    return f[name]


def spoilers(golden):
    """(name, text, what to do to the file)"""
    x = h5py.File(golden, "r")["out/x_grad"][()]
    rows, cols = x.shape

    def link(value):
        def edit(f):
            del f["out/x_grad"]
            f["out/x_grad"] = value(f)
        return edit

    def type_of(kind):
        return lambda f: replace(f, "out/x_grad", shape=x.shape, dtype=kind)

    def chunk(data, **how):
        def edit(f):
            d = replace(f, "out/x_grad", shape=x.shape, dtype="<f8", **how)
            d.id.write_direct_chunk((0, 0), data)
        return edit

    def virtual(f):
        layout = h5py.VirtualLayout(shape=x.shape, dtype="<f8")
        layout[:] = h5py.VirtualSource(golden, "out/x_grad", shape=x.shape)
        del f["out/x_grad"]
        f["out"].create_virtual_dataset("x_grad", layout)

    def external(f):
        replace(f, "out/x_grad", shape=x.shape, dtype="<f8", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])

    def some_chunks(f):
        replace(f, "out/x_grad", shape=x.shape, dtype="<f8", chunks=(1, cols))[0] = 1.0

    def whole_out(f):
        f.move("out", "elsewhere")
        f["out"] = f["/elsewhere"]
        f["elsewhere/again"] = f["/elsewhere"]

    def soft_out(f):
        f.move("out", "elsewhere")
        f["out"] = h5py.SoftLink("/out")

    yield "big_endian", "match", lambda f: replace(f, "out/x_grad", x.astype(">f8"))
    yield "chunked", "match", lambda f: replace(f, "out/x_grad", x, chunks=(5, 3), compression="gzip", shuffle=True)
    yield "long_attribute", "match", lambda f: f.attrs.__setitem__("note", "c" * 10**6)
    yield "hard_cycle", "/out/again: found an object that is no dataset", whole_out
    yield "soft_cycle", "/out", soft_out
    yield "link_to_group", "/out/x_grad: found an object that is no dataset", link(lambda f: f["out"])
    yield "soft_link", "/out/x_grad: found a soft link", link(lambda f: h5py.SoftLink("/step"))
    yield "external_link", "/out/x_grad: found a link to another file", link(lambda f: h5py.ExternalLink(golden, "/out/x_grad"))
    yield "virtual", "/out/x_grad: found data that lies in other files", virtual
    yield "external", "/out/x_grad: found data that lies in other files", external
    yield "unwritten", "/out/x_grad: found a dataset without stored data", lambda f: replace(f, "out/x_grad", shape=x.shape, dtype="<f8")
    yield "some_chunks", "/out/x_grad: found a dataset of which some chunks", some_chunks
    for name, kind in (("compound", [("a", "<f8")]), ("lists", h5py.vlen_dtype(np.dtype("<f8"))), ("texts", h5py.string_dtype()),
                       ("references", h5py.ref_dtype), ("opaque", "V8"), ("long_double", np.longdouble)):
        yield name, "/out/x_grad: found", type_of(kind)
    yield "null", "/out/x_grad: found", lambda f: replace(f, "out/x_grad", h5py.Empty("<f8"))
    yield "ten_axes", "/out/x_grad: found", lambda f: replace(f, "out/x_grad", np.zeros((1,) * 10))
    yield "huge", "/out/x_grad: found", lambda f: replace(f, "out/x_grad", shape=(2**40, 2**20), dtype="<f8", chunks=(1, 1))
    yield "filled", "/out/x_grad: found", lambda f: replace(f, "out/x_grad", shape=(2**27, 4), dtype="<f8", chunks=(2**20, 4), fillvalue=1.0)
    yield "wide_chunk", "/out/x_grad: found chunks", chunk(zlib.compress(b"\0" * 1000), chunks=(rows, 2**24), maxshape=(None, None), compression="gzip")
    yield "short_chunk", "/out/x_grad", chunk(zlib.compress(b"\0" * 10)[:-4], chunks=x.shape, compression="gzip")
    yield "no_deflate", "/out/x_grad: cannot be read", chunk(b"text", chunks=x.shape, compression="gzip")
    yield "world_text", "match", lambda f: f["param"].attrs.__setitem__("world", "many")
    yield "format", "attribute format", lambda f: f.attrs.__setitem__("format", np.bytes_("x" * 200))
    yield "format_list", "attribute format", lambda f: f.attrs.__setitem__("format", np.zeros(5))
    yield "algorithm_list", "attribute algorithm", lambda f: f.attrs.__setitem__("algorithm", np.zeros(5))
    yield "algorithm", "attribute algorithm", lambda f: f.attrs.__setitem__("algorithm", "\x1b[2J\nname")


def make_results(golden, folder):
    os.makedirs(os.path.join(folder, "results"))
    with open(os.path.join(folder, "results.txt"), "w") as lines:
        for name, text, edit in spoilers(golden):
            path = os.path.join(folder, "results", name + ".h5")
            shutil.copy(golden, path)
            with h5py.File(path, "r+") as f:
                edit(f)
            lines.write("%s\t%s\n" % (name, text))


def make_changed(golden, folder):
    os.makedirs(os.path.join(folder, "changed"))
    case = os.path.join(folder, "changed", "plain.h5")
    cases.write(case, params=dict(cases.PARAMS, head="cos"))
    rng = random.Random(5)
    names = []
    for kind, source in (("case", case), ("golden", golden)):
        blob = open(source, "rb").read()
        spoilt = [blob[: len(blob) * k // 12] for k in range(12)] + [blob[:-1]]
        for _ in range(36):
            at = rng.randrange(len(blob))
            spoilt.append(blob[:at] + bytes([blob[at] ^ rng.randrange(1, 256)]) + blob[at + 1:])
        for k, data in enumerate(spoilt):
            names.append("%s_%02d.h5" % (kind, k))
            with open(os.path.join(folder, "changed", names[-1]), "wb") as f:
                f.write(data)
    with open(os.path.join(folder, "changed.txt"), "w") as lines:
        lines.write("\n".join(names) + "\n")


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: make_hostile_results.py GOLDEN.h5 DIR")
    make_results(sys.argv[1], sys.argv[2])
    make_changed(sys.argv[1], sys.argv[2])


if __name__ == "__main__":
    main()
