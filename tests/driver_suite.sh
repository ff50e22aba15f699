#!/usr/bin/env bash
# The golden suite on 1, 2 and 3 ranks: made again with another number of threads it is the same files, cases for any number of ranks are the same on all,
# every golden passes against itself and (verify) against the dense equations and fast mode; lattice fills are exact in bf16. Then the list of the suite
# against doc/goldens.md, and the inputs against doc/fills.md.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
export PFC_REF PFC_SELF_CHECK=0 # exact integers are another test's business
PFC_DATA=$PFC_TOP_SRCDIR/data expect 0 alone list --quiet --json "$work/list.json"

for np in 1 2 3; do
    expect 0 $np golden suite -o "$work/$np" --steps --threads 1
    expect 0 $np golden suite -o "$work/again$np" --steps --threads 3 --quiet
    made=("$work/$np"/*.h5)
    [ ${#made[@]} -ge 60 ] || fail "$np ranks: only ${#made[@]} cases"
    for file in "${made[@]}"; do
        name=${file##*/}
        same "$file" "$work/again$np/$name"
        if [ -e "$work/1/$name" ] && [ $np != 1 ]; then
            same "$file" "$work/1/$name"
        else
            echo "$file" >>"$work/files"
        fi
    done
    PFC_DATA=$work/$np expect 0 $np verify
    grep -q "^match: .* 0 cases different" "$work/out" || fail "$command_line: no verdict match: $(tail -n 3 "$work/out")"
done

# Each against itself, four at a time: a start takes longer than a comparison.
# shellcheck disable=SC2016
xargs -P 4 -I FILE sh -c '"$PFC_REF" check FILE FILE --dtype exact --quiet >FILE.check 2>&1 || echo FILE' <"$work/files" >"$work/differ"
[ ! -s "$work/differ" ] || fail "against themselves: $(cat "$work/differ")"
[ "$(wc -l <"$work/files")" -ge 90 ] || fail "only $(wc -l <"$work/files") cases"

# One by its name, wherever the shipped cases are; all of an algorithm; a case for another number of ranks; a shipped case of the same name goes first.
PFC_DATA=$work/none expect 0 alone golden sk_v1_hard moco_hard_w1 --steps -o "$work/named"
for name in sk_v1_hard moco_hard_w1; do same "$work/1/$name.h5" "$work/named/$name.h5"; done
PFC_DATA=$work/none expect 3 2 golden moco_hard_w1 -o "$work/named"
says err "expected the 1 that this case is defined for"
PFC_DATA=$work/none expect 3 alone golden -o "$work/named"
PFC_DATA=$work/none expect 2 alone golden sk_v1_soft -o "$work/named"
PFC_DATA=$PFC_TOP_SRCDIR/data expect 0 alone golden sinkhorn -o "$work/sinkhorn"
for name in sk_plain sk_v1_normal sk_log_hard; do [ -e "$work/sinkhorn/$name.h5" ] || fail "golden sinkhorn: no $name"; done
mkdir "$work/mine"
cp "$work/1/sk_v1_normal.h5" "$work/mine/sk_v1_hard.h5"
PFC_DATA=$work/mine expect 0 alone golden sk_v1_hard --steps -o "$work/first"
same "$work/first/sk_v1_hard.h5" "$work/mine/sk_v1_hard.h5"
PFC_DATA=$work/mine expect 0 alone golden -o "$work/first"
made=("$work"/1/sk_*.h5)
[ "$(grep -c ' sinkhorn ' "$work/out")" = ${#made[@]} ] || fail "$command_line: a name was made twice, or not at all"

[ "${PYTHON:-no}" != no ] || finish
"$PYTHON" "$PFC_TOP_SRCDIR/tests/suite_table.py" "$work/list.json" "$PFC_TOP_SRCDIR/doc/goldens.md" || fail "the list of the suite"
"$PYTHON" "$PFC_TOP_SRCDIR/tests/fills.py" "$work/list.json" "$work/1" "$work/2" "$work/3" || fail "the generated inputs"
"$PYTHON" - "$work" <<'END' || fail "lattice fills, undecided results"
import glob
import sys
import h5py
import numpy as np

# exact in bf16: 8 bits of mantissa
exact = {"partial_fc": "step/cosine", "arcface_head": "step/cosine", "moco": "step/logits", "swav": "step/scores", "group_gather": "out/output", "sinkhorn": "in/scores"}
seen, bad = set(), []
for path in sorted(glob.glob(sys.argv[1] + "/[123]/*.h5")):
    with h5py.File(path, "r") as f:
        algorithm = f.attrs["algorithm"]
        algorithm = algorithm.decode() if isinstance(algorithm, bytes) else algorithm
        if "lattice" in path and algorithm in exact:
            x = f[exact[algorithm]][...]
            x = x[~np.isnan(x)]
            mantissa = np.frexp(x)[0] * 256
            seen.add(algorithm)
            if not np.array_equal(mantissa, np.rint(mantissa)) or not x.any():
                bad.append(f"{path}: {exact[algorithm]} has values that bf16 does not hold")
        for name, bound in f["bound/f32/out"].items():
            if bound.size and np.isinf(bound[...]).all():
                bad.append(f"{path}: every element of {name} is undecided in f32")
print(*bad, sep="\n", end="\n" if bad else "")
sys.exit(1 if bad or seen != set(exact) else 0)
END
finish
