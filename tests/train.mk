## Training from features, checkpoints.
mpi_programs += \
    tests/test_augment \
    tests/test_checkpoint \
    tests/test_class_means \
    tests/test_glyph_data \
    tests/test_train
MPI_TESTS += \
    tests/test_augment-1.mpi \
    tests/test_checkpoint-1.mpi \
    tests/test_checkpoint-3.mpi \
    tests/test_checkpoint-5.mpi \
    tests/test_class_means-1.mpi \
    tests/test_class_means-3.mpi \
    tests/test_class_means-5.mpi \
    tests/test_glyph_data-1.mpi \
    tests/test_glyph_data-3.mpi \
    tests/test_train-1.mpi \
    tests/test_train-3.mpi \
    tests/test_train-4.mpi
SCRIPT_TESTS += \
    tests/driver_train.sh \
    tests/driver_train_damage.sh \
    tests/train_kills.sh
EXTRA_DIST += tests/fuzz/seeds/checkpoint.h5
