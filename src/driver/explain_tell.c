/* explain_tell.c: a story from beginning to end, whoever writes it down. */
#include "driver/explain.h"

#include "case/internal.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ---- */

typedef struct cells {
    int columns, count;
    char **text;
    int *owner; /* of each row */
} cells;

static void add(cells *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(cells *t, const char *format, ...)
{
    char **text = realloc(t->text, (size_t)(t->count + 1) * sizeof *text);
    int *owner = realloc(t->owner, (size_t)(t->count + 1) * sizeof *owner);
    if (text) t->text = text;
    if (owner) t->owner = owner;
    if (!text || !owner) return;
    va_list args;
    va_start(args, format);
    if (vasprintf(&t->text[t->count], format, args) < 0) t->text[t->count] = NULL;
    va_end(args);
    t->owner[t->count / t->columns] = -1;
    if (t->text[t->count]) t->count++;
}

static void own(cells *t, int rank) { t->owner[(t->count - 1) / t->columns] = rank; }

static void release(cells *t)
{
    for (int i = 0; i < t->count; i++) free(t->text[i]);
    free(t->text);
    free(t->owner);
}

static void give(FILE *f, const pfc_ex_writer *w, cells *t)
{
    w->table(f, t->count / t->columns, t->columns, t->text, t->owner);
    release(t);
}

/* ---- who holds what ---- */

/* Inputs and their cut. */
static void holdings(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    int inputs = s->c->in.count;
    cells t = { .columns = inputs + 1 };
    pfc_ex_panel *p = calloc((size_t)inputs + 1, sizeof *p);
    bool ok = p != NULL && inputs > 0;
    for (int i = 0; ok && i < inputs; i++) ok = pfc_ex_panel_tensor(s, &s->tensors[i], &p[i]);
    if (ok) {
        char shape[80];
        add(&t, "%s", "");
        for (int i = 0; i < inputs; i++) add(&t, "%s", s->tensors[i].t->name);
        add(&t, "%s", "");
        for (int i = 0; i < inputs; i++) add(&t, "%s", pfc_shape_text(s->tensors[i].t, shape, sizeof shape));
        for (int r = 0; r < s->ranks; r++) {
            add(&t, "rank %d", r);
            for (int i = 0; i < inputs; i++) add(&t, "%s", pfc_ex_part_text(s->tensors[i].t, &p[i], r, shape));
            own(&t, r);
        }
        w->heading(f, "", "Which rank holds what");
        give(f, w, &t);
    }
    for (int i = 0; p && i < inputs; i++) pfc_ex_panel_free(&p[i]);
    free(p);
}

static void settings(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    char text[1000];
    int n = snprintf(text, sizeof text, "The example:");
    const pfc_param_spec *spec = s->c->algorithm->params;
    for (int i = 0; spec[i].name; i++) {
        const pfc_param *p = &s->c->param[i];
        if (!p->given || n >= (int)sizeof text) continue;
        n += snprintf(text + n, sizeof text - (size_t)n, " %s=", spec[i].name);
        if (n >= (int)sizeof text) break;
        if (spec[i].type == PFC_PARAM_INT)
            n += snprintf(text + n, sizeof text - (size_t)n, "%lld", (long long)p->i);
        else if (spec[i].type == PFC_PARAM_REAL)
            n += snprintf(text + n, sizeof text - (size_t)n, "%g", p->r);
        else
            n += snprintf(text + n, sizeof text - (size_t)n, "%s", p->word);
    }
    if (n > 12 && n < (int)sizeof text - 60) snprintf(text + n, sizeof text - (size_t)n, "; the rest as `pfc_ref list` has it."), w->prose(f, text);
}

/* ---- exchanges ---- */

static void range(const pfc_ex_story *s, int event, int side, int64_t *least, int64_t *most)
{
    *least = INT64_MAX, *most = 0;
    for (int r = 0; r < s->ranks; r++) {
        const pfc_ex_event *e = pfc_ex_event_of(s, event, r);
        int64_t bytes = side ? e->out.bytes : e->in.bytes;
        if (bytes < *least) *least = bytes;
        if (bytes > *most) *most = bytes;
    }
}

/* "8 B", "8 to 24 B". */
static const char *bytes_text(const pfc_ex_story *s, int event, int side, char text[64])
{
    int64_t least, most;
    range(s, event, side, &least, &most);
    if (least == most)
        snprintf(text, 64, "%lld B", (long long)most);
    else
        snprintf(text, 64, "%lld to %lld B", (long long)least, (long long)most);
    return text;
}

static void amounts_text(const pfc_ex_story *s, int event, int times, char *text, size_t size)
{
    const pfc_ex_event *e = pfc_ex_event_of(s, event, 0);
    char in[64], out[64], words[64] = "", groups[64] = "";
    bytes_text(s, event, 0, in);
    bytes_text(s, event, 1, out);
    if (e->ranks < s->ranks) snprintf(groups, sizeof groups, "in groups of %d rank%s, ", e->ranks, e->ranks == 1 ? "" : "s");
    if (e->kind == 'a' && e->in.count > 0) {
        int64_t each = e->in.bytes / e->in.count;
        snprintf(words, sizeof words, each > 8 ? " (%lld integers of 8 B a number)" : " (8 B a number)", (long long)(each / 8));
    }
    if (e->op == PFC_COMM_EXCHANGE_ROWS)
        snprintf(text, size, "rows of %lld B; a rank sends %s to others and gets %s from them; which rows:", (long long)e->row_bytes, in, out);
    else
        snprintf(text, size, "%sa rank hands in %s%s and gets %s%s", groups, in, words, out, times > 1 ? ", each time" : "");
}

enum { MOST_COLUMNS = 16 };

/* Rows of all ranks, by who sends them and who gets them. */
static void row_table(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s, int event)
{
    cells t = { .columns = s->ranks + 1 };
    int64_t start = 0;
    if (s->ranks > MOST_COLUMNS) return;
    add(&t, "from / to");
    for (int r = 0; r < s->ranks; r++) add(&t, s->ranks <= MOST_COLUMNS / 2 ? "rank %d" : "%d", r);
    for (int from = 0; from < s->ranks; from++) {
        const pfc_ex_event *e = pfc_ex_event_of(s, event, from);
        if (e->rows > PFC_EX_ROWS) break;
        add(&t, "rank %d", from);
        for (int to = 0; to < s->ranks; to++) {
            char text[200] = "";
            int n = 0;
            for (int i = 0; i < e->rows; i++)
                if (e->peer[i] == to && n < (int)sizeof text - 24)
                    n += snprintf(text + n, sizeof text - (size_t)n, n ? " %lld" : "%lld", (long long)(start + e->row[i]));
            add(&t, "%s", n ? text : "-");
        }
        own(&t, from);
        start += e->rows;
    }
    give(f, w, &t);
}

static bool same_amounts(const pfc_ex_story *s, int a, int b)
{
    for (int r = 0; r < s->ranks; r++) {
        const pfc_ex_event *x = pfc_ex_event_of(s, a, r), *y = pfc_ex_event_of(s, b, r);
        if (x->in.bytes != y->in.bytes || x->out.bytes != y->out.bytes) return false;
    }
    return true;
}

static bool alike(const pfc_ex_story *s, int a, int b) { return s->entry[a] == s->entry[b] && same_amounts(s, a, b); }

/* How many events are like this one but for the numbers in them; 0: it is not the first of them. */
static int repeats(const pfc_ex_story *s, int event)
{
    int n = 0;
    for (int i = 0; i < s->event_count; i++)
        if (alike(s, i, event)) {
            if (i < event) return 0;
            n++;
        }
    return n;
}

const char *pfc_ex_times(int n, char text[32])
{
    text[0] = 0;
    if (n == 2) snprintf(text, 32, " (twice)");
    if (n > 2) snprintf(text, 32, " (%d times)", n);
    return text;
}

static void tell_exchange(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s, int event, int times)
{
    char title[300], amounts[300], text[32];
    pfc_ex_panel p;
    snprintf(title, sizeof title, "%s%s: %s", pfc_ex_op_name(pfc_ex_event_of(s, event, 0)->op), pfc_ex_times(times, text), s->entry[event]->what);
    amounts_text(s, event, times, amounts, sizeof amounts);
    w->exchange(f, s, event, title, amounts);
    if (pfc_ex_event_of(s, event, 0)->op == PFC_COMM_EXCHANGE_ROWS) row_table(f, w, s, event);
    for (int side = 0; side < 2; side++)
        if (pfc_ex_panel_event(s, event, side, &p)) {
            w->panel(f, &p);
            pfc_ex_panel_free(&p);
        }
    w->exchange_end(f);
}

/* ---- steps ---- */

/* "step:row_sum_*" means all of that list whose names begin so. */
static bool is_shown(const pfc_ex_story *s, const pfc_ex_tensor *t, const char *word, size_t n)
{
    const pfc_tensor_list *lists[] = { &s->c->in, &s->c->step, &s->c->out };
    static const char *const names[] = { "in:", "step:", "out:" };
    for (int i = 0; i < 3; i++) {
        size_t k = strlen(names[i]);
        if (strncmp(word, names[i], k) || t->t < lists[i]->items || t->t >= lists[i]->items + lists[i]->count) continue;
        return word[n - 1] == '*' ? strncmp(t->t->name, word + k, n - k - 1) == 0 : strlen(t->t->name) == n - k && strncmp(t->t->name, word + k, n - k) == 0;
    }
    return false;
}

/* Tensors of the step that are inputs, or those that are not. */
static void tensors(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s, const pfc_ex_step *step, bool inputs)
{
    for (const char *word = step->show ? step->show : ""; *word;) {
        size_t n = strcspn(word, " ");
        for (int i = 0; i < s->tensor_count; i++) {
            pfc_ex_panel p;
            if ((strncmp(word, "in:", 3) == 0) != inputs || !is_shown(s, &s->tensors[i], word, n) || !pfc_ex_panel_tensor(s, &s->tensors[i], &p)) continue;
            w->panel(f, &p);
            pfc_ex_panel_free(&p);
        }
        word += n;
        while (*word == ' ') word++;
    }
}

static void tell_step(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s, const pfc_ex_step *step)
{
    bool taken = pfc_ex_step_taken(s, step);
    w->heading(f, step->number, step->title);
    w->equations(f, step->equations);
    if (step->note && taken) w->prose(f, step->note);
    if (!taken) w->prose(f, "Not taken with these settings.");
    tensors(f, w, s, step, true);
    for (int i = 0; i < s->event_count; i++) {
        const pfc_ex_exchange *x = s->entry[i];
        if (!x || strcmp(x->step, step->number)) continue;
        int n = x->shape ? 1 : repeats(s, i); /* without numbers to show, once for all */
        if (n) tell_exchange(f, w, s, i, n);
    }
    if (taken) tensors(f, w, s, step, false);
}

/* ---- the end ---- */

/* Of bookkeeping: the same words are told once. */
static bool same_words(const pfc_ex_story *s, int a, int b)
{
    const pfc_ex_exchange *x = s->entry[a], *y = s->entry[b];
    return x && y && !x->step[0] && !y->step[0] && strcmp(x->what, y->what) == 0 && same_amounts(s, a, b);
}

static bool known_before(const pfc_ex_story *s, int event)
{
    for (int i = 0; i < event; i++)
        if (same_words(s, i, event)) return true;
    return false;
}

static int count_alike(const pfc_ex_story *s, int event)
{
    int n = 0;
    for (int i = 0; i < s->event_count; i++) n += i == event || same_words(s, i, event);
    return n;
}

static bool is_sum(const pfc_ex_event *e) { return e->op == PFC_COMM_SUM || e->op == PFC_COMM_REDUCE_SCATTER; }

/* What the amounts mean. */
static void buffers_text(const pfc_ex_story *s, char *text, size_t size)
{
    bool integers = false, doubles = false;
    for (int i = 0; i < s->event_count; i++) {
        const pfc_ex_event *e = pfc_ex_event_of(s, i, 0);
        integers = integers || (e->kind == 'a' && s->mode == PFC_EXACT);
        doubles = doubles || (is_sum(e) && (e->kind == 'r' || (e->kind == 'a' && s->mode == PFC_FAST)));
    }
    snprintf(text, size, "These are the buffers of the calls%s.%s%s",
             s->ranks == 1 ? "; on one rank nothing leaves it" : "; what crosses a wire for them is for the MPI library to choose",
             integers ? " Most sums are of integers, 16 or 32 B a number; in fast mode a number has 8 B." : "",
             doubles && s->ranks > 1 ? " Sums of doubles, 8 B a number, are taken in the order of the ranks: the numbers of all ranks go to whoever adds them."
                                     : "");
}

static void bookkeeping(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s, int other)
{
    char text[800];
    int n = snprintf(text, sizeof text, "Besides, %d small message%s of bookkeeping:", other, other == 1 ? "" : "s"), begun = n;
    for (int i = 0; i < s->event_count; i++) {
        const pfc_ex_exchange *x = s->entry[i];
        char in[64], times[32];
        int same = known_before(s, i) ? 0 : count_alike(s, i);
        if ((x && x->step[0]) || !same || n > (int)sizeof text - 160) continue;
        n += snprintf(text + n, sizeof text - (size_t)n, "%s %s%s (%s, %s)", n > begun ? ";" : "", x ? x->what : "one that no step knows",
                      pfc_ex_times(same, times), pfc_ex_op_name(pfc_ex_event_of(s, i, 0)->op), bytes_text(s, i, 0, in));
    }
    snprintf(text + n, sizeof text - (size_t)n,
             ". Where ranks agree that none has failed, or whether a sum holds NaN or infinity, 4 bytes travel each time; these are not counted.");
    w->prose(f, text);
}

/* What each rank sends, in one table. */
static void traffic(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    cells t = { .columns = 5 };
    int shown = 0, other = 0;
    add(&t, "step");
    add(&t, "exchange");
    add(&t, "of");
    add(&t, "hands in");
    add(&t, "gets");
    for (int i = 0; i < s->event_count; i++) {
        const pfc_ex_exchange *x = s->entry[i];
        char in[64], out[64], times[32];
        int n = x && x->step[0] ? repeats(s, i) : 0;
        other += !x || !x->step[0];
        if (!n) continue;
        shown++;
        add(&t, "%s", x->step);
        add(&t, "%s%s", pfc_ex_op_name(x->op), pfc_ex_times(n, times));
        add(&t, "%.*s", (int)strcspn(x->what, ",:;("), x->what);
        add(&t, "%s%s", bytes_text(s, i, 0, in), n > 1 ? " each" : "");
        add(&t, "%s%s", bytes_text(s, i, 1, out), n > 1 ? " each" : "");
    }
    char text[700];
    w->heading(f, "", "What a rank sends and gets");
    if (shown) w->table(f, t.count / t.columns, t.columns, t.text, t.owner);
    release(&t);
    buffers_text(s, text, sizeof text);
    w->prose(f, shown ? text : "Nothing: every rank computes all of it by itself.");
    if (other) bookkeeping(f, w, s, other);
}
static void checks(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    cells t = { .columns = 4 };
    bool good = true;
    add(&t, "result");
    add(&t, "largest error");
    add(&t, "allowed");
    add(&t, "verdict");
    for (int i = 0; i < s->check_count; i++) {
        const pfc_ex_check *c = &s->checks[i];
        add(&t, "%s", c->name);
        add(&t, "%.2g", c->error);
        add(&t, c->bound > 0.0 ? "%.2g" : "equal", c->bound);
        add(&t, "%s", c->good ? "match" : "DIFFERENT");
        good = good && c->good;
    }
    w->heading(f, "", s->against);
    give(f, w, &t);
    w->prose(f, good ? "All results match." : "RESULTS DIFFER.");
}

/* How places are written in tables. */
static void places(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    bool slices = false;
    for (int i = 0; i < s->c->in.count; i++) slices = slices || s->c->in.items[i].dist == PFC_DIST_RANK;
    if (s->c->in.count == 0) return;
    w->prose(f, slices ? "In tables a label such as c2 is number 2 along the axis C, counted from 0; slice 1 is number 1 along the first axis."
                       : "In tables a label such as c2 is number 2 along the axis C, counted from 0.");
}

static bool has_exponents(const pfc_ex_story *s)
{
    for (int i = 0; i < s->event_count; i++)
        if (pfc_ex_event_of(s, i, 0)->kind == 'e') return true;
    return false;
}

void pfc_ex_tell(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    char text[400];
    w->begin(f, s);
    w->prose(f, s->told->about);
    snprintf(text, sizeof text, "The steps are those at the top of %s.%s%s", s->told->source, s->told->exchanges ? " " : "",
             s->told->exchanges ? w->legend : "");
    w->prose(f, text);
    settings(f, w, s);
    places(f, w, s);
    if (has_exponents(s))
        w->prose(f, "Exact mode adds numbers as integers, so that their order does not matter. Exponents, e, are exchanged before, for the integers of all "
                    "ranks to count "
                    "in the same unit (doc/numerics.md).");
    w->heading(f, "", "Letters");
    w->equations(f, s->told->letters);
    holdings(f, w, s);
    if (w->overview) w->overview(f, s);
    for (const pfc_ex_step *step = s->told->steps; step->number; step++) tell_step(f, w, s, step);
    traffic(f, w, s);
    checks(f, w, s);
    w->end(f, s);
}

void pfc_ex_json(pfc_json *j, const pfc_ex_story *s)
{
    pfc_json_text(j, "algorithm", s->told->name);
    pfc_json_text(j, "mode", s->mode == PFC_EXACT ? "exact" : "fast");
    pfc_json_int(j, "ranks", s->ranks);
    pfc_json_begin(j, "exchanges", '[');
    for (int i = 0; i < s->event_count; i++) {
        const pfc_ex_exchange *x = s->entry[i];
        pfc_json_begin(j, NULL, '{');
        pfc_json_text(j, "step", x ? x->step : "?");
        pfc_json_text(j, "operation", pfc_ex_op_name(pfc_ex_event_of(s, i, 0)->op));
        pfc_json_text(j, "of", x ? x->what : "");
        for (int side = 0; side < 2; side++) {
            pfc_json_begin(j, side ? "bytes_out" : "bytes_in", '[');
            for (int r = 0; r < s->ranks; r++) pfc_json_int(j, NULL, side ? pfc_ex_event_of(s, i, r)->out.bytes : pfc_ex_event_of(s, i, r)->in.bytes);
            pfc_json_end(j);
        }
        pfc_json_end(j);
    }
    pfc_json_end(j);
    pfc_json_begin(j, "checks", '[');
    for (int i = 0; i < s->check_count; i++) {
        pfc_json_begin(j, NULL, '{');
        pfc_json_text(j, "result", s->checks[i].name);
        pfc_json_real(j, "error", s->checks[i].error);
        pfc_json_real(j, "bound", s->checks[i].bound);
        pfc_json_bool(j, "match", s->checks[i].good);
        pfc_json_end(j);
    }
    pfc_json_end(j);
}
