#!/usr/bin/env bash
# Both modes have the same bits on every instruction set and number of threads (exact mode: also tests/bit_matrix.sh). One case of every family, sizes that
# are no multiples of a vector; a number in front: on that many ranks. A machine without a set runs the widest it has: then the comparison is with itself.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99

cases=(
    "arcface_head --size N=19,C=37,D=21 --param num_subcenters=3"
    "sinkhorn --size N=45,K=83" "sinkhorn --size N=300,K=83" "sinkhorn --size N=45,K=83 --param version=log" "sinkhorn --size N=45,K=83 --param epsilon=0.004,version=v2,stabilise=0"
    "swav --size B=7,K=37,D=19,L=14 --param crops=3"
    "moco --size N=9,K=71,D=19,M=37 --param queue_wrap=1"
    "batch_norm --size N=9,C=5,H=7,W=3" "batch_norm --size N=8,C=3 --param kind=sub,num_splits=2"
    "2 batch_norm --size N=10,C=5,H=7,W=3 --param kind=sync,num_sync_devices=2"
    "partial_fc --size N=19,C=37,D=21 --param head=arc,scale=16,margin=0.3"
)
for arguments in "${cases[@]}"; do
    ranks=alone
    case $arguments in [0-9]*) ranks=${arguments%% *} arguments=${arguments#* } ;; esac
    rm -rf "$work/made"
    # shellcheck disable=SC2086
    expect 0 "$ranks" golden $arguments -o "$work/made" --quiet
    case=$(echo "$work"/made/*.h5)
    for mode in exact fast; do
        PFC_MAX_ISA=scalar expect 0 "$ranks" run "$case" -o "$work/want.h5" --mode $mode --threads 1 --quiet
        for setting in "scalar 2" "avx2 1" "avx512 1" "avx512 3"; do
            PFC_MAX_ISA=${setting% *} expect 0 "$ranks" run "$case" -o "$work/got.h5" --mode $mode --threads "${setting#* }" --quiet
            cmp -s "$work/want.h5" "$work/got.h5" || fail "$arguments: $mode mode, $setting threads: differs from scalar, 1 thread"
        done
    done
done
finish
