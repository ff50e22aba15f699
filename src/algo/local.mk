libpfc_la_SOURCES += \
    src/algo/blocks.c \
    src/algo/blocks.h \
    src/algo/host_rows.c \
    src/algo/host_rows.h \
    src/algo/matrix.c \
    src/algo/matrix.h

## partial_fc
libpfc_la_SOURCES += \
    src/algo/partial_fc.c \
    src/algo/partial_fc.h \
    src/algo/partial_fc_head.c \
    src/algo/partial_fc_layer.c \
    src/algo/partial_fc_sample.c \
    src/algo/partial_fc_step.c \
    src/algo/partial_fc_taps.c

## arcface_head, adaptive_margins
libpfc_la_SOURCES += \
    src/algo/adaptive_margins.c \
    src/algo/arcface_head.c \
    src/algo/arcface_head.h \
    src/algo/arcface_head_data.c \
    src/algo/arcface_head_layer.c \
    src/algo/arcface_head_step.c

## sinkhorn, swav, lr_schedule
libpfc_la_SOURCES += \
    src/algo/lr_schedule.c \
    src/algo/sinkhorn.c \
    src/algo/sinkhorn.h \
    src/algo/swav.c \
    src/algo/swav.h \
    src/algo/swav_layer.c

## moco
libpfc_la_SOURCES += \
    src/algo/moco.c \
    src/algo/moco.h \
    src/algo/moco_hook.c \
    src/algo/moco_shuffle.c \
    src/algo/moco_shuffle.h \
    src/algo/moco_shuffle_gather.c \
    src/algo/moco_state.c \
    src/algo/moco_step.c

## batch_norm, group_gather
libpfc_la_SOURCES += \
    src/algo/batch_norm.c \
    src/algo/batch_norm.h \
    src/algo/batch_norm_layer.c \
    src/algo/batch_norm_statistics.c \
    src/algo/group_gather.c
