libpfcdriver_la_SOURCES += \
    src/case/algorithms.h \
    src/case/case.c \
    src/case/case.h \
    src/case/compare.c \
    src/case/diag.c \
    src/case/digest.c \
    src/case/family.c \
    src/case/family.h \
    src/case/file_data.c \
    src/case/file_describe.c \
    src/case/file_read.c \
    src/case/file_write.c \
    src/case/given.c \
    src/case/h5util.c \
    src/case/internal.h \
    src/case/params.c \
    src/case/partial_fc_case.c \
    src/case/partial_fc_case.h \
    src/case/partial_fc_check.c \
    src/case/partial_fc_dense_case.c \
    src/case/partial_fc_fill.c \
    src/case/partial_fc_inputs.c \
    src/case/partial_fc_inputs.h \
    src/case/partial_fc_table.c \
    src/case/reader.h \
    src/case/registry.c \
    src/case/shape.c \
    src/case/tensor.c

libpfcdriver_la_SOURCES += \
    src/case/partial_fc_bounds.c \
    src/case/partial_fc_bounds.h \
    src/case/partial_fc_bounds_backward.c \
    src/case/partial_fc_bounds_forward.c
libpfcdriver_la_SOURCES += \
    src/case/lr_schedule_case.c \
    src/case/sinkhorn_bounds.c \
    src/case/sinkhorn_bounds.h \
    src/case/sinkhorn_case.c \
    src/case/swav_bounds.c \
    src/case/swav_case.c \
    src/case/swav_case.h \
    src/case/swav_check.c \
    src/case/swav_fill.c
