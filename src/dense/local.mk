libpfcdriver_la_SOURCES += \
    src/dense/batch_norm_dense.c \
    src/dense/batch_norm_dense.h \
    src/dense/dense.h \
    src/dense/partial_fc_dense.c \
    src/dense/partial_fc_dense_sample.c
