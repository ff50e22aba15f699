/* params.c: parameters: from text or attribute to value, the words of the tables, defaults. */
#include "case/internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int pfc_param_index(const pfc_algorithm *a, const char *name)
{
    for (int k = 0; a->params && a->params[k].name; k++)
        if (strcmp(a->params[k].name, name) == 0) return k;
    return -1;
}

/* Position of word among "a|b|c"; -1: not there. */
static int word_index(const char *words, const char *word)
{
    size_t length = strlen(word);
    int index = 0;
    for (const char *p = words; p; index++) {
        const char *bar = strchr(p, '|');
        size_t n = bar ? (size_t)(bar - p) : strlen(p);
        if (n == length && strncmp(p, word, n) == 0) return index;
        p = bar ? bar + 1 : NULL;
    }
    return -1;
}

/* "a|b|c" as "a, b or c". */
static const char *words_text(const char *words, char *buffer, size_t size)
{
    size_t used = 0;
    buffer[0] = '\0';
    for (const char *p = words; p && used < size;) {
        const char *bar = strchr(p, '|');
        int n = bar ? (int)(bar - p) : (int)strlen(p);
        const char *join = p == words ? "" : bar ? ", " : " or ";
        used += (size_t)snprintf(buffer + used, size - used, "%s%.*s", join, n, p);
        p = bar ? bar + 1 : NULL;
    }
    return buffer;
}

/* Integers and integral reals that fit int64. */
static bool value_to_int(const pfc_value *v, int64_t *i)
{
    if (v->kind == PFC_VALUE_INT) {
        *i = v->i;
        return true;
    }
    if (v->kind != PFC_VALUE_REAL || !(v->r >= -0x1p63 && v->r < 0x1p63) || v->r != floor(v->r)) return false;
    *i = (int64_t)v->r;
    return true;
}

static int set_known(pfc_case *c, const pfc_param_spec *spec, pfc_param *p, const pfc_value *v, pfc_diag *diag)
{
    char item[PFC_MAX_NAME + 16], found[160], expected[320], digits[32];
    snprintf(item, sizeof item, "/param/%.60s", spec->name);
    pfc_value_text(v, found, sizeof found);
    if (spec->type == PFC_PARAM_WORD) {
        if (v->kind != PFC_VALUE_TEXT || strlen(v->text) >= PFC_MAX_WORD || word_index(spec->words, v->text) < 0)
            return pfc_case_fail(c, diag, item, "found %s, expected %s", found, words_text(spec->words, expected, sizeof expected));
        memcpy(p->word, v->text, strlen(v->text) + 1);
    } else if (spec->type == PFC_PARAM_TEXT) {
        if (v->kind != PFC_VALUE_TEXT || !v->text[0]) return pfc_case_fail(c, diag, item, "found %s, expected a text", found);
        memcpy(p->word, v->text, strlen(v->text) + 1);
    } else if (spec->type == PFC_PARAM_INT) {
        int64_t i;
        if (!value_to_int(v, &i)) return pfc_case_fail(c, diag, item, "found %s, expected an integer", found);
        snprintf(digits, sizeof digits, "%lld", (long long)i);
        if (spec->words && word_index(spec->words, digits) < 0)
            return pfc_case_fail(c, diag, item, "found %s, expected %s", found, words_text(spec->words, expected, sizeof expected));
        p->i = i;
        p->r = (double)i;
    } else {
        if (v->kind == PFC_VALUE_TEXT) return pfc_case_fail(c, diag, item, "found %s, expected a number", found);
        p->r = v->kind == PFC_VALUE_INT ? (double)v->i : v->r;
        if (isnan(p->r)) p->r = NAN; /* one of them: it is written */
    }
    p->present = true;
    return 0;
}

int pfc_case_set_value(pfc_case *c, const char *name, const pfc_value *value, pfc_diag *diag)
{
    static const pfc_param_spec world = { "world", PFC_PARAM_INT, "", NULL, NULL };
    static const pfc_param_spec nonfinite = { "allow_nonfinite", PFC_PARAM_INT, "0", "0|1", NULL };
    pfc_param p = { 0 };
    if (strcmp(name, "world") == 0) {
        if (set_known(c, &world, &p, value, diag)) return diag->exit_status;
        if (p.i < 1) return pfc_case_fail(c, diag, "/param/world", "found %lld, expected a number of ranks, at least 1", (long long)p.i);
        c->world = p.i;
        return 0;
    }
    if (strcmp(name, "allow_nonfinite") == 0) {
        if (set_known(c, &nonfinite, &p, value, diag)) return diag->exit_status;
        c->allow_nonfinite = p.i;
        return 0;
    }
    int k = pfc_param_index(c->algorithm, name);
    if (k < 0) {
        char item[160];
        snprintf(item, sizeof item, "/param/%.140s", name);
        return pfc_case_fail(c, diag, item, "found an unknown parameter, expected one of those of %s", c->algorithm->name);
    }
    if (set_known(c, &c->algorithm->params[k], &c->param[k], value, diag)) return diag->exit_status;
    c->param[k].given = true;
    return 0;
}

/* Text as the parameter's type wants it; text that is no number stays text and is refused later. */
static pfc_value value_from_text(pfc_param_type type, const char *text)
{
    pfc_value v = { .kind = PFC_VALUE_TEXT };
    snprintf(v.text, sizeof v.text, "%s", text);
    if (type == PFC_PARAM_WORD || type == PFC_PARAM_TEXT || !text[0]) return v;
    char *end;
    errno = 0;
    long long i = strtoll(text, &end, 10);
    if (!*end && !errno) {
        v.kind = PFC_VALUE_INT;
        v.i = i;
        return v;
    }
    double r = strtod(text, &end);
    if (!*end) {
        v.kind = PFC_VALUE_REAL;
        v.r = r;
    }
    return v;
}

int pfc_case_set_param(pfc_case *c, const char *name, const char *text, pfc_diag *diag)
{
    int k = pfc_param_index(c->algorithm, name);
    if (k >= 0 && c->algorithm->params[k].type == PFC_PARAM_TEXT && strlen(text) >= PFC_MAX_WORD)
        return pfc_case_fail(c, diag, name, "found a text of %zu bytes, expected fewer than %d", strlen(text), PFC_MAX_WORD);
    pfc_value v = value_from_text(k >= 0 ? c->algorithm->params[k].type : PFC_PARAM_INT, text);
    return pfc_case_set_value(c, name, &v, diag);
}

int pfc_case_apply_defaults(pfc_case *c, pfc_diag *diag)
{
    for (int k = 0; c->algorithm->params && c->algorithm->params[k].name; k++) {
        const pfc_param_spec *spec = &c->algorithm->params[k];
        if (c->param[k].present) continue;
        if (!spec->def) {
            char item[PFC_MAX_NAME + 16], words[320];
            snprintf(item, sizeof item, "/param/%.60s", spec->name);
            const char *type = spec->type == PFC_PARAM_INT ? "an integer" : "a number";
            return pfc_case_fail(c, diag, item, "found nothing, expected %s (required)", spec->words ? words_text(spec->words, words, sizeof words) : type);
        }
        if (!spec->def[0]) continue;
        pfc_value v = value_from_text(spec->type, spec->def);
        if (set_known(c, spec, &c->param[k], &v, diag)) return diag->exit_status;
    }
    return 0;
}

/* An absent or unknown parameter reads as zeros. */
static const pfc_param *find(const pfc_case *c, const char *name)
{
    static const pfc_param none = { 0 };
    int k = pfc_param_index(c->algorithm, name);
    return k < 0 ? &none : &c->param[k];
}

int64_t pfc_param_int(const pfc_case *c, const char *name) { return find(c, name)->i; }

double pfc_param_real(const pfc_case *c, const char *name) { return find(c, name)->r; }

const char *pfc_param_word(const pfc_case *c, const char *name) { return find(c, name)->word; }

bool pfc_param_present(const pfc_case *c, const char *name) { return find(c, name)->present; }

int pfc_param_choice(const pfc_case *c, const char *name)
{
    int k = pfc_param_index(c->algorithm, name);
    if (k < 0 || !c->algorithm->params[k].words) return -1;
    char digits[32];
    snprintf(digits, sizeof digits, "%lld", (long long)c->param[k].i);
    return word_index(c->algorithm->params[k].words, c->algorithm->params[k].type == PFC_PARAM_WORD ? c->param[k].word : digits);
}

void pfc_param_resolve_real(pfc_case *c, const char *name, double value)
{
    int k = pfc_param_index(c->algorithm, name);
    if (k < 0) return;
    c->param[k].present = true;
    c->param[k].r = value;
}

void pfc_param_resolve_int(pfc_case *c, const char *name, int64_t value)
{
    int k = pfc_param_index(c->algorithm, name);
    if (k < 0) return;
    c->param[k].present = true;
    c->param[k].i = value;
    c->param[k].r = (double)value;
}
