#!/usr/bin/env bash
# exact mode against PyTorch in float64: every peer_torch_FAMILY.py that is here, 1e-9 of each tensor's largest value; skipped without PyTorch.
#   peer_torch.sh [FAMILY...]     these families only
# peer_torch_FAMILY.py --cases prints lines "RANKS NAME": the tiny cases (tiny_cases_FAMILY.py) to run; peer_torch_FAMILY.py --ranks P RESULT.h5...
# compares their results. Exit 77 of either is a skip.
set -u
here=$(cd "$(dirname "$0")" && pwd)
: "${PFC_TOP_SRCDIR:=$here/..}"
. "$here/env.sh"
: "${PFC_REF:=./pfc_ref}" "${MPIRUN:=mpirun}" "${MPIRUN_FLAGS:=}"

need_python "h5py, numpy, torch"
command -v "${MPIRUN%% *}" >/dev/null || { echo "skipped: ${MPIRUN%% *} not found"; exit 77; }
[ -x "$PFC_REF" ] || { echo "no program $PFC_REF"; exit 99; }

work=$(mktemp -d ./peer_torch.XXXXXX) || exit 99
trap 'rm -rf "$work"' EXIT
failed=0 runs=0 skipped=0

run() { # ranks, case...
    local ranks=$1
    shift
    # shellcheck disable=SC2086
    timeout -k 5 600 $MPIRUN $MPIRUN_FLAGS -np "$ranks" "$PFC_REF" golden "$@" -o "$work/$ranks" >"$work/log" 2>&1 </dev/null && runs=$((runs + $#)) && return
    echo "FAIL on $ranks ranks"
    tail -n 30 "$work/log"
    failed=$((failed + 1))
}

family() {
    local peer=$here/peer_torch_$1.py ranks cases folder status
    rm -rf "$work/cases" "$work"/[1-9]*
    mkdir "$work/cases" && "$python" "$here/make_tiny_cases.py" "$work/cases" "$1" || exit 99
    "$python" "$peer" --cases >"$work/list"
    status=$?
    for ranks in $(cut -d ' ' -f 1 "$work/list" | sort -nu); do
        mapfile -t cases < <(sed -n "s|^$ranks \\(.*\\)|$work/cases/\\1.h5|p" "$work/list")
        run "$ranks" "${cases[@]}"
    done
    for folder in "$work"/[1-9]*; do
        [ $status = 0 ] || break
        timeout -k 5 300 "$python" "$peer" --ranks "${folder##*/}" "$folder"/*.h5
        status=$?
    done
    case $status in
    0) ;;
    77) echo "skipped: $1"; skipped=$((skipped + 1)) ;;
    *) echo "FAIL $1"; failed=$((failed + 1)) ;;
    esac
}

if [ $# = 0 ]; then
    for peer in "$here"/peer_torch_*.py; do
        peer=${peer##*/peer_torch_}
        set -- "$@" "${peer%.py}"
    done
fi
for name in "$@"; do family "$name"; done
echo "$runs runs compared, $failed failures, $skipped families skipped"
[ "$failed" = 0 ] || exit 1
[ "$runs" -gt 0 ] || exit 77
