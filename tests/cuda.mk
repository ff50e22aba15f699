## Tests of the CUDA backend that need no GPU.
SCRIPT_TESTS += \
    tests/cuda_host.sh \
    tests/cuda_module.sh \
    tests/cuda_ptx.sh
