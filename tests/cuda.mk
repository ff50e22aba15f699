## Tests of the CUDA backend that need no GPU.
SCRIPT_TESTS += \
    tests/cuda_host.sh \
    tests/cuda_module.sh \
    tests/cuda_ptx.sh

## Every operation of a backend beside the cpu backend's; a plain program, which tools/gpu_check.sh takes along.
check_PROGRAMS += tests/backend_ops/backend_ops
tests_backend_ops_backend_ops_SOURCES = \
    tests/backend_ops/ops.c \
    tests/backend_ops/ops.h \
    tests/backend_ops/ops_angular.c \
    tests/backend_ops/ops_batch_norm.c \
    tests/backend_ops/ops_head.c \
    tests/backend_ops/ops_matrix.c \
    tests/backend_ops/ops_sinkhorn.c
tests_backend_ops_backend_ops_LDADD = $(everything)
SCRIPT_TESTS += tests/backend_ops.sh
