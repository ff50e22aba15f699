## Tests of group_gather and batch_norm.
EXTRA_DIST += \
    tests/cases/bn_plain_w2.h5 \
    tests/cases/bn_sub_eval_w2.h5 \
    tests/cases/bn_sub_w2.h5 \
    tests/cases/bn_sync_groups_w4.h5 \
    tests/cases/bn_sync_w2.h5 \
    tests/cases/gather_w4.h5 \
    tests/exact_v1_batch_norm.py \
    tests/tiny_cases_batch_norm.py
