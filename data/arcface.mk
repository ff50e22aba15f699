## Goldens of arcface_head and adaptive_margins.
EXTRA_DIST += data/cases_arcface.py
dist_pkgdata_DATA += \
    data/arc_bias.h5 \
    data/arc_class_weight.h5 \
    data/arc_duplicate.h5 \
    data/arc_easy.h5 \
    data/arc_eval.h5 \
    data/arc_k3_margins.h5 \
    data/arc_linear_branch.h5 \
    data/arc_no_norm.h5 \
    data/arc_no_norm_clamp.h5 \
    data/arc_plain.h5 \
    data/arc_pole.h5 \
    data/arc_soft.h5 \
    data/arc_wide.h5 \
    data/margins_equal.h5 \
    data/margins_equal_min.h5 \
    data/margins_golden.h5 \
    data/margins_power.h5
