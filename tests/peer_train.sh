#!/usr/bin/env bash
# Steps of tasks moco and swav on 1, 2 and 3 ranks against the steps of the papers in PyTorch; skipped without PyTorch.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
need_python "h5py, numpy, torch"

glyphs=$PFC_TOP_SRCDIR/data/han256.bin
settings=(--mode exact --every 1 --keep 42 -q)
common=batch=24,train_faces=notosans+seto,last_norm=0,norm=plain,lr=0.05,weight_decay=0.001
steps() { # TASK RANKS FOLDER FROM TO: the peer comes from one checkpoint to the other
    "$python" "$PFC_TOP_SRCDIR/tests/peer_$1_steps.py" "$glyphs" "$2" "$3"/step-0000000000{"$4","$5"}.h5 || fail "$1 on $2 ranks, $3, steps $4 to $5"
}

# moco: over the end of an epoch, which has 21 steps.
moco=task=moco,encoder=256-64-48-32,temperature=0.1,key_momentum=0.9,queue_size=96
for ranks in 1 2 3; do
    for shuffle in 0 1; do
        expect 0 $ranks train --glyphs "$glyphs" "${settings[@]}" --steps 30 --param "$common,$moco,shuffle=$shuffle" --stop-at 22 --checkpoint "$work/$ranks.$shuffle"
        steps moco $ranks "$work/$ranks.$shuffle" 19 22
    done
done

# swav: frozen prototypes, then a queue of 3 batches, which is made in step 22, full after step 24, and in use from step 25 on.
swav=task=swav,noise=0.3,encoder=256-64-48,hidden_mlp=40,feat_dim=16,num_prototypes=20,crops=3,num_assign=2
swav=$swav,queue_length=80,epoch_queue_starts=1,freeze_prototypes_niters=3
for ranks in 1 2 3; do
    expect 0 $ranks train --glyphs "$glyphs" "${settings[@]}" --steps 42 --param "$common,$swav" --stop-at 28 --checkpoint "$work/$ranks"
    for part in "01 04" "20 22" "24 25" "26 28"; do
        # shellcheck disable=SC2086
        steps swav $ranks "$work/$ranks" $part
    done
done
finish
