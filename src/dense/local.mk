libpfcdriver_la_SOURCES += \
    src/dense/dense.h

## partial_fc
libpfcdriver_la_SOURCES += \
    src/dense/partial_fc_dense.c \
    src/dense/partial_fc_dense_sample.c

## arcface_head, adaptive_margins
libpfcdriver_la_SOURCES += \
    src/dense/arcface_head_dense.c \
    src/dense/arcface_head_dense.h

## sinkhorn, swav, lr_schedule
libpfcdriver_la_SOURCES += \
    src/dense/sinkhorn_dense.c \
    src/dense/swav_dense.c \
    src/dense/swav_dense.h

## moco
libpfcdriver_la_SOURCES += \
    src/dense/moco_dense.c \
    src/dense/moco_dense.h

## batch_norm, group_gather
libpfcdriver_la_SOURCES += \
    src/dense/batch_norm_dense.c \
    src/dense/batch_norm_dense.h
