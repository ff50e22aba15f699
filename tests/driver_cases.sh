#!/usr/bin/env bash
# The independent cases of tests/cases (results under /expect): run on every rank count they name, compared to 1e-9 of each tensor's largest value.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
[ "${PYTHON:-no}" != no ] || { echo "skipped: no Python with h5py"; exit 77; }

compare() {
    "$PYTHON" - "$1" "$2" <<'END'
import sys
import h5py
import numpy as np
want, got = h5py.File(sys.argv[1], "r")["expect"], h5py.File(sys.argv[2], "r")["out"]
bad = [] if len(want) else ["nothing to compare"]
for name in want:
    x = want[name][()]
    y = got[name][()] if name in got else np.zeros(())
    if x.shape != y.shape:
        bad.append("%s: shape %s, expected %s" % (name, y.shape, x.shape))
    elif x.dtype.kind == "i":
        bad += ["%s: %d integers differ" % (name, (x != y).sum())] if (x != y).any() else []
    else:
        m = np.abs(x[np.isfinite(x)]).max(initial=0)
        wrong = (np.isnan(x) != np.isnan(y)) | (np.abs(np.nan_to_num(x) - np.nan_to_num(y)) > 1e-9 * m)
        bad += ["%s: %d of %d elements differ" % (name, wrong.sum(), x.size)] if wrong.any() else []
sys.exit("; ".join(bad) if bad else 0)
END
}

count=0
for case in "$PFC_TOP_SRCDIR"/tests/cases/pfc_*.h5; do
    for np in $("$PYTHON" -c 'import h5py, sys; print(*h5py.File(sys.argv[1], "r").attrs["run_with"])' "$case"); do
        expect 0 "$np" run "$case" -o "$work/result.h5"
        message=$(compare "$case" "$work/result.h5" 2>&1) || fail "$case on $np ranks: $message"
        count=$((count + 1))
    done
done
[ "$count" -ge 9 ] || fail "only $count comparisons"
finish
