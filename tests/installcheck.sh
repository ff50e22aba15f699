#!/usr/bin/env bash
# make installcheck: what was installed works from elsewhere. A program built with the pkg-config file makes a context; pfc_ref finds its goldens.
set -eu
: "${CC:?}" "${PKG_CONFIG:?}" "${PFC_BINDIR:?}" "${PFC_PKGCONFIGDIR:?}" "${PFC_TOP_SRCDIR:?}"
. "$PFC_TOP_SRCDIR/tests/env.sh"
unset PFC_DATA
work=$(mktemp -d "$PWD/installcheck.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >uses_pfc.c <<'END'
#include <pfc/pfc.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    char why[256] = "";
    pfc_ctx *ctx = NULL;
    pfc_status status = pfc_ctx_create(MPI_COMM_WORLD, NULL, &ctx, why, sizeof why);
    printf("pfc %s: %s %s\n", pfc_version(), pfc_status_string(status), why);
    pfc_ctx_destroy(&ctx);
    MPI_Finalize();
    return status != PFC_OK;
}
END
export PKG_CONFIG_PATH=$PFC_PKGCONFIGDIR
# shellcheck disable=SC2046,SC2086
$CC $CFLAGS -o uses_pfc uses_pfc.c $($PKG_CONFIG --cflags --libs pfc)
./uses_pfc
"$PFC_BINDIR/pfc_ref" --version
"$PFC_BINDIR/pfc_ref" verify
