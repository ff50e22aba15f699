#!/usr/bin/env bash
# The PyTorch steps that performance is compared with (tools/peer_torch.py) compute what pfc_ref computes; skipped without PyTorch.
set -u
here=$(cd "$(dirname "$0")" && pwd)
: "${PFC_TOP_SRCDIR:=$here/..}"
. "$here/env.sh"
: "${PFC_REF:=./pfc_ref}"
export PFC_REF
[ -x "$PFC_REF" ] || { echo "no program $PFC_REF"; exit 99; }
need_python "h5py, torch"
exec "$python" "$PFC_TOP_SRCDIR/tools/peer_torch.py" --agree
