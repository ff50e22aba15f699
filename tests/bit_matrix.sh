#!/usr/bin/env bash
# The promise of exact mode: one SHA-256 of every result for every number of ranks and threads, instruction set, OpenBLAS core and product engine.
# Without arguments a selection in which every pair of settings occurs; --full: all combinations.
set -u
: "${PFC_TOP_SRCDIR:=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}" "${PFC_REF:=./pfc_ref}" "${MPIRUN:=mpirun}" "${MPIRUN_FLAGS:=-q}" "${PYTHON:=python3}"
. "$PFC_TOP_SRCDIR/tests/env.sh"
"$PYTHON" -c 'import h5py, numpy' 2>/dev/null || { echo "needs Python with h5py and numpy"; exit 77; }

work=$(mktemp -d ./bit_matrix.XXXXXX) || exit 99
trap 'rm -rf "$work"' EXIT
"$PYTHON" "$PFC_TOP_SRCDIR/tests/make_matrix_cases.py" "$work/cases" || exit 99

ranks=(1 2 3 5 8) threads=(1 2) isas=(scalar avx2 avx512) cores=(Prescott Haswell SkylakeX)
combinations() {
    local i=0 r t s c
    for r in "${ranks[@]}"; do
        for s in 0 1 2; do
            for c in 0 1 2; do
                for t in 0 1; do
                    # every pair of two settings occurs among these
                    if [ "${1:-}" = --full ] || { [ $(((s + c + i) % 3)) = 0 ] && [ $(((s + i) % 2)) = "$t" ]; }; then
                        echo "$r ${threads[t]} ${isas[s]} ${cores[c]}"
                    fi
                done
            done
        done
        i=$((i + 1))
    done
}

# What can run here: a CPU without AVX-512 runs what its widest set allows, and says so.
flags=$(grep -m 1 '^flags' /proc/cpuinfo 2>/dev/null)
usable() {
    case $1 in
    *avx512* | *SkylakeX*) [[ $flags == *avx512dq* ]] ;;
    *avx2* | *Haswell*) [[ $flags == *avx2* ]] ;;
    esac
}

run() { # RANKS THREADS ISA CORE [ENGINE]
    PFC_MAX_ISA=$3 OPENBLAS_CORETYPE=$4 PFC_ENGINE=${5:-dgemm} OMP_NUM_THREADS=$2 \
        $MPIRUN $MPIRUN_FLAGS -np "$1" "$PFC_REF" run "$case" -o "$work/out.h5" --threads "$2" --no-inputs >"$work/log" 2>&1 </dev/null || return
    sha256sum <"$work/out.h5"
}

count=0 bad=0 skipped=0
for case in "$work"/cases/*.h5; do
    name=$(basename "$case" .h5) want=
    while read -r r t s c; do
        if ! usable "$s $c" && [ "$s $c" != "scalar Prescott" ]; then
            skipped=$((skipped + 1))
            continue
        fi
        got=$(run "$r" "$t" "$s" "$c") || { got="status $?"; cat "$work/log"; }
        : "${want:=$got}"
        count=$((count + 1))
        [ "$got" = "$want" ] || { bad=$((bad + 1)); echo "$name: np $r, $t threads, $s, OpenBLAS $c: $got, expected $want"; }
    done < <(combinations "$@")
    echo "$name ${want%% *}"
done
# The other engines: int128 on the smaller cases, amx on all of them.
other() { # ENGINE RANKS THREADS ISA
    got=$(run "$2" "$3" "$4" Prescott "$1") || { got="status $?"; cat "$work/log"; }
    count=$((count + 1))
    [ "$got" = "$want" ] || { bad=$((bad + 1)); echo "$name: engine $1, np $2, $3 threads: $got, expected $want"; }
}
amx=$("$PFC_REF" info | sed -n 's/^exact, amx *//p')
for case in "$work"/cases/*.h5; do
    name=$(basename "$case" .h5)
    want=$(run 1 1 scalar Prescott dgemm) || want=failed
    case $name in wide_rows | all_max) other int128 2 1 scalar ;; esac
    case $amx in
    "not available"*) skipped=$((skipped + 3)) ;;
    *) other amx 1 2 amx && other amx 3 1 amx && other amx 8 1 amx ;;
    esac
done
echo "engine amx: $amx"
echo "$count runs, $bad different, $skipped skipped because this CPU cannot run them"
[ "$count" -gt 20 ] && [ "$bad" = 0 ]
