#!/usr/bin/env bash
# The promise of exact mode: one SHA-256 of every result for every number of ranks and threads, instruction set, OpenBLAS core and product engine.
# Without arguments a selection in which every pair of settings occurs; --other: another one; --full: all combinations.
set -u
: "${PFC_TOP_SRCDIR:=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}" "${PFC_REF:=./pfc_ref}" "${MPIRUN:=mpirun}" "${MPIRUN_FLAGS:=-q}"
. "$PFC_TOP_SRCDIR/tests/env.sh"
need_python "h5py, numpy"

work=$(mktemp -d ./bit_matrix.XXXXXX) || exit 99
trap 'rm -rf "$work"' EXIT
"$python" "$PFC_TOP_SRCDIR/tests/make_matrix_cases.py" "$work/cases" || exit 99

ranks=(1 2 3 5 8) threads=(1 2) isas=(scalar avx2 avx512) cores=(Prescott Haswell SkylakeX)
combinations() {
    local i=0 r t s c other=0
    [ "${1:-}" != --other ] || other=1
    for r in "${ranks[@]}"; do
        for s in 0 1 2; do
            for c in 0 1 2; do
                for t in 0 1; do
                    # every pair of two settings occurs among these
                    if [ "${1:-}" = --full ] || { [ $(((s + c + i) % 3)) = $other ] && [ $(((s + i) % 2)) = "$t" ]; }; then
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

# All cases in one process. Bounds for two types: of a plain and of a rounding product.
run() { # RANKS THREADS ISA CORE ENGINE FOLDER CASE...
    local np=$1 threads=$2 isa=$3 core=$4 engine=$5 folder=$work/$6
    shift 6
    PFC_MAX_ISA=$isa OPENBLAS_CORETYPE=$core PFC_ENGINE=$engine OMP_NUM_THREADS=$threads \
        $MPIRUN $MPIRUN_FLAGS -np "$np" "$PFC_REF" golden "$@" -o "$folder" --dtype f32,bf16 --threads "$threads" >"$work/log" 2>&1 </dev/null
}

# The first run is what all others are compared with, file by file.
compare() { # RANKS THREADS ISA CORE ENGINE CASE...
    local setting="np $1, $2 threads, $3, OpenBLAS $4, engine $5" folder=got case
    [ -d "$work/want" ] || folder=want
    rm -rf "$work/got"
    run "${@:1:5}" "$folder" "${@:6}" || { echo "$setting: failed"; tail -n 20 "$work/log"; bad=$((bad + 1)); }
    for case in "${@:6}"; do
        count=$((count + 1))
        cmp -s "$work/want/${case##*/}" "$work/$folder/${case##*/}" || { bad=$((bad + 1)); echo "${case##*/}: $setting: different"; }
    done
}

count=0 bad=0 skipped=0
all=("$work"/cases/*.h5)
while read -r r t s c; do
    if usable "$s $c" || [ "$s $c" = "scalar Prescott" ]; then
        compare "$r" "$t" "$s" "$c" dgemm "${all[@]}"
    else
        skipped=$((skipped + 1))
    fi
done < <(combinations "$@")
# The other engines: int128 on the smaller cases, ifma and amx on all of them.
compare 2 1 scalar Prescott int128 "$work"/cases/{wide_rows,all_max}.h5
for engine in ifma amx; do
    here=$("$PFC_REF" info | sed -n "s/^exact, $engine *//p")
    case $here in
    "not available"*) skipped=$((skipped + 3)) ;;
    *)
        compare 1 2 amx Prescott $engine "${all[@]}"
        compare 3 1 amx Prescott $engine "${all[@]}"
        compare 8 1 amx Prescott $engine "${all[@]}"
        ;;
    esac
    echo "engine $engine: $here"
done
echo "$count files compared, $bad different, $skipped settings skipped because this CPU cannot run them"
[ "$count" -gt 20 ] && [ "$bad" = 0 ]
