/* train_settings.c: the settings of a run: a table with defaults, and what they are in a configuration. */
#include "case/internal.h"
#include "driver/train.h"
#include <math.h>
#include <string.h>

static const pfc_param_spec params[] = {
    { "head", PFC_PARAM_WORD, "cos", "linear|cos|arc|circle|arcface_head", "partial_fc's kinds, or arcface_head" },
    { "num_classes", PFC_PARAM_INT, "", NULL, "the largest label + 1" },
    { "batch", PFC_PARAM_INT, "128", NULL, "rows of a step on all ranks" },
    { "epochs", PFC_PARAM_INT, "", NULL, "length of the run; 1 without steps" },
    { "steps", PFC_PARAM_INT, "", NULL, "length of the run in steps" },
    { "stop_at", PFC_PARAM_INT, "", NULL, "stop after this step" },
    { "log_every", PFC_PARAM_INT, "50", NULL, "steps between lines where there is no terminal" },
    { "schedule", PFC_PARAM_WORD, "constant", "constant|cosine|polynomial", "of the learning rate after the warm-up" },
    { "lr", PFC_PARAM_REAL, "0.1", NULL, "learning rate" },
    { "final_lr", PFC_PARAM_REAL, "0", NULL, "where cosine and polynomial end" },
    { "power", PFC_PARAM_REAL, "1", NULL, "of polynomial" },
    { "warmup_steps", PFC_PARAM_INT, "0", NULL, "linear from start_lr to lr" },
    { "start_lr", PFC_PARAM_REAL, "0", NULL, "" },
    { "momentum", PFC_PARAM_REAL, "0.9", NULL, "" },
    { "weight_decay", PFC_PARAM_REAL, "0", NULL, "" },
    { "nesterov", PFC_PARAM_INT, "0", "0|1", "" },
    { "seed", PFC_PARAM_INT, "0", NULL, "" },
    { "scale", PFC_PARAM_REAL, "64", NULL, "" },
    { "margin", PFC_PARAM_REAL, "", NULL, "0.4; arcface_head 0.5" },
    /* partial_fc */
    { "sample_rate", PFC_PARAM_REAL, "1", NULL, "" },
    { "num_sample", PFC_PARAM_INT, "", NULL, "" },
    { "sample_rule", PFC_PARAM_WORD, "shard", "shard|global", "global: independent of the number of ranks" },
    { "loss", PFC_PARAM_WORD, "clamp", "clamp|lse", "" },
    { "arc_gradient", PFC_PARAM_WORD, "exact", "exact|straight_through", "" },
    { "arc_fallback", PFC_PARAM_WORD, "none", "none|linear|easy", "" },
    { "cos_clamp", PFC_PARAM_INT, "0", "0|1", "arcface_head, too" },
    { "interclass_threshold", PFC_PARAM_REAL, "0", NULL, "" },
    { "momentum_rule", PFC_PARAM_WORD, "lazy", "lazy|dense", "" },
    /* arcface_head */
    { "num_subcenters", PFC_PARAM_INT, "1", NULL, "" },
    { "easy_margin", PFC_PARAM_INT, "0", "0|1", "" },
    { "feature_norm", PFC_PARAM_INT, "1", "0|1", "" },
    { "weight_norm", PFC_PARAM_INT, "1", "0|1", "" },
    { "loss_weight", PFC_PARAM_REAL, "1", NULL, "" },
    { "margin_constants", PFC_PARAM_WORD, "init", "init|set", "" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

static const pfc_algorithm settings_table = { .name = "train", .params = params };

static const char *const of_partial_fc[] = { "sample_rate",  "num_sample",           "sample_rule",   "loss", "arc_gradient",
                                             "arc_fallback", "interclass_threshold", "momentum_rule", NULL };
static const char *const of_arcface[] = { "num_subcenters", "easy_margin", "feature_norm", "weight_norm", "loss_weight", "margin_constants", NULL };

/* A setting that the head does not have would be overlooked. */
static int refuse_others(const pfc_case *c, const char *const *names, pfc_diag *diag)
{
    for (int i = 0; names[i] && !diag->exit_status; i++)
        if (c->param[pfc_param_index(c->algorithm, names[i])].given)
            pfc_diag_fail(diag, PFC_EXIT_USAGE, "--param %s: head %s has no such setting", names[i], pfc_param_word(c, "head"));
    return diag->exit_status;
}

static void fill_partial_fc(const pfc_case *c, pfc_partial_fc_config *p)
{
    p->head = (pfc_head_kind)pfc_param_choice(c, "head");
    p->scale = pfc_param_real(c, "scale");
    if (pfc_param_present(c, "margin")) p->margin = pfc_param_real(c, "margin");
    p->sample_rate = pfc_param_real(c, "sample_rate");
    if (pfc_param_present(c, "num_sample")) p->num_sample = pfc_param_int(c, "num_sample");
    p->sample_rule = (pfc_sample_rule)pfc_param_choice(c, "sample_rule");
    p->loss = (pfc_loss_kind)pfc_param_choice(c, "loss");
    p->arc_gradient = (pfc_arc_gradient)pfc_param_choice(c, "arc_gradient");
    p->arc_fallback = (pfc_arc_fallback)pfc_param_choice(c, "arc_fallback");
    p->cos_clamp = (int)pfc_param_int(c, "cos_clamp");
    p->interclass_threshold = pfc_param_real(c, "interclass_threshold");
    p->momentum_rule = (pfc_momentum_rule)pfc_param_choice(c, "momentum_rule");
}

static void fill_arcface(const pfc_case *c, pfc_arcface_config *a)
{
    a->num_subcenters = pfc_param_int(c, "num_subcenters");
    a->scale = pfc_param_real(c, "scale");
    if (pfc_param_present(c, "margin")) a->margin = pfc_param_real(c, "margin");
    a->margin_constants = (pfc_margin_constants)pfc_param_choice(c, "margin_constants");
    a->easy_margin = (int)pfc_param_int(c, "easy_margin");
    a->feature_norm = (int)pfc_param_int(c, "feature_norm");
    a->weight_norm = (int)pfc_param_int(c, "weight_norm");
    a->loss_weight = pfc_param_real(c, "loss_weight");
    a->cos_clamp = (int)pfc_param_int(c, "cos_clamp");
}

static int64_t optional(const pfc_case *c, const char *name) { return pfc_param_present(c, name) ? pfc_param_int(c, name) : -1; }

static void fill_run(const pfc_case *c, pfc_settings *s)
{
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
    s->num_classes = optional(c, "num_classes");
    s->epochs = optional(c, "epochs");
    s->steps = optional(c, "steps");
    s->stop_at = optional(c, "stop_at");
    s->log_every = pfc_param_int(c, "log_every");
}

static int check_run(const pfc_case *c, const pfc_settings *s, pfc_diag *diag)
{
    static const char *const positive[] = { "num_classes", "batch", "epochs", "steps", "stop_at", "log_every", NULL };
    for (int i = 0; positive[i] && !diag->exit_status; i++)
        if (pfc_param_present(c, positive[i]) && pfc_param_int(c, positive[i]) < 1)
            pfc_diag_fail(diag, PFC_EXIT_USAGE, "%s: found %lld, expected 1 or more", positive[i], (long long)pfc_param_int(c, positive[i]));
    if (!diag->exit_status && s->epochs > 0 && s->steps > 0) pfc_diag_fail(diag, PFC_EXIT_USAGE, "epochs and steps: expected one of them");
    return diag->exit_status;
}

int pfc_settings_read(const pfc_cli *cli, pfc_settings *s, pfc_diag *diag)
{
    pfc_case *c = pfc_case_new(&settings_table);
    if (!c) return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory");
    memset(s, 0, sizeof *s);
    s->config = pfc_train_defaults();
    if (pfc_cli_params(cli, c, diag)) diag->exit_status = PFC_EXIT_USAGE; /* not a file's mistake */
    if (!diag->exit_status && !pfc_case_apply_defaults(c, diag)) {
        bool arcface = strcmp(pfc_param_word(c, "head"), "arcface_head") == 0;
        s->config.layer = arcface ? PFC_TRAIN_ARCFACE : PFC_TRAIN_PARTIAL_FC;
        fill_run(c, s);
        if (arcface)
            fill_arcface(c, &s->config.arcface);
        else
            fill_partial_fc(c, &s->config.partial_fc);
        if (!refuse_others(c, arcface ? of_partial_fc : of_arcface, diag)) check_run(c, s, diag);
    }
    pfc_case_free(c);
    return diag->exit_status;
}
