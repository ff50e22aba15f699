#!/usr/bin/env bash
# Checkpoints that are damaged or incomplete: train refuses to go on from them, inspect and export say so; status 3, one line with file and item.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }

"$PYTHON" - "$work" <<'END_PYTHON' || exit 99
import sys
import numpy as np
rng = np.random.default_rng(2)
np.save(sys.argv[1] + "/x.npy", rng.normal(size=(60, 8)).astype("f4"))
np.save(sys.argv[1] + "/y.npy", np.arange(60) % 15)
END_PYTHON
run_args=(train --features "$work/x.npy" --labels "$work/y.npy" --batch 12 --steps 10 --mode exact -q)
expect 0 2 "${run_args[@]}" --checkpoint "$work/good" --stop-at 4
good=$work/good/step-000000000004.h5

# One file for each kind of damage; what the line says.
"$PYTHON" - "$good" "$work" >"$work/list" <<'END_PYTHON' || exit 99
import shutil
import sys
import h5py
import numpy as np
good, work = sys.argv[1:]
data = open(good, "rb").read()

def raw(name, content, text, inspect=1):
    open("%s/%s.h5" % (work, name), "wb").write(content)
    print("\t".join((name, str(inspect), text)))

def edit(name, change, text, inspect=0):
    path = "%s/%s.h5" % (work, name)
    shutil.copy(good, path)
    with h5py.File(path, "r+") as f:
        change(f)
    print("\t".join((name, str(inspect), text)))

def flip(at):
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1:]

def replace(f, name, value):
    attributes = dict(f[name].attrs)
    del f[name]
    f[name] = value
    for key, x in attributes.items():
        f[name].attrs[key] = x

with h5py.File(good) as f:
    weight = f["state/head.weight"][:]
    place = f["state/head.momentum"].id.get_offset()
raw("empty", b"", "found no intact HDF5 file")
raw("text", b"no checkpoint at all\n" * 50, "found no intact HDF5 file")
for part in (100, 1000, len(data) // 2, len(data) - 1):
    raw("cut%d" % part, data[:part], "cut%d.h5" % part)
raw("superblock", flip(20), "superblock.h5")
raw("bit", flip(place + 77), "/state/head.momentum: found data with")
raw("header", flip(data.index(b"num_classes") + 40), "header.h5")
edit("format", lambda f: f.attrs.__setitem__("format", "pfc-case"), "attribute format: found \"pfc-case\", expected \"pfc-checkpoint\"")
edit("version", lambda f: f.attrs.__setitem__("format_version", 2), "attribute format_version: found 2, expected 1")
edit("classes", lambda f: f["fact"].attrs.__setitem__("num_classes", 16), "/fact/num_classes: found 16, expected 15")
edit("rule", lambda f: f["fact"].attrs.__setitem__("sample_rule", "global"), "/fact/sample_rule: found \"global\", expected \"shard\"")
edit("no_fact", lambda f: f["fact"].attrs.__delitem__("weight_decay"), "/fact/weight_decay: found nothing, expected 0")
edit("no_step", lambda f: f["fact"].attrs.__delitem__("step"), "/fact/step: found nothing, expected an integer")
edit("more_facts", lambda f: f["fact"].attrs.__setitem__("temperature", 0.1), "/fact/temperature: found a fact of that name, expected none")
edit("negative", lambda f: f["fact"].attrs.__setitem__("step", -1), "/fact/step: found -1, expected 0 to 10")
edit("no_weight", lambda f: f["state"].__delitem__("head.weight"), "/state/head.weight: found nothing, expected f64 (15,8)")
edit("more_state", lambda f: f.__setitem__("state/queue", np.zeros(3)), "/state/queue: found a tensor of that name, expected none")
edit("no_state", lambda f: f.__delitem__("state"), "/state: found nothing, expected a group")
edit("no_facts", lambda f: f.__delitem__("fact"), "/fact: found nothing, expected a group")
edit("rows", lambda f: replace(f, "state/head.weight", weight[:14]), "/state/head.weight: found (14,8), expected (15,8)", 1)
edit("type", lambda f: replace(f, "state/head.weight", weight.astype("f4")), "/state/head.weight: found f32, expected f64", 1)
edit("swapped", lambda f: replace(f, "state/head.weight", weight[::-1].copy()), "/state/head.weight: found data with SHA-256", 1)
edit("no_digest", lambda f: f["state/head.weight"].attrs.__delitem__("sha256"), "/state/head.weight: found nothing, expected an attribute sha256")
edit("unit", lambda f: f["state/head.weight"].attrs.__setitem__("unit", 7), "/state/head.weight: found 7, expected unit 1")
edit("newline", lambda f: f.__setitem__("state/a\nb", np.zeros(3)), "/state/a?b: found a tensor of that name, expected none")
edit("link", lambda f: (f["state"].move("head.weight", "/w"), f.__setitem__("state/head.weight", h5py.SoftLink("/w"))), "/state/head.weight: found a soft link")
END_PYTHON

count=0
while IFS=$'\t' read -r name inspect text; do
    file=$work/$name.h5 np=1
    [ $((count % 4)) != 0 ] || np=2
    expect 3 $np "${run_args[@]}" --resume="$file" --checkpoint "$work/new"
    says err "$text"
    says err "$name.h5"
    [ ! -e "$work/new" ] || fail "$command_line: made a folder"
    [ "$inspect" = 0 ] || expect 3 alone inspect "$file"
    [ "$inspect" = 0 ] || expect 3 alone export "$file" -o "$work/exported"
    [ ! -e "$work/exported" ] || fail "$command_line: made a folder"
    count=$((count + 1))
done <"$work/list"
[ $count -gt 25 ] || fail "only $count damaged files"

expect 3 alone export "$work/unit.h5" -o "$work/exported" # inspect does not mind: no digest covers it
says err "/state/head.weight: found unit 7"
[ ! -e "$work/exported" ] || fail "$command_line: made a folder"

# The good one still is.
expect 0 1 "${run_args[@]}" --resume="$good" --checkpoint "$work/new"
finish
