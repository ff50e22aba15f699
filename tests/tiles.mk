## The tile kernels on a model of the tile instructions, for machines that have none: the same sources in front of the library's, in programs that nobody
## installs. What starts them runs anywhere (model_here.c); the kernels around the tiles need AVX-512, and the tests skip where it is missing.
SCRIPT_TESTS += tests/tiles.sh
EXTRA_DIST += tests/tiles/test_bf16x6.c tests/tiles/test_tiles.c tests/tiles/model_here.c tests/tiles/tile_model.c tests/tiles/tile_model.h
if PFC_HAVE_AMX
check_LIBRARIES += libpfctiles.a
libpfctiles_a_SOURCES = \
    src/backend/cpu/exact_amx.c \
    src/backend/cpu/fast_bf16.c \
    tests/tiles/tile_model.c
libpfctiles_a_CPPFLAGS = $(AM_CPPFLAGS) -DPFC_TILE_MODEL -I$(top_srcdir)/tests/tiles
libpfctiles_a_CFLAGS = $(kernel_cflags) $(PFC_AVX512_CFLAGS)
tile_ldflags = $(AM_LDFLAGS) -static -Wl,--undefined=pfc_amx_kernels_table -Wl,--undefined=pfc_bf16_kernels_table
tile_test_ldadd = libpfctest.a libpfctiles.a $(everything) $(CHECK_LIBS)

check_PROGRAMS += tests/tiles/pfc_ref tests/tiles/test_bf16x6 tests/tiles/test_engines tests/tiles/test_tiles
tests_tiles_pfc_ref_SOURCES = $(pfc_ref_SOURCES) tests/tiles/model_here.c
tests_tiles_pfc_ref_LDADD = libpfctiles.a $(everything)
tests_tiles_pfc_ref_LDFLAGS = $(tile_ldflags)
tests_tiles_test_engines_SOURCES = tests/test_engines.c tests/tiles/model_here.c
tests_tiles_test_engines_LDADD = $(tile_test_ldadd)
tests_tiles_test_engines_LDFLAGS = $(tile_ldflags)
tests_tiles_test_tiles_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/tiles
tests_tiles_test_tiles_SOURCES = tests/tiles/test_tiles.c tests/tiles/model_here.c
tests_tiles_test_tiles_LDADD = $(tile_test_ldadd)
tests_tiles_test_tiles_LDFLAGS = $(tile_ldflags)
tests_tiles_test_bf16x6_SOURCES = tests/tiles/test_bf16x6.c tests/fast_reference.c tests/fast_step.c tests/fast_step.h tests/tiles/model_here.c
tests_tiles_test_bf16x6_LDADD = $(tile_test_ldadd)
tests_tiles_test_bf16x6_LDFLAGS = $(tile_ldflags)
TESTS += tests/tiles/test_bf16x6 tests/tiles/test_engines tests/tiles/test_tiles
endif
