#!/usr/bin/env bash
# No AVX register and no tile outside the kernel objects: the binary must start on any x86-64 and choose at run time.
set -u
[ "$(uname -m)" = x86_64 ] || { echo "skipped: not x86-64"; exit 77; }
command -v "$OBJDUMP" >/dev/null || { echo "skipped: no objdump"; exit 77; }
case " $CFLAGS " in *" -march="*|*" -mavx"*) echo "skipped: CFLAGS ask for an instruction set"; exit 77 ;; esac
uses() { "$OBJDUMP" -d --no-show-raw-insn "$1" | grep -cE "%($2)mm[0-9]"; } # t: tiles
failed=0 plain=0
while IFS= read -r object; do
    case ${object##*/} in
    libpfc*_amx_la-*|libpfctiles_a-*) continue ;;
    libpfc*_avx512_la-*) registers=t ;;
    libpfc*_avx2_la-*) registers='z|t' ;;
        *) registers='y|z|t' plain=$((plain + 1)) ;;
    esac
    n=$(uses "$object" "$registers")
    [ "$n" = 0 ] || { echo "FAIL $object: $n instructions with ($registers)mm registers"; failed=$((failed + 1)); }
done < <(find "$PFC_TOP_BUILDDIR/src" -name '*.o')
echo "$plain plain objects, $failed with registers they must not use"
[ "$plain" -gt 0 ] && [ "$failed" = 0 ]
