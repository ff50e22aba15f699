#!/usr/bin/env bash
# pfc_ref train task=swav: the loss falls below ln K and all prototypes stay in use; a queue moves to another number of ranks; what does not fit is refused.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }

swav=(train --glyphs "$PFC_DATA/han256.bin" --param task=swav,held_faces=lxgw+seto,augment=affine,noise=0.1,batch=120,schedule=cosine,lr=0.1)
large=("${swav[@]}" --epochs 10 --param encoder=256-256-64,feat_dim=32,hidden_mlp=64,num_prototypes=32,freeze_prototypes_niters=8,log_every=1000)
tiny=("${swav[@]}" --epochs 2 --mode exact --param encoder=256-24-16,feat_dim=8,hidden_mlp=12,num_prototypes=12,freeze_prototypes_niters=2,warmup_steps=3 -q)
queue=(--param queue_length=400,epoch_queue_starts=1)
last() { find "$1" -name 'step-*.h5' | sort | tail -n 1; }

# ---- it learns, and does not collapse ----

# With these settings the loss of the last epoch is 2.52 on any number of ranks, ln K = 3.47; 30 or 31 of 32 prototypes are used, 0.3 of the images have both views
# assigned to the same one. A network that tells nothing apart has loss ln K, uses one prototype.
for run in "1 plain" "2 queue" "3 plain" "3 queue"; do
    read -r np kind <<<"$run"
    more=()
    [ "$kind" = plain ] || more=("${queue[@]}")
    expect 0 "$np" "${large[@]}" "${more[@]}" --json "$work/run.json" --log "$work/run.tsv"
    says out "2 crops, D = 32, K = 32 (ln K = 3.4657)"
    says out "Epoch: [9]	prototypes used "
    says out "Epoch: [9]	Held out seto mean "
    [ "$kind" = plain ] || says out ", queue 360 from epoch 1, 1024 examples"
    "$PYTHON" - "$work" <<'END_PYTHON' || fail "$kind on $np: the run's figures"
import json
import math
import sys
result = json.load(open(sys.argv[1] + "/run.json"))
rows = [line.rstrip("\n").split("\t") for line in open(sys.argv[1] + "/run.tsv")][1:]
steps = [r for r in rows if r[5]]
last = [r for r in steps if r[1] == "9"]
loss, agreement = (sum(float(r[column]) for r in last) / len(last) for column in (5, 9))
assert len(steps) == 80 and len(last) == 8 and len(rows) == 80 + 3 * 10, len(rows)
assert 1 < loss < math.log(32) - 0.5, loss
assert agreement > 0.2, agreement
assert result["task"] == "swav" and set(result["accuracy"]) == {"prototypes used", "lxgw mean", "seto mean"}, result
assert 0.75 < result["accuracy"]["prototypes used"] <= 1, result
END_PYTHON
done

# ---- the same file whatever the ranks, if they are powers of two; the queue moves with the run ----

# An epoch is 8 steps: step 5 is before the queue, 11 after its first 3 batches.
for kind in plain queue; do
    run=("${tiny[@]}" --param crops=3,num_assign=2)
    [ $kind = plain ] || run+=("${queue[@]}")
    expect 0 2 "${run[@]}" --checkpoint "$work/$kind.whole" --every 1 --keep 20
    expect 0 2 "${run[@]}" --checkpoint "$work/$kind.parts" --stop-at 5
    expect 0 4 "${run[@]}" --checkpoint "$work/$kind.parts" --resume --stop-at 11
    expect 0 1 "${run[@]}" --checkpoint "$work/$kind.parts" --resume --backend checked
    for step in 05 11 16; do same "$work/$kind.whole/step-0000000000$step.h5" "$work/$kind.parts/step-0000000000$step.h5"; done
done
cmp -s "$work/plain.whole/step-000000000016.h5" "$work/queue.whole/step-000000000016.h5" && fail "the queue makes no difference"

# On three ranks gradients are rounded in other places: step 12 is nearly that of two ranks, and the queue has lost the oldest batch, no other row.
expect 0 3 "${run[@]}" --checkpoint "$work/three" --resume="$work/queue.parts/step-000000000011.h5" --stop-at 12
"$PYTHON" - "$work" <<'END_PYTHON' || fail "from two ranks to three"
import sys
import h5py
import numpy as np
batch, assigned, generations = 120, 2, 3
def read(name):
    with h5py.File(sys.argv[1] + "/" + name) as f:
        return {k: f["state"][k][:].astype("f8") for k in f["state"]}, dict(f["fact"].attrs)
(before, facts), (two, _), (three, _) = (read(n) for n in ("queue.parts/step-000000000011.h5", "queue.whole/step-000000000012.h5", "three/step-000000000012.h5"))
assert facts["queue_made"] == 1 and facts["use_the_queue"] == 0 and set(two) == set(three)
for k in two:
    assert np.abs(two[k] - three[k]).max() < 1e-4 and np.abs(two[k] - before[k]).max() > 0, k
old, new = (s["swav.queue"].reshape(batch, assigned, generations, -1) for s in (before, three))
assert np.array_equal(old[:, :, :-1], new[:, :, 1:]) and np.abs(np.linalg.norm(new, axis=3) - 1).max() < 1e-6
assert len(np.unique(new.reshape(-1, new.shape[3]), axis=0)) == batch * assigned * generations
END_PYTHON

# Fast mode: the same ranks, the same bits.
expect 0 3 "${run[@]}" --mode fast --checkpoint "$work/fast.whole"
expect 0 3 "${run[@]}" --mode fast --checkpoint "$work/fast.parts" --stop-at 11
expect 0 3 "${run[@]}" --mode fast --checkpoint "$work/fast.parts" --resume
same "$(last "$work/fast.whole")" "$(last "$work/fast.parts")"

# No head, LARC, the log domain.
expect 0 3 "${run[@]/hidden_mlp=12,/}" --param feat_dim=0,larc=1,version=log,num_assign=1
expect 0 3 "${run[@]}" --param hidden_mlp=0,crops=2,version=vissl
expect 0 3 "${run[@]}" --param log_softmax=stable,larc=1,larc_trust=0.01

# ---- what does not fit is refused ----

refuse() { # TEXT PARAM...
    expect 2 2 "${run[@]}" --param "$2"
    says err "$1"
}
refuse "crops: found 1, expected 2 to 16" crops=1
refuse "crops: found 17, expected 2 to 16" crops=17
refuse "num_assign: found 4, expected 1 to 3, the crops" num_assign=4
refuse "queue_length: found 119, expected 0, or at least the batch of 120" queue_length=119
refuse "queue_length: found -1, expected 0 to " queue_length=-1
refuse "queue_length: found 9223372036854775807, expected 0 to " queue_length=9223372036854775807
refuse "nesterov: task swav has none" nesterov=1
refuse "epoch_queue_starts: found -1, expected 0 or more" epoch_queue_starts=-1
refuse "freeze_prototypes_niters: found -1, expected 0 or more" freeze_prototypes_niters=-1
refuse "feat_dim: found -1, expected 0 or more" feat_dim=-1
refuse "num_prototypes: found 0, expected 1 or more" num_prototypes=0
refuse "num_prototypes: found 2147483648, expected up to 2147483647" num_prototypes=2147483648
refuse "epsilon: found 0" epsilon=0
refuse "head: task swav has no such setting" head=arc
refuse "hidden_mlp: without effect with feat_dim=0" feat_dim=0
refuse "epoch_queue_starts: without effect with queue_length=0" queue_length=0
refuse "stabilise: without effect with version=log" version=log,stabilise=0
refuse "log_softmax: without effect with version=v2" version=v2,log_softmax=stable
refuse "larc_trust: without effect with larc=0" larc_trust=0.01

file=$(last "$work/queue.parts")
refuse_file() { # TEXT FILE PARAM
    expect 3 2 "${run[@]}" --param "$3" --resume="$2"
    says err "$1"
}
refuse_file "/fact/num_prototypes: found 12, expected 13" "$file" num_prototypes=13
refuse_file "/fact/queue_length: found 400, expected 480" "$file" queue_length=480
refuse_file "/fact/crops: found 3, expected 2" "$file" crops=2
refuse_file "/fact/examples: found 1024, expected 1280" "$file" held_faces=lxgw
"$PYTHON" - "$file" "$work" <<'END_PYTHON' || fail "files to refuse"
import shutil
import sys
import h5py
def change(name, what):
    shutil.copy(sys.argv[1], sys.argv[2] + "/" + name)
    with h5py.File(sys.argv[2] + "/" + name, "r+") as f:
        what(f)
def fact(name, value):
    return lambda f: f["fact"].attrs.modify(name, value)
def scale(f):
    f["state/swav.queue"][7, 1] *= 2
def remove(f):
    del f["state/swav.queue"]
change("made.h5", fact("queue_made", 2))
change("none.h5", fact("queue_made", 0))
change("scaled.h5", scale)
change("removed.h5", remove)
END_PYTHON
refuse_file "/fact/queue_made: found 2, expected 0 or 1" "$work/made.h5" crops=3
refuse_file "/fact/use_the_queue: found 1, expected 0, as there is no queue yet" "$work/none.h5" crops=3
refuse_file "/state/swav.queue" "$work/scaled.h5" crops=3
refuse_file "/state/swav.queue" "$work/removed.h5" crops=3

finish
