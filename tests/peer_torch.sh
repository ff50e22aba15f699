#!/usr/bin/env bash
# exact mode against PyTorch's autograd in float64 (peer_torch_partial_fc.py), 1e-9 of each tensor's largest value; skipped without PyTorch.
set -u
here=$(cd "$(dirname "$0")" && pwd)
: "${PFC_TOP_SRCDIR:=$here/..}"
. "$here/env.sh"
: "${PFC_REF:=./pfc_ref}" "${MPIRUN:=mpirun}" "${MPIRUN_FLAGS:=}"

python=
for candidate in "${PYTHON:-}" python3 /usr/bin/python3; do
    [ -n "$candidate" ] && "$candidate" -c 'import h5py, numpy, torch' 2>/dev/null && python=$candidate && break
done
[ -n "$python" ] || { echo "skipped: no Python 3 with torch, h5py and numpy"; exit 77; }
command -v "${MPIRUN%% *}" >/dev/null || { echo "skipped: ${MPIRUN%% *} not found"; exit 77; }
[ -x "$PFC_REF" ] || { echo "no program $PFC_REF"; exit 99; }

work=$(mktemp -d ./peer_torch.XXXXXX) || exit 99
trap 'rm -rf "$work"' EXIT
mkdir "$work/cases" "$work/1" "$work/2" && "$python" "$here/make_tiny_cases.py" "$work/cases" || exit 99

failed=0 runs=0
compare() { # ranks case...
    local ranks=$1 case
    shift
    for case in "$@"; do
        # shellcheck disable=SC2086
        if timeout -k 5 120 $MPIRUN $MPIRUN_FLAGS -np "$ranks" "$PFC_REF" run "$work/cases/$case.h5" -o "$work/$ranks/$case.h5" >"$work/log" 2>&1; then
            runs=$((runs + 1))
        else
            echo "FAIL run of $case on $ranks ranks"
            cat "$work/log"
            failed=$((failed + 1))
        fi
    done
    timeout -k 5 300 "$python" "$here/peer_torch_partial_fc.py" --ranks "$ranks" "$work/$ranks"/*.h5 || failed=$((failed + 1))
}
compare 1 any_linear any_arc any_straight_through any_fallback_linear any_fallback_easy any_interclass_arc any_lse any_clamp_far \
    any_unowned_ignore any_zero_row any_tiny_rows any_pole any_pole_straight any_pole_clamp any_dense any_sampled_number any_nan_feature any_nan_linear
compare 2 any_circle any_steps_lazy any_sampled_shard any_sampled_own any_sampled_global any_unowned_source any_interclass_cos
echo "$runs runs compared, $failed failures"
[ "$runs" -gt 0 ] && [ "$failed" = 0 ]
