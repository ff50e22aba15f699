# shellcheck shell=bash
# Sourced by tests/driver_*.sh: runs pfc_ref on some ranks and looks at status, stdout and stderr.
set -u
: "${PFC_TOP_SRCDIR:=.}" "${MPIRUN:=mpirun}" "${MPIRUN_FLAGS=-q}"
: "${PFC_REF:=./pfc_ref}"
. "$PFC_TOP_SRCDIR/tests/env.sh"
[ -x "$PFC_REF" ] || { echo "no program $PFC_REF"; exit 99; }
command -v "${MPIRUN%% *}" >/dev/null || { echo "skipped: no ${MPIRUN%% *}"; exit 77; }
name=$(basename "$0" .sh)
work=$PWD/tests/$name.dir
rm -rf "$work"
mkdir -p "$work" || exit 99
failed=0
checks=0

fail() {
    echo "FAIL $*"
    failed=1
}

# run NP ARGUMENT...: sets status; stdout in $work/out, stderr in $work/err.
run() {
    local np=$1
    shift
    command_line="pfc_ref $* (on $np)"
    if [ "$np" = alone ]; then # no launcher
        timeout -k 5 120 "$PFC_REF" "$@" >"$work/out" 2>"$work/err" </dev/null
    else
        # shellcheck disable=SC2086
        timeout -k 5 120 $MPIRUN $MPIRUN_FLAGS -np "$np" "$PFC_REF" "$@" >"$work/out" 2>"$work/err" </dev/null
    fi
    status=$?
    checks=$((checks + 1))
}

# expect STATUS NP ARGUMENT...: and an error has exactly one line that names the program, success none.
expect() {
    local want=$1
    shift
    run "$@"
    [ "$status" = "$want" ] || fail "$command_line: status $status, expected $want: $(head -c 600 "$work/err")"
    case $want in
    0) [ ! -s "$work/err" ] || fail "$command_line: stderr not empty: $(head -c 600 "$work/err")" ;;
    1) ;;
    2) grep -q '^pfc_ref' "$work/err" || fail "$command_line: no line on stderr" ;;
    *) if [ "$(wc -l <"$work/err")" != 1 ] || ! grep -q '^pfc_ref: ' "$work/err"; then
        fail "$command_line: expected one line on stderr, found: $(head -c 600 "$work/err")"
    fi ;;
    esac
}

# says FILE TEXT: out or err of the last run contains the text.
says() { grep -qF -- "$2" "$work/$1" || fail "$command_line: no '$2' in std$1: $(head -c 600 "$work/$1")"; }
# lacks FILE TEXT: it does not.
lacks() { ! grep -qF -- "$2" "$work/$1" || fail "$command_line: '$2' in std$1"; }

# same FILE FILE: byte for byte.
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }

finish() {
    echo "$checks runs, $([ $failed = 0 ] && echo 'all as expected' || echo 'some not as expected')"
    [ $failed = 0 ] && rm -rf "$work"
    exit $failed
}
