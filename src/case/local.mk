libpfcdriver_la_SOURCES += \
    src/case/algorithms.h \
    src/case/case.c \
    src/case/case.h \
    src/case/compare.c \
    src/case/diag.c \
    src/case/digest.c \
    src/case/emulate.c \
    src/case/emulate.h \
    src/case/family.c \
    src/case/family.h \
    src/case/file_data.c \
    src/case/file_describe.c \
    src/case/file_read.c \
    src/case/file_write.c \
    src/case/fill.c \
    src/case/fill.h \
    src/case/given.c \
    src/case/gradient_bounds.c \
    src/case/h5util.c \
    src/case/internal.h \
    src/case/operand_bounds.c \
    src/case/operand_bounds.h \
    src/case/mpi_errors.c \
    src/case/params.c \
    src/case/precision.c \
    src/case/precision.h \
    src/case/probe.c \
    src/case/reader.h \
    src/case/registry.c \
    src/case/round.c \
    src/case/round.h \
    src/case/shape.c \
    src/case/temporary.c \
    src/case/tensor.c

## partial_fc
libpfcdriver_la_SOURCES += \
    src/case/partial_fc_bounds.c \
    src/case/partial_fc_bounds.h \
    src/case/partial_fc_bounds_backward.c \
    src/case/partial_fc_bounds_forward.c \
    src/case/partial_fc_case.c \
    src/case/partial_fc_case.h \
    src/case/partial_fc_check.c \
    src/case/partial_fc_dense_case.c \
    src/case/partial_fc_fill.c \
    src/case/partial_fc_inputs.c \
    src/case/partial_fc_inputs.h \
    src/case/partial_fc_table.c

## arcface_head, adaptive_margins
libpfcdriver_la_SOURCES += \
    src/case/adaptive_margins_case.c \
    src/case/arcface_head_bounds.c \
    src/case/arcface_head_bounds.h \
    src/case/arcface_head_bounds_backward.c \
    src/case/arcface_head_case.c \
    src/case/arcface_head_case.h \
    src/case/arcface_head_check.c \
    src/case/arcface_head_dense_case.c \
    src/case/arcface_head_fill.c \
    src/case/arcface_head_table.c

## sinkhorn, swav, lr_schedule
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

## moco
libpfcdriver_la_SOURCES += \
    src/case/moco_bench.c \
    src/case/moco_bounds.c \
    src/case/moco_case.c \
    src/case/moco_case.h \
    src/case/moco_check.c \
    src/case/moco_dense_case.c \
    src/case/moco_fill.c \
    src/case/moco_shuffle_case.c \
    src/case/moco_table.c

## batch_norm, group_gather
libpfcdriver_la_SOURCES += \
    src/case/batch_norm_bounds.c \
    src/case/batch_norm_case.c \
    src/case/batch_norm_case.h \
    src/case/batch_norm_check.c \
    src/case/batch_norm_dense_case.c \
    src/case/batch_norm_fill.c \
    src/case/batch_norm_inputs.c \
    src/case/batch_norm_rows.c \
    src/case/batch_norm_table.c \
    src/case/group_gather_case.c
