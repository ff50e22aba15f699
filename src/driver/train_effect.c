/* train_effect.c: settings that were given and would do nothing, because of another setting: refused, as whoever wrote them expects something of them. */
#include "case/internal.h"
#include "case/partial_fc_case.h"
#include "driver/train.h"
#include <string.h>

/* `name` has an effect only where the setting `of` is one of `words`; NULL: where it is a number other than 0. Where `of` is num_sample or sample_rate,
 * has_effect asks the layer, and the word is for reading. */
typedef struct need {
    const char *name, *of, *words;
} need;

static const need needs[] = {
    { "final_lr", "schedule", "cosine|polynomial" },
    { "power", "schedule", "polynomial" },
    { "start_lr", "warmup_steps", NULL },
    { "stretch", "augment", "affine" },
    { "translation", "augment", "affine" },
    { "norm_devices", "norm", "sync" },
    { "norm_splits", "norm", "sub" },
    { "margin", "head", "cos|arc|circle|arcface_head" },
    { "arc_gradient", "head", "arc" },
    { "arc_fallback", "head", "arc" },
    { "interclass_threshold", "head", "cos|arc" },
    { "margin_constants", "easy_margin", "0" },
    { "epoch_queue_starts", "queue_length", NULL },
    { "hidden_mlp", "feat_dim", NULL },
    { "stabilise", "version", "v1|v2|vissl" },
    { "log_softmax", "version", "v1" },
    { "larc_trust", "larc", NULL },
    { "sample_rate", "num_sample", "absent" },
    { "sample_rule", "sample_rate", "sampling" },
    { "momentum_rule", "sample_rate", "sampling" },
};

static bool among(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = words; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (strncmp(p, word, n) == 0 && (p[n] == '|' || !p[n])) return true;
    return false;
}

static const char *value_of(const pfc_settings *s, const char *name, char *text, size_t size)
{
    const pfc_param_spec *spec = &s->table.params[pfc_param_index(&s->table, name)];
    if (spec->type == PFC_PARAM_INT)
        snprintf(text, size, "%lld", (long long)pfc_param_int(s->values, name));
    else if (spec->type == PFC_PARAM_REAL)
        snprintf(text, size, "%g", pfc_param_real(s->values, name));
    else
        snprintf(text, size, "%s", pfc_param_word(s->values, name));
    return text;
}

static bool has_effect(const pfc_settings *s, const need *n)
{
    char value[PFC_MAX_WORD];
    if (strcmp(n->of, "num_sample") == 0) return !pfc_param_present(s->values, n->of); /* it takes the place of the rate */
    if (strcmp(n->of, "sample_rate") == 0) return pfc_partial_fc_case_samples(s->values);
    if (!n->words) return pfc_param_real(s->values, n->of) != 0.0;
    return among(n->words, value_of(s, n->of, value, sizeof value));
}

/* Where it was given, the last time; NULL: nowhere. */
static const pfc_assignment *given(const pfc_settings *s, const char *name)
{
    for (int i = s->written.count - 1; i >= 0; i--)
        if (strcmp(s->written.list[i].name, name) == 0) return &s->written.list[i];
    return NULL;
}

int pfc_settings_check_effect(const pfc_settings *s, pfc_diag *diag)
{
    for (size_t i = 0; i < sizeof needs / sizeof *needs && !diag->exit_status; i++) {
        const need *n = &needs[i];
        const pfc_assignment *one = given(s, n->name), *of = given(s, n->of);
        char place[PFC_LABEL + 40], value[PFC_MAX_WORD];
        if (!one || pfc_param_index(&s->table, n->of) < 0 || has_effect(s, n)) continue;
        if (one->line && of && !of->line) continue; /* a recipe that the command line changes keeps what belongs to the old value */
        pfc_assignment_place(&s->written, one, place, sizeof place);
        pfc_diag_fail(diag, one->line ? PFC_EXIT_FILE : PFC_EXIT_USAGE, "%s%s%s: without effect with %s=%s", place, one->line ? ": " : "", n->name, n->of,
                      value_of(s, n->of, value, sizeof value));
    }
    return diag->exit_status;
}
