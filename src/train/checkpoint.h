/* checkpoint.h (internal): what writing and reading share. */
#ifndef PFC_TRAIN_CHECKPOINT_H
#define PFC_TRAIN_CHECKPOINT_H

#include "core/ctx.h"
#include "file/h5.h"
#include "file/sha256.h"

#include <pfc/checkpoint.h>
#include <pfc/shard.h>

#define PFC_CHECKPOINT_FORMAT "pfc-checkpoint"

enum { PFC_CHECKPOINT_PATH = 1000 }; /* longest path */

/* "PATH: ITEM: text" into the context. item NULL: about the file. Local. */
pfc_status pfc_checkpoint_fail(pfc_ctx *ctx, pfc_status status, const char *path, const char *item, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Names, types, sizes; and that all ranks have the same list and facts. Collective. */
pfc_status pfc_checkpoint_check_items(pfc_ctx *ctx, const char *path, const pfc_item *items, int count);

/* "/state/head.weight". */
const char *pfc_item_path(const pfc_item *item, char text[PFC_ITEM_NAME + 8]);
/* "(20940,128)". */
const char *pfc_item_shape(const pfc_item *item, char text[48]);
/* This rank's rows. Local. */
pfc_shard pfc_item_rows(const pfc_ctx *ctx, const pfc_item *item);
size_t pfc_item_row_bytes(const pfc_item *item);

/* The digest of a tensor whose rows the ranks hold at data. Collective. */
pfc_status pfc_item_digest(pfc_ctx *ctx, const pfc_item *item, const void *data, char text[PFC_SHA256_TEXT]);

/* Rows [first, first + rows) of a dataset from or to memory, some at a time. False: HDF5 says why. Local. */
bool pfc_item_transfer(hid_t dataset, const pfc_item *item, pfc_shard rows, void *data, bool write);

#endif
