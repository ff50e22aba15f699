#!/usr/bin/env bash
# Every operation of the checked backend, and of the CUDA backend's sources on the host, gives the cpu backend's bits (fast mode: its numbers).
set -u
: "${PFC_TOP_BUILDDIR:=.}"
ops=$PFC_TOP_BUILDDIR/tests/backend_ops/backend_ops
PFC_BACKEND=checked "$ops" || exit 1
export PFC_MODULE_DIR=$PFC_TOP_BUILDDIR/tests/cuda_host
[ -f "$PFC_MODULE_DIR/pfc_cuda.so" ] || { echo "no C++ compiler when this was configured: not of the CUDA backend"; exit 0; }
PFC_BACKEND=cuda PFC_TRANSPORT=host "$ops" || exit 1
PFC_BACKEND=cuda PFC_TRANSPORT=device "$ops" || exit 1
PFC_BACKEND=cuda PFC_ENGINE=int8 "$ops" || exit 1
PFC_BACKEND=nonsense "$ops" 2>/dev/null && { echo "a backend that is not there was compared"; exit 1; }
exit 0
