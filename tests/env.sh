# shellcheck shell=sh
# The environment of every test, sourced by the harness and by test scripts run by hand from the top of the tree.
: "${PFC_TOP_SRCDIR:=.}"
. "$PFC_TOP_SRCDIR/tests/mpi-env.sh"
# The shipped goldens of the source tree, and integer products that check themselves.
: "${PFC_DATA:=$PFC_TOP_SRCDIR/data}" "${PFC_SELF_CHECK:=1}"
PYTHONDONTWRITEBYTECODE=1
# Open MPI unloads its plugins before the leak check: leaks inside it are listed in lsan.supp. Without effect in a normal build.
LSAN_OPTIONS="suppressions=$PFC_TOP_SRCDIR/tests/lsan.supp:print_suppressions=0:fast_unwind_on_malloc=0"
ASAN_OPTIONS=intercept_tls_get_addr=0 # or the leak check crashes on the thread-local memory of those plugins
UBSAN_OPTIONS=print_stacktrace=1
# Threads that wait sleep: on a few cores with several ranks those that look for work take the time of those that have it, several times as much as the work itself.
: "${OMP_WAIT_POLICY:=passive}"
# need_python "MODULE, ...": sets python to a Python 3 that has them; without one the test is skipped.
need_python() {
    for python in "${PYTHON:-}" python3 /usr/bin/python3; do
        "${python:-false}" -c "import $1" 2>/dev/null && return
    done
    echo "skipped: no Python 3 with $1"
    exit 77
}
export OMP_WAIT_POLICY PFC_DATA PFC_SELF_CHECK PYTHONDONTWRITEBYTECODE ASAN_OPTIONS LSAN_OPTIONS UBSAN_OPTIONS
