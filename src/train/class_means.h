/* class_means.h (internal): how well embeddings tell held-out glyphs apart.
 *
 * Rank r embeds the glyphs of its own classes (pfc_shard_of), so class means need no exchange; they do not depend on the number of ranks if the embedding of an
 * image does not. */
#ifndef PFC_TRAIN_CLASS_MEANS_H
#define PFC_TRAIN_CLASS_MEANS_H

#include "train/glyphs.h"
#include "train/nearest.h"

/* embeddings (b, D) pfc_ctx_real <- of images (b, S*S) f32, value/255, in evaluation mode. Collective; b of each rank its own, 0 too. */
typedef pfc_status (*pfc_embed_fn)(void *user, pfc_view images, pfc_view embeddings);

/* means (C_r, D) pfc_ctx_real <- for every class of this rank the mean over its training glyphs of the embedding divided by its length. Rounds of up to
 * `batch` images a rank. Collective. Errors: those of embed; PFC_ERR_SHAPE; PFC_ERR_NOMEM. */
pfc_status pfc_class_means(pfc_ctx *ctx, const pfc_glyph_set *set, pfc_embed_fn embed, void *user, int64_t batch, pfc_view means);

/* right (count, held) <- how many queries of each held-out face, out of query_first[h + 1] - query_first[h] on all ranks, have their own class's centre
 * nearest; for each of `count` sets of centres, 1 or more. Collective. Errors: those of embed and pfc_nearest; PFC_ERR_NOMEM. */
pfc_status pfc_held_out_right(pfc_ctx *ctx, const pfc_glyph_set *set, pfc_embed_fn embed, void *user, int64_t batch, const pfc_centres *centres, int count,
                              int64_t *right);

#endif
