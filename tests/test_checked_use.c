/* test_checked_use.c: backend "checked" names leaks and lets nobody touch its memory from outside; correct use, also from several lanes at a time, passes. */
#include "checked_world.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(leaks_are_named), PFC_ONCE(host_access_ends_the_process),    PFC_ONCE(correct_use_passes),
        PFC_ONCE(nan_is_a_result), PFC_ONCE(lanes_do_not_disturb_each_other),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
