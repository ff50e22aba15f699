#!/usr/bin/env bash
# The table of tests/skeleton_backend.c names every operation of pfc_ops, in its order: a new one cannot be forgotten there.
set -u
top=${PFC_TOP_SRCDIR:-.}
want=$(sed -n '/^typedef struct pfc_ops {/,/^} pfc_ops;/p' "$top/src/backend/backend.h" | grep -o '(\*[a-z_0-9]*)(' | tr -d '(*)')
got=$(sed -n '/^static const pfc_ops exact_ops = {/,/^};/p' "$top/tests/skeleton_backend.c" | sed -n 's/^ *\.\([a-z_0-9]*\) = .*/\1/p' |
    grep -vxE 'name|isa|mode|real|place|lanes|block_classes')
[ -n "$want" ] || { echo "no operations found in backend.h"; exit 99; }
diff <(echo "$want") <(echo "$got") || { echo "FAIL: < backend.h, > skeleton_backend.c"; exit 1; }
echo "$(echo "$want" | wc -l) operations, all named"
