#!/usr/bin/env python3
"""Writes case files that pfc_ref must refuse, and odd ones that it must accept.

    make_bad_cases.py DIR

DIR/bad/NAME.h5, one kind of mistake each, and DIR/bad.txt: lines "NAME<TAB>what the one-line message must contain<TAB>...".
DIR/good/NAME.h5: the same small case in every encoding that case-format.md allows; all of them must give the same results as
DIR/good/plain.h5. DIR/good.txt: lines "NAME<TAB>number of values that change when read as float32".
The case is partial_fc with N = 6, D = 4, C = 5; it fits 1, 2, 3 and 6 ranks.
"""
import os
import sys
import zlib

import h5py
import numpy as np

N, D, C = 6, 4, 5
PARAMS = {"head": b"cos", "scale": 16.0, "margin": 0.25, "lr": 0.5, "steps": 1, "xgrad_scale": 1.0}


def wave(seed, *shape):
    """Numbers that float32 holds exactly, so that every encoding means the same case."""
    n = int(np.prod(shape))
    return (np.round(np.sin(1.0 + 0.7 * np.arange(n) + 1.3 * seed) * 256) / 256).astype("<f4").reshape(shape)


def inputs():
    return {"features": wave(1, N, D), "labels": np.array([0, 4, 2, 1, 3, 4], "<i8"), "weight": wave(2, C, D), "weight_momentum": wave(3, C, D)}


def write(path, params=None, data=None):
    with h5py.File(path, "w") as f:
        f.attrs["format"] = np.bytes_("pfc-case")
        f.attrs["format_version"] = np.int64(1)
        f.attrs["algorithm"] = np.bytes_("partial_fc")
        group = f.create_group("param")
        for name, value in (PARAMS if params is None else params).items():
            group.attrs[name] = np.bytes_(value) if isinstance(value, bytes) else value
        group = f.create_group("in")
        for name, value in (inputs() if data is None else data).items():
            group.create_dataset(name, data=value)


class Maker:
    """bad(name, fragments...) and good(name, changed) give the path of a fresh plain case to spoil or to dress up."""

    def __init__(self, root):
        self.root, self.bad_list, self.good_list = root, [], []
        for folder in ("bad", "good"):
            os.makedirs(os.path.join(root, folder), exist_ok=True)

    def bad(self, name, *fragments, **case):
        self.bad_list.append("\t".join((name,) + fragments))
        path = os.path.join(self.root, "bad", name + ".h5")
        write(path, **case)
        return path

    def good(self, name, changed=0, **case):
        self.good_list.append("%s\t%d" % (name, changed))
        path = os.path.join(self.root, "good", name + ".h5")
        write(path, **case)
        return path

    def lists(self):
        for name, lines in (("bad.txt", self.bad_list), ("good.txt", self.good_list)):
            with open(os.path.join(self.root, name), "w") as f:
                f.write("\n".join(lines) + "\n")


def change(path, edit):
    with h5py.File(path, "r+") as f:
        edit(f)


def without(table, name):
    return {k: v for k, v in table.items() if k != name}


def replaced(name, value):
    return dict(inputs(), **{name: value})


def replace(f, name, value=None, **how):
    del f[name]
    if value is not None:
        how["data"] = value
    return f.create_dataset(name, **how)


def bad_files(m):
    path = m.bad("text", "HDF5")
    open(path, "w").write("head = cos\n")
    open(m.bad("empty", "HDF5"), "w").close()
    path = m.bad("truncated", "HDF5", "truncated")
    blob = open(path, "rb").read()
    open(path, "wb").write(blob[: len(blob) * 2 // 3])
    path = m.bad("cut_short", "HDF5")
    open(path, "wb").write(blob[:100])
    path = m.bad("folder", "directory")
    os.remove(path)
    os.makedirs(path, exist_ok=True)
    os.remove(m.bad("missing", "No such file"))


def bad_headers(m):
    change(m.bad("no_format", "format", "nothing", "pfc-case"), lambda f: f.attrs.__delitem__("format"))
    change(m.bad("other_format", "format", "onnx", "pfc-case"), lambda f: f.attrs.__setitem__("format", np.bytes_("onnx")))
    change(m.bad("no_version", "format_version", "nothing"), lambda f: f.attrs.__delitem__("format_version"))
    change(m.bad("version_2", "format_version", "2", "1"), lambda f: f.attrs.__setitem__("format_version", np.int32(2)))
    change(m.bad("version_text", 'format_version: found "1", expected 1'), lambda f: f.attrs.__setitem__("format_version", np.bytes_("1")))
    change(m.bad("no_algorithm", "algorithm", "nothing"), lambda f: f.attrs.__delitem__("algorithm"))
    change(m.bad("unknown_algorithm", "algorithm", "partial_cf"), lambda f: f.attrs.__setitem__("algorithm", np.bytes_("partial_cf")))
    change(m.bad("algorithm_number", "attribute algorithm: found 3, expected"), lambda f: f.attrs.__setitem__("algorithm", np.int64(3)))
    change(m.bad("no_param", "/param/head", "nothing"), lambda f: f.__delitem__("param"))
    change(m.bad("no_in", "/in/features", "nothing"), lambda f: f.__delitem__("in"))

    def in_is_dataset(f):
        del f["in"]
        f["in"] = np.zeros(3)

    change(m.bad("in_is_dataset", "/in", "group"), in_is_dataset)


def bad_params(m):
    def param(name, value):
        return dict(PARAMS, **{name: value})

    for name in ("head", "scale"):
        m.bad("no_" + name, "/param/" + name, "nothing", params=without(PARAMS, name))
    m.bad("unknown_param", "/param/lrate", "unknown", params=param("lrate", 0.1))
    m.bad("unknown_head", "/param/head", "tanh", "linear, cos, arc or circle", params=param("head", b"tanh"))
    m.bad("long_head", "/param/head", params=param("head", b"c" * 3000))
    m.bad("head_number", "/param/head", params=param("head", 1))
    m.bad("scale_text", "/param/scale", "16", params=param("scale", b"16"))
    m.bad("scale_list", "/param/scale", "2 values", params=param("scale", np.array([16.0, 16.0])))
    m.bad("scale_empty", "/param/scale", "0 values", params=param("scale", h5py.Empty("<f8")))
    m.bad("steps_half", "/param/steps", "0.5", "integer", params=param("steps", 0.5))
    m.bad("steps_huge", "/param/steps", "found 9223372036854775808, expected an integer", params=param("steps", np.uint64(2**63)))
    m.bad("steps_nan", "/param/steps", "integer", params=param("steps", float("nan")))
    m.bad("nesterov_2", "/param/nesterov", "2", "0 or 1", params=param("nesterov", 2))
    m.bad("world_0", "/param/world", "0", params=param("world", 0))
    m.bad("world_7", "/param/world", "7", params=param("world", 7))
    m.bad("allow_2", "/param/allow_nonfinite", "2", "0 or 1", params=param("allow_nonfinite", 2))
    change(m.bad("param_dataset", "/param/lr", "attribute"), lambda f: f["param"].create_dataset("lr", data=0.5))
    m.bad("control_characters", "unknown", params=param("lr\n\x1b[2J", 0.1))


def bad_shapes(m):
    for name in ("features", "labels", "weight"):
        m.bad("no_" + name, "/in/" + name, "nothing", data=without(inputs(), name))
    m.bad("unknown_input", "/in/bias", "unknown", data=dict(inputs(), bias=wave(4, C)))
    m.bad("labels_2d", "/in/labels", "(6,1)", data=replaced("labels", inputs()["labels"].reshape(N, 1)))
    m.bad("labels_short", "/in/labels", "(5)", "N = 6", data=replaced("labels", inputs()["labels"][:5]))
    m.bad("weight_wide", "/in/weight", "(5,3)", "D = 4", data=replaced("weight", wave(2, C, 3)))
    m.bad("momentum_rows", "/in/weight_momentum", "(4,4)", "C = 5", data=replaced("weight_momentum", wave(2, 4, D)))
    m.bad("steps_axis", "/in/features", "(2,6,4)", "steps = 1", data=replaced("features", wave(1, 2, N, D)))
    m.bad("scalar_weight", "/in/weight", "()", data=replaced("weight", np.float32(1)))
    m.bad("nine_axes", "/in/weight", "9 axes", data=replaced("weight", wave(2, *([1] * 9))))
    m.bad("null_space", "/in/weight", "shape", data=replaced("weight", h5py.Empty("<f4")))
    m.bad("empty_batch", "/in/features", "(0,4)", "empty", data=dict(inputs(), features=wave(1, 0, D), labels=inputs()["labels"][:0]))
    m.bad("no_classes", "/in/weight", "(0,4)", data=replaced("weight", wave(1, 0, D)))


def bad_types(m):
    x, w = inputs()["labels"], inputs()["weight"]
    m.bad("labels_float", "/in/labels", "f64", "integers", data=replaced("labels", x.astype("<f8")))
    m.bad("labels_uint64", "/in/labels", "18446744073709551615", "(3)", data=replaced("labels", np.array([0, 1, 2, 2**64 - 1, 0, 0], "<u8")))
    m.bad("labels_text", "/in/labels", "strings", data=replaced("labels", np.array([b"a"] * N)))
    m.bad("labels_bool", "/in/labels", "enumeration", data=replaced("labels", x > 2))
    m.bad("weight_int", "/in/weight", "i32", "real numbers", data=replaced("weight", (w * 10).astype("<i4")))
    m.bad("weight_half", "/in/weight", "f16", data=replaced("weight", w.astype("<f2")))
    m.bad("weight_long_double", "/in/weight", "16 bytes", data=replaced("weight", w.astype(np.longdouble)))
    m.bad("weight_complex", "/in/weight", "compound", data=replaced("weight", w.astype(np.complex64)))
    for word, value, wide in (("nan", np.nan, False), ("inf", np.inf, False), ("overflow", 1e300, True), ("just_overflows", 3.4028235677973366e38, True)):
        bad = w.astype("<f8") if wide else w.copy()
        bad[3, 2] = value
        m.bad("weight_" + word, "/in/weight", "(3,2)", data=replaced("weight", bad))
    keys = np.linspace(0, 0.9, C)
    keys[4] = np.nan
    m.bad("keys_nan", "/in/sample_keys", "(4)", data=dict(inputs(), sample_keys=keys))


def bad_storage(m):
    huge = dict(shape=(10**13, 4), dtype="<f4")
    change(m.bad("unwritten", "/in/weight", "without stored data"), lambda f: replace(f, "in/weight", shape=(C, D), dtype="<f4"))
    change(m.bad("huge_unwritten", "/in/weight", "without stored data"), lambda f: replace(f, "in/weight", **huge))

    def one_chunk(f, shape):
        d = replace(f, "in/weight", shape=shape, dtype="<f4", chunks=(1, 4))
        d[0] = 1.0

    change(m.bad("some_chunks", "/in/weight", "chunks"), lambda f: one_chunk(f, (C, D)))
    change(m.bad("huge_chunked", "/in/weight", "chunks"), lambda f: one_chunk(f, (10**13, 4)))

    how = dict(shape=(2**40, 2**40), dtype="<f4", chunks=(1, 1))
    change(m.bad("overflow_dims", "/in/weight", "elements"), lambda f: replace(f, "in/weight", **how))

    def sparse(f):  # 2 TiB that take no room on the disk
        del f["in/weight"]
        dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        dcpl.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        dcpl.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        h5py.h5d.create(f["in"].id, b"weight", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((2**37, 4)), dcpl)

    change(m.bad("beyond_memory", "/in/weight", "memory", data=without(inputs(), "weight_momentum")), sparse)
    other = os.path.join(m.root, "other.h5")
    write(other)

    def external_link(f):
        del f["in/weight"]
        f["in/weight"] = h5py.ExternalLink("../other.h5", "/in/weight")

    def soft_link(f):
        f.move("in/weight", "elsewhere")
        f["in/weight"] = h5py.SoftLink("/elsewhere")

    def virtual(f):
        layout = h5py.VirtualLayout(shape=(C, D), dtype="<f4")
        layout[:] = h5py.VirtualSource("../other.h5", "in/weight", shape=(C, D))
        del f["in/weight"]
        f["in"].create_virtual_dataset("weight", layout)

    def external_data(f):
        with open(os.path.join(m.root, "raw.bin"), "wb") as raw:
            raw.write(inputs()["weight"].tobytes())
        replace(f, "in/weight", shape=(C, D), dtype="<f4", external=[("../raw.bin", 0, h5py.h5f.UNLIMITED)])

    def group_instead(f):
        del f["in/weight"]
        f.create_group("in/weight")

    change(m.bad("external_link", "/in/weight", "link to another file"), external_link)
    change(m.bad("soft_link", "/in/weight", "soft link"), soft_link)
    change(m.bad("virtual", "/in/weight", "other files"), virtual)
    change(m.bad("external_data", "/in/weight", "other files"), external_data)
    change(m.bad("group_instead", "/in/weight", "another object"), group_instead)


def bad_links(m):
    def itself(f):
        del f["in/weight"]
        f["in/weight"] = f["in"]

    def root(f):
        f.move("in", "elsewhere")
        f["in"] = f["/"]

    def soft(f):
        del f["in"]
        f["in"] = h5py.SoftLink("/in")

    def own_file(f):
        del f["in/weight"]
        f["in/weight"] = h5py.ExternalLink(os.path.basename(f.filename), "/in/weight")

    def many(f):
        for k in range(5000):
            f["in/%d" % k] = h5py.SoftLink("/in/%d" % k)

    change(m.bad("link_to_its_group", "/in/weight", "another object"), itself)
    change(m.bad("link_to_root", "/in/", "unknown input"), root)
    change(m.bad("soft_cycle", "/in", "soft link"), soft)
    change(m.bad("external_cycle", "/in/weight", "link to another file"), own_file)
    change(m.bad("param_cycle", "/param/again", "object"), lambda f: f["param"].__setitem__("again", f["/"]))
    change(m.bad("many_links", "/in/", "unknown input"), many)


def bad_classes(m):
    """Classes of types that no tensor and no parameter has."""
    kinds = {"compound": np.dtype([("a", "<f4"), ("b", "<i8")]), "array": np.dtype(("<f4", (4,))), "opaque": np.dtype("V4"),
             "texts": h5py.string_dtype(), "lists": h5py.vlen_dtype(np.dtype("<f4")), "references": h5py.ref_dtype, "regions": h5py.regionref_dtype}
    for name, kind in kinds.items():
        change(m.bad("weight_" + name, "/in/weight", "expected real numbers"), lambda f, kind=kind: replace(f, "in/weight", shape=(C, D), dtype=kind))
        change(m.bad("labels_" + name, "/in/labels", "expected integers"), lambda f, kind=kind: replace(f, "in/labels", shape=(N,), dtype=kind))

    def scale(f, kind):
        del f["param"].attrs["scale"]
        h5py.h5a.create(f["param"].id, b"scale", h5py.h5t.py_create(kind, logical=True), h5py.h5s.create(h5py.h5s.SCALAR))

    for name, kind in kinds.items():
        change(m.bad("scale_" + name, "/param/scale", "found"), lambda f, kind=kind: scale(f, kind))


def bad_sizes(m):
    m.bad("long_variable_head", "/param/head", params=dict(PARAMS, head="c" * 10**7))
    m.bad("head_60000", "/param/head", "a string of 60000 bytes", params=dict(PARAMS, head=b"c" * 60000))
    m.bad("many_values", "/param/scale", "8000 values", params=dict(PARAMS, scale=np.ones(8000)))

    def dense(f):  # beyond 64 KiB attributes lie outside the header, in the newer format only
        f.attrs["format"], f.attrs["format_version"], f.attrs["algorithm"] = np.bytes_("pfc-case"), 1, np.bytes_("a" * 10**7)

    path = m.bad("algorithm_10M", "attribute algorithm", "a string of 10000000 bytes")
    with h5py.File(path, "w", libver="latest") as f:
        dense(f)

    def many_params(f):
        for k in range(2000):
            f["param"].attrs["p%d" % k] = k

    change(m.bad("many_params", "/param/p0", "unknown"), many_params)

    def wide_chunk(f):  # one chunk of 640 MiB, deflated
        d = replace(f, "in/weight", shape=(C, D), dtype="<f4", chunks=(C, 2**25), maxshape=(None, None), compression="gzip")
        d.id.write_direct_chunk((0, 0), zlib.compress(b"\0" * 1000))

    def unknown_filter(path):
        change(path, lambda f: replace(f, "in/weight", inputs()["weight"], chunks=(C, D), compression="gzip"))
        blob = bytearray(open(path, "rb").read())
        at = blob.index(b"deflate\0") - 8
        assert blob[at:at + 2] == b"\1\0"
        blob[at:at + 2] = (32015).to_bytes(2, "little")
        open(path, "wb").write(blob)

    change(m.bad("wide_chunk", "/in/weight", "256 MiB"), wide_chunk)
    change(m.bad("garbage_chunk", "/in/weight", "cannot be read"), lambda f: replace(
        f, "in/weight", shape=(C, D), dtype="<f4", chunks=(C, D), compression="gzip").id.write_direct_chunk((0, 0), b"no zlib"))
    change(m.bad("bad_sum", "/in/weight", "cannot be read"), lambda f: replace(
        f, "in/weight", shape=(C, D), dtype="<f4", chunks=(C, D), fletcher32=True).id.write_direct_chunk((0, 0), b"\1" * (4 * C * D + 4)))
    unknown_filter(m.bad("unknown_filter", "/in/weight", "cannot be read"))


def good_files(m):
    x = inputs()
    m.good("plain")
    m.good("doubles", data={k: v.astype("<f8") if v.dtype.kind == "f" else v for k, v in x.items()})
    m.good("big_endian", data={k: v.astype(v.dtype.newbyteorder(">")) for k, v in x.items()})
    for kind in ("<i4", "<u8", "<i2", "<u1", ">u4"):
        m.good("labels_" + kind[1:] + ("_be" if kind[0] == ">" else ""), data=replaced("labels", x["labels"].astype(kind)))
    m.good("text_variable", params=dict(PARAMS, head="cos"))
    m.good("one_element", params={k: v if isinstance(v, bytes) else np.array([v]) for k, v in PARAMS.items()})
    m.good("numbers", params=dict(PARAMS, scale=np.int8(16), steps=1.0, margin=np.float32(0.25), lr=np.float16(0.5), xgrad_scale=np.uint64(1)))
    m.good("bools", params=dict(PARAMS, nesterov=np.bool_(False), allow_nonfinite=np.bool_(False)))
    noise = x["weight"].astype("<f8")
    noise[0] += 1e-12
    m.good("rounded", changed=D, data=replaced("weight", noise))
    for name, how in (("chunked", dict(chunks=(2, 3))), ("one_chunk", dict(chunks=(C, D))), ("deflated", dict(chunks=(2, 2), compression="gzip", shuffle=True, fletcher32=True)),
                      ("one_deflated", dict(chunks=(C, D), compression="gzip")), ("growing", dict(chunks=(2, 2), maxshape=(None, None)))):
        change(m.good(name), lambda f, how=how: replace(f, "in/weight", x["weight"], **how))

    def extras(f):
        f.attrs["author"] = "nobody"
        f.create_group("notes").create_dataset("text", data=1)
        f["in/weight"].attrs["unit"] = "none"
        f.create_group("expect")["nothing"] = h5py.SoftLink("/nowhere")

    change(m.good("extras"), extras)

    def padded(f):
        for i, pad in enumerate((h5py.h5t.STR_SPACEPAD, h5py.h5t.STR_NULLTERM)):
            text = (b"cos", b"pfc-case")[i]
            where, name = ((f["param"], b"head"), (f["/"], b"format"))[i]
            del where.attrs[name.decode()]
            kind = h5py.h5t.C_S1.copy()
            kind.set_size(12)
            kind.set_strpad(pad)
            a = h5py.h5a.create(where.id, name, kind, h5py.h5s.create(h5py.h5s.SCALAR))
            a.write(np.array(text.ljust(12, b" " if pad == h5py.h5t.STR_SPACEPAD else b"\0"), "S12"), kind)

    change(m.good("padded"), padded)
    with h5py.File(m.good("latest"), "w", libver="latest") as f, h5py.File(os.path.join(m.root, "good", "plain.h5"), "r") as plain:
        for name, value in plain.attrs.items():
            f.attrs[name] = value
        for name in ("param", "in"):
            plain.copy(name, f)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_bad_cases.py DIR")
    m = Maker(sys.argv[1])
    for make in (bad_files, bad_headers, bad_params, bad_shapes, bad_types, bad_storage, bad_links, bad_classes, bad_sizes, good_files):
        make(m)
    m.lists()


if __name__ == "__main__":
    main()
