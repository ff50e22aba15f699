/* explain_traffic.c: what the ranks exchange, one by one and all in one table. */
#include "driver/explain.h"

#include <stdlib.h>
#include <string.h>

/* "8 B", "8 to 24 B". */
static const char *bytes_text(const pfc_ex_story *s, int event, int side, char text[64])
{
    int64_t least = INT64_MAX, most = 0;
    for (int r = 0; r < s->ranks; r++) {
        int64_t bytes = pfc_ex_event_of(s, event, r)->side[side].bytes;
        if (bytes < least) least = bytes;
        if (bytes > most) most = bytes;
    }
    if (least == most)
        snprintf(text, 64, "%lld B", (long long)most);
    else
        snprintf(text, 64, "%lld to %lld B", (long long)least, (long long)most);
    return text;
}

/* ---- one exchange ---- */

static void amounts_text(const pfc_ex_story *s, int event, int times, char *text, size_t size)
{
    const pfc_ex_event *e = pfc_ex_event_of(s, event, 0);
    char in[64], out[64], words[64] = "", groups[64] = "";
    bytes_text(s, event, 0, in);
    bytes_text(s, event, 1, out);
    if (e->ranks < s->ranks) snprintf(groups, sizeof groups, "in groups of %d rank%s, ", e->ranks, e->ranks == 1 ? "" : "s");
    if (e->kind == 'a' && e->side[0].count > 0) {
        int64_t each = e->side[0].bytes / e->side[0].count;
        snprintf(words, sizeof words, each > 8 ? " (%lld integers of 8 B a number)" : " (8 B a number)", (long long)(each / 8));
    }
    if (e->op == PFC_COMM_EXCHANGE_ROWS)
        snprintf(text, size, "rows of %lld B; a rank sends %s to others and gets %s from them; which rows:", (long long)e->row_bytes, in, out);
    else
        snprintf(text, size, "%sa rank hands in %s%s and gets %s%s", groups, in, words, out, times > 1 ? ", each time" : "");
}

enum { MOST_COLUMNS = 16 };

/* Numbers of the rows that go from one rank to another; its own begin with `start`. */
static void row_cell(pfc_ex_table *t, const pfc_ex_event *e, int to, int64_t start)
{
    char *text = NULL;
    size_t size = 0;
    FILE *o = open_memstream(&text, &size);
    for (int i = 0, n = 0; o && i < e->rows; i++)
        if (e->peer[i] == to) fprintf(o, n++ ? " %lld" : "%lld", (long long)(start + e->row[i]));
    if (o) fclose(o);
    pfc_ex_cell(t, "%s", text && text[0] ? text : "-");
    free(text);
}

/* Rows of all ranks, by who sends them and who gets them. */
static void row_table(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s, int event)
{
    pfc_ex_table t = { .columns = s->ranks + 1 };
    int64_t start = 0;
    if (s->ranks > MOST_COLUMNS) return;
    pfc_ex_cell(&t, "from / to");
    for (int r = 0; r < s->ranks; r++) pfc_ex_cell(&t, s->ranks <= MOST_COLUMNS / 2 ? "rank %d" : "%d", r);
    for (int from = 0; from < s->ranks; from++) {
        const pfc_ex_event *e = pfc_ex_event_of(s, event, from);
        if (e->rows > PFC_EX_ROWS) break;
        pfc_ex_cell(&t, "rank %d", from);
        for (int to = 0; to < s->ranks; to++) row_cell(&t, e, to, start);
        pfc_ex_own(&t, from);
        start += e->rows;
    }
    pfc_ex_give(f, w, &t);
}

/* "all-reduce SUM, 2 of 3, training step 1: u, the row sums"; without numbers to show all that are alike are told at once: "(3 times)". */
void pfc_ex_tell_exchange(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s, int event)
{
    const pfc_ex_exchange *x = s->entry[event];
    pfc_ex_group g = pfc_ex_group_of(s, event, true);
    char title[300], amounts[300], often[32] = "", round[40] = "";
    pfc_ex_panel p;
    if (!x->shape && g.nth > 1) return;
    if (!x->shape)
        pfc_ex_times(g.of, often);
    else if (g.of > 1)
        snprintf(often, sizeof often, ", %d of %d", g.nth, g.of);
    if (s->rounds > 1) snprintf(round, sizeof round, ", training step %d", s->round[event]);
    snprintf(title, sizeof title, "%s%s%s: %s", pfc_ex_op_name(x->op), often, round, x->what);
    amounts_text(s, event, x->shape ? 1 : g.of, amounts, sizeof amounts);
    w->exchange(f, s, event, title, amounts);
    if (x->op == PFC_COMM_EXCHANGE_ROWS) row_table(f, w, s, event);
    for (int side = 0; side < 2; side++)
        if (pfc_ex_panel_event(s, event, side, &p)) {
            w->panel(f, &p);
            pfc_ex_panel_free(&p);
        }
    w->exchange_end(f);
}

/* ---- all of them ---- */

/* What the amounts mean. */
static void buffers(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    bool integers = false, doubles = false;
    char text[600];
    for (int i = 0; i < s->event_count; i++) {
        const pfc_ex_event *e = pfc_ex_event_of(s, i, 0);
        bool sum = e->op == PFC_COMM_SUM || e->op == PFC_COMM_REDUCE_SCATTER;
        integers = integers || (e->kind == 'a' && s->mode == PFC_EXACT);
        doubles = doubles || (sum && (e->kind == 'r' || (e->kind == 'a' && s->mode == PFC_FAST)));
    }
    snprintf(text, sizeof text, "These are the buffers of the calls%s.%s%s",
             s->ranks == 1 ? "; on one rank nothing leaves it" : "; what crosses a wire for them is for the MPI library to choose",
             integers ? " Most sums are of integers, 16 or 32 B a number; in fast mode a number has 8 B." : "",
             doubles && s->ranks > 1 ? " Sums of doubles, 8 B a number, are taken in the order of the ranks: the numbers of all ranks go to "
                                       "whoever adds them."
                                     : "");
    w->prose(f, text);
}

static void bookkeeping(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    char *text = NULL, in[64], times[32];
    size_t size = 0;
    int all = 0, told = 0;
    FILE *o = open_memstream(&text, &size);
    for (int i = 0; i < s->event_count; i++) all += !s->entry[i]->step[0];
    if (o && all) fprintf(o, "Besides, %d small message%s of bookkeeping:", all, all == 1 ? "" : "s");
    for (int i = 0; o && i < s->event_count; i++) {
        pfc_ex_group g = pfc_ex_group_of(s, i, false);
        if (s->entry[i]->step[0] || g.nth > 1) continue;
        fprintf(o, "%s %s%s (%s, %s)", told++ ? ";" : "", s->entry[i]->what, pfc_ex_times(g.of, times), pfc_ex_op_name(s->entry[i]->op),
                bytes_text(s, i, 0, in));
    }
    if (o && all)
        fprintf(o, ". Where ranks agree that none has failed, or whether a sum holds NaN or infinity, 4 bytes travel each time; these are not "
                   "counted.");
    if (o) fclose(o);
    if (text && text[0]) w->prose(f, text);
    free(text);
}

/* A row for all that are alike. */
static void row(pfc_ex_table *t, const pfc_ex_story *s, int event, int times)
{
    const pfc_ex_exchange *x = s->entry[event];
    char text[64];
    pfc_ex_cell(t, "%s", x->step);
    pfc_ex_cell(t, "%s%s", pfc_ex_op_name(x->op), pfc_ex_times(times, text));
    pfc_ex_cell(t, "%.*s", (int)strcspn(x->what, ",:;("), x->what);
    for (int side = 0; side < 2; side++) pfc_ex_cell(t, "%s%s", bytes_text(s, event, side, text), times > 1 ? " each" : "");
}

void pfc_ex_tell_traffic(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    static const char *const heads[] = { "step", "exchange", "of", "hands in", "gets" };
    pfc_ex_table t = { .columns = 5 };
    w->heading(f, "", "What a rank sends and gets");
    for (int i = 0; i < 5; i++) pfc_ex_cell(&t, "%s", heads[i]);
    for (int i = 0; i < s->event_count; i++) {
        pfc_ex_group g = pfc_ex_group_of(s, i, false);
        if (s->entry[i]->step[0] && g.nth == 1) row(&t, s, i, g.of);
    }
    bool any = t.count > t.columns;
    if (any)
        pfc_ex_give(f, w, &t);
    else
        pfc_ex_forget(&t);
    if (any && s->rounds > 1) w->prose(f, "All training steps together.");
    if (any) buffers(f, w, s);
    if (!any) w->prose(f, "Nothing: every rank computes all of it by itself.");
    bookkeeping(f, w, s);
}
