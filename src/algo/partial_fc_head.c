/* partial_fc_head.c: constants of the margin heads, from the elementwise functions of exact-v1 (no libm). */
#include "algo/partial_fc.h"

#include "core/px.h"

pfc_head pfc_head_make(const pfc_partial_fc_config *cfg)
{
    pfc_head h = { .kind = cfg->head,
                   .arc_gradient = cfg->arc_gradient,
                   .arc_fallback = cfg->arc_fallback,
                   .cos_clamp = cfg->cos_clamp,
                   .scale = cfg->scale,
                   .margin = cfg->margin,
                   .threshold = cfg->interclass_threshold > 0.0 ? cfg->interclass_threshold : 0.0,
                   .normalised = cfg->head != PFC_HEAD_LINEAR };
    px_sincos(cfg->margin, &h.sin_m, &h.cos_m);
    h.mm = cfg->margin * h.sin_m;
    return h;
}
