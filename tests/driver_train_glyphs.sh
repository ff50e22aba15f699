#!/usr/bin/env bash
# pfc_ref train --glyphs: an encoder and a head learn the shipped glyphs; recipes; the same bits on other ranks; what does not fit is refused; the plot.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python"; exit 77; }

glyphs=$PFC_DATA/han256.bin
cat >"$work/small" <<'END_RECIPE'
# 256 characters, four faces

task = head
held_faces=lxgw+seto   # the others train
augment=affine
encoder=256-512-128
head=arc
scale=16
margin=0.2
sample_rate=0.5
sample_rule=global
batch=120
epochs=12
schedule=polynomial
weight_decay=1e-4
END_RECIPE
small=(train --recipe "$work/small" --glyphs "$glyphs")
tiny=(train --recipe "$work/small" --glyphs "$glyphs" --mode exact --epochs 2 --param "encoder=256-32-16,noise=0.1" -q)
last() { find "$1" -name 'step-*.h5' | sort | tail -n 1; }

# ---- it learns ----

# Accuracies of a run with these settings: lxgw mean .97, W .97; seto mean .84, W .82; chance is .004.
plot=()
if command -v gnuplot >/dev/null; then plot=(--plot "$work/run.svg"); fi
expect 0 2 "${small[@]}" --json "$work/run.json" --log "$work/run.tsv" "${plot[@]}"
says out "train: encoder 256-512-128, norm sync, augment affine, head arc, C = 256, D = 128, 1024 examples, batch 120, 96 steps of 8 an epoch"
says out "Epoch: [11]	Held out lxgw mean 0."
says out "Epoch: [11]	Held out seto W 0."
says out "time per step: "
"$PYTHON" - "$work" <<'END_PYTHON' || fail "the run's figures"
import json
import sys
result = json.load(open(sys.argv[1] + "/run.json"))
floors = {"lxgw mean": 0.93, "seto mean": 0.78, "lxgw W": 0.92, "seto W": 0.75}
assert set(result["accuracy"]) == set(floors), result
assert all(floors[k] < v <= 1 for k, v in result["accuracy"].items()), result["accuracy"]
assert result["task"] == "head" and result["num_classes"] == 256 and result["steps"] == 96
assert result["ms_per_step"] > result["ms_head"] > 0 and result["ms_per_step"] > result["ms_data"] > 0
rows = [line.rstrip("\n").split("\t") for line in open(sys.argv[1] + "/run.tsv")][1:]
loss = [float(r[5]) for r in rows if r[5]]
assert len(loss) == 96 and sum(loss[:8]) > 1.8 * sum(loss[-8:]), loss
assert len([r for r in rows if r[8]]) == 4 * 12 and all(len(r) == 10 for r in rows)
END_PYTHON
if [ ${#plot[@]} = 2 ]; then
    grep -q 'lxgw mean' "$work/run.svg" || fail "the plot does not name the accuracies"
    expect 0 2 "${tiny[@]}" --stop-at 3 --plot "$work/part.png"
    [ -s "$work/part.png" ] || fail "no plot without a log"
    expect 5 alone "${tiny[@]}" --stop-at 1 --plot "$work/none/plot.svg"
    says err "gnuplot failed"
    expect 5 alone "${tiny[@]}" --stop-at 1 --plot "$work/part.png" --log /dev/null
    says err "no plain file"
else
    expect 4 alone "${tiny[@]}" --plot "$work/run.svg"
    says err "gnuplot not found"
fi
expect 2 2 "${tiny[@]}" --plot "$work/run.pdf"

# ---- the same file whatever the ranks ----

for more in head=arc head=arcface_head; do
    run=("${tiny[@]}" --param "$more")
    if [ $more = head=arcface_head ]; then # without partial_fc's settings
        grep -v sample "$work/small" >"$work/full"
        run=(train --recipe "$work/full" "${tiny[@]:3}" --param "$more,num_subcenters=2,augment=shift")
    fi
    name=${more#head=}
    expect 0 2 "${run[@]}" --checkpoint "$work/$name.whole"
    expect 0 2 "${run[@]}" --checkpoint "$work/$name.parts" --stop-at 5
    expect 0 3 "${run[@]}" --checkpoint "$work/$name.parts" --resume --stop-at 11
    expect 0 1 "${run[@]}" --checkpoint "$work/$name.parts" --resume
    same "$(last "$work/$name.whole")" "$(last "$work/$name.parts")"
    cmp -s "$(last "$work/$name.whole")" "$work/$name.parts/step-000000000011.h5" && fail "$name: step 11 and step 16 do not differ"
done
expect 0 5 "${tiny[@]}" --checkpoint "$work/checked" --backend checked --stop-at 5
same "$work/arc.parts/step-000000000005.h5" "$work/checked/step-000000000005.h5"
expect 0 alone inspect "$(last "$work/arc.parts")"
says out "/state/encoder.1.running_var"
says out "/fact/glyphs_sha256"

# Fast mode on any number of ranks is near exact mode: after one step and after five.
for steps in 1 5; do
    expect 0 2 "${tiny[@]}" --checkpoint "$work/near0.$steps" --stop-at $steps
    for np in 1 2 5; do expect 0 $np "${tiny[@]}" --mode fast --checkpoint "$work/near$np.$steps" --stop-at $steps; done
done
"$PYTHON" - "$work" <<'END_PYTHON' || fail "fast mode is not near exact mode"
import sys
import h5py
import numpy as np
for steps, limit in ((1, 1e-5), (5, 1e-4)):
    state = lambda np_: h5py.File("%s/near%d.%d/step-%012d.h5" % (sys.argv[1], np_, steps, steps))["state"]
    want = state(0)
    for ranks in (1, 2, 5):
        got = state(ranks)
        assert set(got) == set(want)
        for name in want:
            error = np.abs(got[name][:] - want[name][:]).max() / max(np.abs(want[name][:]).max(), 1e-30)
            print(steps, ranks, name, error)
            assert error < limit, "step %d, %d ranks, %s: found an error of %g, expected below %g" % (steps, ranks, name, error, limit)
END_PYTHON

# Fast mode, batch norm of a rank and of parts of it: the same ranks, the same bits.
for norm in norm=sync norm=plain norm=sub,norm_splits=2,last_norm=0; do
    run=("${tiny[@]}" --mode fast --param "$norm,sample_rule=shard")
    expect 0 3 "${run[@]}" --checkpoint "$work/$norm.whole"
    expect 0 3 "${run[@]}" --checkpoint "$work/$norm.parts" --stop-at 9
    expect 0 3 "${run[@]}" --checkpoint "$work/$norm.parts" --resume
    same "$(last "$work/$norm.whole")" "$(last "$work/$norm.parts")"
done

# ---- what does not fit is refused ----

file=$(last "$work/arc.whole")
refuse() { # TEXT ARGUMENT...
    local text=$1
    shift
    expect 3 2 "${tiny[@]}" "$@" --resume="$file"
    says err "$text"
}
refuse "/fact/noise: found 0.10000000000000001, expected 0.25" --param noise=0.25
refuse "/fact/encoder: found \"256-32-16\", expected \"256-33-16\"" --param encoder=256-33-16
refuse "/fact/held_faces: found \"lxgw+seto\", expected \"seto+lxgw\"" --param held_faces=seto+lxgw
refuse "/fact/norm: found \"sync\", expected \"plain\"" --param norm=plain
refuse "/fact/sample_rate: found 0.5, expected 0.25" --param sample_rate=0.25
refuse "/fact/augment: found \"affine\", expected \"none\"" --param augment=none
"$PYTHON" - "$glyphs" "$work/other.bin" <<'END_PYTHON'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[-100] ^= 1  # a pixel
open(sys.argv[2], "wb").write(data)
END_PYTHON
refuse "/fact/glyphs_sha256: found \"8ef1242b" --glyphs "$work/other.bin"
head -c 5000 "$glyphs" >"$work/short.bin"
expect 3 2 "${tiny[@]}" --glyphs "$work/short.bin"
expect 3 2 "${tiny[@]}" --glyphs "$work/none.bin"
expect 2 2 "${tiny[@]}" --param held_faces=lxgw+ukai
says err "found 'ukai'"
expect 2 1 "${tiny[@]}" --param encoder=784-16
says err "encoder: found 784-16, expected 256-..., as the glyphs have 16 x 16 pixels"
for widths in 256 256- 256--2 256-0 256-x 256-1-1-1-1-1-1-1-1-1; do
    expect 2 1 "${tiny[@]}" --param encoder=$widths
    says err "encoder: found $widths, expected widths"
done
expect 2 1 "${tiny[@]}" --param classes=257
expect 2 1 "${tiny[@]}" --param batch=1000000000000000000
says err "examples: found 1024, expected at least one batch of 1000000000000000000"
expect 2 1 "${tiny[@]}" --param num_sample=-5
says err "num_sample: found -5, expected 0 or more"
expect 2 1 "${tiny[@]}" --param min_faces=5
expect 2 1 "${tiny[@]}" --param num_classes=3
says err "num_classes: with --glyphs it is"
expect 2 1 "${tiny[@]}" --param head=arcface_head
says err "sample_rate: head arcface_head has no such setting"
expect 2 1 "${tiny[@]}" --features "$work/x.npy" --labels "$work/y.npy"
says err "--glyphs goes without"
expect 2 alone "${tiny[@]}" --param held_faces=
says err "held_faces: found \"\", expected a text"

# ---- settings that would do nothing are refused, but those of a recipe that the command line changes ----

useless() { # SETTING OTHER=VALUE MORE
    expect 2 alone train --glyphs "$glyphs" --param "$1$3"
    says err "pfc_ref: ${1%%=*}: without effect with $2"
}
useless final_lr=0.01 schedule=constant ""
useless power=2 schedule=cosine ,schedule=cosine
useless start_lr=0.01 warmup_steps=0 ""
useless stretch=0.2 augment=none ""
useless translation=0.1 augment=shift ,augment=shift
useless norm_devices=1 norm=plain ,norm=plain
useless norm_splits=2 norm=sync ""
useless margin=0.2 head=linear ,head=linear
useless arc_gradient=straight_through head=cos ""
useless arc_fallback=easy head=circle ,head=circle
useless interclass_threshold=0.5 head=linear ,head=linear
useless margin_constants=set easy_margin=1 ,head=arcface_head,easy_margin=1
useless sample_rate=0.5 num_sample=20 ,num_sample=20
useless sample_rule=global sample_rate=1 ""
useless momentum_rule=dense sample_rate=1 ""
useless larc_trust=0.1 larc=0 ,task=swav
expect 0 2 "${tiny[@]}" --stop-at 1 --param sample_rate=1 # the recipe's sample_rule stays
printf '%s\n' batch=8 norm_splits=2 augment=affine stretch=0.1 final_lr=0 schedule=polynomial power=1 >"$work/useless"
expect 3 2 train --recipe "$work/useless" --glyphs "$glyphs"
says err "/useless: line 2: norm_splits: without effect with norm=sync"
sed -i 2d "$work/useless"
expect 0 2 train --recipe "$work/useless" --glyphs "$glyphs" -q --mode exact --steps 2 --param schedule=constant,augment=none --checkpoint "$work/changed" --stop-at 1
expect 0 1 train --recipe "$work/useless" --glyphs "$glyphs" -q --mode exact --steps 2 --param schedule=constant,augment=none --checkpoint "$work/changed" --resume
expect 2 2 train --recipe "$work/useless" --glyphs "$glyphs" --param augment=none,stretch=0.1
says err "pfc_ref: stretch: without effect with augment=none"

# ---- recipes ----

expect 0 1 "${small[@]}" --steps 3 -q --json "$work/steps.json" # goes before the recipe's epochs
grep -q '"total_steps": 3,' "$work/steps.json" || fail "--steps did not go before epochs"
bad() { # TEXT LINE...
    local text=$1
    shift
    printf '%s\n' "$@" >"$work/bad"
    expect 3 2 train --recipe "$work/bad" --glyphs "$glyphs"
    says err "/bad: line $text"
}
bad '2: found "colour", expected NAME=VALUE' '# colours' 'colour'
bad '1: found "=red", expected NAME=VALUE' '=red'
bad '3: /param/colour: found an unknown parameter' '' '' 'colour=red'
bad '1: /param/batch: found "many", expected an integer' 'batch=many'
bad '2: /param/augment: found "rotate", expected none, shift or affine' 'batch=8' 'augment=rotate'
bad '3: found batch again, expected it once; it stands in line 1' 'batch=8' 'lr=1' 'batch=16'
bad '1: /param/task: found "sing", expected ' 'task=sing'
printf 'batch=8\0' >"$work/bad"
expect 3 2 train --recipe "$work/bad" --glyphs "$glyphs"
says err "found no short text, expected a recipe"
expect 3 2 train --recipe "$work" --glyphs "$glyphs"
expect 3 2 train --recipe "$work/none" --glyphs "$glyphs"
expect 3 2 train --recipe none --glyphs "$glyphs"
says err "expected one, or a name of $PFC_DATA/recipes: "
expect 2 2 train --recipe han-5k --glyphs "$glyphs"
says err "expected faces of the glyph file" # the recipe is there, the shipped glyphs lack its faces

# ---- a run that diverges ----

expect 5 2 "${tiny[@]}" --lr 1e30 --every 1 --checkpoint "$work/wild"
says err "step 2: the run has diverged: loss nan"
[ "$(find "$work/wild" -name '*.h5' | wc -l)" -le 1 ] || fail "a checkpoint of numbers that are not finite"
expect 5 2 "${tiny[@]}" --lr 1e300 --stop-at 1 --checkpoint "$work/wilder"
says err "is not finite; no checkpoint of it is written"
[ -z "$(last "$work/wilder")" ] || fail "a checkpoint of numbers that are not finite"
finish
