## Goldens of group_gather and batch_norm.
EXTRA_DIST += data/cases_batch_norm.py
dist_pkgdata_DATA += \
    data/bn_plain_cumulative_w5.h5 \
    data/bn_plain_eval_w2.h5 \
    data/bn_plain_vectors_w3.h5 \
    data/bn_plain_w1.h5 \
    data/bn_sub_aggregate_w2.h5 \
    data/bn_sub_w1.h5 \
    data/bn_sub_w8.h5 \
    data/bn_sync_groups_w4.h5 \
    data/bn_sync_large_mean_w2.h5 \
    data/bn_sync_machines_w8.h5 \
    data/bn_sync_one_value_w5.h5 \
    data/bn_sync_rows_count_w5.h5 \
    data/bn_sync_rows_equal_w3.h5 \
    data/bn_sync_w2.h5 \
    data/bn_sync_w3.h5 \
    data/bn_untracked_w2.h5 \
    data/gather_groups_w4.h5 \
    data/gather_machines_w8.h5 \
    data/gather_w2.h5 \
    data/gather_w3.h5
