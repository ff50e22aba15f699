#!/usr/bin/env bash
# pfc_ref train, inspect, export: a run is continued on other ranks to the same bits, stopped by signals, refused where a checkpoint does not fit.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }

"$PYTHON" - "$work" <<'END_PYTHON' || exit 99
import sys
import h5py
import numpy as np
rng = np.random.default_rng(1)
classes, width, each = 41, 12, 6
centres = rng.normal(size=(classes, width))
def make(name, each, noise):
    y = np.repeat(np.arange(classes), each)
    x = (centres[y] + noise * rng.normal(size=(len(y), width))).astype("f4")
    np.save(sys.argv[1] + "/" + name + "_x.npy", x)
    np.save(sys.argv[1] + "/" + name + "_y.npy", y)
    return x, y
x, y = make("train", each, 0.3)
make("test", 2, 0.3)
np.save(sys.argv[1] + "/fortran_x.npy", np.asfortranarray(x))
np.save(sys.argv[1] + "/other_x.npy", x + np.float32(1))
np.save(sys.argv[1] + "/wide_x.npy", np.hstack([x, x]))
np.save(sys.argv[1] + "/negative_y.npy", np.where(y == 7, -1, y))
np.save(sys.argv[1] + "/large_y.npy", np.where(y == 7, 2**63 - 1, y))
bad = x.copy()
bad[3, 4] = np.nan
np.save(sys.argv[1] + "/nan_x.npy", bad)
with h5py.File(sys.argv[1] + "/data.h5", "w") as f:
    f["features"] = x.astype("f8")
    f["labels"] = y.astype("i4")
    f["group/rows"] = x
END_PYTHON
data=(--features "$work/train_x.npy" --labels "$work/train_y.npy")
common="batch=24,lr=1,scale=16,margin=0.2,weight_decay=0.001"

last() { find "$1" -name 'step-*.h5' | sort | tail -n 1; }

# ---- the same file whatever the ranks, and however often the run was interrupted ----

for head in linear cos arc circle arcface_head; do
    more=",sample_rate=0.5,sample_rule=global,momentum_rule=dense"
    [ $head != arcface_head ] || more=",num_subcenters=2"
    own=$common
    [ $head != linear ] || own=${common/margin=0.2,/}
    settings=(--mode exact --steps 20 --param "head=$head,$own$more,schedule=cosine,warmup_steps=3" -q)
    expect 0 2 train "${data[@]}" "${settings[@]}" --checkpoint "$work/$head.whole"
    expect 0 2 train "${data[@]}" "${settings[@]}" --checkpoint "$work/$head.parts" --stop-at 7
    expect 0 3 train "${data[@]}" "${settings[@]}" --checkpoint "$work/$head.parts" --resume --stop-at 13
    expect 0 1 train "${data[@]}" "${settings[@]}" --checkpoint "$work/$head.parts" --resume
    same "$(last "$work/$head.whole")" "$(last "$work/$head.parts")"
    expect 0 alone inspect "$(last "$work/$head.parts")"
    says out "/fact/step"
    says out " ok "
done
[ "$(find "$work/cos.parts" -name '*.h5' | wc -l)" = 3 ] || fail "cos.parts: expected 3 checkpoints"
cmp -s "$(last "$work/cos.whole")" "$work/cos.parts/step-000000000013.h5" && fail "step 13 and step 20 do not differ"

# Fast mode: the same ranks, the same bits; shard-local sampling too.
settings=(--mode fast --epochs 2 --param "head=arc,$common,sample_rate=0.4,schedule=polynomial,power=2" -q)
for np in 1 3; do
    expect 0 $np train "${data[@]}" "${settings[@]}" --checkpoint "$work/fast$np.whole"
    expect 0 $np train "${data[@]}" "${settings[@]}" --checkpoint "$work/fast$np.parts" --stop-at 9
    expect 0 $np train "${data[@]}" "${settings[@]}" --checkpoint "$work/fast$np.parts" --resume="$work/fast$np.parts/step-000000000009.h5"
    same "$(last "$work/fast$np.whole")" "$(last "$work/fast$np.parts")"
done

# ---- arrays in every form; the log; accuracy ----

settings=(--mode exact --epochs 2 --param "$common")
expect 0 3 train "${data[@]}" "${settings[@]}" --checkpoint "$work/npy" --log "$work/log" --held-out "$work/test_x.npy" --held-out-labels "$work/test_y.npy" --json "$work/train.json"
says out "Epoch: [1]	Held out test_x "
[ "$(grep -c . "$work/log")" = 23 ] || fail "the log has $(grep -c . "$work/log") lines, expected a title, 20 steps, 2 accuracies"
awk -F '\t' 'NR > 1 && NF != 10 { exit 1 }' "$work/log" || fail "the log's columns"
cp "$work/log" "$work/log.first"
for form in "$work/data.h5 $work/data.h5" "$work/data.h5:/group/rows $work/train_y.npy" "$work/fortran_x.npy $work/data.h5:labels"; do
    read -r x y <<<"$form"
    rm -rf "$work/form"
    expect 0 2 train --features "$x" --labels "$y" "${settings[@]}" --checkpoint "$work/form" -q
    same "$(last "$work/npy")" "$(last "$work/form")"
done
rm -rf "$work/form"
expect 0 2 train "${data[@]}" "${settings[@]}" --checkpoint "$work/form" --backend checked -q
same "$(last "$work/npy")" "$(last "$work/form")"
# A resumed run's log goes on where the checkpoint was, without what came after it.
rm -rf "$work/part"
expect 0 1 train "${data[@]}" "${settings[@]}" --checkpoint "$work/part" --stop-at 6 --log "$work/part.log" -q
echo "9	0	8	" >>"$work/part.log"
expect 0 1 train "${data[@]}" "${settings[@]}" --checkpoint "$work/part" --resume --log "$work/part.log" -q
[ "$(cut -f 1,6,8 "$work/part.log" | grep -c .)" = 21 ] || fail "part.log: $(grep -c . "$work/part.log") lines"
ln -s part.log "$work/link.log"
expect 0 1 train "${data[@]}" "${settings[@]}" --checkpoint "$work/part" --resume --log "$work/link.log" -q
[ -L "$work/link.log" ] || fail "--log: a link was replaced"
grep -v 'test_x' "$work/log.first" | cut -f 1,2,3,6,8 >"$work/a"
cut -f 1,2,3,6,8 "$work/part.log" >"$work/b"
same "$work/a" "$work/b"

# ---- inspect and export ----

expect 0 alone export "$(last "$work/npy")" -o "$work/whole.npy"
expect 0 2 export "$(last "$work/npy")" -o "$work/split.npy" --ranks 3
expect 0 alone inspect "$(last "$work/npy")" --json "$work/inspect.json"
"$PYTHON" - "$work" "$(last "$work/npy")" <<'END_PYTHON' || fail "export"
import json
import sys
import h5py
import numpy as np
work, path = sys.argv[1:]
with h5py.File(path) as f:
    for name in ("head.weight", "head.momentum"):
        want = f["state/" + name][:]
        assert np.array_equal(np.load("%s/whole.npy/%s.npy" % (work, name)), want)
        parts = [np.load("%s/split.npy/rank-%d-of-3/%s.npy" % (work, r, name)) for r in range(3)]
        assert [len(p) for p in parts] == [14, 14, 13], [len(p) for p in parts]
        assert np.array_equal(np.concatenate(parts), want)
    facts = json.load(open(work + "/split.npy/facts.json"))
    assert facts["num_classes"] == 41 and facts["step"] == f["fact"].attrs["step"] == 20
    result = json.load(open(work + "/train.json"))
    assert result["steps"] == 20 and not result["stopped"] and 0 < result["accuracy"]["test_x"] <= 1 and result["checkpoint"] == path
    assert json.load(open(work + "/inspect.json"))["tensors"][0]["intact"] is True
END_PYTHON
expect 0 alone inspect "$PFC_DATA/pfc_g_sampled.h5"
says out "/out/loss"
expect 3 alone export "$PFC_DATA/pfc_g_sampled.h5" -o "$work/no"
[ ! -e "$work/no" ] || fail "export of a case made a folder"

# ---- what does not fit is refused, with both values ----

file=$(last "$work/npy")
refuse() { # TEXT ARGUMENT...
    local text=$1
    shift
    expect 3 2 train "$@" --resume="$file"
    says err "$text"
}
refuse "/fact/num_classes: found 41, expected 50" "${data[@]}" "${settings[@]}" --param num_classes=50
refuse "/fact/embedding_size: found 12, expected 24" --features "$work/wide_x.npy" --labels "$work/train_y.npy" "${settings[@]}"
refuse "/fact/mode: found \"exact\", expected \"fast\"" "${data[@]}" "${settings[@]}" --mode fast
refuse "/fact/head: found \"cos\", expected \"arc\"" "${data[@]}" "${settings[@]}" --param head=arc
refuse "/fact/head: found \"cos\", expected \"arcface_head\"" "${data[@]}" "${settings[@]}" --param head=arcface_head
refuse "/fact/margin: found 0.20000000000000001, expected 0.25" "${data[@]}" "${settings[@]}" --param margin=0.25
refuse "/fact/batch: found 24, expected 12" "${data[@]}" "${settings[@]}" --batch 12
refuse "/fact/base_lr: found 1, expected 0.5" "${data[@]}" "${settings[@]}" --lr 0.5
refuse "/fact/schedule: found \"constant\", expected \"cosine\"" "${data[@]}" "${settings[@]}" --param schedule=cosine
refuse "/fact/features_sha256: found " --features "$work/other_x.npy" --labels "$work/train_y.npy" "${settings[@]}"
refuse "/fact/step: found 20, expected 0 to 10" "${data[@]}" "${settings[@]}" --param epochs=1
expect 3 2 train "${data[@]}" "${settings[@]}" --resume="$work/none"
says err "found nothing readable"
mkdir "$work/empty"
expect 3 2 train "${data[@]}" "${settings[@]}" --resume="$work/empty"
says err "found no checkpoint"
expect 3 2 train "${data[@]}" "${settings[@]}" --resume="$PFC_DATA/pfc_g_sampled.h5"
says err "attribute format: found \"pfc-case\", expected \"pfc-checkpoint\""
expect 2 1 train "${data[@]}" "${settings[@]}" --checkpoint "$work/npy"
says err "found the checkpoint of step 20, expected none after step 0"
expect 2 3 train "${data[@]}" --batch 25
says err "expected a multiple of the 3 ranks"
expect 2 1 train "${data[@]}" --batch 1000
says err "expected at least one batch"
expect 2 1 train "${data[@]}" --param head=linear,num_subcenters=2
expect 2 alone train "${data[@]}" --param colour=red
says err "/param/colour: found an unknown parameter"
expect 2 alone train "${data[@]}" --batch x
expect 2 alone train "${data[@]}" --epochs 1 --steps 2
expect 2 alone train --features "$work/train_x.npy"
expect 3 2 train --features "$work/nan_x.npy" --labels "$work/train_y.npy"
says err "found nan at (3,4)"
expect 3 2 train --features "$work/train_x.npy" --labels "$work/negative_y.npy"
says err "found -1 at (42), expected 0 or more"
expect 3 2 train --features "$work/train_x.npy" --labels "$work/large_y.npy"
says err "found 9223372036854775807 at (42), expected less than"
expect 2 2 train "${data[@]}" --batch 12 --steps 2305843009213693953
says err "total_steps: found 2305843009213693953, expected 1 to "
expect 5 2 train "${data[@]}" --batch 12 --steps 2 --checkpoint "$work/train_x.npy"
[ ! -s "$work/out" ] || fail "$command_line: found out only after the training"
expect 3 2 train --features "$work/train_x.npy" --labels "$work/test_y.npy"
says err "found 82 labels, expected 246"
expect 3 1 train --features "$work/train_y.npy" --labels "$work/train_y.npy"
says err "found i64, expected real numbers"
expect 3 1 train "${data[@]}" --param num_classes=40
says err "found 40 at (240), expected 0 to 39"

# A run with a constant rate may be made longer.
expect 0 2 train "${data[@]}" --mode exact --epochs 3 --param "$common" --resume="$file" --checkpoint "$work/longer" -q
expect 0 1 train "${data[@]}" --mode exact --epochs 3 --param "$common" --checkpoint "$work/longest" -q
same "$(last "$work/longer")" "$(last "$work/longest")"
finish
