/* check_tell.c: what check found, for people: a table of all tensors, then the tensors that differ, first in data-flow order first. From error/bound on, a
 * line of the table is about one element, the worst. */
#include "driver/check.h"
#include <ctype.h>
#include <math.h>
#include <string.h>

enum { MOST_TOLD = 4 };

static void add_row(pfc_table *table, const pfc_check_row *row)
{
    const pfc_comparison *c = &row->c;
    bool numbers = c->worst_index >= 0 && (c->verdict == PFC_PASS || pfc_row_differs(row)), equal = c->worst_index < 0 && c->verdict == PFC_PASS;
    double off = fabs(c->got - c->want);
    pfc_table_cell(table, "%s", c->name);
    if (c->verdict == PFC_FAIL && c->bad == 0) /* no element shows why */
        pfc_table_cell(table, "FAIL G%d", pfc_row_gate(row));
    else
        pfc_table_cell(table, "%s", pfc_verdict_string(c->verdict));
    pfc_table_cell(table, "%lld", (long long)c->elements);
    pfc_table_cell(table, "%lld", (long long)c->bad);
    if (c->digest_match || !numbers) {
        for (int i = 0; i < 6; i++) pfc_table_cell(table, "%s", i > 0 ? "" : c->digest_match ? "same bits" : equal ? "equal" : "");
        return;
    }
    pfc_table_cell(table, "%.3g", c->worst_ratio);
    pfc_table_cell(table, "%.3g", off);
    pfc_table_cell(table, "%.3g", off == 0 ? 0.0 : fabs(off / c->want));
    pfc_table_cell(table, "%s", row->place.whole);
    pfc_table_cell(table, "%.9g", c->got);
    pfc_table_cell(table, "%.9g", c->want);
}

/* Which gate, by which numbers. */
static void tell_gates(const pfc_check_row *r)
{
    if (r->gate[0] == PFC_GATE_FAIL)
        printf("  G1 elementwise: %lld of %lld elements (%.3g %%) are outside their bounds\n", (long long)r->c.bad, (long long)r->c.elements,
               100.0 * (double)r->c.bad / (double)r->c.elements);
    if (r->gate[1] == PFC_GATE_FAIL) printf("  G2 rms of the errors: %.3g, at most %.3g\n", r->rms, r->rms_limit);
    if (r->gate[2] == PFC_GATE_FAIL && fabs(r->slope) > r->slope_limit) printf("  G3 slope - 1: %.3g, at most %.3g\n", r->slope, r->slope_limit);
    if (r->gate[2] == PFC_GATE_FAIL && fabs(r->mean) > r->mean_limit) printf("  G3 mean of the errors: %.3g, at most %.3g\n", r->mean, r->mean_limit);
    if (r->gate[3] == PFC_GATE_FAIL)
        printf("  G4 %s: off by %.3g in row %lld, at most %.3g\n", r->invariant, r->invariant_value, (long long)r->invariant_row, r->invariant_limit);
}

static void tell(const pfc_check *k, const pfc_check_row *r)
{
    int gate = pfc_row_gate(r);
    printf("%s: %s by G%d\n", r->c.name, pfc_verdict_string(r->c.verdict), gate ? gate : 1);
    tell_gates(r);
    if (r->c.worst_index >= 0 && !isnan(r->c.worst_ratio)) {
        printf("  worst at %s", r->place.whole);
        if (r->place.rank >= 0) printf(", rank %d of %d there %s", r->place.rank, k->ranks, r->place.local);
        printf(": got %.9g (%a), want %.17g (%a)\n", r->c.got, r->c.got, r->c.want, r->c.want);
        printf("    error/bound %.3g, bound %.3g, absolute %.3g, relative %.3g", r->c.worst_ratio, r->c.bound, fabs(r->c.got - r->c.want),
               fabs(r->c.got - r->c.want) / fabs(r->c.want));
        if (r->ulp_type) printf(", %.3g ulp of %s", r->ulp, r->ulp_type);
        putchar('\n');
    }
    for (int i = 0; i < r->hint_count; i++) printf("  hint: %s\n", r->hint[i]);
}

/* Steps in data-flow order, then the first result, then the other results. */
static void tell_different(const pfc_check *k)
{
    int told = 0, left = 0;
    for (int i = 0; i < k->step_count; i++)
        if (pfc_row_differs(&k->step[i])) told < MOST_TOLD / 2 ? tell(k, &k->step[i]), told++ : left++;
    if (k->first_out) tell(k, k->first_out), told++;
    for (int i = 0; i < k->out_count; i++)
        if (&k->out[i] != k->first_out && pfc_row_differs(&k->out[i])) told < MOST_TOLD ? tell(k, &k->out[i]), told++ : left++;
    if (left) printf("and %d more, in the table above\n", left);
}

/* Where to look first. */
static void tell_first(const pfc_check *k)
{
    if (k->first_step)
        printf("first divergence in data-flow order: %s; what follows from it may differ too\n", k->first_step->c.name);
    else if (k->first_out)
        printf("first result that differs: %s\n", k->first_out->c.name);
    if (k->first_out && !k->first_step && k->step_count && !k->lacking_step)
        printf("all %d steps compared agree, up to %s: the fault is in something that they do not depend on\n", k->step_count,
               k->step[k->step_count - 1].c.name);
}

static void tell_ties(const pfc_check *k)
{
    for (int i = 0; i < k->out_count + k->step_count; i++) {
        const pfc_check_row *r = i < k->out_count ? &k->out[i] : &k->step[i - k->out_count];
        if (r->c.ties)
            printf("%s: %lld tie%s: near ties within the bounds that fell the other way, no errors\n", r->c.name, (long long)r->c.ties,
                   r->c.ties == 1 ? "" : "s");
    }
}

/* A word for a shell. */
static size_t add_word(char *text, size_t size, size_t used, const char *word)
{
    bool plain = *word != 0;
    for (const char *c = word; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("/._-+=:,@%", *c)) plain = false;
    if (used >= size) return used;
    if (plain) return used + (size_t)snprintf(text + used, size - used, " %s", word);
    used += (size_t)snprintf(text + used, size - used, " '");
    for (const char *c = word; *c && used < size; c++) used += (size_t)snprintf(text + used, size - used, *c == '\'' ? "'\\''" : "%c", *c);
    return used < size ? used + (size_t)snprintf(text + used, size - used, "'") : used;
}

void pfc_check_repeat(const pfc_check *k, char *text, size_t size)
{
    const pfc_cli *cli = k->cli;
    size_t used = (size_t)snprintf(text, size, "pfc_ref check");
    used = add_word(text, size, used, cli->files[0]);
    used = add_word(text, size, used, cli->files[1]);
    if (used < size) used += (size_t)snprintf(text + used, size - used, " --dtype %s", k->dtype);
    if (used < size && cli->sound) used += (size_t)snprintf(text + used, size - used, " --sound");
    if (used < size && cli->operand_rounding) used += (size_t)snprintf(text + used, size - used, " --operand-rounding %s", cli->operand_rounding);
    if (used < size && cli->shard_rank >= 0) used += (size_t)snprintf(text + used, size - used, " --rank %d", cli->shard_rank);
    if (used < size && cli->shard_of > 0) snprintf(text + used, size - used, " --of %d", cli->shard_of);
}

void pfc_check_print(const pfc_check *k, int status)
{
    static const char *const titles[] = { "tensor", "verdict", "elements", "bad", "error/bound", "abs", "rel", "worst at", "got", "want" };
    char repeat[4096];
    if (k->cli->quiet) return;
    pfc_table *table = pfc_table_new("llrrrrrlrr", titles);
    for (int i = 0; i < k->out_count; i++) add_row(table, &k->out[i]);
    for (int i = 0; i < k->step_count; i++) add_row(table, &k->step[i]);
    pfc_table_print(table, stdout);
    pfc_table_free(table);
    tell_ties(k);
    tell_different(k);
    tell_first(k);
    printf("%s: %d of %d results compared as %s, %d different, %d not comparable\n",
           status == PFC_EXIT_OK          ? "match"
           : status == PFC_EXIT_DIFFERENT ? "DIFFERENT"
                                          : "INCOMPLETE",
           k->compared, k->out_count, k->dtype, k->different, k->lacking);
    if (k->fits) printf("all of it would match as %s: say --dtype %s if the port multiplies in that type\n", k->fits, k->fits);
    pfc_check_repeat(k, repeat, sizeof repeat);
    printf("repeat: %s\n", repeat);
}
