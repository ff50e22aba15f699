#!/bin/sh
# Runs tests/NAME-NP.mpi: program tests/NAME on NP ranks. A hang is a failure after PFC_TEST_TIMEOUT seconds (default 120).
stub=${1%.mpi}
np=${stub##*-}
exe=${stub%-*}
case $np in ''|*[!0-9]*) echo "mpi-log-compiler: no number of ranks in $1"; exit 99 ;; esac
. "${PFC_TOP_SRCDIR:-.}/tests/env.sh"
: "${MPIRUN:=mpirun}"
command -v "${MPIRUN%% *}" >/dev/null 2>&1 || { echo "skipped: ${MPIRUN%% *} not found"; exit 77; }
[ -x "$exe" ] || { echo "mpi-log-compiler: no program $exe"; exit 99; }
# shellcheck disable=SC2086
exec timeout -k 5 "${PFC_TEST_TIMEOUT:-120}" $MPIRUN $MPIRUN_FLAGS -np "$np" "$exe"
