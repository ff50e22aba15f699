#!/usr/bin/env bash
# A run is killed at random moments, a rank or the whole job, also while it writes a checkpoint (one after every step); it goes on from the newest checkpoint on
# another number of ranks, and ends with the bits of the run that nobody disturbed: a network with batch norm and a sampled layer, on the shipped glyphs.
# Then signals that stop a run in an orderly way. A few times; PFC_TEST_FULL=1: 50 times.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with numpy"; exit 77; }
kills=5
[ "${PFC_TEST_FULL:-0}" != 1 ] || kills=50
RANDOM=7

"$PYTHON" - "$work" <<'END_PYTHON' || exit 99
import sys
import numpy as np
rng = np.random.default_rng(3)
np.save(sys.argv[1] + "/x.npy", rng.normal(size=(120, 8)).astype("f4"))
np.save(sys.argv[1] + "/y.npy", np.arange(120) % 15)
END_PYTHON
steps=$((120 * kills))
args=(train --glyphs "$PFC_DATA/han256.bin" --batch 12 --mode exact --steps $steps -q
    --param "encoder=256-8-6,train_faces=notosans+lxgw+seto,min_faces=3,classes=20,augment=affine,sample_rule=global,sample_rate=0.5,lr=0.1,scale=16")

# The processes of a job, by their parent: a launcher starts its ranks itself.
children() { # without a process for each: they would take longer than a run lasts
    local stat line parent
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        read -r _ parent _ <<<"${line##*) }"
        [ "$parent" != "$1" ] || echo "${line%% *}"
    done
}

# job NP ARGUMENT...: in the background; sets job.
job() {
    local np=$1
    shift
    command_line="pfc_ref $* (on $np)"
    # shellcheck disable=SC2086
    $MPIRUN $MPIRUN_FLAGS -np "$np" "$PFC_REF" "$@" >"$work/out" 2>"$work/err" </dev/null &
    job=$!
    checks=$((checks + 1))
}

newest() { find "$1" -name 'step-*.h5' 2>/dev/null | sort | tail -n 1; }

# step_of FILE: its number; 0 without a file.
step_of() {
    local digits=${1##*/step-}
    digits=${digits%.h5}
    echo $((10#0$digits))
}

# wait_for_step STEP FOLDER: until the job has come so far, has ended, or the machine has no time for it. Steps, not seconds: a fast run is not over before.
wait_for_step() {
    local end=$((SECONDS + 60))
    while [ "$(step_of "$(newest "$2")")" -lt "$1" ] && kill -0 $job 2>/dev/null && [ $SECONDS -lt $end ]; do sleep 0.01; done
}

# ended SECONDS: the job has; else it is ended by force.
ended() {
    local end=$((SECONDS + $1))
    while kill -0 $job 2>/dev/null; do
        [ $SECONDS -lt $end ] || { kill -9 $job; return 1; }
        sleep 0.02
    done
}

expect 0 2 "${args[@]}" --checkpoint "$work/whole"
folder=$work/killed found=0 killed=0
for k in $(seq 1 $kills); do
    np=$((1 + k % 3)) resume=
    [ -z "$(newest "$folder")" ] || resume=--resume
    before=$(newest "$folder")
    # shellcheck disable=SC2086
    job $np "${args[@]}" --checkpoint "$folder" --every 1 $resume
    wait_for_step $(($(step_of "$before") + 1 + RANDOM % 40)) "$folder"
    sleep "0.0$((RANDOM % 5))$((RANDOM % 10))"
    ranks=$(children $job)
    [ -z "$ranks" ] || killed=$((killed + 1))
    if [ $((k % 2)) = 0 ]; then
        for rank in $ranks; do kill -9 "$rank" 2>/dev/null; done
    else
        kill -9 "$(echo "$ranks" | head -n 1)" 2>/dev/null # one rank: the launcher ends the others
    fi
    ended 60 || fail "$command_line: still there a minute after it was killed"
    wait $job 2>/dev/null
    found=$((found + $(find "$folder" -name '*.tmp-*' | wc -l)))
    [ "$(wc -l <"$work/err")" -lt 30 ] || fail "$command_line: $(head -c 600 "$work/err")"
    file=$(newest "$folder")
    [ -z "$file" ] || expect 0 alone inspect "$file" -q
done
echo "$killed of $kills runs were killed at work, $found unfinished files were left; the last checkpoint was $(basename "$(newest "$folder")") of $steps steps"
[ $killed -gt $((kills / 2)) ] || fail "only $killed runs were killed in time"
expect 0 2 "${args[@]}" --checkpoint "$folder" --every 20 --resume
same "$(newest "$work/whole")" "$(newest "$folder")"
[ "$(find "$folder" -name '*.tmp-*' | wc -l)" = 0 ] || fail "unfinished files stayed in $folder"

# ---- an MPI call fails on one rank while a checkpoint is written: an error, one line, the old file and no other (tests/fault_shim.c) ----

if ! nm -D "$PFC_REF" 2>/dev/null | grep __asan >/dev/null; then # the sanitizer wants to be loaded first
    shim=$work/fault_shim.so
    ${CC:-mpicc} -shared -fPIC -O1 -o "$shim" "$PFC_TOP_SRCDIR/tests/fault_shim.c" -ldl || exit 99
    short=(train --features "$work/x.npy" --labels "$work/y.npy" --batch 12 --steps 4 -q --checkpoint "$work/faults" --every 2)
    faulty() { # SETTING...
        rm -rf "$work/faults"
        command_line="pfc_ref ${short[*]} (on 3) $*"
        # shellcheck disable=SC2086
        timeout -k 5 60 $MPIRUN $MPIRUN_FLAGS -np 3 env LD_PRELOAD="$shim" "$@" "$PFC_REF" "${short[@]}" >"$work/out" 2>"$work/err" </dev/null
        status=$?
        checks=$((checks + 1))
    }
    faulty PFC_FAULT_COUNT="$work/count"
    [ "$status" = 0 ] || fail "$command_line: status $status without a fault: $(head -c 600 "$work/err")"
    calls=$(cat "$work"/count.? | sed -n 's/^file //p' | sort -n | head -n 1)
    [ "$calls" -gt 8 ] || fail "only $calls calls of files"
    for at in 1 $((calls / 3)) $((calls / 2)) $((calls * 3 / 4)) "$calls"; do
        faulty PFC_FAULT_CLASS=file PFC_FAULT_RANK=$((at % 3)) PFC_FAULT_AT="$at" PFC_FAULT_KIND=error PFC_FAULT_NOTE="$work/call"
        [ "$status" = 5 ] && [ "$(grep -c '^pfc_ref: ' "$work/err")" = 1 ] || fail "$command_line ($(cat "$work/call")): status $status: $(head -c 900 "$work/err")"
        for file in "$work"/faults/*; do
            case $file in
            */step-*.h5) expect 0 alone inspect "$file" -q ;;
            */\*) ;;
            *) fail "$command_line ($(cat "$work/call")): left $file" ;;
            esac
        done
    done
    differ=0
    for at in $(seq "$(sed -n 's/^bytes //p' "$work/count.0")"); do # a wrong byte is found by reading back, or nobody reads it
        faulty PFC_FAULT_CLASS=bytes PFC_FAULT_RANK=0 PFC_FAULT_AT="$at" PFC_FAULT_KIND=spoil
        ! grep -q 'read back differs' "$work/err" || differ=$((differ + 1))
        for file in "$work"/faults/step-*.h5; do
            [ ! -e "$file" ] || expect 0 alone inspect "$file" -q
        done
    done
    [ $differ -gt 0 ] || fail "no wrong byte was found by reading back"
fi

# ---- stopped: after the step, with a checkpoint, status 0 ----

long=("${args[@]}")
for i in "${!long[@]}"; do [ "${long[i]}" != $steps ] || long[i]=1000000; done # the rate of every step is kept
round=0
for signal in TERM INT USR1; do
    for np in 1 3; do
        rm -rf "$work/stopped"
        job $np "${long[@]}" --checkpoint "$work/stopped" --every 5
        wait_for_step 1 "$work/stopped"
        target=$(children $job | sed -n "$((1 + round % np))p") # one rank, and not always the same
        [ $signal != USR1 ] || target=$job # the launcher hands it on
        kill -$signal "$target"
        ended 60 || fail "$command_line: SIG$signal did not stop it"
        wait $job
        status=$?
        [ $status = 0 ] || fail "$command_line: SIG$signal: status $status: $(head -c 600 "$work/err")"
        file=$(newest "$work/stopped")
        [ -n "$file" ] && expect 0 alone inspect "$file" -q
        round=$((round + 1))
    done
done
finish
