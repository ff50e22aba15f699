libpfc_la_SOURCES += \
    src/backend/backend.h \
    src/backend/checked/call.c \
    src/backend/checked/checked.c \
    src/backend/checked/checked.h \
    src/backend/checked/memory.c \
    src/backend/checked/wrap_core.c \
    src/backend/checked/wrap_matrix.c \
    src/backend/cpu/cpu_common.c \
    src/backend/cpu/cpu_common.h \
    src/backend/cpu/engine_amx.c \
    src/backend/cpu/engine_amx.h \
    src/backend/cpu/engine_amx_test.c \
    src/backend/cpu/engine_dgemm.c \
    src/backend/cpu/engine_ifma.c \
    src/backend/cpu/engine_ifma.h \
    src/backend/cpu/engine_ifma_test.c \
    src/backend/cpu/engine_int128.c \
    src/backend/cpu/exact.h \
    src/backend/cpu/exact_acc.c \
    src/backend/cpu/exact_amx.h \
    src/backend/cpu/exact_ifma.h \
    src/backend/cpu/exact_kernels.h \
    src/backend/cpu/exact_matrix.c \
    src/backend/cpu/exact_ops.inc \
    src/backend/cpu/exact_products.c \
    src/backend/cpu/exact_rows.c \
    src/backend/cpu/exact_slices.c \
    src/backend/cpu/exact_softmax.c \
    src/backend/cpu/exact_state.c \
    src/backend/cpu/fast.h \
    src/backend/cpu/fast_acc.c \
    src/backend/cpu/fast_bf16.h \
    src/backend/cpu/fast_bf16_ops.c \
    src/backend/cpu/fast_bf16_test.c \
    src/backend/cpu/fast_block.c \
    src/backend/cpu/fast_kernels.h \
    src/backend/cpu/fast_matrix.c \
    src/backend/cpu/fast_ops.c \
    src/backend/cpu/fast_ops.inc \
    src/backend/cpuid.c \
    src/backend/cpuid.h \
    src/backend/cpuid_tiles.c \
    src/backend/cuda_module.c \
    src/backend/cuda_module.h \
    src/backend/emulate/emulate.c \
    src/backend/emulate/emulate.h \
    src/backend/host_sums.c \
    src/backend/host_sums.h \
    src/backend/mean_loss.c \
    src/backend/mean_loss.h \
    src/backend/registry.c \
    src/backend/shoot_infs.h \
    src/backend/target_logit.h

## Kernel files and the bodies they include.
libpfc_scalar_la_SOURCES += \
    src/backend/cpu/exact_kernels.inc \
    src/backend/cpu/exact_matrix.inc \
    src/backend/cpu/exact_scalar.c \
    src/backend/cpu/fast_exp.inc \
    src/backend/cpu/fast_gemm.inc \
    src/backend/cpu/fast_head.inc \
    src/backend/cpu/fast_matrix.inc \
    src/backend/cpu/fast_rows.inc \
    src/backend/cpu/fast_scalar.c \
    src/backend/cpu/fast_table.inc \
    src/backend/cpu/vec_avx2.h \
    src/backend/cpu/vec_avx512.h \
    src/backend/cpu/vec_scalar.h
if PFC_HAVE_AVX2
libpfc_avx2_la_SOURCES += \
    src/backend/cpu/exact_avx2.c \
    src/backend/cpu/fast_avx2.c
endif
if PFC_HAVE_AVX512
libpfc_avx512_la_SOURCES += \
    src/backend/cpu/exact_avx512.c \
    src/backend/cpu/fast_avx512.c
endif
if PFC_HAVE_IFMA
libpfc_ifma_la_SOURCES += \
    src/backend/cpu/exact_ifma.c \
    src/backend/cpu/lanes512.h
endif
if PFC_HAVE_AMX
libpfc_amx_la_SOURCES += \
    src/backend/cpu/exact_amx.c \
    src/backend/cpu/fast_bf16.c \
    src/backend/cpu/lanes512.h \
    src/backend/cpu/tiles.h
endif

## partial_fc
libpfc_la_SOURCES += \
    src/backend/checked/wrap_partial_fc.c

## arcface_head, adaptive_margins
libpfc_la_SOURCES += \
    src/backend/checked/wrap_arcface.c \
    src/backend/cpu/exact_arcface.c \
    src/backend/cpu/fast_arcface.c
libpfc_scalar_la_SOURCES += \
    src/backend/cpu/exact_arcface.inc \
    src/backend/cpu/fast_arcface.inc

## sinkhorn, swav, lr_schedule
libpfc_la_SOURCES += \
    src/backend/checked/wrap_swav.c \
    src/backend/cpu/exact_sinkhorn.c \
    src/backend/cpu/exact_swav.c \
    src/backend/cpu/fast_sinkhorn.c \
    src/backend/cpu/fast_sinkhorn.h \
    src/backend/cpu/fast_sinkhorn_wide.c \
    src/backend/cpu/fast_swav.c
libpfc_scalar_la_SOURCES += \
    src/backend/cpu/exact_swav.inc \
    src/backend/cpu/fast_swav.inc

## moco
libpfc_la_SOURCES += \
    src/backend/checked/wrap_moco.c \
    src/backend/cpu/exact_moco.c \
    src/backend/cpu/fast_moco.c
libpfc_scalar_la_SOURCES += \
    src/backend/cpu/exact_moco.inc \
    src/backend/cpu/fast_moco.inc

## batch_norm, group_gather
libpfc_la_SOURCES += \
    src/backend/checked/wrap_batch_norm.c \
    src/backend/cpu/exact_batch_norm.c \
    src/backend/cpu/fast_batch_norm.c
libpfc_scalar_la_SOURCES += \
    src/backend/cpu/exact_batch_norm.inc \
    src/backend/cpu/fast_batch_norm.inc
