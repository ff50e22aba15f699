#!/bin/sh
# Runs a test written in Python with the interpreter that configure found.
[ -n "$PYTHON" ] || { echo "skipped: no Python 3 with numpy and h5py"; exit 77; }
exec timeout -k 5 "${PFC_TEST_TIMEOUT:-600}" "$PYTHON" "$@"
