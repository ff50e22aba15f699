/* items.c: a list of checkpoint items with the memory that they point to. */
#include "train/items.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pfc_items_add(pfc_items *items, pfc_item item)
{
    pfc_item *longer = realloc(items->list, ((size_t)items->count + 1) * sizeof *longer);
    if (longer) items->list = longer;
    if (longer)
        items->list[items->count++] = item;
    else
        items->incomplete = true;
}

void *pfc_items_memory(pfc_items *items, size_t bytes)
{
    void **longer = realloc(items->blocks, ((size_t)items->block_count + 1) * sizeof *longer);
    if (longer) items->blocks = longer;
    void *block = longer ? calloc(bytes + 1, 1) : NULL;
    if (block)
        items->blocks[items->block_count++] = block;
    else
        items->incomplete = true;
    return block;
}

void pfc_items_int(pfc_items *items, const char *name, int64_t value)
{
    int64_t *copy = pfc_items_memory(items, sizeof *copy);
    if (!copy) return;
    *copy = value;
    pfc_items_add(items, pfc_item_int(name, copy, 1));
}

void pfc_items_real(pfc_items *items, const char *name, double value)
{
    double *copy = pfc_items_memory(items, sizeof *copy);
    if (!copy) return;
    *copy = value;
    pfc_items_add(items, pfc_item_real(name, copy, 1));
}

void pfc_items_text(pfc_items *items, const char *name, const char *value)
{
    char *copy = pfc_items_memory(items, PFC_ITEM_TEXT_SIZE);
    if (!copy) return;
    snprintf(copy, PFC_ITEM_TEXT_SIZE, "%s", value);
    pfc_items_add(items, pfc_item_text(name, copy, 1));
}

void pfc_items_word(pfc_items *items, const char *name, const char *words, int index)
{
    char word[PFC_ITEM_TEXT_SIZE];
    for (; index > 0; index--) words = strchr(words, '|') + 1;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(words, "|"), words);
    pfc_items_text(items, name, word);
}

void *pfc_items_tensor(pfc_items *items, const char *name, pfc_dtype dtype, int64_t rows, int64_t cols, int64_t unit, int64_t rows_here)
{
    void *data = pfc_items_memory(items, (size_t)(rows_here * (cols ? cols : 1)) * pfc_dtype_size(dtype));
    if (data) pfc_items_add(items, pfc_item_tensor(name, data, dtype, rows, cols, unit));
    return data;
}

void *pfc_items_data(const pfc_items *items, const char *name, bool tensor)
{
    for (int i = 0; i < items->count; i++)
        if ((items->list[i].kind == PFC_ITEM_TENSOR) == tensor && strcmp(items->list[i].name, name) == 0) return items->list[i].data;
    return NULL;
}

pfc_status pfc_items_check(pfc_ctx *ctx, const pfc_items *items) { return items->incomplete ? pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory") : PFC_OK; }

void pfc_items_free(pfc_items *items)
{
    for (int i = 0; i < items->block_count; i++) free(items->blocks[i]);
    free(items->blocks);
    free(items->list);
    *items = (pfc_items){ 0 };
}
