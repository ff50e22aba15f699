#!/usr/bin/env bash
# The CUDA backend on a GPU, in one run: every operation beside the CPU's, goldens bit for bit, bounds, memory errors, speed, beside PyTorch. Prints a table, writes gpu_check.json.
#
#    tools/gpu_check.sh bundle NAME   from a built tree: NAME.tar.gz, everything that the check needs on another machine, below 60 MB. There:
#                                     tar -xf NAME.tar.gz; NAME/tools/gpu_check.sh
#    tools/gpu_check.sh [DIR]         the check, in a bundle or in a built tree; DIR: where gpu_check.json goes (default: here)
#
# The machine needs a GPU and its driver, and cuBLAS 12 or 13: of a toolkit, or of PyTorch's packages. The status is 0 if everything that could run is right.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# ---- the bundle: program, module, data, and the libraries of Open MPI, HDF5 and OpenBLAS with what they need ----

# Libraries of a file, without what belongs to the system or to the device's machine.
libraries_of() { ldd "$1" 2>/dev/null | awk '$3 ~ /^\// { print $3 }' | grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|libutil|libcublas[A-Za-z]*|libcuda)\.so'; }

bundle() {
    local name=$1 to mpi file lib
    [ -n "$name" ] && [ ! -e "$name.tar.gz" ] || { echo "gpu_check: bundle: found ${name:-no name}, expected a name without $name.tar.gz"; exit 2; }
    for file in pfc_ref .libs/pfc_cuda.so tests/backend_ops/backend_ops; do
        [ -f "$here/$file" ] || { echo "gpu_check: no $file in $here: build with nvcc, and make check TESTS="; exit 2; }
    done
    mpi=$(ldd "$here/pfc_ref" | awk '$1 ~ /^libmpi\.so/ { print $3 }')
    mpi=$(dirname "$(readlink -f "$mpi")")
    work=$(mktemp -d) || exit 1
    trap 'rm -rf "$work"' EXIT
    to=$work/$(basename "$name")
    mkdir -p "$to"/{lib,bin,tools,data,share,openmpi/lib,pmix/lib}
    cp -L "$here/pfc_ref" "$here/tests/backend_ops/backend_ops" "$(command -v orterun)" "$(command -v orted)" "$to/bin"
    cp "$here/.libs/pfc_cuda.so" "$to/lib"
    cp -r "$mpi/openmpi/lib/openmpi3" "$to/openmpi/lib"
    cp -r "$mpi/pmix2/lib/pmix" "$to/pmix/lib" 2>/dev/null
    cp -r /usr/share/openmpi "$to/share" 2>/dev/null
    cp "$here"/data/*.h5 "$here"/data/digests.txt "$to/data"
    cp "$here/tools/gpu_check.sh" "$here/tools/gpu_peer.py" "$to/tools"
    for file in "$to"/bin/* "$to/lib/pfc_cuda.so" "$to"/openmpi/lib/openmpi3/*.so "$to"/pmix/lib/pmix/*.so; do
        case $file in # for networks: not needed on one machine
        *fabric* | *ofi* | *ucx* | *psm* | *openib* | *sshmem* | *spml* | *scoll* | *memheap* | *java*) rm -f "$file"; continue ;;
        esac
        for lib in $(libraries_of "$file"); do [ -e "$to/lib/$(basename "$lib")" ] || cp -L "$lib" "$to/lib"; done
    done
    strip --strip-unneeded "$to"/lib/*.so* "$to"/bin/* 2>/dev/null
    tar -czf "$name.tar.gz" -C "$work" "$(basename "$name")"
    echo "$name.tar.gz: $(($(stat -c %s "$name.tar.gz") / 1000000)) MB"
    [ "$(stat -c %s "$name.tar.gz")" -lt 60000000 ] || { echo "gpu_check: the bundle is too large"; exit 1; }
}

if [ "${1:-}" = bundle ]; then
    bundle "${2:-}"
    exit
fi

# ---- where everything is ----

out=${1:-$PWD}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cublas=$(ls -d /usr/local/cuda*/lib64 /opt/cuda/lib64 2>/dev/null
    for python in python3 /opt/*/.venv/bin/python3; do
        "$python" -c 'import glob, sys; [print(d) for p in sys.path for d in glob.glob(p + "/nvidia/*/lib")]' 2>/dev/null
    done)
cublas=$(while read -r dir; do ls "$dir"/libcublas.so.1[23] >/dev/null 2>&1 && echo "$dir"; done <<<"$cublas" | paste -sd:)
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$cublas PFC_BACKEND=cuda PFC_SELF_CHECK=1 OMP_NUM_THREADS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
if [ -d "$here/openmpi" ]; then
    export LD_LIBRARY_PATH=$here/lib:$LD_LIBRARY_PATH PATH=$here/bin:$PATH PFC_MODULE_DIR=${PFC_MODULE_DIR:-$here/lib} PFC_DATA=$here/data
    export OPAL_PREFIX=$here/openmpi OPAL_BINDIR=$here/bin OPAL_LIBDIR=$here/lib OPAL_PKGLIBDIR=$here/openmpi/lib/openmpi3 OPAL_PKGDATADIR=$here/share/openmpi
    export OPAL_SYSCONFDIR=$here/share PMIX_INSTALL_PREFIX=$here/pmix PMIX_PREFIX=$here/pmix PMIX_PKGLIBDIR=$here/pmix/lib/pmix PMIX_MCA_mca_base_component_path=$here/pmix/lib/pmix
    export OMPI_MCA_mca_base_component_path=$here/openmpi/lib/openmpi3 OMPI_MCA_plm_rsh_agent=false
    pfc=$here/bin/pfc_ref ops=$here/bin/backend_ops mpirun="$here/bin/orterun -q"
else
    export PFC_MODULE_DIR=${PFC_MODULE_DIR:-$here/.libs} PFC_DATA=$here/data
    pfc=$here/pfc_ref ops=$here/tests/backend_ops/backend_ops mpirun="mpirun -q"
fi

# ---- the table ----

bad=0 rows=()
row() { # WHAT RESULT DETAIL
    printf '%-34s %-8s %s\n' "$1" "$2" "$3"
    rows+=("{\"what\": \"$1\", \"result\": \"$2\", \"detail\": \"$(tr -d '"\\' <<<"$3")\"}")
    [ "$2" != FAILED ] || bad=1
}

# try WHAT COMMAND...: ok if it ends with 0.
try() {
    local what=$1 start=$SECONDS
    shift
    if timeout 300 "$@" >"$work/log" 2>&1; then
        row "$what" ok "$(tail -n 1 "$work/log" | cut -c 1-100) ($((SECONDS - start)) s)"
    else
        row "$what" FAILED "$(grep -v '^$' "$work/log" | tail -n 3 | cut -c 1-200 | paste -sd' ')"
    fi
}

device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1)
echo "$(date -u +%F)  ${device:-no nvidia-smi}"
"$pfc" info >"$work/info" 2>&1
grep -E '^(exact|fast), cuda|^cuda ' "$work/info"
if ! grep -q '^exact, cuda *backend cuda' "$work/info"; then
    row "opening the device" FAILED "$(grep '^exact, cuda' "$work/info")"
    exit 1
fi

try "every operation, beside the CPU's" "$ops"
PFC_ENGINE=int8 try "the same, products by int8" "$ops"
for np in 1 2 8; do
    # shellcheck disable=SC2086
    try "exact, every golden, $np ranks" $mpirun -np $np "$pfc" verify
    # shellcheck disable=SC2086
    try "fast, every golden, $np ranks" $mpirun -np $np "$pfc" verify --mode fast
done

# Sizes with many blocks, chunks and strips: the CPU's file and the GPU's, byte for byte.
large() {
    local n=0 arguments
    for arguments in "partial_fc --size N=128,C=100000,D=512 --param head=arc,scale=64,margin=0.5,sample_rate=0.1" "partial_fc --size N=512,C=70000,D=128" \
        "arcface_head --size N=64,C=9000,D=256 --param num_subcenters=3" "moco --size N=64,K=16384,D=128,M=1000" "sinkhorn --size N=512,K=3000" \
        "swav --size B=32,K=1000,D=128" "batch_norm --size N=16,C=32,H=28,W=28"; do
        n=$((n + 1))
        # shellcheck disable=SC2086
        PFC_BACKEND=cpu "$pfc" golden $arguments -o "$work/large$n" --quiet || return 1
        PFC_BACKEND=cpu "$pfc" run "$work/large$n"/*.h5 -o "$work/cpu.h5" --quiet || return 1
        for engine in dgemm int8; do
            PFC_ENGINE=$engine "$pfc" run "$work/large$n"/*.h5 -o "$work/gpu.h5" --quiet || return 1
            cmp "$work/cpu.h5" "$work/gpu.h5" || return 1
        done
        "$pfc" run "$work/large$n"/*.h5 -o "$work/fast.h5" --mode fast --quiet || return 1
        "$pfc" check "$work/large$n"/*.h5 "$work/fast.h5" --dtype f32 --quiet || return 1
    done
    echo "$n cases, the same bytes as the CPU; fast mode within the f32 bounds"
}
export -f large
export pfc work
try "large cases" bash -c large

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -n 1)
if [ -z "$sanitizer" ]; then
    row "compute-sanitizer" skipped "not installed"
else
    for case in pfc_hard arc_easy sk_v1 swav_w1 moco_plain_w1 bn_plain_w1; do
        file=$PFC_DATA/$case.h5
        [ -f "$file" ] || { row "compute-sanitizer $case" FAILED "no $file"; continue; }
        for tool in memcheck racecheck; do
            timeout 200 "$sanitizer" --tool $tool --error-exitcode 9 "$pfc" run "$file" -o "$work/s.h5" --quiet >"$work/log" 2>&1
            case $? in
            0) row "compute-sanitizer $tool $case" ok "" ;;
            9) row "compute-sanitizer $tool $case" FAILED "$(grep -m 1 -E '=========' "$work/log" | cut -c 1-120)" ;;
            *) row "compute-sanitizer $tool $case" skipped "$(grep -m 1 -iE 'error|not supported' "$work/log" | cut -c 1-120)" ;;
            esac
        done
    done
fi

# ---- speed: cases A, B and C ----

export PFC_SELF_CHECK=0
python=$(for p in /opt/*/.venv/bin/python3 python3; do "$p" -c 'import torch; torch.zeros(1).cuda()' 2>/dev/null && command -v "$p" && break; done)
bench() { # NAME SIZES
    local mode engine wall
    for mode in fast exact int8; do
        engine=auto
        [ $mode != int8 ] || engine=int8
        if PFC_ENGINE=$engine "$pfc" bench partial_fc --size "$2" --mode "${mode/int8/exact}" --rounds 7 --quiet --json "$work/$1.$mode.json" >"$work/log" 2>&1; then
            wall=$(grep -m 1 '"wall_seconds":' "$work/$1.$mode.json" | tr -dc '0-9.e-')
            row "bench $1 $mode" ok "$(awk -v w="$wall" 'BEGIN { printf "%.3f ms a step (wall)", 1000 * w }')"
            echo "$1 $mode $wall" >>"$work/bench"
        else
            row "bench $1 $mode" FAILED "$(tail -n 1 "$work/log" | cut -c 1-150)"
        fi
    done
}
bench A N=128,C=100000,D=512
bench B N=512,C=100000,D=512
bench C N=128,C=1000000,D=128
if [ -n "$python" ]; then
    if "$python" "$here/tools/gpu_peer.py" "$work/bench" >"$work/log" 2>&1; then
        while IFS=$'\t' read -r what detail; do row "$what" ok "$detail"; done <"$work/log"
    else
        row "PyTorch" FAILED "$(tail -n 1 "$work/log" | cut -c 1-150)"
    fi
else
    row "PyTorch" skipped "no torch with CUDA"
fi

{
    printf '{"date": "%s", "device": "%s", "rows": [\n' "$(date -u +%F)" "$device"
    for i in "${!rows[@]}"; do printf '  %s%s\n' "${rows[i]}" "$([ "$i" -lt $((${#rows[@]} - 1)) ] && echo ,)"; done
    echo ']}'
} >"$out/gpu_check.json"
exit $bad
