#!/usr/bin/env bash
# pfc_ref train, task moco, on the small glyph file: it learns on 1, 2 and 3 ranks, the shuffle takes the leak of per-rank batch norm away, runs are continued to the
# same bits, checkpoints and settings that do not fit are refused.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }

glyphs=(--glyphs "$PFC_TOP_SRCDIR/data/han256.bin")
common="task=moco,held_faces=lxgw,encoder=256-64-32,last_norm=0,augment=affine,translation=0.1,noise=0.1,temperature=0.1,key_momentum=0.99,lr=0.02"

last() { find "$1" -name 'step-*.h5' | sort | tail -n 1; }

# average FILE COLUMN EPOCH: of a log's steps.
average() { awk -F '\t' -v c="$2" -v e="$3" 'NR > 1 && $9 == "" && $2 == e { sum += $c; n++ } END { printf "%.6f\n", sum / n }' "$1"; }
holds() { awk "BEGIN { exit !($1) }" || fail "$command_line: expected $2, found $1"; }

# ---- it learns: pretext loss and accuracy, accuracy of the held-out face ----

for np in 1 2 3; do
    expect 0 $np train "${glyphs[@]}" --param "$common,queue_size=192,batch=48,norm=plain" --epochs 6 --log "$work/log" --json "$work/json"
    says out "moco, encoder 256-64-32, norm plain, shuffled, augment affine, C = 256, K = 192"
    first=$(average "$work/log" 6 0) final=$(average "$work/log" 6 5)
    holds "$final < 0.85 * $first" "the loss to fall by 15 %"
    holds "$(average "$work/log" 10 5) > 0.1 && $(average "$work/log" 10 5) > 2 * $(average "$work/log" 10 0)" "the pretext accuracy to double, to more than 0.1"
    [ "$(awk -F '\t' '$9 == "lxgw mean"' "$work/log" | wc -l)" = 6 ] || fail "$command_line: expected 6 accuracies of lxgw"
    held=$(awk -F '\t' '$9 == "lxgw mean" { a = $10 } END { print a }' "$work/log")
    holds "$held > 0.2" "1 of 5 held-out glyphs to find its class"
done

# Per-rank batch norm tells which image a key belongs to, unless the keys were computed among others (section 3.3 of the paper).
for shuffle in 0 1; do
    expect 0 3 train "${glyphs[@]}" --param "$common,queue_size=192,batch=12,norm=plain,shuffle=$shuffle" --epochs 2 --log "$work/log$shuffle" -q
done
kept=$(average "$work/log0" 6 1) shuffled=$(average "$work/log1" 6 1)
holds "$kept < $shuffled - 0.2" "a smaller loss without the shuffle"

# ---- the same bits ----

# Whatever the ranks, in exact mode: batch norm over all of them, powers of two.
settings=(--mode exact --param "$common,queue_size=64,batch=16,norm=sync" --steps 12 -q)
expect 0 1 train "${glyphs[@]}" "${settings[@]}" --checkpoint "$work/sync"
expect 0 4 train "${glyphs[@]}" "${settings[@]}" --checkpoint "$work/sync.parts" --stop-at 3
expect 0 1 train "${glyphs[@]}" "${settings[@]}" --checkpoint "$work/sync.parts" --resume --stop-at 7
expect 0 2 train "${glyphs[@]}" "${settings[@]}" --checkpoint "$work/sync.parts" --resume
same "$(last "$work/sync")" "$(last "$work/sync.parts")"

# With the same ranks: every kind of batch norm, both modes.
for norm in norm=plain norm=sub,norm_splits=2 norm=sync; do
    for mode in exact fast; do
        settings=(--mode "$mode" --param "$common,queue_size=72,batch=12,$norm" --steps 9 -q)
        expect 0 3 train "${glyphs[@]}" "${settings[@]}" --checkpoint "$work/whole"
        expect 0 3 train "${glyphs[@]}" "${settings[@]}" --checkpoint "$work/parts" --stop-at 5
        expect 0 3 train "${glyphs[@]}" "${settings[@]}" --checkpoint "$work/parts" --resume
        same "$(last "$work/whole")" "$(last "$work/parts")"
        rm -rf "$work/whole" "$work/parts"
    done
done

# ---- what is refused ----

expect 2 2 train "${glyphs[@]}" --param "$common,queue_size=100,batch=16"
says err "queue_size: found 100, expected a multiple of batch, 16"
expect 2 3 train "${glyphs[@]}" --param "$common,queue_size=64,batch=16"
says err "batch: found 16"
expect 2 1 train --param "$common"
expect 2 1 train "${glyphs[@]}" --param "$common,head=arc"
says err "head"
expect 2 1 train "${glyphs[@]}" --param "$common,temperature=0,queue_size=128"
says err "temperature"

checkpoint=$(last "$work/sync")
settings=(--mode exact --steps 12 --resume="$checkpoint")
for other in key_momentum=0.9 temperature=0.2 shuffle=0 queue_size=128 encoder=256-32-32 norm=plain noise=0 seed=1 last_norm=1; do
    expect 3 2 train "${glyphs[@]}" "${settings[@]}" --param "$common,queue_size=64,batch=16,norm=sync,$other"
    says err "$checkpoint: /fact/${other%=*}: found"
done
for task in head swav; do
    expect 3 2 train "${glyphs[@]}" "${settings[@]}" --param "task=$task,held_faces=lxgw,batch=16"
    says err "$checkpoint: /fact/task: found \"moco\", expected \"$task\""
done
"$PYTHON" - "$checkpoint" "$work" <<'END_PYTHON' || exit 99
import shutil
import sys
import h5py
for name in "queue", "key.0.weight", "key.0.running_mean":
    path = sys.argv[2] + "/without." + name
    shutil.copy(sys.argv[1], path)
    with h5py.File(path, "r+") as f:
        del f["state/" + name]
END_PYTHON
for name in queue key.0.weight key.0.running_mean; do
    expect 3 2 train "${glyphs[@]}" --mode exact --steps 12 --resume="$work/without.$name" --param "$common,queue_size=64,batch=16,norm=sync"
    says err "/state/$name"
done
finish
