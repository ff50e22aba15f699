libpfc_la_SOURCES += \
    src/algo/batch_norm.c \
    src/algo/batch_norm.h \
    src/algo/batch_norm_layer.c \
    src/algo/batch_norm_statistics.c \
    src/algo/group_gather.c \
    src/algo/matrix.c \
    src/algo/matrix.h \
    src/algo/partial_fc.c \
    src/algo/partial_fc.h \
    src/algo/partial_fc_head.c \
    src/algo/partial_fc_layer.c \
    src/algo/partial_fc_sample.c \
    src/algo/partial_fc_step.c \
    src/algo/partial_fc_taps.c
