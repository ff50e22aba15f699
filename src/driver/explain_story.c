/* explain_story.c: everything that is told, gathered on rank 0: tensors, exchanges, and which entry of the algorithm's table each exchange is. */
#include "driver/explain.h"

#include <stdlib.h>
#include <string.h>

/* ---- gathering ---- */

static int gather_list(MPI_Comm comm, pfc_ex_story *s, const pfc_tensor_list *list, const char *name, int again, pfc_diag *diag)
{
    pfc_ex_tensor *tensors = realloc(s->tensors, (size_t)(s->tensor_count + list->count + 1) * sizeof *tensors);
    if (!tensors) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "explain: out of memory");
    if (tensors) s->tensors = tensors;
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    for (int i = 0; i < list->count; i++) {
        pfc_ex_tensor *t = &s->tensors[s->tensor_count];
        *t = (pfc_ex_tensor){ &list->items[i], name, again, NULL };
        if (pfc_tensor_gather(comm, &list->items[i], &t->whole, diag)) return diag->exit_status;
        s->tensor_count++;
    }
    return 0;
}

static int gather_tensors(MPI_Comm comm, pfc_ex_story *s, pfc_diag *diag)
{
    const pfc_case *c = s->c;
    if (gather_list(comm, s, &c->in, "in", 0, diag) || gather_list(comm, s, &c->step, "step", 0, diag)) return diag->exit_status;
    gather_list(comm, s, &c->out, "out", 0, diag);
    for (int i = 0; i < s->again_count && !diag->exit_status; i++) gather_list(comm, s, &s->again[i]->out, "again", i + 1, diag);
    return diag->exit_status;
}

/* The ranks take the same steps, so they have seen the same exchanges, each from its own side. */
static int gather_events(const pfc_cli *cli, const pfc_ex_watch *w, pfc_ex_story *s, pfc_diag *diag)
{
    int counts[2] = { w->count, -w->count };
    MPI_Allreduce(MPI_IN_PLACE, counts, 2, MPI_INT, MPI_MAX, cli->comm);
    if (counts[0] != -counts[1]) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "explain: ranks have seen %d to %d exchanges", -counts[1], counts[0]);
    s->event_count = w->count;
    size_t all = (size_t)w->count * (size_t)(cli->rank == 0 ? cli->ranks : 0);
    s->events = calloc(all + 1, sizeof *s->events);
    s->entry = calloc((size_t)w->count + 1, sizeof *s->entry);
    s->round = calloc((size_t)w->count + 1, sizeof *s->round);
    if (!s->events || !s->entry || !s->round || w->failed) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "explain: out of memory");
    if (pfc_diag_agree(cli->comm, diag)) return diag->exit_status;
    for (int i = 0; i < w->count; i++)
        MPI_Gather(&w->events[i], (int)sizeof w->events[0], MPI_BYTE, s->events + (size_t)i * (size_t)cli->ranks, (int)sizeof w->events[0], MPI_BYTE, 0,
                   cli->comm);
    return 0;
}

/* ---- which entry of the table an exchange is ---- */

/* How many of the taps that divide the table have come before an event. */
static int part_of_event(const pfc_ex_story *s, const pfc_ex_event *e)
{
    int part = 0;
    for (const pfc_ex_exchange *x = s->told->exchanges; x && (x->step || x->kinds); x++)
        for (int i = 0; !x->step && i < e->taps; i++)
            if (strcmp(s->c->step.items[i].name, x->kinds) == 0) {
                part++;
                break;
            }
    return part;
}

/* Whether this run should make the exchange of an entry. */
static bool expected(const pfc_ex_story *s, const pfc_ex_exchange *x)
{
    if (!x->step || !pfc_ex_holds(s, x->when)) return false;
    for (const pfc_ex_step *step = s->told->steps; step->number; step++)
        if (strcmp(step->number, x->step) == 0) return pfc_ex_holds(s, step->when);
    return true;
}

static bool fits(const pfc_ex_story *s, const pfc_ex_exchange *x, const pfc_ex_event *e)
{
    return expected(s, x) && x->op == e->op && strchr(x->kinds, e->kind);
}

/* From the last entry on forward, else back, inside the part. */
static const pfc_ex_exchange *find_entry(const pfc_ex_story *s, int part, int *last, const pfc_ex_event *e)
{
    const pfc_ex_exchange *table = s->told->exchanges;
    int begin = 0, end;
    for (int p = 0; p < part; begin++) p += table[begin].step == NULL;
    for (end = begin; table[end].step; end++) continue;
    int from = *last >= begin && *last < end ? *last : begin - 1;
    for (int i = from + 1; i < end; i++)
        if (fits(s, &table[i], e)) return &table[*last = i];
    for (int i = from; i >= begin; i--)
        if (fits(s, &table[i], e)) return &table[*last = i];
    return NULL;
}

/* An exchange without an entry. */
static int unknown(const pfc_ex_event *e, pfc_diag *diag)
{
    return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "explain: found an exchange that no step tells of: %s, %lld bytes of kind %c", pfc_ex_op_name(e->op),
                         (long long)e->side[0].bytes, e->kind);
}

/* An entry without an exchange, in any of the training steps. */
static int check_all_seen(const pfc_ex_story *s, pfc_diag *diag)
{
    for (const pfc_ex_exchange *x = s->told->exchanges; x && (x->step || x->kinds); x++)
        for (int round = 1; expected(s, x) && round <= s->rounds; round++) {
            bool seen = false;
            for (int i = 0; i < s->event_count; i++) seen = seen || (s->entry[i] == x && s->round[i] == round);
            if (!seen)
                return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "explain: an exchange that step '%s' tells of was not seen: %s, %s", x->step,
                                     pfc_ex_op_name(x->op), x->what);
        }
    return 0;
}

static int match(pfc_ex_story *s, pfc_diag *diag)
{
    const pfc_ex_exchange *table = s->told->exchanges;
    int last = -1;
    s->rounds = s->told->rounds ? 0 : 1;
    for (int i = 0; i < s->event_count; i++) {
        const pfc_ex_event *e = pfc_ex_event_of(s, i, 0);
        s->entry[i] = table ? find_entry(s, part_of_event(s, e), &last, e) : NULL;
        if (!s->entry[i]) return unknown(e, diag);
        if (s->told->rounds && s->entry[i] == table) s->rounds++;
        s->round[i] = s->rounds;
    }
    return check_all_seen(s, diag);
}

/* ---- which exchanges are told as one ---- */

static bool same_amounts(const pfc_ex_story *s, int a, int b)
{
    for (int r = 0; r < s->ranks; r++) {
        const pfc_ex_event *x = pfc_ex_event_of(s, a, r), *y = pfc_ex_event_of(s, b, r);
        if (x->side[0].bytes != y->side[0].bytes || x->side[1].bytes != y->side[1].bytes) return false;
    }
    return true;
}

pfc_ex_group pfc_ex_group_of(const pfc_ex_story *s, int event, bool by_round)
{
    pfc_ex_group g = { 0, 0 };
    const pfc_ex_exchange *x = s->entry[event];
    for (int i = 0; i < s->event_count; i++) {
        const pfc_ex_exchange *y = s->entry[i];
        if (x->op != y->op || strcmp(x->step, y->step) || strcmp(x->what, y->what) || !same_amounts(s, i, event)) continue;
        if (by_round && s->round[i] != s->round[event]) continue;
        g.of++;
        if (i <= event) g.nth++;
    }
    return g;
}

const char *pfc_ex_times(int n, char text[32])
{
    text[0] = 0;
    if (n == 2) snprintf(text, 32, " (twice)");
    if (n > 2) snprintf(text, 32, " (%d times)", n);
    return text;
}

/* ---- the story ---- */

int pfc_ex_story_make(const pfc_cli *cli, const pfc_ex_watch *w, pfc_ex_story *s, pfc_diag *diag)
{
    s->ranks = cli->ranks;
    if (!gather_tensors(cli->comm, s, diag)) gather_events(cli, w, s, diag);
    if (!diag->exit_status && cli->rank == 0) match(s, diag);
    return pfc_diag_agree(cli->comm, diag);
}

void pfc_ex_story_free(pfc_ex_story *s)
{
    for (int i = 0; i < s->tensor_count; i++) free(s->tensors[i].whole);
    free(s->tensors);
    free(s->events);
    free(s->entry);
    free(s->round);
    free(s->checks);
    for (int i = 0; i < s->again_count; i++) pfc_case_free(s->again[i]);
    *s = (pfc_ex_story){ 0 };
}

const pfc_ex_event *pfc_ex_event_of(const pfc_ex_story *s, int event, int rank) { return &s->events[(size_t)event * (size_t)s->ranks + (size_t)rank]; }

const char *pfc_ex_op_name(pfc_comm_op op)
{
    switch (op) {
    case PFC_COMM_GATHER:
    case PFC_COMM_GATHER_ROWS: return "all-gather";
    case PFC_COMM_MAX: return "all-reduce MAX";
    case PFC_COMM_SUM: return "all-reduce SUM";
    case PFC_COMM_REDUCE_SCATTER: return "reduce-scatter SUM";
    case PFC_COMM_ALLTOALL: return "all-to-all";
    case PFC_COMM_BROADCAST: return "broadcast";
    case PFC_COMM_EXCHANGE_ROWS: return "exchange of rows";
    }
    return "";
}
