#!/usr/bin/env bash
# moco_shuffle and moco from outside: every kind of bad file (status 3, one line that names the trouble, no output), and one result for every instruction
# set, number of threads and engine, in both modes.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }

"$PYTHON" - "$PFC_TOP_SRCDIR/tests" "$work" >"$work/bad.txt" <<'END' || exit 99
import os
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from make_tiny_cases import write

def moco(N=6, K=12, D=3, **change):
    x = {"params_q": np.ones(4, "f4"), "params_k": np.ones(4, "f4"), "query": np.ones((N, D), "f4"), "key": np.ones((N, D), "f4"), "queue": np.ones((K, D), "f4")}
    x.update(change)
    return {name: value for name, value in x.items() if value is not None}

def bad(algorithm, param, inputs, *says):
    name = "bad%d" % bad.count
    bad.count += 1
    write(os.path.join(sys.argv[2], name + ".h5"), algorithm, param, inputs)
    print("\t".join((name,) + says))

bad.count = 0
x = np.zeros((6, 2), "f4")
order = np.arange(6)
def shuffle(permutation, *says, **param):
    bad("moco_shuffle", param, {"x": x, "permutation": np.asarray(permutation)}, *says)
shuffle([0, 1, 2, 3, 4, 4], "/in/permutation: found 4 at (4) and at (5), expected every row once")
shuffle([0, 1, 2, 3, 4, 6], "/in/permutation: found 6 at (5), expected 0 to 5")
shuffle([-1, 1, 2, 3, 4, 5], "/in/permutation: found -1 at (0)")
shuffle(order[:5], "/in/permutation: found shape (5), expected (N) with N = 6")
shuffle(order.astype("f4"), "/in/permutation: found f32, expected integers")
shuffle(order, "/param/step: found -1, expected 0 to 2^32 - 1", step=-1)
shuffle(order, "/param/step: found 4294967296", step=2**32)
shuffle(order, "/param/epoch", epoch=1)
bad("moco_shuffle", {}, {"x": np.float32(1)}, "/in/x: found shape ()")
bad("moco_shuffle", {}, {"x": np.zeros((0, 2), "f4")}, "/in/x: found shape (0,2), which is empty")
bad("moco_shuffle", {}, {"x": np.full((6, 2), np.nan, "f4")}, "/in/x: found nan at (0,0)")
bad("moco_shuffle", {"world": 4}, {"x": x}, "/param/world")
bad("moco", {"queue_ptr": 12}, moco(), "/param/queue_ptr: found 12, expected 0 to 11")
bad("moco", {"queue_ptr": -1, "queue_wrap": 1}, moco(), "/param/queue_ptr: found -1")
bad("moco", {"queue_ptr": 7}, moco(), "/param/queue_ptr: found 7, expected at most 6: N = 6 keys have to fit with queue_wrap=0")
bad("moco", {}, moco(K=13), "/in/queue: found K = 13, expected a multiple of N = 6 with queue_wrap=0")
bad("moco", {"temperature": 0.0}, moco(), "/param/temperature: found 0, expected")
bad("moco", {"temperature": float("nan")}, moco(), "/param/temperature")
bad("moco", {"momentum": float("inf")}, moco(), "/param/momentum: found inf, expected a finite number")
bad("moco", {"first_call": 2}, moco(), "/param/first_call")
bad("moco", {}, moco(params_k=np.ones(5, "f4")), "/in/params_k: found shape (5), expected that of params_q, (4)")
bad("moco", {}, moco(params_q=np.ones((2, 2), "f4")), "/in/params_q: found shape (2,2)")
bad("moco", {}, moco(params_k=None), "/in/params_k")
bad("moco", {}, moco(key=np.ones((6, 4), "f4")), "/in/key: found shape (6,4)")
bad("moco", {}, moco(queue=np.ones((12, 2), "f4")), "/in/queue: found shape (12,2)")
bad("moco", {"temperature": b"cold".decode()}, moco(), "/param/temperature")
END

count=0
while IFS=$'\t' read -r -a words; do
    for np in alone 3; do
        [ $np = alone ] || [ $((count % 7)) = 0 ] || continue
        expect 3 $np run "$work/${words[0]}.h5" -o "$work/result.h5"
        for word in "${words[@]:1}"; do says err "$word"; done
        [ ! -e "$work/result.h5" ] || fail "$command_line: wrote an output"
    done
    count=$((count + 1))
done <"$work/bad.txt"
[ "$count" -gt 20 ] || fail "only $count bad files were tried"

# Every round of a bench begins where the first one did.
expect 0 alone bench moco --size N=4,K=12,D=3 --param queue_wrap=0,queue_ptr=2 --rounds 5
expect 0 alone bench moco --quick --rounds 2 --backend checked
expect 0 alone info --backend checked

# The goldens again, under every setting.
for case in shuffle_given moco_corners_w2 moco_wrap_w5; do
    golden=$PFC_TOP_SRCDIR/data/$case.h5 np=${case##*_w}
    [ "$np" != "$case" ] || np=3
    for setting in "scalar dgemm 1" "avx2 int128 2" "avx512 dgemm 1" "amx auto 2"; do
        read -r isa engine threads <<<"$setting"
        export PFC_MAX_ISA=$isa PFC_ENGINE=$engine
        expect 0 "$np" run "$golden" -o "$work/exact.h5" --threads "$threads" --steps
        expect 0 alone check "$golden" "$work/exact.h5" --dtype exact
        expect 0 "$np" run "$golden" -o "$work/fast.h5" --mode fast --threads "$threads" --steps
        [ -e "$work/$case.h5" ] || cp "$work/fast.h5" "$work/$case.h5"
        same "$work/fast.h5" "$work/$case.h5"
        unset PFC_MAX_ISA PFC_ENGINE
    done
    expect 0 alone check "$golden" "$work/$case.h5" --dtype f32
done
finish
