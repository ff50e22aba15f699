/* test_checked.c: backend "checked" names every mistake of the two sides it stands between: operations of the inner backend that break the contract (a
 * fake takes their place), and algorithms that use the backend wrongly. Correct use, also from several lanes at a time, passes. */
#include "backend/checked/checked.h"
#include "pfc_test.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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

static void *allocate(pfc_backend *be, size_t bytes)
{
    void *p;
    ck_assert_int_eq(be->ops->alloc(be, bytes, &p), PFC_OK);
    return p;
}

static pfc_view device_view(pfc_backend *be, int64_t rows, int64_t cols, int64_t ld)
{
    pfc_view v = { allocate(be, (size_t)(rows * ld) * pfc_dtype_size(be->ops->real)), be->ops->real, PFC_DEVICE, rows, cols, ld };
    return v;
}

static void open_world(world *w, pfc_mode mode, int threads)
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

/* The text that closing gives. */
static const char *close_world(world *w, bool release)
{
    static char why[256];
    void *const all[] = { w->a.data, w->b.data, w->wide.data, w->column.data, w->other.data, w->expo, w->index };
    for (size_t i = 0; release && i < sizeof all / sizeof *all; i++) w->be->ops->free(w->be, all[i]);
    why[0] = 0;
    pfc_status st = pfc_backend_finish(w->be, why, sizeof why);
    ck_assert_int_eq(st, why[0] ? PFC_ERR_RUNTIME : PFC_OK);
    return why;
}

static pfc_status norms(world *w, pfc_rowset rows) { return w->be->ops->row_norms(w->be, rows, w->column, w->expo); }
static pfc_rowset all_rows(pfc_view v) { return (pfc_rowset){ v, NULL, 0, v.rows }; }
static pfc_status softmax(world *w) { return w->be->ops->softmax_rows(w->be, w->a, 1.0, w->column, w->other); }

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

START_TEST(leaks_are_named)
{
    world w;
    open_world(&w, PFC_FAST, 1);
    ck_assert_str_eq(close_world(&w, false), "checked: 7 buffers not freed; the first is allocation 1, of 48 bytes");
    open_world(&w, PFC_EXACT, 1);
    allocate(w.be, 5);
    ck_assert_str_eq(close_world(&w, true), "checked: 1 buffer not freed; the first is allocation 8, of 5 bytes");
    open_world(&w, PFC_EXACT, 1);
    w.be->ops->free(w.be, w.host);
    ck_assert_str_eq(close_world(&w, true), "checked: operation free: argument p is host memory");
}
END_TEST

/* How a process ends that touches the address itself. */
static int touch(volatile char *p, bool write)
{
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL);
        if (write)
            *p = 1;
        else
            (void)*p;
        _exit(0);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

START_TEST(host_access_ends_the_process)
{
    world w;
    char here = 0;
    open_world(&w, PFC_EXACT, 1);
    ck_assert_int_eq(touch(&here, true), 0);
    for (int write = 0; write < 2; write++) {
        int first = touch(w.a.data, write), behind = touch((char *)w.a.data + ROWS * COLS * 8, write);
        ck_assert_msg(WIFSIGNALED(first) && WTERMSIG(first) == SIGSEGV, "%s: status %d", write ? "write" : "read", first);
        ck_assert_msg(WIFSIGNALED(behind) && WTERMSIG(behind) == SIGSEGV, "%s behind the buffer: status %d", write ? "write" : "read", behind);
    }
    ck_assert_str_eq(close_world(&w, true), "");
}
END_TEST

/* ---- correct use ---- */

START_TEST(correct_use_passes)
{
    for (int mode = 0; mode < 2; mode++) {
        world w;
        open_world(&w, mode ? PFC_FAST : PFC_EXACT, 2);
        const pfc_ops *ops = w.be->ops;
        size_t size = pfc_dtype_size(w.a.dtype);
        pfc_view empty = w.a, left = w.wide, right = w.wide;
        empty.rows = 0;
        empty.data = (char *)empty.data + ROWS * COLS * size;
        left.cols = 2, right.cols = 2, right.data = (char *)right.data + 2 * size; /* side by side */
        ck_assert_int_eq(ops->place, PFC_DEVICE);
        ck_assert_ptr_eq(pfc_ops_missing(ops), NULL);
        ck_assert(!ops->row_sum == (mode == 1)); /* what the inner table lacks is not offered */
        w.column.rows = 0;
        ck_assert_msg(norms(&w, (pfc_rowset){ w.a, w.index, 0, 0 }) == PFC_OK, "%s", w.be->error);
        ck_assert_msg(norms(&w, all_rows(empty)) == PFC_OK, "%s", w.be->error);
        w.column.rows = ROWS;
        ck_assert_int_eq(norms(&w, all_rows(w.a)), PFC_OK);
        pfc_view narrow = w.a;
        narrow.cols = 2;
        ck_assert_msg(ops->normalise(w.be, narrow, w.column, left) == PFC_OK, "%s", w.be->error);
        ck_assert_msg(ops->normalise(w.be, left, w.column, right) == PFC_OK, "%s", w.be->error);
        ck_assert_msg(ops->normalise(w.be, w.a, w.column, w.a) == PFC_OK, "%s", w.be->error);
        pfc_view up = w.a, down = w.a;
        up.rows = down.rows = ROWS - 1, down.data = (char *)down.data + COLS * size;
        ck_assert_msg(ops->copy_rows(w.be, up, down) == PFC_OK, "%s", w.be->error); /* within a matrix, and to another */
        ck_assert_msg(ops->copy_rows(w.be, w.a, w.b) == PFC_OK, "%s", w.be->error);
        ck_assert_int_eq(ops->sync(w.be), PFC_OK);
        ck_assert_str_eq(close_world(&w, true), "");
    }
}
END_TEST

/* A NaN that was computed is not mistaken for one that was never written; new memory is NaN. */
START_TEST(nan_is_a_result)
{
    world w;
    open_world(&w, PFC_EXACT, 1);
    double back[ROWS * COLS], nan[ROWS * COLS];
    for (int i = 0; i < ROWS * COLS; i++) nan[i] = NAN;
    ck_assert_int_eq(w.be->ops->download(w.be, back, w.b.data, sizeof back), PFC_OK);
    for (int i = 0; i < ROWS * COLS; i++) ck_assert(isnan(back[i]) && pfc_checked_is_fill(&back[i], PFC_F64));
    ck_assert_int_eq(w.be->ops->upload(w.be, w.a.data, nan, sizeof nan), PFC_OK);
    ck_assert_msg(norms(&w, all_rows(w.a)) == PFC_OK, "%s", w.be->error);
    ck_assert_msg(softmax(&w) == PFC_OK, "%s", w.be->error);
    ck_assert_str_eq(close_world(&w, true), "");
}
END_TEST

enum { LANES = 16, TURNS = 50 };

typedef struct lanes_job {
    pfc_backend *be;
    pfc_view shared, result; /* a row of each per lane */
    int failed[LANES];
} lanes_job;

/* Every lane makes and frees memory and writes its row of a common matrix. */
static void lane_work(void *arg, int lane)
{
    lanes_job *j = arg;
    const pfc_ops *ops = j->be->ops;
    for (int turn = 0; turn < TURNS && !j->failed[lane]; turn++) {
        double row[COLS] = { lane + 1.0, turn + 1.0, 1.0 };
        void *norm = NULL;
        pfc_view mine = j->shared, out = j->result;
        mine.rows = out.rows = 1;
        mine.data = (double *)mine.data + lane * mine.ld, out.data = (double *)out.data + lane * out.ld;
        pfc_status st = ops->alloc(j->be, 8, &norm);
        pfc_view length = { norm, PFC_F64, PFC_DEVICE, 1, 1, 1 };
        if (st == PFC_OK) st = ops->upload(j->be, mine.data, row, sizeof row);
        if (st == PFC_OK) st = ops->upload(j->be, norm, row, 8);
        if (st == PFC_OK) st = ops->normalise(j->be, mine, length, out);
        if (st == PFC_OK) st = ops->download(j->be, row, out.data, sizeof row);
        j->failed[lane] = st != PFC_OK || row[0] != 1.0 || row[1] != (turn + 1.0) / (lane + 1.0);
        ops->free(j->be, norm);
    }
}

START_TEST(lanes_do_not_disturb_each_other)
{
    world w;
    open_world(&w, PFC_EXACT, 4);
    lanes_job job = { .be = w.be, .shared = device_view(w.be, LANES, COLS, COLS), .result = device_view(w.be, LANES, COLS, COLS) };
    w.be->ops->for_lanes(w.be, LANES, lane_work, &job);
    for (int i = 0; i < LANES; i++) ck_assert_msg(!job.failed[i], "lane %d: %s", i, w.be->error);
    w.be->ops->free(w.be, job.shared.data);
    w.be->ops->free(w.be, job.result.data);
    ck_assert_str_eq(close_world(&w, true), "");
}
END_TEST

static Suite *make(void)
{
    Suite *s = suite_create("checked");
    TCase *t;
#define ADD(name)            \
    t = tcase_create(#name); \
    tcase_add_test(t, name); \
    suite_add_tcase(s, t)
    ADD(mistakes_are_named);
    ADD(leaks_are_named);
    ADD(host_access_ends_the_process);
    ADD(correct_use_passes);
    ADD(nan_is_a_result);
    ADD(lanes_do_not_disturb_each_other);
    return s;
}

int main(int argc, char **argv) { return pfc_test_main(&argc, &argv, make); }
