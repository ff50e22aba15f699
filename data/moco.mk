## Goldens of moco_shuffle and moco.
EXTRA_DIST += data/cases_moco.py
dist_pkgdata_DATA += \
    data/moco_corners_w2.h5 \
    data/moco_first_w3.h5 \
    data/moco_full_w4.h5 \
    data/moco_plain_w1.h5 \
    data/moco_plain_w2.h5 \
    data/moco_plain_w3.h5 \
    data/moco_plain_w8.h5 \
    data/moco_sharp_w2.h5 \
    data/moco_wrap_w5.h5 \
    data/shuffle_bits.h5 \
    data/shuffle_drawn.h5 \
    data/shuffle_given.h5
