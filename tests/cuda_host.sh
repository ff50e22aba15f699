#!/usr/bin/env bash
# The sources of the CUDA backend on the host (tests/cuda_host): every shipped golden and a case on the spot at several numbers of ranks, exact mode bit for bit
# and fast mode within the bounds, every product checked mod 2^64. This runs the backend's logic, not a GPU: tools/gpu_check.sh does that.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
export PFC_MODULE_DIR=${PFC_TOP_BUILDDIR:-.}/tests/cuda_host PFC_BACKEND=cuda
[ -f "$PFC_MODULE_DIR/pfc_cuda.so" ] || { echo "skipped: no C++ compiler when this was configured"; exit 77; }

expect 0 alone info
says out "backend cuda, instruction set host, engine dgemm, transport pinned host"
says out "backend cuda, instruction set host, engine sgemm, transport pinned host"
for np in 1 2 3 5 8; do
    expect 0 $np verify
    expect 0 $np verify --mode fast
done
# Sums of products stay on the device, as with a CUDA-aware MPI.
PFC_TRANSPORT=device expect 0 alone info
says out "engine dgemm, transport CUDA-aware MPI"
PFC_CUDA_HOST_RATIO=64 expect 0 alone info # a device that is slow with doubles
says out "engine int8, transport"
PFC_ENGINE=int8 expect 0 3 verify --mode exact
for np in 2 3 8; do
    PFC_TRANSPORT=device expect 0 $np verify
    PFC_TRANSPORT=device expect 0 $np verify --mode fast
done
# More blocks, chunks and strips than a golden has: more than 1024 terms, sampled rows, wide numbers.
for arguments in "partial_fc --size N=24,C=2600,D=37 --param head=arc,scale=30,margin=0.3,sample_rate=0.5" \
    "partial_fc --size N=6,C=19,D=2100 --param head=cos,scale=30,margin=0.3" \
    "partial_fc --size N=16,C=50,D=12 --fill hard --param head=circle,scale=8,margin=0.25" "arcface_head --size N=12,C=70,D=33 --param num_subcenters=3" \
    "moco --size N=9,K=1100,D=19,M=37 --param queue_wrap=1" "sinkhorn --size N=45,K=83 --param version=log" "swav --size B=7,K=37,D=19,L=14 --param crops=3" \
    "batch_norm --size N=9,C=5,H=7,W=3" "batch_norm --size N=8,C=3 --param kind=sub,num_splits=2"; do
    rm -rf "$work/made"
    # shellcheck disable=SC2086
    PFC_BACKEND=cpu expect 0 alone golden $arguments -o "$work/made" --quiet
    case=$(echo "$work"/made/*.h5)
    PFC_BACKEND=cpu expect 0 alone run "$case" -o "$work/want.h5" --quiet
    expect 0 alone run "$case" -o "$work/got.h5" --quiet
    same "$work/want.h5" "$work/got.h5"
    for engine in sgemm tf32; do
        PFC_ENGINE=$engine expect 0 alone run "$case" -o "$work/got.h5" --mode fast --quiet
        expect 0 alone check "$case" "$work/got.h5" --dtype f32 --quiet
    done
done
finish
