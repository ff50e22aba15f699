/* test_checked.c: backend "checked" names every mistake of the two sides it stands between: operations of the inner backend that break the contract (a
 * fake takes their place), and algorithms that use the backend wrongly. */
#include "checked_world.h"

#include <stdio.h>
#include <string.h>

/* ---- operations that break the contract ---- */

static void fill_column(pfc_view v, int64_t count)
{
    for (int64_t i = 0; i < count; i++) ((double *)v.data)[i] = 1.0;
}

static pfc_status writes_input(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum)
{
    (void)be, (void)t;
    fill_column(max, ROWS);
    fill_column(sum, ROWS);
    ((double *)a.data)[1 * a.ld + 2] = 0.0;
    return PFC_OK;
}

static pfc_status leaves_one(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum)
{
    (void)be, (void)t, (void)a;
    fill_column(max, ROWS);
    fill_column(sum, ROWS - 1);
    return PFC_OK;
}

static pfc_status writes_behind(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum)
{
    (void)be, (void)t, (void)a;
    fill_column(max, ROWS + 1);
    fill_column(sum, ROWS);
    return PFC_OK;
}

static pfc_status writes_before(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum)
{
    (void)be, (void)t, (void)a;
    fill_column(max, ROWS);
    sum.data = (double *)sum.data - 1;
    fill_column(sum, ROWS + 1);
    return PFC_OK;
}

static pfc_status fails(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum)
{
    (void)a, (void)t, (void)max, (void)sum;
    snprintf(be->error, sizeof be->error, "the inner backend says no");
    return PFC_ERR_NOMEM;
}

static pfc_status ignores_ld(pfc_backend *be, pfc_view a, pfc_view norm, pfc_view out)
{
    (void)be, (void)a, (void)norm;
    for (int64_t i = 0; i < out.rows * out.cols; i++) ((double *)out.data)[i] = 1.0;
    return PFC_OK;
}

static pfc_status writes_slack(pfc_backend *be, pfc_view a, pfc_view norm, pfc_view out)
{
    (void)be, (void)a, (void)norm;
    for (int64_t i = 0; i < out.rows * out.ld; i++) ((double *)out.data)[i] = 1.0;
    return PFC_OK;
}

static pfc_status rounds_too_much(pfc_backend *be, pfc_view state)
{
    (void)be;
    ((double *)state.data)[state.rows * state.ld] = 0.0;
    return PFC_OK;
}

static pfc_status writes_row(pfc_backend *be, pfc_rowset a, pfc_view norm, int32_t *expo)
{
    (void)be;
    for (int64_t i = 0; i < a.count; i++) ((double *)norm.data)[i] = 1.0, expo[i] = 1;
    ((double *)a.base.data)[a.index[1] * a.base.ld] = 0.0;
    return PFC_OK;
}

static pfc_status writes_index(pfc_backend *be, pfc_rowset a, pfc_view norm, int32_t *expo)
{
    (void)be;
    for (int64_t i = 0; i < a.count; i++) ((double *)norm.data)[i] = 1.0, expo[i] = 1;
    ((int64_t *)(uintptr_t)a.index)[1] = 0;
    return PFC_OK;
}

static pfc_status no_expo(pfc_backend *be, pfc_rowset a, pfc_view norm, int32_t *expo)
{
    (void)be, (void)expo;
    for (int64_t i = 0; i < a.count; i++) ((double *)norm.data)[i] = 1.0;
    return PFC_OK;
}

static pfc_status no_prob(pfc_backend *be, const pfc_rows_info *rows, int64_t n_rows, double *prob)
{
    (void)be, (void)rows, (void)n_rows, (void)prob;
    return PFC_OK;
}

static pfc_status writes_max(pfc_backend *be, const pfc_rows_info *rows, int64_t n_rows, double *prob)
{
    (void)be;
    for (int64_t i = 0; i < n_rows; i++) prob[i] = 0.0;
    ((double *)rows->max.data)[3] = 0.0;
    return PFC_OK;
}

static pfc_status probabilities(world *w)
{
    unsigned char valid[ROWS] = { 1, 1, 1, 1 };
    int64_t target[ROWS] = { 0, 1, 2, 3 };
    double prob[ROWS];
    pfc_rows_info rows = { allocate(w->be, sizeof target), allocate(w->be, sizeof valid), w->other, w->column, w->other, 4.0 };
    pfc_status st = w->be->ops->upload(w->be, (void *)(uintptr_t)rows.target, target, sizeof target);
    if (st == PFC_OK) st = w->be->ops->upload(w->be, (void *)(uintptr_t)rows.valid, valid, sizeof valid);
    if (st == PFC_OK) st = w->be->ops->target_prob(w->be, &rows, ROWS, prob);
    w->be->ops->free(w->be, (void *)(uintptr_t)rows.target);
    w->be->ops->free(w->be, (void *)(uintptr_t)rows.valid);
    return st;
}

#define SOFTMAX(name)                            \
    static pfc_status operation_##name(world *w) \
    {                                            \
        w->fake.softmax_rows = name;             \
        return softmax(w);                       \
    }
SOFTMAX(writes_input)
SOFTMAX(leaves_one)
SOFTMAX(writes_behind)
SOFTMAX(writes_before)
SOFTMAX(fails)

static pfc_status operation_ignores_ld(world *w)
{
    w->fake.normalise = ignores_ld;
    return w->be->ops->normalise(w->be, w->a, w->column, w->wide);
}

static pfc_status operation_writes_slack(world *w)
{
    w->fake.normalise = writes_slack;
    return w->be->ops->normalise(w->be, w->a, w->column, w->wide);
}

static pfc_status operation_leaves_buffer(world *w)
{
    w->fake.round_state = rounds_too_much;
    return w->be->ops->round_state(w->be, w->a);
}

#define NORMS(name)                                            \
    static pfc_status operation_##name(world *w)               \
    {                                                          \
        w->fake.row_norms = name;                              \
        w->column.rows = 2;                                    \
        return norms(w, (pfc_rowset){ w->a, w->index, 0, 2 }); \
    }
NORMS(writes_row)
NORMS(writes_index)
NORMS(no_expo)

static pfc_status operation_no_prob(world *w)
{
    w->fake.target_prob = no_prob;
    return probabilities(w);
}

static pfc_status operation_writes_max(world *w)
{
    w->fake.target_prob = writes_max;
    return probabilities(w);
}

/* ---- algorithms that use the backend wrongly ---- */

static pfc_status use_host_view(world *w) { return norms(w, all_rows((pfc_view){ w->host, PFC_F64, PFC_DEVICE, ROWS, COLS, COLS })); }
static pfc_status use_null(world *w) { return norms(w, all_rows((pfc_view){ NULL, PFC_F64, PFC_DEVICE, ROWS, COLS, COLS })); }

static pfc_status use_wrong_place(world *w)
{
    w->a.place = PFC_HOST;
    return norms(w, all_rows(w->a));
}

static pfc_status use_after_free(world *w)
{
    pfc_view gone = device_view(w->be, ROWS, COLS, COLS);
    w->be->ops->free(w->be, gone.data);
    return norms(w, all_rows(gone));
}

static pfc_status use_unknown(world *w)
{
    pfc_view far = w->a;
    far.data = (char *)far.data + ((size_t)1 << 29);
    return norms(w, all_rows(far));
}

static pfc_status use_outside(world *w)
{
    pfc_view more = w->a;
    more.rows++;
    return norms(w, all_rows(more));
}

static pfc_status use_inside_but_too_long(world *w)
{
    pfc_view shifted = w->a;
    shifted.data = (double *)shifted.data + 1;
    return norms(w, all_rows(shifted));
}

static pfc_status use_short_ld(world *w)
{
    w->a.ld = COLS - 1;
    return norms(w, all_rows(w->a));
}

static pfc_status use_row_outside(world *w) { return norms(w, (pfc_rowset){ w->a, NULL, 1, ROWS }); }

static pfc_status use_overlap(world *w)
{
    pfc_view shifted = w->wide;
    shifted.data = (double *)shifted.data + 1;
    return w->be->ops->normalise(w->be, w->wide, w->column, shifted);
}

static pfc_status use_array_outside(world *w) { return w->be->ops->row_norms(w->be, all_rows(w->a), w->column, w->expo + 1); }
static pfc_status use_upload_from_device(world *w) { return w->be->ops->upload(w->be, w->a.data, w->b.data, 8); }
static pfc_status use_upload_to_host(world *w) { return w->be->ops->upload(w->be, w->host, w->host, 8); }
static pfc_status use_download_to_device(world *w) { return w->be->ops->download(w->be, w->a.data, w->b.data, 8); }
static pfc_status use_download_too_much(world *w) { return w->be->ops->download(w->be, w->host, w->column.data, ROWS * 8 + 1); }

static pfc_status use_free_twice(world *w)
{
    void *p = allocate(w->be, 8);
    w->be->ops->free(w->be, p);
    w->be->ops->free(w->be, p);
    return w->be->ops->sync(w->be);
}

static pfc_status use_free_inside(world *w)
{
    w->be->ops->free(w->be, (double *)w->a.data + 1);
    return softmax(w);
}

static pfc_status use_free_host(world *w)
{
    void *p;
    w->be->ops->free(w->be, w->host);
    return w->be->ops->alloc(w->be, 8, &p);
}

typedef struct mistake {
    const char *name;
    pfc_status (*make)(world *w);
    const char *text;
} mistake;

#define OPERATION(name) #name, operation_##name
#define USE(name) "use " #name, use_##name
static const mistake mistakes[] = {
    { OPERATION(writes_input), "checked: operation softmax_rows: argument a was changed: row 1, column 2" },
    { OPERATION(leaves_one), "checked: operation softmax_rows: argument sum was not written: row 3, column 0; 1 elements in all" },
    { OPERATION(writes_behind), "checked: operation softmax_rows: argument max was written outside: 4 elements from its start" },
    { OPERATION(writes_before), "checked: operation softmax_rows: argument sum was written outside: -1 elements from its start" },
    { OPERATION(fails), "the inner backend says no" },
    { OPERATION(ignores_ld), "checked: operation normalise: argument out was not written: row 3, column 0; 3 elements in all" },
    { OPERATION(writes_slack), "checked: operation normalise: argument out was written outside: 3 elements from its start" },
    { OPERATION(leaves_buffer), "checked: operation round_state: argument state lies in a buffer of 96 bytes whose byte 96 was overwritten" },
    { OPERATION(writes_row), "checked: operation row_norms: argument a was changed: row 1, column 0" },
    { OPERATION(writes_index), "checked: operation row_norms: argument index was changed: row 0, column 1" },
    { OPERATION(no_expo), "checked: operation row_norms: argument expo was not written: row 0, column 0; 2 elements in all" },
    { OPERATION(no_prob), "checked: operation target_prob: argument prob was not written: row 0, column 0; 4 elements in all" },
    { OPERATION(writes_max), "checked: operation target_prob: argument rows->max was changed: row 3, column 0" },
    { USE(host_view), "checked: operation row_norms: argument a is host memory" },
    { USE(null), "checked: operation row_norms: argument a is NULL" },
    { USE(wrong_place), "checked: operation row_norms: argument a is called host memory, but is device memory" },
    { USE(after_free), "checked: operation row_norms: argument a was freed before" },
    { USE(unknown), "checked: operation row_norms: argument a was never allocated" },
    { USE(outside), "checked: operation row_norms: argument a is outside its buffer of 96 bytes by 24 bytes" },
    { USE(inside_but_too_long), "checked: operation row_norms: argument a is outside its buffer of 96 bytes by 8 bytes" },
    { USE(short_ld), "checked: operation row_norms: argument a has shape (4,3) and ld 2" },
    { USE(row_outside), "checked: operation row_norms: argument a takes row 4 of 4" },
    { USE(overlap), "checked: operation normalise: argument out overlaps argument a" },
    { USE(array_outside), "checked: operation row_norms: argument expo is outside its buffer of 16 bytes by 4 bytes" },
    { USE(upload_from_device), "checked: operation upload: argument host is device memory, expected host memory" },
    { USE(upload_to_host), "checked: operation upload: argument dst is host memory" },
    { USE(download_to_device), "checked: operation download: argument host is device memory, expected host memory" },
    { USE(download_too_much), "checked: operation download: argument src is outside its buffer of 32 bytes by 1 bytes" },
    { USE(free_twice), "checked: operation free: argument p was freed before" },
    { USE(free_inside), "checked: operation free: argument p is 8 bytes inside a buffer" },
    { USE(free_host), "checked: operation free: argument p is host memory" },
};
enum { MISTAKES = sizeof mistakes / sizeof *mistakes };

START_TEST(mistakes_are_named)
{
    for (int i = 0; i < MISTAKES; i++) {
        const mistake *m = &mistakes[i];
        world w;
        open_world(&w, PFC_EXACT, 1);
        ck_assert_msg(norms(&w, all_rows(w.a)) == PFC_OK && softmax(&w) == PFC_OK, "%s: before: %s", m->name, w.be->error);
        pfc_status st = m->make(&w);
        ck_assert_msg(st == (m->make == operation_fails ? PFC_ERR_NOMEM : PFC_ERR_RUNTIME), "%s: status %d", m->name, (int)st);
        ck_assert_msg(strcmp(w.be->error, m->text) == 0, "%s: found '%s', expected '%s'", m->name, w.be->error, m->text);
        close_world(&w, true);
    }
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(mistakes_are_named),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
