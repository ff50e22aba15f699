## Small programs against the public headers alone; `make check` runs each on 1 and 3 ranks. A new one: NAME.c here and five lines below.
if PFC_SANITIZE
example_extra = tests/sanitize_dlclose.c
endif
example_libs = libpfc.la $(HDF5_LIBS) $(SHA_LIBS) $(OPENBLAS_LIBS)
examplesdir = $(docdir)/examples
dist_examples_DATA = examples/torch_port.py

dist_examples_DATA += examples/partial_fc.c
check_PROGRAMS += examples/partial_fc
examples_partial_fc_SOURCES = examples/partial_fc.c $(example_extra)
examples_partial_fc_LDADD = $(example_libs)
MPI_TESTS += examples/partial_fc-1.mpi examples/partial_fc-3.mpi

dist_examples_DATA += examples/arcface_head.c
check_PROGRAMS += examples/arcface_head
examples_arcface_head_SOURCES = examples/arcface_head.c $(example_extra)
examples_arcface_head_LDADD = $(example_libs)
MPI_TESTS += examples/arcface_head-1.mpi examples/arcface_head-3.mpi

dist_examples_DATA += examples/moco.c
check_PROGRAMS += examples/moco
examples_moco_SOURCES = examples/moco.c $(example_extra)
examples_moco_LDADD = $(example_libs)
MPI_TESTS += examples/moco-1.mpi examples/moco-3.mpi

dist_examples_DATA += examples/swav.c
check_PROGRAMS += examples/swav
examples_swav_SOURCES = examples/swav.c $(example_extra)
examples_swav_LDADD = $(example_libs)
MPI_TESTS += examples/swav-1.mpi examples/swav-3.mpi

dist_examples_DATA += examples/batch_norm.c
check_PROGRAMS += examples/batch_norm
examples_batch_norm_SOURCES = examples/batch_norm.c $(example_extra)
examples_batch_norm_LDADD = $(example_libs)
MPI_TESTS += examples/batch_norm-1.mpi examples/batch_norm-3.mpi

dist_examples_DATA += examples/train_features.c
check_PROGRAMS += examples/train_features
examples_train_features_SOURCES = examples/train_features.c $(example_extra)
examples_train_features_LDADD = $(example_libs)
MPI_TESTS += examples/train_features-1.mpi examples/train_features-3.mpi

dist_examples_DATA += examples/train_encoder.c
check_PROGRAMS += examples/train_encoder
examples_train_encoder_SOURCES = examples/train_encoder.c $(example_extra)
examples_train_encoder_LDADD = $(example_libs)
MPI_TESTS += examples/train_encoder-1.mpi examples/train_encoder-3.mpi
