#!/usr/bin/env bash
# The harness itself: a failure on one rank is seen, told once with that rank's words, and nobody hangs.
set -u
command -v "${MPIRUN%% *}" >/dev/null || { echo "skipped: no mpirun"; exit 77; }
failed=0
for ranks in 1 3; do
    output=$("$PFC_TOP_SRCDIR/tests/mpi-log-compiler.sh" "tests/harness_fails-$ranks.mpi" 2>&1)
    status=$?
    expect() { grep -qF -- "$1" <<<"$output" || { echo "FAIL $ranks ranks: no '$1'"; failed=1; }; }
    [ "$status" = 1 ] || { echo "FAIL $ranks ranks: status $status, expected 1"; failed=1; }
    expect "ok 1 - passes"
    expect "not ok 2 - fails on last"
    expect "rank $((ranks - 1)): "
    expect "the last rank does not like it"
    expect "not ok 3 - fails collectively"
    expect "fails on rank 0: pfc_test_rank() != 0"
    expect "# 2 of 3 failed on $ranks ranks"
    [ "$(wc -l <<<"$output")" = 7 ] || { echo "FAIL $ranks ranks: expected 7 lines"; failed=1; }
    [ "$failed" = 0 ] || echo "$output"
done
exit $failed
