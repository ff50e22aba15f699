#!/usr/bin/env bash
# Exit statuses of the command line: usage, files, backends; alone and under the launcher; nothing is left behind.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
case_file=$PFC_TOP_SRCDIR/tests/cases/pfc_full_arc.h5
cp "$case_file" "$work/case.h5"

for command in verify list info explain run golden check bench train inspect export; do
    expect 0 alone $command --help
    says out "Usage: pfc_ref $command"
    while read -r option; do # whatever it takes, the manual page has it
        sed 's/\\-/-/g' "$PFC_TOP_SRCDIR/doc/pfc_ref.1" | grep -q -e "$option\([^a-z-]\|\$\)" || fail "$command: $option is not in doc/pfc_ref.1"
    done < <(grep -o -e '--[a-z][a-z-]*' "$work/out" | sort -u)
done
for np in alone 3; do
    for option in --help --version --usage; do
        expect 0 $np $option
        [ "$(grep -c '^Usage:\|^pfc_ref 0' "$work/out")" = 1 ] || fail "$command_line: not printed once"
    done
    expect 0 $np run --help
    says out "-o, --output=PATH"
    expect 2 $np nonsense
    expect 2 $np --nonsense
    expect 2 $np run
    expect 2 $np run "$work/case.h5"
    expect 2 $np run "$work/case.h5" more.h5 -o "$work/x.h5"
    expect 2 $np run "$work/case.h5" -o "$work/x.h5" --threads 0
    expect 2 $np run "$work/case.h5" -o "$work/x.h5" --threads many
    expect 2 $np run "$work/case.h5" -o "$work/x.h5" --mode slow
    expect 2 $np run "$work/case.h5" -o "$work/case.h5"
    says err "same file"
    expect 2 $np verify nonsense
    # What computes nothing takes the common options like all commands, without effect.
    expect 0 $np --mode fast list --backend cpu --threads 2
    expect 0 $np inspect "$work/case.h5" --backend cpu --threads 2
    expect 2 $np check "$work/case.h5" "$work/case.h5" --dtype f31
    expect 2 $np check "$work/case.h5" "$work/case.h5" --rank 2 --of 2
    expect 2 $np check "$work/case.h5" "$work/case.h5" --rank 1
    expect 2 $np golden -o "$work/g" nonsense
    expect 2 $np golden partial_fc --size N=x -o "$work/g"
    expect 2 $np golden partial_fc --size N=6,C=5 -o "$work/g" --param head=cos,scale=1,margin=0
    expect 2 $np golden partial_fc --size N=6,C=5,D=4 --fill wild -o "$work/g" --param head=cos,scale=1,margin=0
    expect 2 $np golden partial_fc --fill hard -o "$work/g"
    expect 2 $np golden pfc_full_arc --name mine -o "$work/g"
    expect 2 $np golden partial_fc --size N=6,C=5,D=4 -o "$work/g" --param head
    expect 3 $np golden partial_fc --size N=6,C=5,D=4 -o "$work/g" --param head=round,scale=1,margin=0
    expect 3 $np golden partial_fc --size N=6,C=5,D=4 -o "$work/g" --param head=cos,scale=1
    expect 2 $np bench nonsense
    expect 3 $np golden partial_fc --size N=6,C=90000000000,D=512 -o "$work/g" --param head=cos,scale=1,margin=0
    expect 2 $np bench partial_fc --size N=6,C=90000000000,D=512
    expect 3 $np run "$work/none.h5" -o "$work/x.h5"
    expect 4 $np run "$work/case.h5" -o "$work/x.h5" --backend cuda
    expect 4 $np run "$work/case.h5" -o "$work/x.h5" --backend nonsense
    expect 2 $np golden "$work/case.h5" -o "$work/g" --dtype bf17
    expect 5 $np run "$work/case.h5" -o "$work/none/x.h5"
    expect 5 $np run "$work/case.h5" -o "$work/y.h5" --json "$work/none/x.json"
    rm -f "$work/y.h5"
    expect 5 $np golden "$work/case.h5" -o "$work/case.h5"
    same "$case_file" "$work/case.h5"
done
# Seven ranks do not divide 24 rows, three not 7: in the same words.
expect 3 7 run "$work/case.h5" -o "$work/x.h5"
says err "/in/features: found N = 24, expected a multiple of the number of ranks, 7"
expect 3 3 golden partial_fc --size N=7,C=5,D=4 --param head=linear,scale=1 -o "$work/g"
says err "found N = 7, expected a multiple of the number of ranks, 3"

# A folder of checkpoints where one is expected.
mkdir "$work/folder"
expect 3 alone inspect "$work/folder"
says err "found a folder, expected a file"
touch "$work/folder/step-000000000002.h5" "$work/folder/step-000000000010.h5"
expect 3 alone export "$work/folder" -o "$work/g"
says err "its newest checkpoint is step-000000000010.h5"
rm -r "$work/folder"

# The letters that list names are those that golden asks for.
expect 0 alone list
sed -n 's/^\([a-z_]*\): .*/=\1/p; s/^letters of --size: //p' "$work/out" >"$work/sizes"
count=0
while read -r line; do
    case $line in
    =*) algorithm=${line#=} ;;
    *)
        expect 2 alone golden "$algorithm" --size Z=1 -o "$work/g"
        asked=$(sed -n 's/.* needs \(.*\), .*1 or more$/\1/p' "$work/err" | sed 's/, and any.*//' | grep -o '[A-Z]' | tr -d '\n')
        listed=$(echo "${line%%;*}" | grep -ow '[A-Z]' | tr -d '\n')
        [ "$asked" = "$listed" ] || fail "$algorithm: list has the letters $listed, golden asks for $asked"
        count=$((count + 1))
        ;;
    esac
done <"$work/sizes"
[ "$count" = 9 ] || fail "$count algorithms with sizes, expected 9"
rm "$work/sizes"; rmdir "$work/g"

left=$(cd "$work" && find . -type f ! -name case.h5 ! -name out ! -name err)
[ -z "$left" ] || fail "left behind: $left"
finish
