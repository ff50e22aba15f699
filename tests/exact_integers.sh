#!/usr/bin/env bash
# exact mode against an implementation in Python integers (exact_v1.py), bit for bit: the tiny cases of every family on 1 and 3 ranks, or on the number
# that their name begins with; 1 and 2 threads, both engines.
#   exact_integers.sh [FAMILY...]     these families only
set -u
here=$(cd "$(dirname "$0")" && pwd)
: "${PFC_TOP_SRCDIR:=$here/..}"
. "$here/env.sh"
: "${PFC_REF:=./pfc_ref}" "${MPIRUN:=mpirun}" "${MPIRUN_FLAGS:=}"

python=
for candidate in "${PYTHON:-}" python3 /usr/bin/python3; do
    [ -n "$candidate" ] && "$candidate" -c 'import h5py, numpy' 2>/dev/null && python=$candidate && break
done
[ -n "$python" ] || { echo "skipped: no Python 3 with h5py and numpy"; exit 77; }
command -v "${MPIRUN%% *}" >/dev/null || { echo "skipped: ${MPIRUN%% *} not found"; exit 77; }
[ -x "$PFC_REF" ] || { echo "no program $PFC_REF"; exit 99; }

"$python" "$here/exact_v1.py" --self-test || { echo "FAIL exact_v1.py itself"; exit 1; }

work=$(mktemp -d ./exact_integers.XXXXXX) || exit 99
trap 'rm -rf "$work"' EXIT
mkdir "$work/cases" && "$python" "$here/make_tiny_cases.py" "$work/cases" "$@" || exit 99

failed=0 runs=0
run() { # folder, ranks, case; the environment of the run in NAME=VALUE after that
    local out="$work/$1/${3##*/}" ranks=$2 case=$3
    mkdir -p "$work/$1"
    shift 3
    # shellcheck disable=SC2086
    env "$@" timeout -k 5 120 $MPIRUN $MPIRUN_FLAGS -np "$ranks" "$PFC_REF" run "$case" -o "$out" --steps >"$work/log" 2>&1 && [ -s "$out" ] && runs=$((runs + 1)) && return
    echo "FAIL run of ${case##*/} on $ranks ranks $*"
    cat "$work/log"
    failed=$((failed + 1))
}
for case in "$work"/cases/*.h5; do
    name=${case##*/} counts="1 3"
    case $name in w*) name=${name%%_*} counts=${name#w} ;; esac
    for ranks in $counts; do
        if [ "$ranks" = 1 ]; then
            run 1 1 "$case" OMP_NUM_THREADS=2
            run 1-int128 1 "$case" PFC_ENGINE=int128 PFC_MAX_ISA=scalar
        else
            run "$ranks" "$ranks" "$case" PFC_ENGINE=dgemm
        fi
    done
done
for folder in "$work"/[1-9]*; do
    ranks=${folder##*/}
    "$python" "$here/exact_v1.py" --quiet --ranks "${ranks%-*}" "$folder"/*.h5 || failed=$((failed + 1))
done
echo "$runs runs compared bit for bit, $failed failures"
[ "$runs" -gt 0 ] && [ "$failed" = 0 ]
