#!/usr/bin/env bash
# check with folders of .npy files: layouts, versions, byte and axis orders, types; hostile files are one line and status 3.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }
expect 0 alone golden partial_fc --size N=6,C=9,D=4 --name golden --steps --param head=arc,scale=8,margin=0.5,lr=0.1 --dtype f32 -o "$work"
golden=$work/golden.h5
"$PYTHON" - "$work" "$PFC_TOP_SRCDIR/tests" <<'END2' || fail "cannot write candidates"
import os
import sys
import numpy as np
work = sys.argv[1]
sys.path.insert(0, sys.argv[2])
from check_ports import Golden
g = Golden(work + "/golden.h5")

def put(path, x, version=(1, 0)):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        np.lib.format.write_array(f, x, version=version)

def folder(name, place="", change=lambda n, x: x, version=(1, 0), steps=None):
    for n, x in g.out.items():
        put("%s/%s/%s%s.npy" % (work, name, place, n), change(n, g.real(x)), version)
    for n, x in (g.step.items() if steps is not None else ()):
        put("%s/%s/%s%s.npy" % (work, name, steps, n), change(n, g.real(x)), version)

def to(kind):
    return lambda n, x: x.astype(kind) if x.dtype.kind == "f" else x

folder("flat")
folder("nested", "out/", steps="step/")
folder("under", "out_", steps="step_")
folder("v2", version=(2, 0))
folder("v3", version=(3, 0))
folder("big", change=lambda n, x: x.astype(x.dtype.newbyteorder(">")))
folder("fortran", change=lambda n, x: np.asfortranarray(x), steps="step/")
folder("f64", change=lambda n, x: g.out[n])
folder("f16", change=to("<f2"))
folder("big16", change=to(">f2"))
for kind in ("i1", "<i2", ">i4", "u1", ">u8", "?"):
    folder("int_" + {"?": "bool"}.get(kind, kind.strip("<>")),
           change=lambda n, x, kind=kind: x.astype(kind) if n == "sampled" else x)
# bfloat16: 16 bits of a float32, rounded to nearest even.
def bits(x):
    u = np.ascontiguousarray(x, "<f4").view("<u4").astype(np.uint64)
    return ((u + 0x7fff + ((u >> 16) & 1)) >> 16).astype("<u2").reshape(x.shape)
folder("bf16", change=lambda n, x: bits(x).view("V2") if x.dtype.kind == "f" else x)
folder("bits", change=lambda n, x: bits(x) if x.dtype.kind == "f" else x)
# Wrong ones.
folder("late", change=lambda n, x: x * np.float32(1.001) if n == "x_grad" else x)
folder("late_step", "out/", change=lambda n, x: x * np.float32(1.001) if n == "cosine" else x, steps="step/")
folder("twice")
put(work + "/twice/out/loss.npy", g.real(g.out["loss"]))
os.makedirs(work + "/empty")
folder("missing")
os.remove(work + "/missing/weight.npy")
folder("transposed", change=lambda n, x: x.T if n == "weight" else x)
folder("pipe")
os.remove(work + "/pipe/loss.npy")
os.mkfifo(work + "/pipe/loss.npy")

# Hostile headers and lengths: loss.npy is written byte by byte; its true shape is (1,).
body = np.float32(g.out["loss"]).tobytes()
def raw(name, header, data=body, magic=b"\x93NUMPY", version=b"\x01\x00", length=None):
    folder(name)
    header = header.encode() if isinstance(header, str) else header
    size = (len(header) if length is None else length).to_bytes(2 if version[0] == 1 else 4, "little")
    with open("%s/%s/loss.npy" % (work, name), "wb") as f:
        f.write(magic + version + size + header + data)
good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n"
raw("ok_raw", good)
for name, descr in (("ok_v2", "<V2"), ("ok_name", "bfloat16")):
    raw(name, good.replace("<f4", descr), data=bits(g.real(g.out["loss"])).tobytes())
raw("ok_order", '{"shape":(1,),"fortran_order":True,"descr":"<f4"}')
hostile = {
    "magic": dict(header=good, magic=b"\x93NUMPX"),
    "version": dict(header=good, version=b"\x04\x00"),
    "minor": dict(header=good, version=b"\x01\x01"),
    "nothing": dict(header="", data=b""),
    "longer": dict(header=good, length=60000),
    "huge": dict(header=good, version=b"\x02\x00", length=0xfffffff0),
    "short": dict(header=good, data=body[:2]),
    "tail": dict(header=good, data=body + b"x"),
    "no_shape": dict(header="{'descr': '<f4', 'fortran_order': False}"),
    "no_descr": dict(header="{'fortran_order': False, 'shape': (1,)}"),
    "twice_shape": dict(header="{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'shape': (1,)}"),
    "more_keys": dict(header="{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}"),
    "negative": dict(header=good.replace("(1,)", "(-1,)")),
    "product": dict(header=good.replace("(1,)", "(4294967296, 4294967296, 4294967296)")),
    "digits": dict(header=good.replace("(1,)", "(99999999999999999999999,)")),
    "memory": dict(header=good.replace("(1,)", "(1000000000000,)")),
    "no_tuple": dict(header=good.replace("(1,)", "(1)")),
    "axes": dict(header=good.replace("(1,)", "(1,1,1,1,1,1,1,1,1)")),
    "open": dict(header=good.replace("(1,)", "(1,")),
    "deep": dict(header="{" * 5000),
    "object": dict(header=good.replace("<f4", "|O")),
    "text": dict(header=good.replace("<f4", "<U4")),
    "long": dict(header=good.replace("<f4", "<f16")),
    "complex": dict(header=good.replace("<f4", "<c8")),
    "fields": dict(header=good.replace("'<f4'", "[('a', '<f4')]")),
    "escape": dict(header=good.replace("<f4", "\\x3cf4")),
    "line": dict(header=good.replace("<f4", "<f\\n4")),
    "code": dict(header=good.replace("False", "__import__('os')")),
    "nul": dict(header=good[:20] + "\0" + good[21:]),
    "rest": dict(header=good + "; x"),
    "padded": dict(header=good + " " * 70000, version=b"\x02\x00"),
}
for name, what in hostile.items():
    raw("bad_" + name, **what)
# Zeros without stored data: a sparse file of the length that its header says.
raw("bad_sparse", good.replace("(1,)", "(1000000000000,)"))
try:
    os.truncate(work + "/bad_sparse/loss.npy", 10 + len(good.replace("(1,)", "(1000000000000,)")) + 4 * 10 ** 12)
except OSError:
    pass
# Random damage to a good header.
rng = np.random.default_rng(1)
whole = open(work + "/flat/loss.npy", "rb").read()
for k in range(40):
    folder("random_%d" % k)
    damaged = bytearray(whole)
    for at in rng.integers(0, len(whole) - 4, 3):
        damaged[at] = int(rng.integers(0, 256))
    with open("%s/random_%d/loss.npy" % (work, k), "wb") as f:
        f.write(bytes(damaged[:rng.integers(0, len(whole))] if k % 2 else damaged))
# Elements that no int64 or bool is.
folder("bad_bool", change=lambda n, x: np.full(x.shape, 7, "u1").view("?") if n == "sampled" else x)
folder("bad_u8", change=lambda n, x: np.full(x.shape, 2 ** 63, "u8") if n == "sampled" else x)
END2
for good in flat nested under v2 v3 big fortran ok_raw ok_order ok_v2 ok_name "$work"/int_*; do
    expect 0 alone check "$golden" "$work/$(basename "$good")"
    says out "compared as f32"
done
[ "$(ls -d "$work"/int_* | wc -l)" = 6 ] || fail "not all integer types were tried"
expect 0 3 check "$golden" "$work/nested"
says out "/step/dlogits"
expect 0 alone check "$golden" "$work/under"
says out "/step/dlogits"
expect 0 alone check "$golden" "$work/f64" --dtype exact
says out "same bits"
for stored in f16 big16 bf16; do # the values of float32 in another type: what is stored is within its rounding
    expect 0 alone check "$golden" "$work/$stored" --dtype f32
done
expect 3 alone check "$golden" "$work/bits" --dtype f32
says err "bits of bfloat16?"
expect 1 alone check "$golden" "$work/late"
says out "/out/x_grad"
expect 1 alone check "$golden" "$work/late_step"
says out "first divergence in data-flow order: /step/cosine"
expect 3 alone check "$golden" "$work/twice"
says err "beside"
expect 3 alone check "$golden" "$work/empty"
expect 3 alone check "$golden" "$work/missing"
says err "MISSING"
expect 3 alone check "$golden" "$work/transposed"
says err "transposed"
expect 3 alone check "$golden" "$work/pipe"
says err "no regular file"
expect 3 3 check "$golden" "$work/bad_magic"
for bad in "$work"/bad_*; do
    expect 3 alone check "$golden" "$bad"
    grep -q 'loss.npy\|sampled.npy' "$work/err" || fail "$(basename "$bad"): the file is not named: $(cat "$work/err")"
done
for damaged in "$work"/random_*; do # right, wrong or refused, but never a crash or a hang
    run alone check "$golden" "$damaged"
    [ "$status" = 0 ] || [ "$status" = 1 ] || [ "$status" = 3 ] || fail "$(basename "$damaged"): status $status"
done

# What float16 holds below its normal numbers.
PYTHONPATH=$PFC_TOP_SRCDIR/tools "$PYTHON" - "$work/tiny.h5" <<'END' || fail "cannot write a case"
import sys
import numpy as np
from write_case import write_case
numbers = (np.arange(1, 41) * 2.0 ** -24).astype("<f4")
write_case(sys.argv[1], "group_gather", dict(num_sync_devices=1, num_groups=1), dict(input=numbers[None], grad_output=numbers[None]))
END
mkdir "$work/made"
expect 0 1 golden "$work/tiny.h5" --dtype f32 -o "$work/made"
"$PYTHON" - "$work" <<'END' || fail "cannot write tiny numbers"
import os
import sys
import h5py
import numpy as np
for name, off in (("tiny", 0), ("tiny_off", 2)):
    os.mkdir("%s/%s" % (sys.argv[1], name))
    with h5py.File(sys.argv[1] + "/made/tiny.h5") as f:
        for n, x in f["out"].items():
            np.save("%s/%s/%s.npy" % (sys.argv[1], name, n), (x[()] + off * 2.0 ** -24).astype("<f2"))
END
expect 0 alone check "$work/made/tiny.h5" "$work/tiny" --dtype f32
expect 1 alone check "$work/made/tiny.h5" "$work/tiny_off" --dtype f32
finish
