#!/usr/bin/env bash
# Inputs from text files: --in NAME=FILE.txt of run and golden.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
golden=$PFC_TOP_SRCDIR/data/pfc_g_sampled.h5 # its sample_keys: 0.5 0.25 0 0.75 0.125

printf '# keys\n0.5\n\n  0.25 # the second\n0\n+7.5e-1\n0.125' >"$work/keys.txt"
sampled=$PFC_TOP_SRCDIR/data/pfc_sampled_global_keys.h5 # 37 keys, 11 classes drawn by them
awk 'BEGIN { for (i = 0; i < 37; i++) print i / 64 }' >"$work/others.txt"
for np in 1 2; do
    expect 0 $np run "$golden" -o "$work/same.h5" --in sample_keys="$work/keys.txt"
    expect 0 alone check "$golden" "$work/same.h5" --dtype exact
    expect 0 $np run "$sampled" -o "$work/other.h5" --in sample_keys="$work/others.txt"
    expect 1 alone check "$sampled" "$work/other.h5" --dtype exact
    expect 0 $np golden "$golden" -o "$work/$np" --in sample_keys="$work/keys.txt"
    same "$golden" "$work/$np/pfc_g_sampled.h5"
    expect 0 $np golden partial_fc --size N=4,C=5,D=4 --param head=cos,scale=4,margin=0.1,sample_rate=0.5 --in sample_keys="$work/keys.txt" -o "$work/$np"
done

bad() { # STATUS TEXT NAME=FILE
    expect "$1" 2 run "$golden" -o "$work/bad.h5" --in "$3"
    says err "$2"
    [ ! -e "$work/bad.h5" ] || fail "$command_line: left a file"
}
printf '0.5\n0.25\nhalf\n' >"$work/word.txt"
bad 3 "word.txt: line 3: found \"half\", expected one number" sample_keys="$work/word.txt"
printf '\n1 2\n' >"$work/two.txt"
bad 3 "two.txt: line 2: found \"1 2\", expected one number" sample_keys="$work/two.txt"
printf '# nothing\n' >"$work/empty.txt"
bad 3 "empty.txt: found no number" sample_keys="$work/empty.txt"
bad 3 "/in/keys: found an unknown input" keys="$work/keys.txt"
bad 3 "/in/labels: found real numbers, expected integers" labels="$work/keys.txt"
printf '1\n2\n3\n' >"$work/three.txt"
bad 3 "/in/labels: found shape (3), expected (N)" labels="$work/three.txt"
printf '1\nnan\n0\n0\n0\n' >"$work/nan.txt"
bad 3 "/in/sample_keys: found nan at (1)" sample_keys="$work/nan.txt"
bad 3 "cannot be opened" sample_keys="$work/none.txt"
bad 2 "expected NAME=FILE.txt" sample_keys
printf '1\n2\n99999999999999999999\n0\n' >"$work/large.txt" # no int64
bad 3 "/in/labels: found real numbers, expected integers" labels="$work/large.txt"
expect 2 2 run "$golden" -o "$work/bad.h5" --in labels="$work/three.txt" --in labels="$work/three.txt"
says err "given twice"
awk 'BEGIN { for (i = 0; i < 3000; i++) print i / 4096 }' >"$work/many.txt"
expect 0 1 golden partial_fc --size N=4,C=3000,D=4 --param head=cos,scale=4,margin=0.1,sample_rate=0.5 --name many --in sample_keys="$work/many.txt" -o "$work"
finish
