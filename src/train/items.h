/* items.h (internal): a list of checkpoint items that owns what its items point to. Local. */
#ifndef PFC_TRAIN_ITEMS_H
#define PFC_TRAIN_ITEMS_H

#include "core/ctx.h"

#include <pfc/checkpoint.h>

typedef struct pfc_items { /* begins as zeros */
    pfc_item *list;
    int count;
    void **blocks; /* freed with the list */
    int block_count;
    bool incomplete; /* out of memory: something is missing */
} pfc_items;

void pfc_items_add(pfc_items *items, pfc_item item);
/* Zeros that live as long as the list. NULL: incomplete. */
void *pfc_items_memory(pfc_items *items, size_t bytes);
/* Fixed facts with copies of these values. name is not copied. */
void pfc_items_int(pfc_items *items, const char *name, int64_t value);
void pfc_items_real(pfc_items *items, const char *name, double value);
void pfc_items_text(pfc_items *items, const char *name, const char *value);
/* Word `index` of "a|b|c" (core/words.h). */
void pfc_items_word(pfc_items *items, const char *name, const char *words, int index);
/* A tensor with memory of its own for rows_here rows, zeros; NULL: incomplete. */
void *pfc_items_tensor(pfc_items *items, const char *name, pfc_dtype dtype, int64_t rows, int64_t cols, int64_t unit, int64_t rows_here);
/* What an item of the list points to; NULL: there is none. */
void *pfc_items_data(const pfc_items *items, const char *name, bool tensor);
/* PFC_ERR_NOMEM if something is missing. */
pfc_status pfc_items_check(pfc_ctx *ctx, const pfc_items *items);
void pfc_items_free(pfc_items *items);

#endif
