## Goldens of sinkhorn, swav and lr_schedule.
EXTRA_DIST += data/cases_swav.py
dist_pkgdata_DATA += \
    data/lr_default.h5 \
    data/lr_no_warmup.h5 \
    data/sk_faint.h5 \
    data/sk_g.h5 \
    data/sk_log.h5 \
    data/sk_overflow_w2.h5 \
    data/sk_plain.h5 \
    data/sk_ties.h5 \
    data/sk_tiny.h5 \
    data/sk_v1.h5 \
    data/sk_v2.h5 \
    data/sk_v2_zero.h5 \
    data/sk_vissl.h5 \
    data/swav_carried_w3.h5 \
    data/swav_corners_w2.h5 \
    data/swav_empty_w8.h5 \
    data/swav_flag_w2.h5 \
    data/swav_stable_w5.h5 \
    data/swav_w1.h5 \
    data/swav_w2.h5
