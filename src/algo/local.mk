libpfc_la_SOURCES += \
    src/algo/host_rows.c \
    src/algo/host_rows.h \
    src/algo/lr_schedule.c \
    src/algo/matrix.c \
    src/algo/matrix.h \
    src/algo/partial_fc.c \
    src/algo/partial_fc.h \
    src/algo/partial_fc_head.c \
    src/algo/partial_fc_layer.c \
    src/algo/partial_fc_sample.c \
    src/algo/partial_fc_step.c \
    src/algo/partial_fc_taps.c \
    src/algo/sinkhorn.c \
    src/algo/sinkhorn.h \
    src/algo/swav.c \
    src/algo/swav.h \
    src/algo/swav_layer.c
