#!/usr/bin/env bash
# Fast mode at sizes where threads start (32768 elements of a rank) and where stores bypass the caches (2^22): the same file for 1 and 2 threads, and
# within the golden's f32 bound on every instruction set. A machine without a set runs the widest it has.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99

try() { # RANKS GOLDEN-ARGUMENT...
    local ranks=$1 isa golden
    shift
    rm -rf "$work/made"
    expect 0 "$ranks" golden batch_norm "$@" -o "$work/made" --quiet
    golden=$(echo "$work"/made/*.h5)
    for isa in scalar avx2 avx512; do
        PFC_MAX_ISA=$isa expect 0 "$ranks" run "$golden" -o "$work/1.h5" --mode fast --threads 1 --no-inputs --quiet
        PFC_MAX_ISA=$isa expect 0 "$ranks" run "$golden" -o "$work/2.h5" --mode fast --threads 2 --no-inputs --quiet
        cmp -s "$work/1.h5" "$work/2.h5" || fail "$*: $isa, 2 threads differ from 1"
        expect 0 "$ranks" check "$golden" "$work/1.h5" --dtype f32
        says out " 0 different"
    done
}

try alone --size N=8,C=9,H=20,W=23
try alone --size N=8,C=9,H=20,W=23 --param kind=sub,num_splits=2
try 2 --size N=16,C=9,H=20,W=23 --param kind=sync,num_sync_devices=2
try alone --size N=16,C=64,H=64,W=65

# Groups that contradict each other.
for groups in 1 2 3; do
    expect $((groups == 3 ? 3 : 0)) 2 golden group_gather --size M=3 --param num_sync_devices=1,num_groups=$groups -o "$work/gather" --quiet
done
says err "/param/num_groups: found 3, expected 1 (whole machines) or local_size / num_sync_devices = 2"
finish
