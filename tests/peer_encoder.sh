#!/usr/bin/env bash
# The encoder's training steps on 1 and 3 ranks against PyTorch's in float64; skipped without PyTorch.
set -u
here=$(cd "$(dirname "$0")" && pwd)
: "${PFC_TOP_SRCDIR:=$here/..}" "${PFC_TOP_BUILDDIR:=.}"
. "$here/env.sh"
: "${MPIRUN:=mpirun}" "${MPIRUN_FLAGS:=}"

need_python "h5py, numpy, torch"
command -v "${MPIRUN%% *}" >/dev/null || { echo "skipped: ${MPIRUN%% *} not found"; exit 77; }
work=$(mktemp -d ./peer_encoder.XXXXXX) || exit 99
trap 'rm -rf "$work"' EXIT
for ranks in 1 3; do
    # shellcheck disable=SC2086
    timeout -k 5 600 $MPIRUN $MPIRUN_FLAGS -np "$ranks" "$PFC_TOP_BUILDDIR/tests/encoder_steps" "$work/$ranks.h5" </dev/null || exit 1
done
cmp "$work/1.h5" "$work/3.h5" || { echo "FAIL not the same bits on 3 ranks"; exit 1; }
timeout -k 5 300 "$python" "$here/peer_encoder_steps.py" "$work/1.h5"
