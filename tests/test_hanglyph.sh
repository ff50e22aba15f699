#!/bin/sh
# The glyph generator with a font that is installed: the file it writes, its repeatability, and its errors.
set -eu
tool=${PFC_TOP_BUILDDIR:-.}/data/hanglyph
table=${PFC_TOP_SRCDIR:-.}/data/faces.txt
[ -x "$tool" ] || { echo "skipped: hanglyph is not built (libfreetype-dev)"; exit 77; }

work=$(mktemp -d ./test_hanglyph.XXXXXX)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; exit 1; }
run() { "$tool" --face-list "$table" "$@"; }

# expect STATUS TEXT ARGUMENT...: that status, one line with TEXT on stderr, and no file.
expect() {
    status=$1 text=$2
    shift 2
    got=0
    run "$@" -o "$work/bad" >/dev/null 2>"$work/err" || got=$?
    [ "$got" -eq "$status" ] || fail "$*: status $got, expected $status"
    grep -q -- "$text" "$work/err" || fail "$*: no '$text' in: $(cat "$work/err")"
    [ "$status" -eq 2 ] || [ "$(wc -l <"$work/err")" -eq 1 ] || fail "$*: more than one line: $(cat "$work/err")"
    [ ! -e "$work/bad" ] && [ ! -e "$work/bad.part" ] || fail "$*: left a file"
}

# Without any font: every listed face is named with its package.
for key in $(awk '!/^#/ && NF { print $1 }' "$table"); do
    package=$(awk -v key="$key" '$1 == key { print $2 }' "$table")
    expect 3 "install the Debian package $package " --faces "$key" --font-root "$work"
done
expect 3 "no face 'nosuch'" --faces nosuch
expect 2 "range" --range 9FFF-4E00
expect 2 "size" --size 3
expect 2 "count" --count 0

key=
for candidate in seto microhei zenhei uming ukai notosans lxgw ipamj hanamin twkai twsung; do
    file=$(awk -v key="$candidate" '$1 == key { print $3 }' "$table")
    [ ! -r "/$file" ] || { key=$candidate; break; }
done
[ -n "$key" ] || { echo "skipped: no font of data/faces.txt is installed"; exit 77; }
echo "using $key"

run --faces "$key" --range 4E00-4EFF --size 12 -o "$work/a" >"$work/out"
run --faces "$key" --range 4E00-4EFF --size 12 -o "$work/b" >/dev/null
cmp "$work/a" "$work/b" || fail "two runs differ"
[ "$(wc -c <"$work/a")" -eq $((24 + 4 * 256 + 32 + 256 / 8 + 256 * 12 * 12)) ] || fail "size of the file"
grep -q "$(sha256sum <"$work/a" | cut -d' ' -f1)" "$work/out" || fail "digest"
inked=$(awk -v key="$key" '$1 == key { print $2 }' "$work/out")
[ "$inked" -gt 200 ] || fail "only $inked of 256 characters have ink"

# --list keeps the text's order; --count takes characters with ink, here both of them.
printf '\344\270\211\n\344\270\200 ' >"$work/list" # U+4E09 U+4E00
run --faces "$key" --list "$work/list" --count 2 -o "$work/c" >"$work/out"
grep -q " 2 of 2 characters" "$work/out" || fail "--count 2"
[ "$(od -An -tx4 -j24 -N8 "$work/c" | tr -d '\n')" = " 00004e09 00004e00" ] || fail "code points of --list: $(od -An -tx4 -j24 -N8 "$work/c")"
expect 3 "only 2 characters" --faces "$key" --list "$work/list" --count 3
printf '\344\270\200\344\270\200' >"$work/list"
expect 3 "U+4E00 stands there twice" --faces "$key" --list "$work/list"
printf 'a\377' >"$work/list"
expect 3 "not UTF-8" --faces "$key" --list "$work/list"
printf 'key package\n' >"$work/table"
expect 3 "line 1" --face-list "$work/table"

# U+FFFFF is private and empty: no ink, no pixels.
run --faces "$key" --range FFFFF-FFFFF -o "$work/d" >"$work/out"
grep -q " 0 of 1 characters" "$work/out" || fail "ink for U+FFFFF"
[ "$(tail -c 256 "$work/d" | tr -d '\0' | wc -c)" -eq 0 ] || fail "pixels without ink"
echo "ok"
