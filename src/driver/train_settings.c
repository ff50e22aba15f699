/* train_settings.c: the settings of a run: the tables of its task, values from recipe and command line, what they are in a configuration. */
#include "case/internal.h"
#include "core/words.h"
#include "driver/train_task.h"
#include <stdlib.h>
#include <string.h>

/* The first is the default. */
static const pfc_task *const tasks[] = { &pfc_task_head, &pfc_task_moco, &pfc_task_swav, NULL };

/* Of every task. What a checkpoint says of them is pfc_plan_items' business. */
static const pfc_param_spec of_every_run[] = {
    { "task", PFC_PARAM_WORD, "head", "head|moco|swav", "what is trained" },
    { "batch", PFC_PARAM_INT, "128", NULL, "rows of a step on all ranks" },
    { "epochs", PFC_PARAM_INT, "", NULL, "length of the run; 1 without steps" },
    { "steps", PFC_PARAM_INT, "", NULL, "length of the run in steps" },
    { "stop_at", PFC_PARAM_INT, "", NULL, "stop after this step" },
    { "log_every", PFC_PARAM_INT, "50", NULL, "steps between lines where there is no terminal" },
    { "schedule", PFC_PARAM_WORD, "constant", PFC_WORDS_SCHEDULE, "of the learning rate after the warm-up" },
    { "lr", PFC_PARAM_REAL, "0.1", NULL, "learning rate" },
    { "final_lr", PFC_PARAM_REAL, "0", NULL, "where cosine and polynomial end" },
    { "power", PFC_PARAM_REAL, "1", NULL, "of polynomial" },
    { "warmup_steps", PFC_PARAM_INT, "0", NULL, "linear from start_lr to lr" },
    { "start_lr", PFC_PARAM_REAL, "0", NULL, "" },
    { "momentum", PFC_PARAM_REAL, "0.9", NULL, "" },
    { "weight_decay", PFC_PARAM_REAL, "0", NULL, "" },
    { "nesterov", PFC_PARAM_INT, "0", "0|1", "" },
    { "seed", PFC_PARAM_INT, "0", NULL, "" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

/* ---- tables ---- */

static int length_of(const pfc_param_spec *table)
{
    int n = 0;
    while (table[n].name) n++;
    return n;
}

static bool has(const pfc_param_spec *table, const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0) return true;
    return false;
}

/* A setting of PFC_SETTING_OF as its algorithm describes it; others are complete. */
static pfc_param_spec described(pfc_param_spec setting)
{
    if (setting.def) return setting;
    const pfc_algorithm *of = pfc_algorithm_find(setting.help);
    return of->params[pfc_param_index(of, setting.name)];
}

/* One table of all that the task has. */
static int make_table(pfc_settings *s, pfc_diag *diag)
{
    int n = length_of(of_every_run), at = n;
    for (int i = 0; s->task->settings[i]; i++) n += length_of(s->task->settings[i]);
    pfc_param_spec *all = calloc((size_t)n + 1, sizeof *all);
    if (!all) return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory");
    memcpy(all, of_every_run, (size_t)at * sizeof *all);
    for (int i = 0; s->task->settings[i]; i++)
        for (const pfc_param_spec *one = s->task->settings[i]; one->name; one++) all[at++] = described(*one);
    s->table.name = "train";
    s->table.params = all;
    s->values = pfc_case_new(&s->table);
    return s->values ? 0 : pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory");
}

/* The task that was named last; an unknown name is refused with its value. */
static const pfc_task *task_of(const pfc_assignments *a)
{
    const pfc_task *task = tasks[0];
    for (int i = 0; i < a->count; i++)
        for (int k = 0; tasks[k] && strcmp(a->list[i].name, "task") == 0; k++)
            if (strcmp(tasks[k]->name, a->list[i].value) == 0) task = tasks[k];
    return task;
}

static bool of_another_task(const pfc_settings *s, const char *name)
{
    for (int k = 0; tasks[k]; k++)
        for (int i = 0; tasks[k]->settings[i] && !has(s->table.params, name); i++)
            if (has(tasks[k]->settings[i], name)) return true;
    return false;
}

/* ---- values ---- */

/* The length on the command line goes before that of the recipe, in epochs or in steps. */
static bool overruled(const pfc_assignments *a, const pfc_assignment *one)
{
    bool length = strcmp(one->name, "epochs") == 0 || strcmp(one->name, "steps") == 0;
    for (int i = 0; i < a->count && length && one->line; i++)
        if (!a->list[i].line && (strcmp(a->list[i].name, "epochs") == 0 || strcmp(a->list[i].name, "steps") == 0)) return true;
    return false;
}

static int apply(pfc_settings *s, pfc_diag *diag)
{
    const pfc_assignments *a = &s->written;
    for (int i = 0; i < a->count && !diag->exit_status; i++) {
        const pfc_assignment *one = &a->list[i];
        if (overruled(a, one)) continue;
        pfc_assignment_place(a, one, s->values->path, sizeof s->values->path); /* messages begin with it */
        if (of_another_task(s, one->name))
            pfc_case_fail(s->values, diag, one->name, "task %s has no such setting", s->task->name);
        else
            pfc_case_set_param(s->values, one->name, one->value, diag);
        if (diag->exit_status && !one->line) diag->exit_status = PFC_EXIT_USAGE; /* not a file's mistake */
    }
    s->values->path[0] = 0;
    return diag->exit_status;
}

int64_t pfc_settings_optional(const pfc_settings *s, const char *name) { return pfc_param_present(s->values, name) ? pfc_param_int(s->values, name) : -1; }

static void fill_run(pfc_settings *s)
{
    const pfc_case *c = s->values;
    pfc_train_config *t = &s->config;
    t->batch = pfc_param_int(c, "batch");
    t->seed = pfc_param_int(c, "seed");
    t->schedule = (pfc_train_schedule)pfc_param_choice(c, "schedule");
    t->base_lr = pfc_param_real(c, "lr");
    t->final_lr = pfc_param_real(c, "final_lr");
    t->power = pfc_param_real(c, "power");
    t->warmup_steps = pfc_param_int(c, "warmup_steps");
    t->start_lr = pfc_param_real(c, "start_lr");
    t->momentum = pfc_param_real(c, "momentum");
    t->weight_decay = pfc_param_real(c, "weight_decay");
    t->nesterov = (int)pfc_param_int(c, "nesterov");
    s->epochs = pfc_settings_optional(s, "epochs");
    s->steps = pfc_settings_optional(s, "steps");
    s->stop_at = pfc_settings_optional(s, "stop_at");
    s->log_every = pfc_param_int(c, "log_every");
}

int pfc_settings_at_least(const pfc_settings *s, const char *name, int64_t least, pfc_diag *diag)
{
    long long found = pfc_param_int(s->values, name);
    if (pfc_param_present(s->values, name) && found < least)
        pfc_diag_fail(diag, PFC_EXIT_USAGE, "%s: found %lld, expected %lld or more", name, found, (long long)least);
    return diag->exit_status;
}

static int check_run(const pfc_settings *s, pfc_diag *diag)
{
    static const char *const positive[] = { "batch", "epochs", "steps", "stop_at", "log_every", NULL };
    for (int i = 0; positive[i] && !diag->exit_status; i++) pfc_settings_at_least(s, positive[i], 1, diag);
    if (!diag->exit_status && s->epochs > 0 && s->steps > 0) pfc_diag_fail(diag, PFC_EXIT_USAGE, "epochs and steps: expected one of them");
    return diag->exit_status;
}

int pfc_settings_read(const pfc_cli *cli, pfc_settings *s, pfc_diag *diag)
{
    memset(s, 0, sizeof *s);
    s->config = pfc_train_defaults();
    if (!pfc_assignments_read(cli, &s->written, diag)) {
        s->task = task_of(&s->written);
        if (!make_table(s, diag) && !apply(s, diag) && !pfc_case_apply_defaults(s->values, diag)) {
            fill_run(s);
            check_run(s, diag);
        }
    }
    return pfc_diag_agree(cli->comm, diag);
}

void pfc_settings_free(pfc_settings *s)
{
    pfc_assignments_free(&s->written);
    pfc_case_free(s->values);
    free((void *)s->table.params);
    s->values = NULL;
    s->table.params = NULL;
}

int pfc_settings_refuse(const pfc_settings *s, const pfc_param_spec *table, const char *why, pfc_diag *diag)
{
    for (; table->name && !diag->exit_status; table++)
        if (s->values->param[pfc_param_index(&s->table, table->name)].given) pfc_diag_fail(diag, PFC_EXIT_USAGE, "%s: %s", table->name, why);
    return diag->exit_status;
}

void pfc_settings_items(const pfc_settings *s, const pfc_param_spec *table, pfc_items *items)
{
    for (; table->name; table++) {
        int k = pfc_param_index(&s->table, table->name);
        const pfc_param *p = &s->values->param[k];
        if (!p->present) continue;
        if (s->table.params[k].type == PFC_PARAM_INT)
            pfc_items_int(items, table->name, p->i);
        else if (s->table.params[k].type == PFC_PARAM_REAL)
            pfc_items_real(items, table->name, p->r);
        else
            pfc_items_text(items, table->name, p->word);
    }
}
