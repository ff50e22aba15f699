## Training from features, checkpoints.
mpi_programs += \
    tests/test_augment \
    tests/test_checkpoint \
    tests/test_class_means \
    tests/test_encoder \
    tests/test_encoder_state \
    tests/test_glyph_data \
    tests/test_train \
    tests/test_train_swav
MPI_TESTS += \
    tests/test_augment-1.mpi \
    tests/test_checkpoint-1.mpi \
    tests/test_checkpoint-3.mpi \
    tests/test_checkpoint-5.mpi \
    tests/test_encoder-1.mpi \
    tests/test_encoder-2.mpi \
    tests/test_encoder-3.mpi \
    tests/test_encoder-4.mpi \
    tests/test_encoder-5.mpi \
    tests/test_encoder-8.mpi \
    tests/test_encoder_state-1.mpi \
    tests/test_encoder_state-3.mpi \
    tests/test_encoder_state-4.mpi \
    tests/test_class_means-1.mpi \
    tests/test_class_means-3.mpi \
    tests/test_class_means-5.mpi \
    tests/test_glyph_data-1.mpi \
    tests/test_glyph_data-3.mpi \
    tests/test_train-1.mpi \
    tests/test_train-3.mpi \
    tests/test_train-4.mpi \
    tests/test_train_swav-1.mpi \
    tests/test_train_swav-3.mpi \
    tests/test_train_swav-5.mpi
## What tests/peer_encoder.sh runs.
check_PROGRAMS += tests/encoder_steps
encoder_problem = tests/encoder_problem.c tests/encoder_problem.h tests/dense_encoder.h
tests_test_encoder_SOURCES = tests/test_encoder.c tests/dense_encoder.c $(encoder_problem)
tests_test_encoder_state_SOURCES = tests/test_encoder_state.c $(encoder_problem)
SCRIPT_TESTS += \
    tests/driver_train.sh \
    tests/driver_train_damage.sh \
    tests/driver_train_glyphs.sh \
    tests/driver_train_moco.sh \
    tests/driver_train_swav.sh \
    tests/peer_encoder.sh \
    tests/peer_train.sh \
    tests/train_kills.sh
EXTRA_DIST += tests/fuzz/seeds/checkpoint.h5 tests/peer_encoder_steps.py tests/peer_moco_steps.py tests/peer_swav_steps.py
