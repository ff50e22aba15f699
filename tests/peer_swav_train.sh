#!/usr/bin/env bash
# Steps of task swav on 1, 2 and 3 ranks against algorithm 1 in PyTorch: frozen prototypes, then a queue that is made, filled and used; skipped without PyTorch.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99

python=
for candidate in "${PYTHON:-}" python3 /usr/bin/python3; do
    [ -n "$candidate" ] && "$candidate" -c 'import h5py, numpy, torch' 2>/dev/null && python=$candidate && break
done
[ -n "$python" ] || { echo "skipped: no Python 3 with torch, h5py and numpy"; exit 77; }

# 512 examples, batch 24: 21 steps an epoch. The queue of 3 batches is made in step 22, full after step 24, in use from step 25 on.
glyphs=$PFC_TOP_SRCDIR/data/han256.bin
settings=(--mode exact --steps 42 --every 1 --keep 42 -q)
settings+=(--param "task=swav,train_faces=notosans+seto,noise=0.3,encoder=256-64-48,last_norm=0,hidden_mlp=40,feat_dim=16,norm=plain,num_prototypes=20,crops=3,num_assign=2")
settings+=(--param "batch=24,lr=0.05,weight_decay=0.001,queue_length=80,epoch_queue_starts=1,freeze_prototypes_niters=3")
for ranks in 1 2 3; do
    expect 0 $ranks train --glyphs "$glyphs" "${settings[@]}" --stop-at 28 --checkpoint "$work/$ranks"
    for steps in 01:04 20:22 24:25 26:28; do
        "$python" "$PFC_TOP_SRCDIR/tests/peer_swav_steps.py" "$glyphs" $ranks "$work/$ranks"/step-0000000000{"${steps%:*}","${steps#*:}"}.h5 ||
            fail "$ranks ranks, steps $steps"
    done
done
finish
