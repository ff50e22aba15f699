#!/usr/bin/env bash
# run --emulate and the rms errors in goldens: the numbers of a port in float64 NumPy whose operands are rounded (tests/emulated_ports.py), the same bits on
# any number of ranks, threads and instruction set, nothing changed where a type holds the operands; what check says of them.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }
unset PFC_BACKEND # the emulation is one of the cpu backend
ports=$PFC_TOP_SRCDIR/tests/emulated_ports.py

numpy() { # ARGUMENT...: emulated_ports.py says yes
    "$PYTHON" "$ports" "$@" >"$work/numpy" 2>&1 || fail "emulated_ports.py $*: $(head -c 600 "$work/numpy")"
    checks=$((checks + 1))
}

make_case() { # NAME NP ALGORITHM OPTION...: $work/NAME.h5, a golden with bounds for all types
    local name=$1 np=$2
    shift 2
    expect 0 "$np" golden "$@" --name "$name" -o "$work" --steps --dtype f32,tf32,bf16,bf16-rz,f16
}

# ---- the command line ----
make_case fc 1 partial_fc --size N=24,C=37,D=8 --param head=cos,scale=16,margin=0.2,lr=0.1,xgrad_scale=1
for bad in f32 bf16-sound float -stored f32-stored bf16-stored-stored; do
    expect 2 alone run "$work/fc.h5" -o "$work/no.h5" --emulate "$bad"
    says err "--emulate $bad: expected tf32, bf16 or f16"
done
expect 4 alone run "$work/fc.h5" -o "$work/no.h5" --emulate bf16 --backend checked
says err "backend checked cannot emulate bf16, expected backend cpu"
expect 2 alone golden fc -o "$work" --emulate bf16
[ ! -e "$work/no.h5" ] || fail "a refused run left a file"
expect 0 alone run "$work/fc.h5" -o "$work/fast.h5" --emulate bf16 --json "$work/run.json"
says out "fast as bf16"
grep -q '"emulate": "bf16"' "$work/run.json" || fail "--json does not name the type"
numpy same "$work/fc.h5" "$work/fast.h5" in/features in/weight
"$PYTHON" - "$work/fast.h5" <<'END' || fail "an emulated run in fast mode is no float32 file of spec fast"
import sys, h5py
with h5py.File(sys.argv[1]) as f:
    sys.exit(f["out/loss"].dtype != "<f4" or bytes(f.attrs["spec"]).rstrip(b"\0") != b"fast")
END

# ---- the numbers of families with matrix products ----
make_case linear 1 partial_fc --size N=24,C=37,D=8 --param head=linear,scale=0.5
make_case arc 1 arcface_head --size N=24,C=37,D=8 --param num_subcenters=2
make_case swav 2 swav --size B=6,K=10,D=8 --param crops=3
make_case moco 1 moco --size N=12,K=60,D=8
for type in tf32 bf16 f16; do
    pairs=()
    for case in fc linear arc swav moco; do
        [ $case = swav ] && np=2 || np=1
        expect 0 $np run "$work/$case.h5" -o "$work/$case.plain.h5" --mode exact --emulate $type --steps
        expect 0 $np run "$work/$case.h5" -o "$work/$case.stored.h5" --mode exact --emulate $type-stored --steps
        expect 0 $np run "$work/$case.h5" -o "$work/fast.h5" --emulate $type-stored --steps
        expect 0 alone check "$work/$case.h5" "$work/fast.h5" --dtype $type
        pairs+=("$work/$case.h5" "$work/$case.stored.h5")
    done
    numpy ports $type "$work"/*.plain.h5
    numpy ports $type-stored "$work"/*.stored.h5
    numpy rms $type "${pairs[@]}"
done

# ---- those without: the inputs are rounded, and nothing else ----
make_case sinkhorn 1 sinkhorn --size N=20,K=7
make_case bn 1 batch_norm --size N=6,C=3,L=5
make_case gather 1 group_gather --size M=40 --param num_sync_devices=1,num_groups=1
make_case shuffle 1 moco_shuffle --size N=10,L=4
for type in tf32 bf16 f16; do
    pairs=()
    for case in sinkhorn bn gather shuffle; do
        numpy rounded $type "$work/$case.h5" "$work/rounded.h5"
        expect 0 alone run "$work/rounded.h5" -o "$work/plain.h5" --mode exact --steps
        expect 0 alone run "$work/$case.h5" -o "$work/$case.$type.h5" --mode exact --emulate $type --steps
        numpy same "$work/plain.h5" "$work/$case.$type.h5"
        pairs+=("$work/$case.h5" "$work/$case.$type.h5")
    done
    numpy rms $type "${pairs[@]}"
done
expect 0 alone run "$PFC_TOP_SRCDIR/data/lr_default.h5" -o "$work/lr.h5" --emulate f16
expect 0 alone run "$PFC_TOP_SRCDIR/data/lr_default.h5" -o "$work/plain.h5" --mode fast
numpy same "$work/plain.h5" "$work/lr.h5"

# ---- what check says of them ----
for type in tf32 bf16 f16; do
    for case in fc linear arc swav moco sinkhorn bn gather shuffle; do
        [ $case = swav ] && np=2 || np=1
        expect 0 $np run "$work/$case.h5" -o "$work/port.h5" --emulate $type --steps
        expect 0 alone check "$work/$case.h5" "$work/port.h5" --dtype $type
    done
done
expect 0 alone run "$work/fc.h5" -o "$work/port.h5" --emulate bf16
expect 1 alone check "$work/fc.h5" "$work/port.h5" --dtype f32

# ---- the same bits everywhere ----
for type in bf16 f16 tf32-rz; do
    expect 0 alone run "$work/fc.h5" -o "$work/one.h5" --mode exact --emulate $type --threads 1
    PFC_MAX_ISA=scalar PFC_ENGINE=int128 expect 0 2 run "$work/fc.h5" -o "$work/two.h5" --mode exact --emulate $type --threads 2
    expect 0 3 run "$work/fc.h5" -o "$work/three.h5" --mode exact --emulate $type
    numpy same "$work/one.h5" "$work/two.h5" out/loss out/weight out/weight_grad
    numpy same "$work/one.h5" "$work/three.h5" out/loss out/weight out/weight_grad
done
mkdir "$work/again"
PFC_MAX_ISA=scalar expect 0 3 golden "$work/arc.h5" -o "$work/again" --steps --dtype f32,tf32,bf16,bf16-rz,f16
same "$work/arc.h5" "$work/again/arc.h5"

# ---- directions that every type holds ----
make_case lattice 1 partial_fc --size N=16,C=20,D=64 --fill lattice --param head=cos,scale=16,margin=0.25
expect 0 alone run "$work/lattice.h5" -o "$work/plain.h5" --mode exact --steps
for type in tf32 bf16 f16; do
    expect 0 alone run "$work/lattice.h5" -o "$work/lattice.$type.h5" --mode exact --emulate $type --steps
    numpy same "$work/plain.h5" "$work/lattice.$type.h5" step/cosine step/logits step/row_sum out/loss step/dlogits
done
finish
