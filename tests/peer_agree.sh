#!/usr/bin/env bash
# The PyTorch steps that performance is compared with (tools/peer_torch.py) compute what pfc_ref computes; skipped without PyTorch.
set -u
here=$(cd "$(dirname "$0")" && pwd)
: "${PFC_TOP_SRCDIR:=$here/..}"
. "$here/env.sh"
: "${PFC_REF:=./pfc_ref}"
export PFC_REF
[ -x "$PFC_REF" ] || { echo "no program $PFC_REF"; exit 99; }
for python in "${PYTHON:-}" python3 /usr/bin/python3; do
    "${python:-false}" -c 'import h5py, torch' 2>/dev/null || continue
    "$python" "$PFC_TOP_SRCDIR/tools/peer_torch.py" --agree
    exit
done
echo "skipped: no Python 3 with torch and h5py"
exit 77
