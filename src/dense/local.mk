libpfcdriver_la_SOURCES += \
    src/dense/batch_norm_dense.c \
    src/dense/batch_norm_dense.h \
    src/dense/dense.h \
    src/dense/partial_fc_dense.c \
    src/dense/partial_fc_dense_sample.c

libpfcdriver_la_SOURCES += \
    src/dense/arcface_head_dense.c \
    src/dense/arcface_head_dense.h
## moco
libpfcdriver_la_SOURCES += \
    src/dense/moco_dense.c \
    src/dense/moco_dense.h
