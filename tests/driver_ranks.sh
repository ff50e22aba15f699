#!/usr/bin/env bash
# Goldens, results and intermediate results are the same files on 1, 2, 3 and 8 ranks and with 1 or 2 threads: full, sampled over all
# classes with several steps, hard inputs, few classes (some ranks hold none).
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
common=xgrad_scale=1,lr=0.1,weight_decay=0.01
make() { # NP FOLDER OPTION...
    local np=$1 folder=$2
    shift 2
    expect 0 "$np" golden partial_fc --size N=24,C=61,D=20 --name full --steps --param "head=arc,scale=16,margin=0.5,$common" -o "$work/$folder" "$@"
    expect 0 "$np" golden partial_fc --size N=24,C=61,D=20 --name sampled --steps --fill hard --seed 7 \
        --param "head=cos,scale=32,margin=0.4,sample_rate=0.3,sample_rule=global,steps=3,$common" -o "$work/$folder" "$@"
    expect 0 "$np" golden partial_fc --size N=24,C=5,D=20 --name few --fill lattice --param "head=circle,scale=8,margin=0.25,$common" -o "$work/$folder" "$@"
    expect 0 "$np" run "$work/$folder/full.h5" -o "$work/$folder/run.h5" --steps "$@"
}
make 1 one
for np in 2 3 8; do make $np r$np; done
make alone t2 --threads 2
for folder in r2 r3 r8 t2; do
    for file in full sampled few run; do same "$work/one/$file.h5" "$work/$folder/$file.h5"; done
done
# A golden made again from itself is the same file, wherever it lies.
expect 0 3 golden "$work/one/full.h5" "$work/one/sampled.h5" -o "$work/again"
for file in full sampled; do same "$work/one/$file.h5" "$work/again/$file.h5"; done
[ -s "$work/one/full.info.json" ] || fail "no sidecar"

# What depends on the number of ranks says so, and is refused elsewhere.
expect 0 2 golden partial_fc --size N=24,C=61,D=20 --name two --param head=linear,scale=1 -o "$work/two"
expect 3 3 run "$work/two/two.h5" -o "$work/x.h5"
says err "/param/world"
expect 0 3 check "$work/two/two.h5" "$work/two/two.h5" # comparing needs no ranks
finish
