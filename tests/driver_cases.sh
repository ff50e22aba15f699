#!/usr/bin/env bash
# The independent cases of tests/cases (results under /expect): exact mode on every rank count they name (root attribute run_with), compared to 1e-9
# of each tensor's largest value, integers exactly; and fast mode on the last of them, against the golden and its float32 bounds.
#   driver_cases.sh [NAME...]     these only
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

# "RANKS PATH" of every case and each of its rank counts; "fast RANKS PATH" for the last of them.
"$PYTHON" - "$PFC_TOP_SRCDIR/tests/cases" "$@" >"$work/list" <<'END' || fail "the cases cannot be read"
import glob
import os
import sys
import h5py
names = sys.argv[2:] or sorted(os.path.basename(p)[:-3] for p in glob.glob(os.path.join(sys.argv[1], "*.h5")))
for name in names:
    path = os.path.join(sys.argv[1], name + ".h5")
    counts = [int(n) for n in h5py.File(path, "r").attrs["run_with"]]
    print(*["%d %s" % (n, path) for n in counts], "fast %d %s" % (counts[-1], path), sep="\n")
END

count=0
for np in $(grep -o '^[0-9]*' "$work/list" | sort -nu); do
    mapfile -t cases < <(sed -n "s/^$np //p" "$work/list")
    expect 0 "$np" golden "${cases[@]}" -o "$work/$np" --quiet
    for case in "${cases[@]}"; do
        message=$(compare "$case" "$work/$np/${case##*/}" 2>&1) || fail "${case##*/} on $np ranks: $message"
        count=$((count + 1))
    done
done
while read -r _ np case; do
    name=${case##*/}
    expect 0 "$np" run "$case" -o "$work/fast.h5" --mode fast --quiet
    run alone check "$work/$np/$name" "$work/fast.h5" --dtype f32 --json "$work/check.json"
    # A result that float32 leaves undecided, at a pole, has nothing to compare: status 3, and every other result passes.
    [ "$status" = 3 ] && sed 1,/tensors/d "$work/check.json" | grep '"verdict"' | grep -qv '"PASS"\|"VACUOUS"' && status=1
    [ "$status" = 0 ] || { [ "$status" = 3 ] && grep -q VACUOUS "$work/err"; } || fail "$name, fast mode: status $status: $(head -c 600 "$work/err")"
done < <(grep '^fast' "$work/list")
# Cosines formed again: the same file, intermediate results included.
for mode in exact fast; do
    for flag in "" --recompute; do
        expect 0 1 run "$PFC_TOP_SRCDIR/tests/cases/pfc_full_arc.h5" -o "$work/kept$flag.h5" --mode "$mode" --steps --quiet $flag
    done
    same "$work/kept.h5" "$work/kept--recompute.h5"
done
[ "$count" -gt 0 ] || fail "nothing was compared"
finish
