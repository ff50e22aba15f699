/* explain_story.c: everything that is told, gathered on rank 0: tensors, exchanges, and which entry of the algorithm's table each exchange is. */
#include "driver/explain.h"

#include <stdlib.h>
#include <string.h>

/* ---- gathering ---- */

static int gather_list(MPI_Comm comm, pfc_ex_story *s, const pfc_tensor_list *list, pfc_diag *diag)
{
    for (int i = 0; i < list->count; i++) {
        pfc_ex_tensor *t = &s->tensors[s->tensor_count];
        if (pfc_tensor_gather(comm, &list->items[i], &t->whole, diag)) return diag->exit_status;
        t->t = &list->items[i];
        s->tensor_count++;
    }
    return 0;
}

static int gather_tensors(MPI_Comm comm, pfc_ex_story *s, pfc_diag *diag)
{
    const pfc_case *c = s->c;
    s->tensors = calloc((size_t)(c->in.count + c->step.count + c->out.count) + 1, sizeof *s->tensors);
    if (!s->tensors) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "explain: out of memory");
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    if (gather_list(comm, s, &c->in, diag) || gather_list(comm, s, &c->step, diag)) return diag->exit_status;
    return gather_list(comm, s, &c->out, diag);
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
    if (!s->events || !s->entry || w->failed) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "explain: out of memory");
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

static bool taken(const pfc_ex_story *s, const char *number)
{
    for (const pfc_ex_step *step = s->told->steps; step->number; step++)
        if (strcmp(step->number, number) == 0) return pfc_ex_step_taken(s, step);
    return true;
}

static bool fits(const pfc_ex_story *s, const pfc_ex_exchange *x, const pfc_ex_event *e)
{
    return x->step && x->op == e->op && strchr(x->kinds, e->kind) && taken(s, x->step);
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

static void match(pfc_ex_story *s)
{
    int last = -1;
    for (int i = 0; i < s->event_count && s->told->exchanges; i++) {
        const pfc_ex_event *e = pfc_ex_event_of(s, i, 0);
        s->entry[i] = find_entry(s, part_of_event(s, e), &last, e);
    }
}

/* ---- the story ---- */

int pfc_ex_story_make(const pfc_cli *cli, const pfc_ex_watch *w, pfc_ex_story *s, pfc_diag *diag)
{
    s->ranks = cli->ranks;
    if (!gather_tensors(cli->comm, s, diag)) gather_events(cli, w, s, diag);
    if (!diag->exit_status && cli->rank == 0) match(s);
    return diag->exit_status;
}

void pfc_ex_story_free(pfc_ex_story *s)
{
    for (int i = 0; i < s->tensor_count; i++) free(s->tensors[i].whole);
    free(s->tensors);
    free(s->events);
    free(s->entry);
    free(s->checks);
    *s = (pfc_ex_story){ 0 };
}

const pfc_ex_event *pfc_ex_event_of(const pfc_ex_story *s, int event, int rank) { return &s->events[(size_t)event * (size_t)s->ranks + (size_t)rank]; }

bool pfc_ex_step_taken(const pfc_ex_story *s, const pfc_ex_step *step) { return !step->taken || step->taken(s->c, s->mode, s->ranks); }

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
