libpfc_la_SOURCES += \
    src/core/ctx.c \
    src/core/ctx.h \
    src/core/exactint.h \
    src/core/format.c \
    src/core/format.h \
    src/core/moments.c \
    src/core/moments.h \
    src/core/philox.c \
    src/core/px.h \
    src/core/rng_kernels.h \
    src/core/rng_order.c \
    src/core/rng_order.h \
    src/core/rng_range.c \
    src/core/shard.c \
    src/core/status.c \
    src/core/words.h
libpfc_scalar_la_SOURCES += \
    src/core/rng_kernels.inc \
    src/core/rng_scalar.c
if PFC_HAVE_AVX2
libpfc_avx2_la_SOURCES += src/core/rng_avx2.c
endif
if PFC_HAVE_AVX512
libpfc_avx512_la_SOURCES += src/core/rng_avx512.c
endif
