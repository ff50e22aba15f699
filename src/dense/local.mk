libpfcdriver_la_SOURCES += \
    src/dense/dense.h \
    src/dense/partial_fc_dense.c \
    src/dense/partial_fc_dense_sample.c \
    src/dense/sinkhorn_dense.c \
    src/dense/swav_dense.c \
    src/dense/swav_dense.h
