#!/usr/bin/env bash
# Loading the CUDA backend: what is said where there is no module, a bad one, no device, a wrong engine; and that a build with nvcc either runs or says why
# it cannot, with status 4 and nothing written.
. "${PFC_TOP_SRCDIR:-.}/tests/driver_lib.sh" || exit 99
export PFC_BACKEND=cuda
case=$PFC_DATA/pfc_full_cos.h5 out=$work/out.h5

refused() { # TEXT...
    local np text
    for np in alone 3; do
        expect 4 $np run "$case" -o "$out"
        for text in "$@"; do says err "$text"; done
        [ ! -e "$out" ] || fail "$command_line: left a file"
    done
}

mkdir "$work/none" "$work/text" "$work/other"
PFC_MODULE_DIR=$work/none refused "backend cuda is not installed: no " "pfc_cuda.so"
echo "not a library" >"$work/text/pfc_cuda.so"
PFC_MODULE_DIR=$work/text refused "backend cuda cannot be loaded: "
echo 'int nothing = 1;' >"$work/other.c"
if ${CC:-cc} -shared -fPIC "$work/other.c" -o "$work/other/pfc_cuda.so" 2>/dev/null; then
    PFC_MODULE_DIR=$work/other refused "pfc_cuda.so has no pfc_cuda_open"
fi
PFC_MODULE_DIR=$work/none expect 0 alone info
says out "not available: backend cuda is not installed"

host=${PFC_TOP_BUILDDIR:-.}/tests/cuda_host
if [ -f "$host/pfc_cuda.so" ]; then
    export PFC_MODULE_DIR=$host
    PFC_CUDA_HOST_DEVICES=0 refused "backend cuda cannot run here: no CUDA-capable device is detected"
    PFC_ENGINE=amx refused "product engine 'amx' is not of backend cuda; expected auto, dgemm or int8 in exact mode"
    PFC_TRANSPORT=nccl refused "PFC_TRANSPORT is 'nccl'; expected auto, host or device"
    for transport in auto host device; do
        PFC_TRANSPORT=$transport expect 0 3 run "$case" -o "$out" --json "$work/out.json"
        grep -q "\"transport\": \"$([ $transport = device ] && echo "CUDA-aware MPI" || echo "pinned host")\"" "$work/out.json" ||
            fail "--json does not say which transport: $transport"
    done
    unset PFC_MODULE_DIR
fi

built=${PFC_TOP_BUILDDIR:-.}/.libs
if [ -f "$built/pfc_cuda.so" ]; then
    export PFC_MODULE_DIR=$built
    expect 0 alone info
    grep -E '^cuda +exact +[^ ].* complete' "$work/out" >/dev/null || fail "info does not show a complete exact table: $(grep ^cuda "$work/out")"
    grep -E '^cuda +fast +[^ ].* complete' "$work/out" >/dev/null || fail "info does not show a complete fast table: $(grep ^cuda "$work/out")"
    rm -f "$out"
    ompi_info --parsable -l 9 --all 2>/dev/null | grep -q "mpi_built_with_cuda_support:value:true" ||
        PFC_TRANSPORT=device refused "PFC_TRANSPORT is device, but this MPI says that it takes no pointers to a CUDA device"
    run alone run "$case" -o "$out"
    if [ "$status" = 0 ]; then
        echo "a device is here"
    else
        refused "backend cuda cannot run here: "
    fi
fi
finish
