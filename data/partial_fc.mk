## Goldens of partial_fc; data/README.md says how to make them.
EXTRA_DIST += data/cases_partial_fc.py
dist_pkgdata_DATA += \
    data/pfc_arc_fallback_easy.h5 \
    data/pfc_arc_fallback_linear.h5 \
    data/pfc_arc_straight.h5 \
    data/pfc_cos_clamp.h5 \
    data/pfc_few_classes.h5 \
    data/pfc_full_arc.h5 \
    data/pfc_full_circle.h5 \
    data/pfc_full_cos.h5 \
    data/pfc_full_linear.h5 \
    data/pfc_g_arc.h5 \
    data/pfc_g_circle.h5 \
    data/pfc_g_cos.h5 \
    data/pfc_g_linear.h5 \
    data/pfc_g_sampled.h5 \
    data/pfc_g_straight.h5 \
    data/pfc_glyphs.h5 \
    data/pfc_hard.h5 \
    data/pfc_kblock.h5 \
    data/pfc_lse.h5 \
    data/pfc_pole.h5 \
    data/pfc_sampled_global.h5 \
    data/pfc_sampled_global_keys.h5 \
    data/pfc_sampled_shard_w2.h5 \
    data/pfc_sampled_shard_w8.h5 \
    data/pfc_steps_dense_nesterov.h5 \
    data/pfc_steps_lazy.h5 \
    data/pfc_threshold.h5 \
    data/pfc_unowned_ignore.h5 \
    data/pfc_unowned_source.h5 \
    data/pfc_wide.h5
