/* explain_when.c: what the tables of the algorithms say of this run: lines, steps and exchanges whose condition holds. */
#include "driver/explain.h"

#include "case/internal.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A name that the algorithm does not have is a mistake in the table: it would never hold. */
static bool has(const pfc_case *c, const char *name)
{
    assert(pfc_spec_find(c->algorithm->in, name) || pfc_spec_find(c->algorithm->step, name) || pfc_spec_find(c->algorithm->out, name));
    return pfc_tensor_find(&c->in, name) || pfc_tensor_find(&c->step, name) || pfc_tensor_find(&c->out, name);
}

/* The value of a setting as its table's type has it: 0.50 is 0.5, nan is nan. */
static bool is_value(const pfc_param_spec *spec, const pfc_param *p, const char *text)
{
    if (!p->present) return false;
    if (spec->type == PFC_PARAM_INT) return strtoll(text, NULL, 10) == p->i;
    double x = strtod(text, NULL);
    if (spec->type == PFC_PARAM_REAL) return p->r == x || (isnan(p->r) && isnan(x));
    return strcmp(p->word, text) == 0;
}

/* "NAME=a|b" */
static bool is_setting(const pfc_case *c, const char *name, char *values)
{
    int i = pfc_param_index(c->algorithm, name);
    char *rest = NULL;
    assert(i >= 0);
    for (char *value = strtok_r(values, "|", &rest); value; value = strtok_r(NULL, "|", &rest))
        if (is_value(&c->algorithm->params[i], &c->param[i], value)) return true;
    return false;
}

static bool term(const pfc_ex_story *s, char *word)
{
    char *values = strchr(word, '=');
    const pfc_case *c = s->c;
    if (values) *values++ = 0;
    if (values) return is_setting(c, word, values);
    if (strcmp(word, "exact") == 0) return s->mode == PFC_EXACT;
    if (strcmp(word, "ranks") == 0) return s->ranks > 1;
    if (strncmp(word, "has:", 4) == 0) return has(c, word + 4);
    assert(strncmp(word, "given:", 6) == 0 && pfc_param_index(c->algorithm, word + 6) >= 0);
    return pfc_ex_given(c, word + 6);
}

/* A term that does not hold ends its alternative. */
static bool holds(const pfc_ex_story *s, const char *condition, size_t length)
{
    char text[200], *rest = NULL;
    bool so = true;
    snprintf(text, sizeof text, "%.*s", (int)length, condition);
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        bool wanted = word[0] != '!';
        if (strcmp(word, "/") == 0 && so) return true;
        if (strcmp(word, "/") == 0)
            so = true;
        else
            so = so && term(s, word + !wanted) == wanted;
    }
    return so;
}

bool pfc_ex_holds(const pfc_ex_story *s, const char *condition) { return !condition || holds(s, condition, strlen(condition)); }

char *pfc_ex_lines(const pfc_ex_story *s, const char *text)
{
    char *told = NULL;
    size_t size = 0;
    FILE *f = text ? open_memstream(&told, &size) : NULL;
    for (const char *end; f && *text; text = *end ? end + 1 : end) {
        size_t condition = text[0] == '{' ? strcspn(text, "}") : 0;
        end = text + strcspn(text, "\n");
        if (condition && !holds(s, text + 1, condition - 1)) continue;
        if (condition) text += condition + 2; /* "} " */
        fprintf(f, "%s%.*s", ftell(f) > 0 ? "\n" : "", (int)(end - text), text);
    }
    if (f) fclose(f);
    return told;
}

bool pfc_ex_shows(const pfc_ex_story *s, const pfc_ex_step *step, const pfc_ex_tensor *t)
{
    bool shown = false;
    char *words = pfc_ex_lines(s, step->show), *rest = NULL;
    for (char *word = words ? strtok_r(words, " \n", &rest) : NULL; word && !shown; word = strtok_r(NULL, " \n", &rest)) {
        size_t list = strcspn(word, ":");
        const char *name = word + list + 1;
        shown = strlen(t->list) == list && strncmp(word, t->list, list) == 0 && strcmp(t->t->name, name) == 0;
    }
    free(words);
    return shown;
}
