/* test_comm.c: the collectives, over the world, over halves of it, and over one rank. */
#include "backend/backend.h"
#include "comm/comm.h"
#include "pfc_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static MPI_Comm groups[3];

static void with_each(void (*test)(pfc_comm *))
{
    groups[0] = MPI_COMM_WORLD;
    groups[2] = MPI_COMM_SELF;
    MPI_Comm_split(MPI_COMM_WORLD, pfc_test_rank() % 2, pfc_test_rank(), &groups[1]);
    for (int i = 0; i < 3; i++) {
        pfc_comm comm;
        PFC_AGREE(MPI_COMM_WORLD, pfc_comm_open(&comm, groups[i]) == PFC_OK);
        test(&comm);
        pfc_comm_close(&comm);
    }
    MPI_Comm_free(&groups[1]);
}

static void maximum(pfc_comm *c)
{
    double last = c->ranks - 1;
    double x[4] = { c->rank, c->rank == 0 ? (double)NAN : 5.0, -0.0, -INFINITY };
    float y[2] = { (float)-c->rank, c->rank == c->ranks - 1 ? NAN : 1.0f };
    int32_t e[2] = { -900 + c->rank, 3 };
    bool ok = pfc_comm_max(c, x, 4, PFC_F64) == PFC_OK && pfc_comm_max(c, y, 2, PFC_F32) == PFC_OK && pfc_comm_max(c, e, 2, PFC_I32) == PFC_OK;
    PFC_AGREE(MPI_COMM_WORLD, ok && x[0] == last && isnan(x[1]) && x[3] == -INFINITY && y[0] == 0.0f && isnan(y[1]) && e[0] == -900 + (int)last);
    PFC_AGREE(MPI_COMM_WORLD, c->ranks == 1 || !signbit(x[2])); /* one value on every rank */
}

/* Numbers for which the order of summation shows. */
static double term(int rank, int i) { return ldexp(1.0 + 0.37 * rank + 0.11 * i, (rank * 7 + i * 5) % 60); }

static void sums(pfc_comm *c)
{
    enum { N = 33 };
    double x[N];
    int64_t k[N];
    for (int i = 0; i < N; i++) x[i] = term(c->rank, i), k[i] = ((int64_t)1 << 50) * (c->rank + 1) + i;
    bool ok = pfc_comm_sum(c, x, N, PFC_F64) == PFC_OK && pfc_comm_sum(c, k, N, PFC_I64) == PFC_OK;
    for (int i = 0; ok && i < N; i++) {
        double want = term(0, i);
        for (int r = 1; r < c->ranks; r++) want += term(r, i);
        ok = x[i] == want && k[i] == ((int64_t)1 << 50) * c->ranks * (c->ranks + 1) / 2 + (int64_t)i * c->ranks;
    }
    PFC_AGREE(MPI_COMM_WORLD, ok);
}

/* Long enough to be added in parts, which do not divide evenly. */
static void long_sums(pfc_comm *c)
{
    const int64_t n = 70001;
    double *x = malloc((size_t)(n + 1) * sizeof *x);
    for (int64_t i = 0; x && i < n; i++) x[i] = term(c->rank, (int)(i % 1009));
    if (x) x[n] = -7.0;
    bool ok = pfc_comm_sum(c, x, n, PFC_F64) == PFC_OK;
    for (int64_t i = 0; ok && i < n; i++) {
        double want = term(0, (int)(i % 1009));
        for (int r = 1; r < c->ranks; r++) want += term(r, (int)(i % 1009));
        ok = x[i] == want;
    }
    PFC_AGREE(MPI_COMM_WORLD, ok && x[n] == -7.0);
    free(x);
}

/* Longer than one message of a reduction. */
static void long_maxima(pfc_comm *c)
{
    const int64_t n = (1 << 24) + 3;
    int32_t *x = c->ranks == 2 ? malloc((size_t)n * sizeof *x) : NULL; /* 64 MiB */
    for (int64_t i = 0; x && i < n; i++) x[i] = (int32_t)(i % 1009) * (c->rank ? 1 : -1);
    bool ok = c->ranks != 2 || (x && pfc_comm_max(c, x, n, PFC_I32) == PFC_OK);
    for (int64_t i = 0; x && ok && i < n; i++) ok = x[i] == i % 1009;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    free(x);
}

static void scattered_sums(pfc_comm *c)
{
    enum { N = 5 };
    double *x = malloc(sizeof *x * N * (size_t)c->ranks);
    int64_t *k = malloc(sizeof *k * N * (size_t)c->ranks);
    bool ok = x && k;
    for (int i = 0; ok && i < N * c->ranks; i++) x[i] = term(c->rank, i), k[i] = 1000 * c->rank + i;
    ok = ok && pfc_comm_reduce_scatter(c, x, N, PFC_F64) == PFC_OK && pfc_comm_reduce_scatter(c, k, N, PFC_I64) == PFC_OK;
    for (int i = 0; ok && i < N; i++) {
        int at = c->rank * N + i;
        double want = term(0, at);
        for (int r = 1; r < c->ranks; r++) want += term(r, at);
        ok = x[i] == want && k[i] == 500 * c->ranks * (c->ranks - 1) + (int64_t)at * c->ranks;
    }
    PFC_AGREE(MPI_COMM_WORLD, ok);
    free(x);
    free(k);
}

static void gathers(pfc_comm *c)
{
    int64_t mine[2] = { c->rank, -c->rank }, root = 40 + c->rank, *all = calloc((size_t)c->ranks * 4, sizeof *all), *late = all + 2 * c->ranks;
    pfc_comm_request request;
    bool ok = all && pfc_comm_allgather(c, mine, 2, PFC_I64, all) == PFC_OK && pfc_comm_allgather_start(c, mine, 2, PFC_I64, late, &request) == PFC_OK &&
              pfc_comm_wait(c, &request) == PFC_OK && pfc_comm_broadcast(c, &root, 1, PFC_I64, c->ranks - 1) == PFC_OK;
    for (int r = 0; ok && r < c->ranks; r++) ok = all[2 * r] == r && all[2 * r + 1] == -r;
    PFC_AGREE(MPI_COMM_WORLD, ok && memcmp(all, late, sizeof *all * 2 * (size_t)c->ranks) == 0 && root == 40 + c->ranks - 1);
    free(all);
}

static void first_failures(pfc_comm *c)
{
    char text[32];
    snprintf(text, sizeof text, "rank %d", c->rank);
    int status = 0;
    PFC_AGREE(MPI_COMM_WORLD, pfc_comm_first_failure(c, &status, text, sizeof text) == PFC_OK && status == 0);
    status = c->rank >= c->ranks / 2 ? -10 - c->rank : 0;
    bool ok = pfc_comm_first_failure(c, &status, text, sizeof text) == PFC_OK;
    char want[32];
    snprintf(want, sizeof want, "rank %d", c->ranks / 2);
    PFC_AGREE(MPI_COMM_WORLD, ok && status == -10 - c->ranks / 2 && strcmp(text, want) == 0);
}

/* Marks of one rank reach the rows' owners, and differing ones become NaN. */
static void marks(pfc_comm *c)
{
    int64_t rows = 2 * c->ranks, data[64] = { 0 };
    int32_t expo[32];
    for (int i = 0; i < rows; i++) data[i] = c->rank + i, expo[i] = i;
    pfc_acc acc = { .rows = rows, .cols = 1, .words = 1, .wire = PFC_I64, .data = data, .expo = expo };
    if (c->rank == c->ranks - 1) {
        acc.special = calloc((size_t)rows, 1);
        if (acc.special) acc.special[1] = 2;
    }
    if (c->rank == 0 && c->ranks > 1) {
        acc.special = calloc((size_t)rows, 1);
        if (acc.special) acc.special[1] = 1;
    }
    bool ok = pfc_comm_reduce_scatter_acc(c, NULL, &acc) == PFC_OK && acc.special;
    int64_t first = 2 * c->rank, base = c->ranks * (c->ranks - 1) / 2;
    ok = ok && data[0] == base + first * c->ranks && data[1] == base + (first + 1) * c->ranks && expo[0] == first && expo[1] == first + 1;
    int want = c->rank > 0 ? 0 : c->ranks > 1 ? 3 : 2;
    PFC_AGREE(MPI_COMM_WORLD, ok && acc.special[1] == want && acc.special[0] == 0);
    free(acc.special);
}

/* ---- an observer ---- */

typedef struct seen {
    char text[200];  /* "G1>4" a gather begins with 1 element, "<" it ends */
    int64_t numbers; /* of the in and out values, summed */
    int ranks;       /* of the last communicator */
} seen;

static void look(void *user, const pfc_comm *comm, const pfc_comm_call *call, bool after)
{
    static const char letters[] = "GMSRABEH";
    seen *s = user;
    size_t n = strlen(s->text);
    int64_t count = after ? call->recv : call->send;
    const int64_t *x = after ? call->out : call->in;
    snprintf(s->text + n, sizeof s->text - n, "%c%lld%c ", letters[call->op], (long long)count, after ? '<' : '>');
    for (int64_t i = 0; call->dtype == PFC_I64 && i < count; i++) s->numbers += x[i];
    s->ranks = comm->ranks;
}

/* Each collective once, before and after, with its own amounts; what happens inside a long sum is not told, nor is agreeing; a gather in two halves may have
 * others in between. */
static void observed(pfc_comm *c)
{
    enum { LONG = 70001 };
    seen s = { .ranks = 0 };
    pfc_comm_observer observer = { .look = look, .user = &s };
    int64_t mine = 3, all[8] = { 0 }, x[8] = { 1, 1, 1, 1, 1, 1, 1, 1 }, P = c->ranks;
    double *sum = calloc(LONG, sizeof *sum);
    pfc_comm_request request = { .open = false };
    pfc_comm half;
    char want[200], text[8] = "";
    int status = 0;
    c->observer = &observer;
    bool ok = sum && pfc_comm_allgather_start(c, &mine, 1, PFC_I64, all, &request) == PFC_OK;
    ok = ok && pfc_comm_max(c, x, 2, PFC_I64) == PFC_OK && pfc_comm_wait(c, &request) == PFC_OK;
    ok = ok && pfc_comm_sum(c, sum, LONG, PFC_F64) == PFC_OK && pfc_comm_reduce_scatter(c, x, 1, PFC_I64) == PFC_OK;
    ok = ok && pfc_comm_first_failure(c, &status, text, sizeof text) == PFC_OK;
    snprintf(want, sizeof want, "G1> M2> M2< G%d< S70001> S70001< R%d> R1< ", (int)P, (int)P);
    PFC_AGREE(MPI_COMM_WORLD, ok && strcmp(s.text, want) == 0 && s.numbers == 3 + 4 + 3 * P + 2 * P && s.ranks == P && observer.depth == 0);
    /* parts of the communicator are observed as well, until nobody looks any more */
    ok = pfc_comm_split(c, c->rank % 2, &half) == PFC_OK;
    s.text[0] = 0;
    ok = ok && pfc_comm_max(&half, x, 1, PFC_I64) == PFC_OK && strcmp(s.text, "M1> M1< ") == 0 && s.ranks == half.ranks;
    c->observer = NULL;
    ok = ok && pfc_comm_max(c, x, 1, PFC_I64) == PFC_OK && strcmp(s.text, "M1> M1< ") == 0;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    pfc_comm_close(&half);
    free(sum);
}

/* Rows that travel: own ones do not count. Every rank sends its two rows to its right neighbour and to itself. */
static void observed_rows(pfc_comm *c)
{
    int64_t send_start[9], recv_start[9], send_row[2] = { 0, 1 }, recv_row[2] = { 0, 1 }, start[9];
    int right = (c->rank + 1) % c->ranks, left = (c->rank + c->ranks - 1) % c->ranks;
    seen s = { .ranks = 0 };
    pfc_comm_observer observer = { .look = look, .user = &s };
    for (int r = 0; r <= c->ranks; r++) {
        send_start[r] = (c->rank < r) + (right < r);
        recv_start[r] = (c->rank < r) + (left < r);
        start[r] = r;
    }
    pfc_row_plan plan = { send_start, send_row, recv_start, recv_row };
    char from[2][4] = { "abc", "def" }, to[2][4], all[8][4], want[80];
    c->observer = &observer;
    bool ok = pfc_comm_exchange_rows(c, &plan, from, 4, to, 4, 4) == PFC_OK && pfc_comm_allgather_rows(c, from, start, 4, all) == PFC_OK;
    c->observer = NULL;
    int others = c->ranks > 1 ? 4 : 0;
    snprintf(want, sizeof want, "E%d> E%d< H4> H%d< ", others, others, 4 * c->ranks);
    PFC_AGREE(MPI_COMM_WORLD, ok && strcmp(s.text, want) == 0);
}

START_TEST(maximum_lets_nan_win)
{
    with_each(maximum);
}
END_TEST
START_TEST(sums_are_taken_in_rank_order)
{
    with_each(sums);
    with_each(long_sums);
}
END_TEST
START_TEST(messages_have_any_length)
{
    with_each(long_maxima);
}
END_TEST

START_TEST(each_rank_keeps_its_part_of_the_sum)
{
    with_each(scattered_sums);
}
END_TEST
START_TEST(gathers_are_in_rank_order)
{
    with_each(gathers);
}
END_TEST
START_TEST(the_first_failure_is_told_to_all)
{
    with_each(first_failures);
}
END_TEST
START_TEST(marks_travel_with_accumulators)
{
    with_each(marks);
}
END_TEST
START_TEST(an_observer_sees_every_collective_once)
{
    with_each(observed);
    with_each(observed_rows);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(maximum_lets_nan_win),           PFC_ONCE(sums_are_taken_in_rank_order),
        PFC_ONCE(messages_have_any_length),       PFC_ONCE(each_rank_keeps_its_part_of_the_sum),
        PFC_ONCE(gathers_are_in_rank_order),      PFC_ONCE(the_first_failure_is_told_to_all),
        PFC_ONCE(marks_travel_with_accumulators), PFC_ONCE(an_observer_sees_every_collective_once),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
