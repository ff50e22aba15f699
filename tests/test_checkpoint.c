/* test_checkpoint.c: checkpoints through the public interface: any number of ranks, lists that do not fit, damaged files. */
#include <config.h>

#include "pfc_test.h"

#include <pfc/pfc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 22, COLS = 3, UNIT = 2, LENGTH = 7, ITEMS = 8 };

/* Something of every kind; what a rank holds of it. */
typedef struct state {
    int64_t classes, step, flags[LENGTH];
    double rate;
    char word[PFC_ITEM_TEXT_SIZE];
    float table[LENGTH * COLS];
    double rows[ROWS * COLS];
    unsigned char bytes[ROWS / UNIT];
    int64_t first, count; /* rows of this rank */
    pfc_item items[ITEMS];
} state;

static const char *path(void) { return pfc_test_path("checkpoint"); }

static pfc_ctx *context(MPI_Comm comm) { return pfc_test_ctx(comm, (pfc_options){ .mode = PFC_EXACT }); }

static void describe(state *s, const pfc_ctx *ctx)
{
    pfc_shard classes = pfc_shard_of(ROWS / UNIT, pfc_ctx_ranks(ctx), pfc_ctx_rank(ctx));
    s->first = classes.start * UNIT;
    s->count = classes.count * UNIT;
    s->items[0] = pfc_item_int("classes", &s->classes, 1);
    s->items[1] = pfc_item_int("step", &s->step, 0);
    s->items[2] = pfc_item_real("rate", &s->rate, 1);
    s->items[3] = pfc_item_text("word", s->word, 0);
    s->items[4] = pfc_item_tensor("head.weight", s->rows, PFC_F64, ROWS, COLS, UNIT);
    s->items[5] = pfc_item_tensor("table", s->table, PFC_F32, LENGTH, COLS, 0);
    s->items[6] = pfc_item_tensor("flags", s->flags, PFC_I64, LENGTH, 0, 0);
    s->items[7] = pfc_item_tensor("bytes", s->bytes, PFC_U8, ROWS / UNIT, 0, 1);
}

/* Values that depend on the global place alone. */
static void fill(state *s, const pfc_ctx *ctx)
{
    memset(s, 0, sizeof *s);
    describe(s, ctx);
    s->classes = ROWS / UNIT;
    s->step = 77;
    s->rate = 0.1;
    strcpy(s->word, "polynomial");
    for (int i = 0; i < LENGTH * COLS; i++) s->table[i] = 0.5f * (float)i;
    for (int i = 0; i < LENGTH; i++) s->flags[i] = -i;
    for (int64_t i = 0; i < s->count * COLS; i++) s->rows[i] = pfc_uniform(5, s->first * COLS + i, 0, PFC_STREAM_FILL);
    for (int64_t i = 0; i < s->count / UNIT; i++) s->bytes[i] = (unsigned char)(200 + s->first / UNIT + i);
}

static void forget(state *s, const pfc_ctx *ctx)
{
    fill(s, ctx);
    s->step = 0;
    s->word[0] = 0;
    memset(s->table, 0xee, sizeof s->table);
    memset(s->flags, 0xee, sizeof s->flags);
    memset(s->rows, 0xee, sizeof s->rows);
    memset(s->bytes, 0xee, sizeof s->bytes);
}

static bool same(const state *a, const state *b)
{
    return a->step == b->step && strcmp(a->word, b->word) == 0 && memcmp(a->table, b->table, sizeof a->table) == 0 &&
           memcmp(a->flags, b->flags, sizeof a->flags) == 0 && memcmp(a->rows, b->rows, (size_t)a->count * COLS * sizeof(double)) == 0 &&
           memcmp(a->bytes, b->bytes, (size_t)(a->count / UNIT)) == 0;
}

static size_t read_file(const char *name, unsigned char *bytes, size_t most)
{
    FILE *f = fopen(name, "rb");
    size_t n = f ? fread(bytes, 1, most, f) : 0;
    if (f) fclose(f);
    return n;
}

static void write_file(const char *name, const unsigned char *bytes, size_t size)
{
    FILE *f = fopen(name, "wb");
    ck_assert(f && fwrite(bytes, 1, size, f) == size);
    fclose(f);
}

/* Written by all ranks, read by the first k of them, for every k; the bytes are those of a single rank's file. */
START_TEST(any_number_of_ranks)
{
    static unsigned char all[1 << 16], one[1 << 16];
    pfc_ctx *ctx = context(MPI_COMM_WORLD);
    state s, got;
    fill(&s, ctx);
    pfc_status st = pfc_checkpoint_write(ctx, path(), s.items, ITEMS);
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
    size_t size = read_file(path(), all, sizeof all);
    PFC_AGREE(MPI_COMM_WORLD, size > 1000 && size < sizeof all);
    for (int k = 1; k <= pfc_test_ranks(); k++) {
        MPI_Comm some;
        MPI_Comm_split(MPI_COMM_WORLD, pfc_test_rank() < k ? 0 : 1, 0, &some);
        bool good = true;
        if (pfc_test_rank() < k) {
            pfc_ctx *few = context(some);
            state want;
            fill(&want, few);
            forget(&got, few);
            good = pfc_checkpoint_read(few, path(), got.items, ITEMS) == PFC_OK && same(&got, &want);
            if (k == 1 && good) {
                char other[1200];
                snprintf(other, sizeof other, "%s.one", path());
                good =
                    pfc_checkpoint_write(few, other, want.items, ITEMS) == PFC_OK && read_file(other, one, sizeof one) == size && memcmp(one, all, size) == 0;
                unlink(other);
            }
            pfc_ctx_destroy(&few);
        }
        MPI_Comm_free(&some);
        PFC_AGREE(MPI_COMM_WORLD, good);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    if (pfc_test_rank() == 0) unlink(path());
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* Reads with a list that was changed; the text names both values, facts stay as they were. */
static void refused(pfc_ctx *ctx, const pfc_item *items, int count, const state *s, pfc_status want, const char *text)
{
    pfc_status st = pfc_checkpoint_read(ctx, path(), items, count);
    ck_assert_msg(st == want, "status %d instead of %d for '%s': %s", (int)st, (int)want, text, pfc_ctx_error(ctx));
    ck_assert_msg(strstr(pfc_ctx_error(ctx), text) != NULL, "'%s' is not in '%s'", text, pfc_ctx_error(ctx));
    ck_assert(want == PFC_ERR_ARG || strstr(pfc_ctx_error(ctx), path()) != NULL);
    ck_assert(s->step == 0 && s->word[0] == 0);
}

START_TEST(lists_that_do_not_fit)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD);
    state s;
    pfc_item more[ITEMS + 1];
    int64_t x = 3;
    fill(&s, ctx);
    ck_assert(pfc_checkpoint_write(ctx, path(), s.items, ITEMS) == PFC_OK);
    forget(&s, ctx);

    s.classes = 12;
    refused(ctx, s.items, ITEMS, &s, PFC_ERR_DATA, "/fact/classes: found 11, expected 12");
    s.classes = ROWS / UNIT;
    s.rate = 0.2;
    refused(ctx, s.items, ITEMS, &s, PFC_ERR_DATA, "/fact/rate: found 0.10000000000000001, expected 0.20000000000000001");
    s.rate = 0.1;
    s.items[4].cols = 4;
    refused(ctx, s.items, ITEMS, &s, PFC_ERR_DATA, "/state/head.weight: found (22,3), expected (22,4)");
    s.items[4].cols = COLS;
    s.items[4].rows = ROWS + UNIT;
    refused(ctx, s.items, ITEMS, &s, PFC_ERR_DATA, "/state/head.weight: found (22,3), expected (24,3)");
    s.items[4].rows = ROWS;
    s.items[4].unit = 1;
    refused(ctx, s.items, ITEMS, &s, PFC_ERR_DATA, "/state/head.weight: found 2, expected unit 1");
    s.items[4].unit = UNIT;
    s.items[5].dtype = PFC_F64;
    refused(ctx, s.items, ITEMS, &s, PFC_ERR_DATA, "/state/table: found f32, expected f64");
    s.items[5].dtype = PFC_F32;
    s.items[6].cols = 1;
    refused(ctx, s.items, ITEMS, &s, PFC_ERR_DATA, "/state/flags: found (7), expected (7,1)");
    s.items[6].cols = 0;
    s.items[1].kind = PFC_ITEM_REAL;
    refused(ctx, s.items, ITEMS, &s, PFC_ERR_DATA, "/fact/step: found 77, expected a real");
    s.items[1].kind = PFC_ITEM_INT;

    refused(ctx, s.items, ITEMS - 1, &s, PFC_ERR_DATA, "/state/bytes: found a tensor of that name, expected none");
    refused(ctx, s.items + 1, ITEMS - 1, &s, PFC_ERR_DATA, "/fact/classes: found a fact of that name, expected none");
    memcpy(more, s.items, sizeof s.items);
    more[ITEMS] = pfc_item_tensor("queue", s.rows, PFC_F64, 2, 2, 0);
    refused(ctx, more, ITEMS + 1, &s, PFC_ERR_DATA, "/state/queue: found nothing, expected f64 (2,2)");
    more[ITEMS] = pfc_item_int("epoch", &x, 1);
    refused(ctx, more, ITEMS + 1, &s, PFC_ERR_DATA, "/fact/epoch: found nothing, expected 3");

    more[ITEMS] = pfc_item_int("step", &x, 1);
    refused(ctx, more, ITEMS + 1, &s, PFC_ERR_ARG, "the same name twice");
    more[ITEMS] = pfc_item_int("a/b", &x, 1);
    refused(ctx, more, ITEMS + 1, &s, PFC_ERR_ARG, "a name that is not allowed");
    more[ITEMS] = pfc_item_tensor("odd", s.rows, PFC_F64, 3, 2, 2);
    refused(ctx, more, ITEMS + 1, &s, PFC_ERR_ARG, "rows that are no multiple of unit");
    x = pfc_test_rank();
    more[ITEMS] = pfc_item_int("mine", &x, 1);
    if (pfc_test_ranks() > 1) refused(ctx, more, ITEMS + 1, &s, PFC_ERR_ARG, "the ranks do not have the same items and facts");

    ck_assert(pfc_checkpoint_read(ctx, path(), s.items, ITEMS) == PFC_OK && s.step == 77);
    MPI_Barrier(MPI_COMM_WORLD);
    if (pfc_test_rank() == 0) unlink(path());
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* Cut files and flipped bytes: refused, or, where nobody looks at that byte, the state itself. On one rank. */
START_TEST(damage)
{
    static unsigned char whole[1 << 16], spoilt[1 << 16];
    enum { CUTS = 40, FLIPS = 600 };
    int refusals = 0, of_data = 0;
    if (pfc_test_rank() == 0) {
        pfc_ctx *ctx = context(MPI_COMM_SELF);
        char name[1200];
        state s, got;
        snprintf(name, sizeof name, "%s.damaged", path());
        fill(&s, ctx);
        ck_assert(pfc_checkpoint_write(ctx, name, s.items, ITEMS) == PFC_OK);
        size_t size = read_file(name, whole, sizeof whole);
        for (int i = 0; i < CUTS + FLIPS; i++) {
            uint32_t r[4], counter[4] = { (uint32_t)i }, key[2] = { 3, 0 };
            size_t length = i < CUTS ? (size_t)i * size / CUTS : size;
            pfc_philox4x32(counter, key, r);
            memcpy(spoilt, whole, size);
            if (i >= CUTS) spoilt[r[0] % size] ^= (unsigned char)(1u << r[1] % 8);
            write_file(name, spoilt, length);
            forget(&got, ctx);
            pfc_status st = pfc_checkpoint_read(ctx, name, got.items, ITEMS);
            ck_assert_msg(st == PFC_ERR_DATA || (i >= CUTS && st == PFC_OK && same(&got, &s)), "round %d: status %d: %s", i, (int)st, pfc_ctx_error(ctx));
            refusals += st != PFC_OK;
            of_data += st != PFC_OK && strstr(pfc_ctx_error(ctx), "it is damaged") != NULL;
        }
        unlink(name);
        pfc_ctx_destroy(&ctx);
    }
    MPI_Bcast(&refusals, 1, MPI_INT, 0, MPI_COMM_WORLD);
    MPI_Bcast(&of_data, 1, MPI_INT, 0, MPI_COMM_WORLD);
    ck_assert_msg(refusals > CUTS + 50 && of_data > 20, "%d refused, %d by a digest", refusals, of_data);
}
END_TEST

START_TEST(folders)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD);
    state s;
    char folder[1200], name[1300], found[1300];
    int64_t step = -1;
    snprintf(folder, sizeof folder, "%s.dir", path());
    ck_assert(pfc_checkpoint_latest(ctx, folder, found, sizeof found, &step) == PFC_ERR_DATA);
    fill(&s, ctx);
    for (int k = 1; k <= 5; k++) {
        s.step = 9 * k;
        ck_assert(pfc_checkpoint_save(ctx, folder, s.step, 2, s.items, ITEMS, name, sizeof name) == PFC_OK);
        if (k == 3 && pfc_test_rank() == 0) { /* as a killed run leaves it */
            char left[1400];
            snprintf(left, sizeof left, "%s.tmp-1-0", name);
            write_file(left, (const unsigned char *)"x", 1);
        }
        MPI_Barrier(MPI_COMM_WORLD);
    }
    ck_assert(pfc_checkpoint_latest(ctx, folder, found, sizeof found, &step) == PFC_OK && step == 45 && strcmp(found, name) == 0);
    ck_assert(pfc_checkpoint_latest(ctx, folder, found, strlen(name), &step) == PFC_ERR_ARG); /* no room for all of the path */
    snprintf(found, sizeof found, "%s", name);
    forget(&s, ctx);
    ck_assert(pfc_checkpoint_read(ctx, found, s.items, ITEMS) == PFC_OK && s.step == 45);
    MPI_Barrier(MPI_COMM_WORLD);
    int left = 0;
    for (int k = 1; k <= 5 && pfc_test_rank() == 0; k++) {
        snprintf(name, sizeof name, "%s/step-%012d.h5", folder, 9 * k);
        left += unlink(name) == 0;
    }
    MPI_Bcast(&left, 1, MPI_INT, 0, MPI_COMM_WORLD);
    int gone = pfc_test_rank() == 0 ? rmdir(folder) == 0 : 1; /* nothing else was in it */
    PFC_AGREE(MPI_COMM_WORLD, left == 2 && gone);
    ck_assert(pfc_checkpoint_write(ctx, "/proc/none/x.h5", s.items, ITEMS) == PFC_ERR_IO);
    pfc_ctx_destroy(&ctx);
}
END_TEST

#ifdef PFC_SANITIZE
/* HDF5 does not free all that it allocates for objects that it then cannot open: the damaged files. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }
#endif

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(any_number_of_ranks),
        PFC_ONCE(lists_that_do_not_fit),
        PFC_ONCE(damage),
        PFC_ONCE(folders),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
