#!/usr/bin/env bash
# The PTX of every kernel: each floating-point operation is rounded to nearest on its own (.rn), none is approximate, flushes subnormals or could be
# contracted; and nothing adds floating-point numbers atomically.
set -u
: "${PFC_TOP_BUILDDIR:=.}"
files=("$PFC_TOP_BUILDDIR"/src/backend/cuda/*.ptx)
[ -f "${files[0]}" ] || { echo "skipped: this build has no CUDA backend"; exit 77; }
found=0 all=0
for file in "${files[@]}"; do
    # add.f64 d, ... without .rn could be fused with a product; neg, abs, mov, ld, st, setp, selp, min, max and sign changes do not round
    bad=$(grep -nE '^[[:space:]]*(@%?!?p[0-9]+[[:space:]]+)?(add|sub|mul|fma|mad|div|rcp|sqrt|rsqrt|ex2|lg2|sin|cos|tanh)(\.[a-z0-9]+)*\.f(16|32|64)' "$file" |
        grep -vE '(add|sub|mul|fma|div|rcp|sqrt)\.rn\.f(32|64)')
    bad+=$(grep -nE '\.ftz|\.approx|\.full|(atom|red)(\.[a-z0-9]+)*\.add(\.[a-z0-9]+)*\.(f16|f32|f64|bf16)' "$file")
    all=$((all + $(grep -cE '\.rn\.f(32|64)' "$file")))
    [ -z "$bad" ] && continue
    echo "$(basename "$file"): $(head -n 5 <<<"$bad")"
    found=1
done
echo "${#files[@]} files, $all rounded operations"
[ "$all" -gt 100 ] || { echo "too few: is this PTX?"; exit 1; }
exit $found
