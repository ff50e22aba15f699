/* checked_world.c: see checked_world.h. */
#include "checked_world.h"

#include <string.h>

void *allocate(pfc_backend *be, size_t bytes)
{
    void *p;
    ck_assert_int_eq(be->ops->alloc(be, bytes, &p), PFC_OK);
    return p;
}

pfc_view device_view(pfc_backend *be, int64_t rows, int64_t cols, int64_t ld)
{
    pfc_view v = { allocate(be, (size_t)(rows * ld) * pfc_dtype_size(be->ops->real)), be->ops->real, PFC_DEVICE, rows, cols, ld };
    return v;
}

void open_world(world *w, pfc_mode mode, int threads)
{
    pfc_options options = { .mode = mode, .backend = "checked", .threads = threads };
    char why[256];
    int64_t index[2] = { 3, 1 };
    memset(w, 0, sizeof *w);
    ck_assert_msg(pfc_backend_open(&options, &w->be, why, sizeof why) == PFC_OK, "%s", why);
    pfc_backend *inner = checked_of(w->be)->inner;
    w->fake = *inner->ops;
    inner->ops = &w->fake;
    w->a = device_view(w->be, ROWS, COLS, COLS), w->b = device_view(w->be, ROWS, COLS, COLS), w->wide = device_view(w->be, ROWS, COLS, COLS + 1);
    w->column = device_view(w->be, ROWS, 1, 1), w->other = device_view(w->be, ROWS, 1, 1);
    w->expo = allocate(w->be, ROWS * sizeof *w->expo);
    w->index = allocate(w->be, sizeof index);
    ck_assert_int_eq(w->be->ops->upload(w->be, w->index, index, sizeof index), PFC_OK);
    size_t bytes = ROWS * COLS * pfc_dtype_size(w->a.dtype);
    float narrow[ROWS * COLS];
    for (int i = 0; i < ROWS * COLS; i++) narrow[i] = (float)(w->host[i] = 1.0 + i);
    ck_assert_int_eq(w->be->ops->upload(w->be, w->a.data, mode == PFC_EXACT ? (void *)w->host : (void *)narrow, bytes), PFC_OK);
}

const char *close_world(world *w, bool release)
{
    static char why[256];
    void *const all[] = { w->a.data, w->b.data, w->wide.data, w->column.data, w->other.data, w->expo, w->index };
    for (size_t i = 0; release && i < sizeof all / sizeof *all; i++) w->be->ops->free(w->be, all[i]);
    why[0] = 0;
    pfc_status st = pfc_backend_finish(w->be, why, sizeof why);
    ck_assert_int_eq(st, why[0] ? PFC_ERR_RUNTIME : PFC_OK);
    return why;
}

pfc_status norms(world *w, pfc_rowset rows) { return w->be->ops->row_norms(w->be, rows, w->column, w->expo); }
pfc_rowset all_rows(pfc_view v) { return (pfc_rowset){ v, NULL, 0, v.rows }; }
pfc_status softmax(world *w) { return w->be->ops->softmax_rows(w->be, w->a, 1.0, w->column, w->other); }
