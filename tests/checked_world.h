/* checked_world.h: the checked backend over a cpu backend whose operations a test may replace, with some matrices in it. */
#ifndef CHECKED_WORLD_H
#define CHECKED_WORLD_H

#include "backend/checked/checked.h"
#include "pfc_test.h"

enum { ROWS = 4, COLS = 3 };

/* A backend and some matrices in it: a, b (ROWS, COLS), column, other (ROWS,1), expo, index; `wide` has one element of slack behind every row. */
typedef struct world {
    pfc_backend *be;
    pfc_ops fake; /* of the inner backend */
    pfc_view a, b, wide, column, other;
    int32_t *expo;
    int64_t *index;
    double host[ROWS * COLS];
} world;

/* Memory of the backend or a failed assertion. */
void *allocate(pfc_backend *be, size_t bytes);
pfc_view device_view(pfc_backend *be, int64_t rows, int64_t cols, int64_t ld);

/* a holds 1, 2, ... , index holds 3, 1. */
void open_world(world *w, pfc_mode mode, int threads);
/* Frees the matrices if `release`; the text that closing gives. */
const char *close_world(world *w, bool release);

/* row_norms into column and expo; softmax_rows of a into column and other. */
pfc_status norms(world *w, pfc_rowset rows);
pfc_rowset all_rows(pfc_view v);
pfc_status softmax(world *w);

#endif
