/* train_network.h: glyphs and encoders, as all tasks that learn from images have them. */
#ifndef PFC_DRIVER_TRAIN_NETWORK_H
#define PFC_DRIVER_TRAIN_NETWORK_H

#include "driver/train_task.h"
#include "train/augment.h"
#include "train/glyphs.h"
#include "train/nearest.h"

#include <pfc/encoder.h>

/* For a task's list of tables. */
extern const pfc_param_spec pfc_settings_of_glyphs[], pfc_settings_of_encoder[];

/* The glyphs of --glyphs that the settings choose. */
typedef struct pfc_glyph_data {
    pfc_glyphs *glyphs;
    pfc_glyph_set *set; /* examples, classes, held-out queries */
    pfc_augment augment;
    const unsigned char **pixels; /* (b) */
} pfc_glyph_data;

/* Reads and chooses; settings.config.examples and num_classes become theirs. */
int pfc_glyph_data_open(pfc_train *t, pfc_glyph_data *d);
void pfc_glyph_data_close(pfc_glyph_data *d);
/* images (b, S*S) <- examples of this rank, as `view` of the epoch shows them. Agreed. */
int pfc_glyph_data_rows(pfc_train *t, pfc_glyph_data *d, const int64_t *examples, int view, float *images);
/* Facts: digest of the file and the settings. */
void pfc_glyph_data_items(const pfc_train *t, const pfc_glyph_data *d, pfc_items *items);

/* An encoder's configuration from the settings; its input is a glyph. Agreed. */
int pfc_encoder_config_of(pfc_train *t, const pfc_glyph_data *d, pfc_encoder_config *config);
/* Its tensors, named prefix.l.NAME; the settings are pfc_settings_items(&t->settings, pfc_settings_of_encoder, items). Local. */
pfc_status pfc_encoder_items_of(pfc_encoder *encoder, const char *prefix, pfc_items *items);

/* Tells for each held-out face how many glyphs are nearest to their own class: "FACE mean", the mean of the training faces' embeddings; and with centres of a
 * head "FACE W". */
int pfc_network_evaluate(pfc_train *t, const pfc_glyph_data *d, pfc_encoder *encoder, const pfc_centres *head);

#endif
