#!/usr/bin/env bash
# exact mode against an implementation in Python integers (exact_v1.py), bit for bit: the tiny cases of every family on 1 and 3 ranks, or on the number
# that their name begins with; 1 and 2 threads, both engines.
#   exact_integers.sh [FAMILY...]     these families only
set -u
here=$(cd "$(dirname "$0")" && pwd)
: "${PFC_TOP_SRCDIR:=$here/..}"
. "$here/env.sh"
: "${PFC_REF:=./pfc_ref}" "${MPIRUN:=mpirun}" "${MPIRUN_FLAGS:=}"

need_python "h5py, numpy"
command -v "${MPIRUN%% *}" >/dev/null || { echo "skipped: ${MPIRUN%% *} not found"; exit 77; }
[ -x "$PFC_REF" ] || { echo "no program $PFC_REF"; exit 99; }

"$python" "$here/exact_v1.py" --self-test || { echo "FAIL exact_v1.py itself"; exit 1; }

work=$(mktemp -d ./exact_integers.XXXXXX) || exit 99
trap 'rm -rf "$work"' EXIT
mkdir "$work/cases" && "$python" "$here/make_tiny_cases.py" "$work/cases" "$@" || exit 99

failed=0 runs=0
run() { # folder, ranks, case...; the environment of the run in $settings. One process computes all of them: `golden` writes what `run --steps` writes.
    local folder=$work/$1 ranks=$2
    shift 2
    [ $# -gt 0 ] || return
    # shellcheck disable=SC2086
    if env $settings timeout -k 5 600 $MPIRUN $MPIRUN_FLAGS -np "$ranks" "$PFC_REF" golden "$@" --steps -o "$folder" >"$work/log" 2>&1 </dev/null; then
        runs=$((runs + $#))
    else
        echo "FAIL on $ranks ranks, $settings"
        tail -n 30 "$work/log"
        failed=$((failed + 1))
    fi
}
for ranks in 1 2 3 4 5 6 7 8; do
    cases=()
    for case in "$work"/cases/*.h5; do
        name=${case##*/}
        case $ranks:$name in 1:any_* | 3:any_* | "$ranks:w${ranks}_"*) cases+=("$case") ;; esac
    done
    if [ "$ranks" = 1 ]; then
        settings="OMP_NUM_THREADS=2" run 1 1 "${cases[@]}"
        settings="PFC_ENGINE=int128 PFC_MAX_ISA=scalar" run 1-int128 1 "${cases[@]}"
    else
        settings="PFC_ENGINE=dgemm" run "$ranks" "$ranks" "${cases[@]}"
    fi
done
for folder in "$work"/[1-9]*; do
    ranks=${folder##*/}
    "$python" "$here/exact_v1.py" --quiet --ranks "${ranks%-*}" "$folder"/*.h5 || failed=$((failed + 1))
done
echo "$runs runs compared bit for bit, $failed failures"
[ "$runs" -gt 0 ] && [ "$failed" = 0 ]
