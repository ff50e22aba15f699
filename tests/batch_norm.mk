## Tests of group_gather and batch_norm.
EXTRA_DIST += \
    tests/cases/bn_plain_w2.h5 \
    tests/cases/bn_sub_eval_w2.h5 \
    tests/cases/bn_sub_w2.h5 \
    tests/cases/bn_sync_groups_w4.h5 \
    tests/cases/bn_sync_w2.h5 \
    tests/cases/gather_w4.h5 \
    tests/exact_v1_batch_norm.py \
    tests/peer_torch_batch_norm.py \
    tests/tiny_cases_batch_norm.py
mpi_programs += tests/test_batch_norm
MPI_TESTS += \
    tests/test_batch_norm-1.mpi \
    tests/test_batch_norm-2.mpi \
    tests/test_batch_norm-3.mpi \
    tests/test_batch_norm-5.mpi \
    tests/test_batch_norm-8.mpi
