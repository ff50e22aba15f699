## Python files for users: a case from NumPy arrays, a glyph file into NumPy arrays.
toolsdir = $(pkgdatadir)/tools
dist_tools_SCRIPTS = \
    tools/glyphs.py \
    tools/write_case.py
EXTRA_DIST += tests/test_write_case.py
TESTS += tests/test_write_case.py

## Beside PyTorch (doc/performance.md).
EXTRA_DIST += tools/peer_layers.py tools/peer_shuffle.py

## On a machine with a GPU (doc/cuda.md).
EXTRA_DIST += tools/gpu_check.sh tools/gpu_peer.py

## Measures what comm.c chose: make tools/reduce_scatter_bench
EXTRA_PROGRAMS += tools/reduce_scatter_bench
tools_reduce_scatter_bench_LDADD =
CLEANFILES += $(EXTRA_PROGRAMS)
