#!/usr/bin/env bash
# Three training steps of task moco on 1, 2 and 3 ranks, over the end of an epoch, against algorithm 1 in PyTorch; skipped without PyTorch.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99

python=
for candidate in "${PYTHON:-}" python3 /usr/bin/python3; do
    [ -n "$candidate" ] && "$candidate" -c 'import h5py, numpy, torch' 2>/dev/null && python=$candidate && break
done
[ -n "$python" ] || { echo "skipped: no Python 3 with torch, h5py and numpy"; exit 77; }

glyphs=$PFC_TOP_SRCDIR/data/han256.bin
settings=(--mode exact --steps 30 --every 1 --keep 4 -q)
settings+=(--param "task=moco,train_faces=notosans+seto,encoder=256-64-48-32,last_norm=0,norm=plain,temperature=0.1,key_momentum=0.9,lr=0.05,weight_decay=0.001")
for ranks in 1 2 3; do
    for shuffle in 0 1; do
        expect 0 $ranks train --glyphs "$glyphs" "${settings[@]}" --param "batch=24,queue_size=96,shuffle=$shuffle" --stop-at 22 --checkpoint "$work/$ranks.$shuffle"
        "$python" "$PFC_TOP_SRCDIR/tests/peer_moco_steps.py" "$glyphs" $ranks "$work/$ranks.$shuffle"/step-0000000000{19,22}.h5 || fail "$ranks ranks, shuffle $shuffle"
    done
done
finish
