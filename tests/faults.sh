#!/usr/bin/env bash
# One rank of three fails, inside an MPI call or inside the writing of a file (tests/fault_shim.c): the job ends within seconds, with an error, with at most one
# line of ours; no file under its final name is new or changed unless it is whole, and an unfinished one stays only where the rank that made it was killed.
# A spread of calls is tried; PFC_TEST_FULL=1 tries all of them, on every rank.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
nm -D "$PFC_REF" 2>/dev/null | grep __asan >/dev/null && { echo "skipped: the address sanitizer wants to be loaded first"; exit 77; }
shim=$work/fault_shim.so
${CC:-mpicc} -shared -fPIC -O1 -o "$shim" "$PFC_TOP_SRCDIR/tests/fault_shim.c" -ldl || exit 99
np=3 limit=20 left=0

# job FOLDER SETTING...: the command of this round under the shim; sets status and seconds.
job() {
    local folder=$1 start
    shift
    command_line="pfc_ref ${command[*]} (on $np) $*"
    start=$(date +%s%N)
    # shellcheck disable=SC2086
    timeout -k 5 60 $MPIRUN $MPIRUN_FLAGS -np $np env LD_PRELOAD="$shim" "$@" "$PFC_REF" "${command[@]}" "$folder$suffix" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    seconds=$((($(date +%s%N) - start) / 1000000000))
    checks=$((checks + 1))
}

# fault CLASS RANK AT KIND
fault() {
    local class=$1 rank=$2 at=$3 kind=$4 folder=$work/f file name lines
    rm -rf "$folder"
    mkdir "$folder"
    # Every other time there is a file of that name already.
    [ $((at % 2)) = 0 ] || for name in "${names[@]}"; do echo old >"$folder/$name"; done
    rm -f "$work/call"
    job "$folder" PFC_FAULT_CLASS="$class" PFC_FAULT_RANK="$rank" PFC_FAULT_AT="$at" PFC_FAULT_KIND="$kind" PFC_FAULT_NOTE="$work/call"
    [ -s "$work/call" ] || fail "$command_line: that call was never made"
    command_line="$command_line ($(cat "$work/call"))"
    lines=$(grep -c '^pfc_ref: ' "$work/err")
    if [ "$kind" = delay ]; then
        [ "$status" = 0 ] && [ ! -s "$work/err" ] || fail "$command_line: status $status: $(head -c 600 "$work/err")"
        same "$work/whole/${names[0]}" "$folder/${names[0]}"
        return
    fi
    [ "$seconds" -lt $limit ] || fail "$command_line: ended after $seconds s"
    [ "$status" != 0 ] || fail "$command_line: status 0"
    [ "$lines" -le 1 ] || fail "$command_line: $lines lines: $(grep '^pfc_ref: ' "$work/err" | head -c 600)"
    if [ "$kind" = error ] && ! grep -q 'cannot be read: MPI_File' "$work/err"; then # a case that cannot be read is status 3
        [ "$status" = 5 ] && [ "$lines" = 1 ] || fail "$command_line: status $status, $lines lines, expected 5 and 1: $(head -c 900 "$work/err")"
    fi
    while IFS= read -r file; do
        name=${file#"$folder"/}
        case $name in
        *.tmp*)
            left=$((left + 1))
            [ "$rank" = 0 ] && [ "$kind" != error ] || fail "$command_line: left $name"
            ;;
        *.json) [ "$(cat "$file")" = old ] || tail -n 1 "$file" | grep -qx '}' || fail "$command_line: $name is not whole" ;;
        *) [ "$(head -c 4 "$file" | tr -d '\n')" = old ] || cmp -s "$file" "$work/whole/$name" || fail "$command_line: $name is neither the old one nor whole" ;;
        esac
    done < <(find "$folder" -type f)
}

# spoil AT: a byte of rank 0's write AT comes out wrong. It is noticed before the file gets its name, unless nobody ever reads that byte.
spoil() {
    local folder=$work/f
    rm -rf "$folder"
    mkdir "$folder"
    job "$folder" PFC_FAULT_CLASS=bytes PFC_FAULT_RANK=0 PFC_FAULT_AT="$1" PFC_FAULT_KIND=spoil
    if [ "$status" = 0 ]; then
        "$PFC_REF" check "$work/whole/${names[0]}" "$folder/${names[0]}" --dtype exact -q || fail "$command_line: a wrong byte was not noticed"
    else
        [ "$status" = 5 ] && [ "$(grep -c '^pfc_ref: ' "$work/err")" = 1 ] || fail "$command_line: status $status: $(head -c 900 "$work/err")"
        [ ! -e "$folder/${names[0]}" ] || fail "$command_line: $(cat "$work/err"), and there is a file"
        ! grep -q 'read back differs' "$work/err" || differ=$((differ + 1))
    fi
}

# some LAST COUNT: so many of 1..LAST, with both ends.
some() {
    [ "$1" -ge 1 ] || return
    if [ "${PFC_TEST_FULL:-0}" = 1 ] || [ "$1" -le "$2" ]; then seq 1 "$1"; else awk -v n="$1" -v k="$2" 'BEGIN { for (i = 0; i < k; i++) print 1 + int(i * (n - 1) / (k - 1)) }'; fi
}

# A different rank every time, or all.
ranks() { if [ "${PFC_TEST_FULL:-0}" = 1 ]; then seq 0 $((np - 1)); else echo $(($1 % np)); fi; }

# Calls of a class that every rank makes.
count() { cat "$work"/count.? | sed -n "s/^$1 //p" | sort -n | head -n 1; }

# round SUFFIX NAMES COMMAND...: the folder and SUFFIX follow the command; the job makes the files NAMES there.
round() {
    local k=0 at rank kind comm file renames
    suffix=$1
    read -r -a names <<<"$2"
    shift 2
    command=("$@")
    rm -rf "$work/whole"
    mkdir "$work/whole"
    job "$work/whole" PFC_FAULT_COUNT="$work/count"
    [ "$status" = 0 ] && [ ! -s "$work/err" ] || fail "$command_line: status $status without a fault: $(head -c 600 "$work/err")"
    comm=$(count comm) file=$(count file) renames=$(sed -n 's/^rename //p' "$work/count.0")
    echo "$comm calls, $file of files, $renames renames: ${command[*]}"
    [ "$comm" -gt 20 ] && [ "$file" -gt 5 ] && [ "$renames" -ge 1 ] || fail "$command_line: so few"
    for at in $(some "$comm" "$comm_faults"); do
        k=$((k + 1)) kind=kill
        [ $((k % 4)) != 0 ] || kind=exit
        for rank in $(ranks $k); do fault comm "$rank" "$at" $kind; done
        for rank in $(ranks $((k + 1))); do [ $((k % 2)) = 0 ] || fault comm "$rank" "$at" error; done
    done
    for at in $(some "$file" "$file_faults"); do
        k=$((k + 1))
        for rank in $(ranks $k); do fault file "$rank" "$at" kill; done
        for rank in $(ranks $((k + 1))); do fault file "$rank" "$at" error; done
    done
    for at in $(some "$renames" 2); do
        fault rename 0 "$at" kill
        fault rename 0 "$at" error
    done
    fault comm 1 $((comm / 2)) delay
    differ=0
    for at in $(some "$(sed -n 's/^bytes //p' "$work/count.0")" 4); do spoil "$at"; done
    [ $differ -gt 0 ] || fail "$command_line: no wrong byte was found by reading back"
}

data=$PFC_TOP_SRCDIR/data
comm_faults=8 file_faults=5
round /x.h5 x.h5 run "$data/pfc_sampled_global.h5" -o
comm_faults=5 file_faults=3
round /x.h5 x.h5 run "$data/bn_sync_w3.h5" --steps -o
round "" "swav_carried_w3.h5 swav_carried_w3.info.json" golden "$data/swav_carried_w3.h5" -o
echo "$left unfinished files stayed"
finish
