/* cmd_explain.c: a small example of an algorithm, worked through on the ranks at hand. */
#include "case/internal.h"
#include "driver/explain.h"
#include "file/new_file.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const pfc_ex_algorithm *const told[] = {
    &pfc_ex_partial_fc,   &pfc_ex_arcface_head, &pfc_ex_adaptive_margins, &pfc_ex_sinkhorn,   &pfc_ex_swav, &pfc_ex_lr_schedule,
    &pfc_ex_moco_shuffle, &pfc_ex_moco,         &pfc_ex_group_gather,     &pfc_ex_batch_norm, NULL
};

static const pfc_ex_algorithm *find(const char *name, pfc_diag *diag)
{
    char names[300] = "";
    for (int i = 0; told[i]; i++)
        if (strcmp(told[i]->name, name) == 0) return told[i];
    for (int i = 0; told[i]; i++) {
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", told[i]->name);
    }
    pfc_diag_fail(diag, PFC_EXIT_USAGE, "%s: no such algorithm, expected one of %s", name, names);
    return NULL;
}

/* ---- the example ---- */

/* --param first, then the example's own settings, sizes and inputs; again > 0: the setting that is run again has this value. */
static pfc_case *make_example(const pfc_cli *cli, const pfc_ex_algorithm *a, int again, pfc_diag *diag)
{
    pfc_case *c = pfc_case_new(pfc_algorithm_find(a->name));
    char value[16];
    snprintf(value, sizeof value, "%d", again);
    if (!c) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "explain: out of memory");
    if (c) snprintf(c->name, sizeof c->name, "explain %s", a->name);
    if (c) pfc_cli_params(cli, c, diag);
    if (c && again && !diag->exit_status) pfc_case_set_param(c, a->again, value, diag);
    for (int i = 0; c && a->settings && a->settings[i]; i += 2) pfc_ex_set(c, a->settings[i], a->settings[i + 1], diag);
    if (!pfc_diag_agree(cli->comm, diag)) a->example(cli->comm, c, cli->ranks, diag);
    if (!pfc_diag_agree(cli->comm, diag)) pfc_case_check(cli->comm, c, diag);
    if (!diag->exit_status) return c;
    pfc_case_free(c);
    return NULL;
}

/* What comes out after fewer iterations. Collective. */
static int run_again(const pfc_cli *cli, pfc_ctx *ctx, pfc_ex_story *s, pfc_diag *diag)
{
    int64_t most = s->told->again ? pfc_param_int(s->c, s->told->again) - 1 : 0;
    for (int i = 0; i < most && i < PFC_EX_AGAIN && !diag->exit_status; i++) {
        s->again[i] = make_example(cli, s->told, i + 1, diag);
        if (!s->again[i]) break;
        s->again_count++;
        s->again[i]->algorithm->run(ctx, s->again[i], false, diag);
        pfc_diag_agree(cli->comm, diag);
    }
    return diag->exit_status;
}

/* ---- checks ---- */

static void add_check(pfc_ex_story *s, const pfc_tensor *want, const pfc_comparison *r, double bound)
{
    pfc_ex_check *checks = realloc(s->checks, (size_t)(s->check_count + 1) * sizeof *checks);
    s->unchecked = s->unchecked || !checks;
    if (!checks) return;
    s->checks = checks;
    pfc_ex_check *c = &checks[s->check_count++];
    *c = (pfc_ex_check){ .good = r->verdict == PFC_PASS, .error = r->worst_abs, .bound = bound };
    snprintf(c->name, sizeof c->name, "%s", want->name);
}

static void add_dense(void *user, const pfc_tensor *want, const pfc_comparison *r)
{
    add_check(user, want, r, want->dtype == PFC_I64 || r->worst_index < 0 ? 0.0 : r->bound);
}

/* Fast mode: within the bounds for float32 around exact mode's results. */
static int check_fast(const pfc_cli *cli, pfc_case *c, const pfc_case *exact, pfc_ex_story *s, pfc_diag *diag)
{
    for (int i = 0; i < exact->out.count; i++) {
        const pfc_tensor *want = &exact->out.items[i], *bound = pfc_tensor_find(&exact->bound_out, want->name);
        pfc_comparison r;
        if (pfc_compare(cli->comm, pfc_tensor_find(&c->out, want->name), want, bound, &r, diag)) return diag->exit_status;
        if (r.verdict != PFC_VACUOUS) add_check(s, want, &r, bound ? r.bound : 0.0);
    }
    return 0;
}

static pfc_case *run_exact_for_bounds(const pfc_cli *cli, const pfc_ex_algorithm *a, pfc_diag *diag)
{
    pfc_ctx *ctx = pfc_cli_context(cli, PFC_EXACT, diag);
    pfc_case *c = ctx ? make_example(cli, a, 0, diag) : NULL;
    if (c && !c->algorithm->run(ctx, c, true, diag)) c->algorithm->bounds(ctx, c, pfc_precision_find("f32"), diag);
    pfc_cli_context_close(&ctx, diag);
    return c;
}

static int all_checked(const pfc_cli *cli, const pfc_ex_story *s, pfc_diag *diag)
{
    if (s->unchecked && !diag->exit_status) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "explain: out of memory");
    return pfc_diag_agree(cli->comm, diag);
}

static int check_results(const pfc_cli *cli, pfc_case *c, pfc_ex_story *s, pfc_diag *diag)
{
    if (s->mode == PFC_EXACT) {
        s->against = "Check against the dense equations";
        if (pfc_dense_compare(cli->comm, c, add_dense, s, diag)) return diag->exit_status;
        return all_checked(cli, s, diag);
    }
    s->against = "Check against exact mode, within the bounds for float32";
    pfc_case *exact = run_exact_for_bounds(cli, s->told, diag);
    if (exact && !diag->exit_status) check_fast(cli, c, exact, s, diag);
    pfc_case_free(exact);
    return all_checked(cli, s, diag);
}

/* ---- files ---- */

static void tell_html(FILE *f, const pfc_ex_story *s) { pfc_ex_tell(f, &pfc_ex_html, s); }

/* Under a temporary name first; pipes and devices in place. On rank 0. */
static int write_file(const char *path, void (*tell)(FILE *f, const pfc_ex_story *s), const pfc_ex_story *s, pfc_diag *diag)
{
    char place[1024], temporary[1088] = "", why[160] = "";
    bool moved = pfc_new_file_place(path, place, sizeof place), renamed = false;
    if (moved && !pfc_new_file_make(place, temporary, sizeof temporary, why, sizeof why))
        return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: cannot write: %s", path, why);
    if (moved) pfc_temporary_add(temporary);
    FILE *f = fopen(moved ? temporary : path, "w");
    if (f) tell(f, s);
    bool bad = !f || ferror(f);
    if (bad) snprintf(why, sizeof why, "%s", strerror(errno));
    if (f && fclose(f) && !bad) bad = true, snprintf(why, sizeof why, "%s", strerror(errno));
    if (!bad && moved) bad = !pfc_new_file_publish(temporary, place, &renamed, why, sizeof why);
    if (moved && !renamed) unlink(temporary);
    if (moved) pfc_temporary_drop(temporary);
    return bad ? pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: cannot write: %s", path, why) : 0;
}

static int write_json(const pfc_cli *cli, const pfc_ex_story *s, pfc_diag *diag)
{
    pfc_json *j = pfc_json_open(cli, diag);
    if (!cli->json || diag->exit_status) return diag->exit_status;
    if (j) pfc_ex_json(j, s);
    return pfc_json_close(&j, cli, diag);
}

static int tell(const pfc_cli *cli, const pfc_ex_story *s, pfc_diag *diag)
{
    if (cli->rank == 0 && cli->html) write_file(cli->html, tell_html, s, diag);
    if (cli->rank == 0 && cli->svg) write_file(cli->svg, pfc_ex_svg, s, diag);
    if (cli->rank == 0 && !cli->quiet && !diag->exit_status) pfc_ex_tell(stdout, &pfc_ex_text, s);
    return pfc_diag_agree(cli->comm, diag) ? diag->exit_status : write_json(cli, s, diag);
}

/* ---- the command ---- */

static int explain(const pfc_cli *cli, pfc_ctx *ctx, pfc_case *c, pfc_ex_story *s, pfc_diag *diag)
{
    pfc_ex_watch watch;
    pfc_ex_watch_begin(&watch, ctx, c);
    c->algorithm->run(ctx, c, true, diag);
    pfc_ex_watch_end(&watch);
    if (!pfc_diag_agree(cli->comm, diag) && !run_again(cli, ctx, s, diag) && !check_results(cli, c, s, diag) && !pfc_ex_story_make(cli, &watch, s, diag))
        tell(cli, s, diag);
    pfc_ex_watch_free(&watch);
    for (int i = 0; i < s->check_count; i++)
        if (!s->checks[i].good) return diag->exit_status ? diag->exit_status : PFC_EXIT_DIFFERENT;
    return diag->exit_status;
}

int pfc_cmd_explain(pfc_cli *cli)
{
    pfc_diag diag = { 0 };
    pfc_ex_story s = { .mode = cli->mode_given ? cli->mode : PFC_EXACT };
    pfc_ctx *ctx = NULL;
    pfc_case *c = NULL;
    int status = 0;
    s.told = find(cli->files[0], &diag);
    if (s.told) ctx = pfc_cli_context(cli, s.mode, &diag);
    if (ctx) c = make_example(cli, s.told, 0, &diag);
    s.c = c;
    if (c) status = explain(cli, ctx, c, &s, &diag);
    pfc_ex_story_free(&s);
    pfc_case_free(c);
    pfc_cli_context_close(&ctx, &diag);
    return diag.exit_status ? pfc_report(cli, &diag) : status;
}
