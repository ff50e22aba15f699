/* cmd_verify.c: every shipped case on the ranks at hand, against its golden and against the dense equations.
 *
 *   exact mode   every result has the golden's digest and bits
 *   dense        exact mode's results agree with the textbook equations to 1e-9 of each tensor's largest magnitude, NaN where NaN
 *   fast mode    every result lies within the golden's bounds for f32
 *
 * A case for another number of ranks is n/a and does not count. One case of every algorithm is made on the spot for the number of ranks at hand; rank 0
 * computes it alone, and that is its golden, unless the result depends on the number of ranks ("by ranks"). */
#include "driver/driver.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_FAILURES = 8 };

/* One comparison of a case: how many tensors, how many wrong, the worst of them. */
typedef struct outcome {
    int tensors, wrong;
    double ratio; /* worst error over bound */
    char worst[PFC_MAX_NAME];
} outcome;

typedef struct verify {
    const pfc_cli *cli;
    pfc_ctx *exact, *fast; /* NULL: not asked for */
    pfc_diag *diag;
    pfc_table *table;
    pfc_json *json;
    int cases, skipped, wrong, tensors;
    int file_status; /* of the first case that could not be read or run; 0: none */
    char failures[MAX_FAILURES][512];
    int failure_count;
} verify;

/* What the file holds, set aside while the case is run again. */
typedef struct wanted {
    pfc_tensor_list out, step, bound_out, bound_step;
} wanted;

static void set_aside(pfc_case *c, wanted *w)
{
    *w = (wanted){ c->out, c->step, c->bound_out, c->bound_step };
    c->out = c->step = c->bound_out = c->bound_step = (pfc_tensor_list){ 0 };
}

static void free_wanted(wanted *w)
{
    pfc_tensor_list_free(&w->out);
    pfc_tensor_list_free(&w->step);
    pfc_tensor_list_free(&w->bound_out);
    pfc_tensor_list_free(&w->bound_step);
}

static void note_failure(verify *v, const pfc_case *c, const char *how, const pfc_tensor *want, const pfc_comparison *r)
{
    char where[160];
    if (v->failure_count == MAX_FAILURES) return;
    char *text = v->failures[v->failure_count++];
    int n = snprintf(text, sizeof v->failures[0], "%s: %s, %s: %s, %lld of %lld elements", c->name, how, want->name, pfc_verdict_string(r->verdict),
                     (long long)r->bad, (long long)r->elements);
    if (r->worst_index >= 0 && n < (int)sizeof v->failures[0])
        snprintf(text + n, sizeof v->failures[0] - (size_t)n, ", worst at %s: got %.17g, want %.17g, bound %.3g",
                 pfc_index_text(want, r->worst_index, where, sizeof where), r->got, r->want, r->bound);
}

static void add_comparison(verify *v, outcome *o, const pfc_case *c, const char *how, const pfc_tensor *want, const pfc_comparison *r)
{
    o->tensors++;
    if (r->verdict != PFC_PASS) {
        if (!o->wrong++) snprintf(o->worst, sizeof o->worst, "%s", want->name);
        note_failure(v, c, how, want, r);
    }
    if (!(r->worst_ratio > o->ratio)) return;
    o->ratio = r->worst_ratio;
    if (!o->wrong) snprintf(o->worst, sizeof o->worst, "%s", want->name);
}

/* ---- the three comparisons ---- */

static int against_golden(verify *v, pfc_case *c, const pfc_tensor_list *got, const pfc_tensor_list *want, outcome *o)
{
    for (int i = 0; i < want->count; i++) {
        pfc_tensor *mine = pfc_tensor_find(got, want->items[i].name);
        pfc_comparison r;
        if (pfc_compare(v->cli->comm, mine, &want->items[i], NULL, &r, v->diag)) return v->diag->exit_status;
        if (mine && pfc_tensor_digest(v->cli->comm, mine, v->diag)) return v->diag->exit_status;
        /* The digest in the file must be that of the data, too. */
        if (r.verdict == PFC_PASS && (!r.digest_match || strcmp(mine->sha256, want->items[i].sha256))) r.verdict = PFC_FAIL;
        add_comparison(v, o, c, "exact mode against the golden", &want->items[i], &r);
    }
    return 0;
}

static int against_bounds(verify *v, pfc_case *c, const wanted *w, outcome *o)
{
    const pfc_tensor_list *want = &w->out, *bounds = &w->bound_out;
    for (int i = 0; i < want->count; i++) {
        const pfc_tensor *bound = pfc_tensor_find(bounds, want->items[i].name);
        pfc_comparison r;
        if (!bound && want->items[i].dtype != PFC_I64) continue;
        if (pfc_compare(v->cli->comm, pfc_tensor_find(&c->out, want->items[i].name), &want->items[i], bound, &r, v->diag)) return v->diag->exit_status;
        if (r.verdict == PFC_VACUOUS) continue; /* undecidable in float32, poles for example: nothing to count */
        add_comparison(v, o, c, "fast mode against the f32 bounds", &want->items[i], &r);
    }
    return 0;
}

typedef struct dense_target {
    verify *v;
    const pfc_case *c;
    outcome *o;
} dense_target;

static void add_dense(void *user, const pfc_tensor *want, const pfc_comparison *r)
{
    const dense_target *t = user;
    add_comparison(t->v, t->o, t->c, "exact mode against the dense equations", want, r);
}

static int against_dense(verify *v, pfc_case *c, outcome *o)
{
    dense_target t = { v, c, o };
    return pfc_dense_compare(v->cli->comm, c, add_dense, &t, v->diag);
}

/* ---- one case ---- */

typedef struct report {
    outcome golden, dense, fast;
    bool by_ranks; /* rank 0 alone would compute another case */
    double seconds;
} report;

static int run_exact(verify *v, pfc_case *c, const wanted *w, report *r)
{
    double start = MPI_Wtime();
    if (c->algorithm->run(v->exact, c, w->step.count > 0, v->diag)) return v->diag->exit_status;
    r->seconds += MPI_Wtime() - start;
    if (against_golden(v, c, &c->out, &w->out, &r->golden) || against_golden(v, c, &c->step, &w->step, &r->golden)) return v->diag->exit_status;
    return against_dense(v, c, &r->dense);
}

static int run_fast(verify *v, pfc_case *c, const wanted *w, report *r)
{
    double start = MPI_Wtime();
    if (c->algorithm->run(v->fast, c, false, v->diag)) return v->diag->exit_status;
    r->seconds += MPI_Wtime() - start;
    return against_bounds(v, c, w, &r->fast);
}

static void cell_outcome(pfc_table *table, const outcome *o)
{
    if (!o->tensors)
        pfc_table_cell(table, "-");
    else if (o->ratio == 0.0 && !o->wrong)
        pfc_table_cell(table, "0");
    else
        pfc_table_cell(table, "%.2g %s", o->ratio, o->worst);
}

static void json_outcome(pfc_json *j, const char *key, const outcome *o)
{
    pfc_json_begin(j, key, '{');
    pfc_json_int(j, "tensors", o->tensors);
    pfc_json_int(j, "wrong", o->wrong);
    pfc_json_real(j, "worst_ratio", o->ratio);
    pfc_json_text(j, "worst", o->worst);
    pfc_json_end(j);
}

static void add_row(verify *v, const pfc_case *c, const report *r)
{
    int tensors = r->golden.tensors + r->dense.tensors + r->fast.tensors, wrong = r->golden.wrong + r->dense.wrong + r->fast.wrong;
    const char *verdict = wrong ? "DIFFERENT" : tensors ? "match" : "nothing compared";
    v->cases++;
    v->tensors += tensors;
    v->wrong += wrong > 0;
    pfc_table_cell(v->table, "%s", c->algorithm->name);
    pfc_table_cell(v->table, "%s", c->name);
    pfc_table_cell(v->table, "%d", tensors);
    if (r->golden.tensors)
        pfc_table_cell(v->table, "%d/%d", r->golden.tensors - r->golden.wrong, r->golden.tensors);
    else
        pfc_table_cell(v->table, r->by_ranks ? "by ranks" : "-");
    cell_outcome(v->table, &r->dense);
    cell_outcome(v->table, &r->fast);
    pfc_table_cell(v->table, "%.3f s", r->seconds);
    pfc_table_cell(v->table, "%s", verdict);
    pfc_json_begin(v->json, NULL, '{');
    pfc_json_text(v->json, "algorithm", c->algorithm->name);
    pfc_json_text(v->json, "case", c->name);
    pfc_json_text(v->json, "verdict", verdict);
    json_outcome(v->json, "exact_against_golden", &r->golden);
    json_outcome(v->json, "exact_against_dense", &r->dense);
    json_outcome(v->json, "fast_against_bounds", &r->fast);
    pfc_json_real(v->json, "seconds", r->seconds);
    pfc_json_end(v->json);
}

static void add_plain_row(verify *v, const char *algorithm, const char *name, const char *verdict, const char *why)
{
    pfc_table_cell(v->table, "%s", algorithm);
    pfc_table_cell(v->table, "%s", name);
    for (int i = 0; i < 5; i++) pfc_table_cell(v->table, "-");
    pfc_table_cell(v->table, "%s: %s", verdict, why);
    pfc_json_begin(v->json, NULL, '{');
    pfc_json_text(v->json, "algorithm", algorithm);
    pfc_json_text(v->json, "case", name);
    pfc_json_text(v->json, "verdict", verdict);
    pfc_json_text(v->json, "reason", why);
    pfc_json_end(v->json);
}

/* A case that cannot be read or run is told of, and the others go on. */
static void verify_case(verify *v, const pfc_folder *folder, const char *name)
{
    char path[1300];
    pfc_peek peek;
    pfc_case *c = NULL;
    wanted w = { 0 };
    report r = { 0 };
    pfc_folder_file(folder, name, path, sizeof path);
    pfc_peek_file(v->cli, path, &peek);
    if (peek.unfit[0]) {
        v->skipped++;
        add_plain_row(v, peek.algorithm, name, "n/a", peek.unfit);
        return;
    }
    if (!pfc_case_read(v->cli->comm, path, PFC_READ_INPUTS | PFC_READ_RESULTS | PFC_READ_BOUNDS, &c, v->diag)) {
        set_aside(c, &w);
        if ((!v->exact || !run_exact(v, c, &w, &r)) && v->fast && w.out.count && w.bound_out.count) run_fast(v, c, &w, &r);
    }
    if (!v->diag->exit_status) {
        add_row(v, c, &r);
    } else {
        if (!v->file_status) v->file_status = v->diag->exit_status;
        add_plain_row(v, peek.algorithm, name, "ERROR", v->diag->text);
        pfc_report(v->cli, v->diag);
        *v->diag = (pfc_diag){ 0 };
    }
    free_wanted(&w);
    pfc_case_free(c);
}

/* ---- a case made on the spot ---- */

static int against_digests(verify *v, const pfc_case *c, pfc_tensor_list *got, const pfc_digests *want, outcome *o)
{
    for (int i = 0; i < got->count; i++) {
        const char *digest = pfc_digests_find(want, got->items[i].name);
        if (pfc_tensor_digest(v->cli->comm, &got->items[i], v->diag)) return v->diag->exit_status;
        pfc_comparison r = { .verdict = digest && strcmp(digest, got->items[i].sha256) == 0 ? PFC_PASS : PFC_FAIL, .worst_index = -1 };
        add_comparison(v, o, c, "exact mode against rank 0 alone", &got->items[i], &r);
    }
    return 0;
}

/* Exact mode: digests, dense equations, bounds for fast mode. */
static int any_ranks_exact(verify *v, pfc_case *c, report *r)
{
    pfc_digests alone;
    double start = MPI_Wtime();
    if (c->algorithm->run(v->exact, c, true, v->diag)) return v->diag->exit_status;
    r->seconds += MPI_Wtime() - start;
    r->by_ranks = c->depends_on_world;
    if (!r->by_ranks) {
        if (pfc_digests_alone(v->cli, c->algorithm, &alone, v->diag)) return v->diag->exit_status;
        if (against_digests(v, c, &c->out, &alone, &r->golden) || against_digests(v, c, &c->step, &alone, &r->golden)) return v->diag->exit_status;
        if (r->golden.tensors != alone.count) r->golden.wrong++; /* a result is missing */
    }
    if (against_dense(v, c, &r->dense)) return v->diag->exit_status;
    return v->fast && c->algorithm->bounds ? c->algorithm->bounds(v->exact, c, pfc_precision_find("f32"), v->diag) : 0;
}

static void verify_any_ranks(verify *v, const pfc_algorithm *a)
{
    wanted w = { 0 };
    report r = { 0 };
    if (!a->any_ranks || !v->exact) return;
    pfc_case *c = pfc_case_any_ranks(v->cli->comm, a, v->cli->ranks, v->diag);
    if (c && !any_ranks_exact(v, c, &r) && v->fast && c->bound_out.count) {
        set_aside(c, &w);
        run_fast(v, c, &w, &r);
    }
    if (!v->diag->exit_status) {
        add_row(v, c, &r);
    } else {
        if (!v->file_status) v->file_status = v->diag->exit_status;
        add_plain_row(v, a->name, "any_ranks", "ERROR", v->diag->text);
        pfc_report(v->cli, v->diag);
        *v->diag = (pfc_diag){ 0 };
    }
    free_wanted(&w);
    pfc_case_free(c);
}

/* ---- all cases ---- */

static int conclude(verify *v)
{
    int status = v->wrong ? PFC_EXIT_DIFFERENT : v->file_status ? v->file_status : v->tensors == 0 ? PFC_EXIT_FILE : PFC_EXIT_OK;
    const char *verdict = status == PFC_EXIT_OK ? "match" : status == PFC_EXIT_DIFFERENT ? "DIFFERENT" : v->tensors == 0 ? "NOTHING COMPARED" : "INCOMPLETE";
    pfc_json_end(v->json);
    pfc_json_text(v->json, "verdict", verdict);
    pfc_json_int(v->json, "exit_status", status);
    pfc_json_int(v->json, "cases", v->cases);
    pfc_json_int(v->json, "not_applicable", v->skipped);
    pfc_json_int(v->json, "comparisons", v->tensors);
    if (v->cli->rank != 0 || v->cli->quiet) return status;
    pfc_table_print(v->table, stdout);
    for (int i = 0; i < v->failure_count; i++) printf("%s\n", v->failures[i]);
    printf("%s: %d case%s, %d comparisons on %d rank%s, %d case%s different", verdict, v->cases, v->cases == 1 ? "" : "s", v->tensors, v->cli->ranks,
           v->cli->ranks == 1 ? "" : "s", v->wrong, v->wrong == 1 ? "" : "s");
    if (v->skipped) printf(", %d not applicable to %d rank%s", v->skipped, v->cli->ranks, v->cli->ranks == 1 ? "" : "s");
    putchar('\n');
    return status;
}

static bool open_contexts(verify *v)
{
    const pfc_cli *cli = v->cli;
    if (!cli->mode_given || cli->mode == PFC_EXACT) v->exact = pfc_cli_context(cli, PFC_EXACT, v->diag);
    if (!v->diag->exit_status && (!cli->mode_given || cli->mode == PFC_FAST)) v->fast = pfc_cli_context(cli, PFC_FAST, v->diag);
    return !v->diag->exit_status;
}

int pfc_cmd_verify(pfc_cli *cli)
{
    static const char *const titles[] = { "algorithm", "case", "compared", "same digest", "error/tolerance, dense", "error/bound, fast", "time", "verdict" };
    static verify v; /* large */
    pfc_diag diag = { 0 };
    pfc_folder folder = { 0 };
    int status = 0;
    v.cli = cli;
    v.diag = &diag;
    if (open_contexts(&v) && !pfc_folder_open(cli, &folder, &diag)) {
        v.table = pfc_table_new("llrrllrl", titles);
        v.json = pfc_json_open(cli, &diag);
        if (!diag.exit_status) {
            pfc_json_int(v.json, "ranks", cli->ranks);
            pfc_json_context(v.json, v.exact ? v.exact : v.fast);
            pfc_json_text(v.json, "data", folder.path);
            pfc_json_begin(v.json, "results", '[');
            for (int i = 0; pfc_algorithms[i]; i++) verify_any_ranks(&v, pfc_algorithms[i]);
            for (int i = 0; i < folder.count; i++) verify_case(&v, &folder, folder.names[i]);
            status = conclude(&v);
            if (status == PFC_EXIT_FILE && !v.file_status)
                pfc_diag_fail(&diag, status, "%s: nothing was compared: no case fits %d ranks", folder.path, cli->ranks);
        }
        pfc_json_close(&v.json, cli, &diag);
        pfc_table_free(v.table);
    }
    pfc_folder_free(&folder);
    pfc_cli_context_close(&v.exact, &diag);
    pfc_cli_context_close(&v.fast, &diag);
    return diag.exit_status ? pfc_report(cli, &diag) : status;
}
