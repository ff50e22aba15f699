## Python files for users: a case from NumPy arrays, a glyph file into NumPy arrays; goldens in pytest, other formats of a port's results (doc/porting.md);
## checkpoints of training to and from insightface (doc/training.md).
toolsdir = $(pkgdatadir)/tools
dist_tools_SCRIPTS = \
    tools/glyphs.py \
    tools/insightface_checkpoint.py \
    tools/to_candidate.py \
    tools/write_case.py
dist_tools_DATA = tools/pfc_golden.py
tools_tests = \
    tests/test_insightface.py \
    tests/test_pfc_golden.py \
    tests/test_scale_model.py \
    tests/test_to_candidate.py \
    tests/test_train_scale.py \
    tests/test_write_case.py
EXTRA_DIST += $(tools_tests)
TESTS += $(tools_tests)

## Beside PyTorch (doc/performance.md).
EXTRA_DIST += tools/peer_common.py tools/peer_layers.py tools/peer_partial_fc.py tools/peer_shuffle.py tools/peer_torch.py

## Time and memory against ranks, classes and dimension; doc/scale.json is what was measured (doc/performance.md).
EXTRA_DIST += tools/scale_model.py doc/scale.json

## A training step's time and memory against classes and ranks, as a plot (doc/training.md).
EXTRA_DIST += tools/train_scale.py

## On a machine with a GPU (doc/cuda.md).
EXTRA_DIST += tools/gpu_check.sh tools/gpu_peer.py

## Measures what comm.c chose: make tools/reduce_scatter_bench
EXTRA_PROGRAMS += tools/reduce_scatter_bench
tools_reduce_scatter_bench_LDADD =
CLEANFILES += $(EXTRA_PROGRAMS)
