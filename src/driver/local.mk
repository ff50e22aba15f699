## main.c goes to pfc_ref_SOURCES, everything else to libpfcdriver_la_SOURCES.
libpfcdriver_la_SOURCES += \
    src/driver/alone.c \
    src/driver/bench.c \
    src/driver/bench.h \
    src/driver/bench_cases.c \
    src/driver/bench_machine.c \
    src/driver/bench_partial_fc.c \
    src/driver/bench_plot.c \
    src/driver/bench_products.c \
    src/driver/bench_report.c \
    src/driver/bench_step.c \
    src/driver/check.h \
    src/driver/check_gates.c \
    src/driver/check_json.c \
    src/driver/check_tell.c \
    src/driver/cmd_bench.c \
    src/driver/cmd_check.c \
    src/driver/cmd_explain.c \
    src/driver/cmd_export.c \
    src/driver/cmd_golden.c \
    src/driver/cmd_info.c \
    src/driver/cmd_inspect.c \
    src/driver/cmd_list.c \
    src/driver/cmd_run.c \
    src/driver/cmd_train.c \
    src/driver/cmd_verify.c \
    src/driver/common.c \
    src/driver/dense_check.c \
    src/driver/driver.h \
    src/driver/explain.h \
    src/driver/explain_arcface.c \
    src/driver/explain_batch_norm.c \
    src/driver/explain_example.c \
    src/driver/explain_html.c \
    src/driver/explain_moco.c \
    src/driver/explain_panel.c \
    src/driver/explain_partial_fc.c \
    src/driver/explain_story.c \
    src/driver/explain_svg.c \
    src/driver/explain_swav.c \
    src/driver/explain_table.c \
    src/driver/explain_tell.c \
    src/driver/explain_text.c \
    src/driver/explain_traffic.c \
    src/driver/explain_watch.c \
    src/driver/explain_when.c \
    src/driver/folder.c \
    src/driver/hints.c \
    src/driver/hints.h \
    src/driver/hints_factor.c \
    src/driver/json.c \
    src/driver/npy.c \
    src/driver/npy_folder.c \
    src/driver/openblas.c \
    src/driver/options.c \
    src/driver/peak_kernels.h \
    src/driver/peak_kernels.inc \
    src/driver/plot.c \
    src/driver/results.c \
    src/driver/shard_part.c \
    src/driver/stored_file.c \
    src/driver/stored_file.h \
    src/driver/suite.c \
    src/driver/suite.h \
    src/driver/table.c \
    src/driver/text_input.c \
    src/driver/train.h \
    src/driver/train_array.c \
    src/driver/train_common.c \
    src/driver/train_data.c \
    src/driver/train_effect.c \
    src/driver/train_folder.c \
    src/driver/train_head.c \
    src/driver/train_log.c \
    src/driver/train_moco.c \
    src/driver/train_network.c \
    src/driver/train_network.h \
    src/driver/train_plot.c \
    src/driver/train_recipe.c \
    src/driver/train_settings.c \
    src/driver/train_signals.c \
    src/driver/train_swav.c \
    src/driver/train_task.h \
    src/driver/train_views.c \
    src/driver/train_views.h
pfc_ref_SOURCES += src/driver/main.c

## The loops that bench measures a machine with, for each instruction set.
noinst_LTLIBRARIES += libpfcpeak_scalar.la
libpfcdriver_la_LIBADD = libpfcpeak_scalar.la
libpfcpeak_scalar_la_SOURCES = src/driver/peak_scalar.c
libpfcpeak_scalar_la_CFLAGS = $(kernel_cflags) -ffp-contract=fast
if PFC_HAVE_AVX2
noinst_LTLIBRARIES += libpfcpeak_avx2.la
libpfcdriver_la_LIBADD += libpfcpeak_avx2.la
libpfcpeak_avx2_la_SOURCES = src/driver/peak_avx2.c
libpfcpeak_avx2_la_CFLAGS = $(kernel_cflags) $(PFC_AVX2_CFLAGS)
endif
if PFC_HAVE_AVX512
noinst_LTLIBRARIES += libpfcpeak_avx512.la
libpfcdriver_la_LIBADD += libpfcpeak_avx512.la
libpfcpeak_avx512_la_SOURCES = src/driver/peak_avx512.c
libpfcpeak_avx512_la_CFLAGS = $(kernel_cflags) $(PFC_AVX512_CFLAGS)
endif
