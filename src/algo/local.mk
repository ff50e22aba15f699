libpfc_la_SOURCES += \
    src/algo/adaptive_margins.c \
    src/algo/arcface_head.c \
    src/algo/arcface_head.h \
    src/algo/arcface_head_data.c \
    src/algo/arcface_head_layer.c \
    src/algo/arcface_head_step.c \
    src/algo/matrix.c \
    src/algo/matrix.h \
    src/algo/partial_fc.c \
    src/algo/partial_fc.h \
    src/algo/partial_fc_head.c \
    src/algo/partial_fc_layer.c \
    src/algo/partial_fc_sample.c \
    src/algo/partial_fc_step.c \
    src/algo/partial_fc_taps.c
