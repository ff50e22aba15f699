dnl pfc_cuda.m4: PFC_CHECK_CUDA finds nvcc and cuBLAS for the CUDA backend, a module of its own. Without nvcc it is left out; asking for it
dnl without nvcc is an error.
dnl   NVCC, NVCC_FLAGS, CUDA_LIBS; conditional PFC_CUDA; pfc_cuda: what the table at the end says
AC_DEFUN([PFC_CHECK_CUDA], [
  AC_ARG_WITH([cuda], [AS_HELP_STRING([--with-cuda@<:@=DIR@:>@], [build the CUDA backend, with the toolkit in DIR (default: if nvcc is found)])], [],
    [with_cuda=check])
  AC_ARG_VAR([NVCC], [CUDA compiler])
  pfc_cuda="no (--without-cuda)"
  AS_IF([test "x$with_cuda" != xno], [
    pfc_cuda_path=$PATH$PATH_SEPARATOR/usr/local/cuda/bin$PATH_SEPARATOR/opt/cuda/bin
    AS_CASE([$with_cuda], [yes|check], [], [pfc_cuda_path=$with_cuda/bin])
    AC_PATH_PROG([NVCC], [nvcc], [], [$pfc_cuda_path])
    pfc_cuda="no (nvcc not found)"
    AS_IF([test -n "$NVCC"], [PFC_TRY_CUDA])
    AS_CASE([$with_cuda:$pfc_cuda], [check:*|*:yes*], [], [AC_MSG_ERROR([--with-cuda=$with_cuda: CUDA backend: $pfc_cuda])])])
  AM_CONDITIONAL([PFC_CUDA], [test "x${pfc_cuda%% *}" = xyes])
  AC_SUBST([NVCC_FLAGS])
  AC_SUBST([CUDA_LIBS])])

dnl A file with a kernel and a call of cuBLAS compiles and links, for the architectures that are shipped.
AC_DEFUN([PFC_TRY_CUDA], [
  pfc_cuda_home=`AS_DIRNAME(["$NVCC"])`/..
  NVCC_FLAGS="-std=c++17 --extended-lambda -fmad=false -O3 -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90"
  CUDA_LIBS="-L$pfc_cuda_home/lib64 -lcublas"
  AC_MSG_CHECKING([whether $NVCC makes programs with cuBLAS])
  cat > conftest.cu <<'CUDA_EOF'
@%:@include <cublas_v2.h>
template <class F> __global__ void run(F f) { f(threadIdx.x); }
extern "C" int go(int *p)
{
    cublasHandle_t h;
    run<<<1, 32>>>([[=]] __device__(int i) { p[[i]] = i; });
    return cublasCreate(&h);
}
CUDA_EOF
  AS_IF([$NVCC $NVCC_FLAGS -Xcompiler -fPIC -shared conftest.cu -o conftest.so $CUDA_LIBS >&AS_MESSAGE_LOG_FD 2>&1],
    [pfc_cuda="yes (`$NVCC --version | sed -n 's/.*release \(@<:@0-9.@:>@*\).*/\1/p'`, $NVCC)"],
    [pfc_cuda="no ($NVCC cannot make a module with cuBLAS, see config.log)"])
  rm -f conftest.cu conftest.so
  AC_MSG_RESULT([$pfc_cuda])])
