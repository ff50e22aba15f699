#!/usr/bin/env bash
# Small files whose results or work are larger than any machine's memory: status 3 and one line, before anything of that size is taken.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }

"$PYTHON" - "$PFC_TOP_SRCDIR/tests" "$work" <<'EOF' || exit 99
import os
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from make_tiny_cases import write

def large(algorithm, param, inputs):
    write(os.path.join(sys.argv[2], algorithm + ".h5"), algorithm, param, inputs)

M = 2**20
column = np.ones((M, 1), "f4")
labels = np.zeros(M, "i4")
large("partial_fc", {"head": "cos", "scale": 8.0, "margin": 0.1}, {"features": column, "labels": labels, "weight": column})
large("arcface_head", {}, {"features": column, "labels": labels, "weight": column})
large("swav", {"crops": 2}, {"embedding": np.ones((1, M, 1), "f4"), "prototypes": column, "crops_for_assign": np.zeros(1, "i4")})
large("batch_norm", {"kind": "sub", "training": 0, "num_splits": 2**24}, {"x": np.ones((1, 2**16), "f4")})
for bits in 40, 62:
    write(os.path.join(sys.argv[2], "splits_%d.h5" % bits), "batch_norm", {"kind": "sub", "training": 0, "num_splits": 2**bits}, {"x": np.ones((2, 4), "f4")})
write(os.path.join(sys.argv[2], "long.h5"), "batch_norm", {}, {"x": np.ones((1, 1, 2**24 + 1), "f4")})
large("moco", {}, {"params_q": np.ones(1, "f4"), "params_k": np.ones(1, "f4"), "query": column, "key": column, "queue": np.ones((2 * M, 1), "f4")})
EOF

for mode in exact fast; do
    for case in partial_fc:/in/weight arcface_head:/in/weight swav:/in/prototypes moco:/in/queue batch_norm:/param/num_splits; do
        expect 3 alone run "$work/${case%%:*}.h5" -o "$work/result.h5" --mode $mode
        says err "${case%%:*}.h5: ${case#*:}: found sizes for which"
        says err "GiB of this machine's memory"
        [ ! -e "$work/result.h5" ] || fail "$command_line: wrote an output"
    done
done
# Numbers of splits whose bytes do not fit 64 bits, or no memory; a channel longer than the integers of exact mode.
for case in splits_40:1099511627776 splits_62:4611686018427387904; do
    expect 3 alone run "$work/${case%%:*}.h5" -o "$work/result.h5"
    says err "${case%%:*}.h5: /param/num_splits: found ${case#*:}, expected 1 to 16777216"
done
expect 3 alone run "$work/long.h5" -o "$work/result.h5"
says err "long.h5: x: samples x elements of a channel: found 1 x 16777217, exact mode takes up to 16777216"
expect 0 alone run "$work/long.h5" -o "$work/result.h5" --mode fast --quiet
rm "$work/result.h5"
expect 3 2 run "$work/moco.h5" -o "$work/result.h5"
says err "moco.h5: /in/queue: found sizes for which"
for algorithm in moco:N=1048576,K=2097152,D=1 swav:B=524288,K=1048576,D=1; do
    expect 3 alone bench "${algorithm%%:*}" --size "${algorithm#*:}" --rounds 1
done
finish
