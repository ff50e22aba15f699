## main.c goes to pfc_ref_SOURCES, everything else to libpfcdriver_la_SOURCES.
libpfcdriver_la_SOURCES += \
    src/driver/alone.c \
    src/driver/bench.c \
    src/driver/bench.h \
    src/driver/bench_partial_fc.c \
    src/driver/bench_products.c \
    src/driver/bench_step.c \
    src/driver/check.h \
    src/driver/check_gates.c \
    src/driver/check_json.c \
    src/driver/check_tell.c \
    src/driver/cmd_bench.c \
    src/driver/cmd_check.c \
    src/driver/cmd_golden.c \
    src/driver/cmd_info.c \
    src/driver/cmd_list.c \
    src/driver/cmd_run.c \
    src/driver/cmd_verify.c \
    src/driver/common.c \
    src/driver/driver.h \
    src/driver/folder.c \
    src/driver/hints.c \
    src/driver/hints.h \
    src/driver/hints_factor.c \
    src/driver/json.c \
    src/driver/npy.c \
    src/driver/npy_folder.c \
    src/driver/openblas.c \
    src/driver/options.c \
    src/driver/results.c \
    src/driver/shard_part.c \
    src/driver/suite.c \
    src/driver/suite.h \
    src/driver/table.c \
    src/driver/text_input.c
pfc_ref_SOURCES += src/driver/main.c
