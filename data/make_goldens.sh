#!/usr/bin/env bash
# Makes the goldens of all families, or of those named, in this folder, and data/digests.txt; each on the number of ranks that its case names, else on one.
#   data/make_goldens.sh [FAMILY...]     in a build folder: the program is $PFC_REF, else ./pfc_ref
# Needs a Python with numpy and h5py ($PYTHON, else python3).
set -eu
data=$(cd "$(dirname "$0")" && pwd)
: "${PFC_REF:=./pfc_ref}" "${PYTHON:=python3}" "${MPIRUN:=mpirun}" "${MPIRUN_FLAGS:=}"
PFC_TOP_SRCDIR=$data/..
export PFC_TOP_SRCDIR PFC_REF PYTHON MPIRUN MPIRUN_FLAGS
. "$data/../tests/env.sh"
work=$(mktemp -d ./make_goldens.XXXXXX)
trap 'rm -rf "$work"' EXIT

"$PYTHON" "$data/make_cases.py" "$work/cases" "$@"
shopt -s nullglob
for case in "$work"/cases/*.h5 "$work"/cases/steps/*.h5; do
    steps=
    case $case in */steps/*) steps=--steps ;; esac
    ranks=$("$PYTHON" -c 'import h5py, sys; print(int(h5py.File(sys.argv[1], "r")["param"].attrs.get("world", 1)))' "$case")
    # shellcheck disable=SC2086
    timeout -k 5 600 $MPIRUN $MPIRUN_FLAGS -np "$ranks" "$PFC_REF" golden "$case" $steps -o "$work/made" --quiet
done
mv "$work"/made/*.h5 "$data"
PFC_WRITE_DIGESTS=$data/digests.txt bash "$data/../tests/driver_goldens.sh"
