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
    src/core/shard.c \
    src/core/status.c
