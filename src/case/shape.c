/* shape.c: the shape language of the tables: "N,D|steps,N,D". */
#include "case/internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { TOKEN = 32 };

typedef struct alternative {
    int axes;
    bool open; /* ends in "...": any number of further axes */
    char axis[PFC_MAX_DIMS][TOKEN];
} alternative;

/* Parses up to the next '|' and returns where the next alternative begins; NULL: that was the last. */
static const char *parse(const char *text, alternative *a)
{
    memset(a, 0, sizeof *a);
    while (*text && *text != '|') {
        size_t n = strcspn(text, ",|");
        if (n == 3 && strncmp(text, "...", 3) == 0)
            a->open = true;
        else if (a->axes < PFC_MAX_DIMS)
            snprintf(a->axis[a->axes++], TOKEN, "%.*s", (int)(n < TOKEN ? n : TOKEN - 1), text);
        text += n;
        if (*text == ',') text++;
    }
    return *text == '|' ? text + 1 : NULL;
}

static bool axes_fit(const alternative *a, int ndim) { return a->open ? ndim >= a->axes : ndim == a->axes; }

static bool is_letter(const char *token) { return isupper((unsigned char)token[0]) && !token[1]; }

/* "C*num_subcenters": the parameter's value, or its default while the parameters are still being read; 0: no such axis, or not a number from 1 up. */
static int64_t factor(const pfc_case *c, const char *token)
{
    int k = isupper((unsigned char)token[0]) && token[1] == '*' ? pfc_param_index(c->algorithm, token + 2) : -1;
    if (k < 0 || c->algorithm->params[k].type != PFC_PARAM_INT) return 0;
    int64_t value = c->param[k].present ? c->param[k].i : c->algorithm->params[k].def ? strtoll(c->algorithm->params[k].def, NULL, 10) : 0;
    return value > 0 ? value : 0;
}

/* What the axis must be; -1: not known here. */
static int64_t expected(const pfc_case *c, const int64_t size[26], int ranks, const char *token)
{
    if (strcmp(token, "P") == 0) return ranks;
    if (is_letter(token)) return size[token[0] - 'A'];
    int64_t times = factor(c, token), product;
    if (times > 0) return size[token[0] - 'A'] < 0 || __builtin_mul_overflow(size[token[0] - 'A'], times, &product) ? -1 : product;
    char *end;
    long long number = strtoll(token, &end, 10);
    if (!*end) return number;
    int k = pfc_param_index(c->algorithm, token);
    bool known = k >= 0 && c->algorithm->params[k].type == PFC_PARAM_INT && c->param[k].present;
    return known ? c->param[k].i : -1;
}

/* Binds free letters in size; false at the first axis that does not fit. */
static bool match(const pfc_case *c, const alternative *a, const pfc_tensor *t, int ranks, int64_t size[26])
{
    for (int k = 0; k < a->axes; k++) {
        int64_t want = expected(c, size, ranks, a->axis[k]), times = factor(c, a->axis[k]);
        if (want >= 0 && want != t->dims[k]) return false;
        if (want < 0 && times > 0 && t->dims[k] % times) return false;
        if (want < 0 && times > 0) size[a->axis[k][0] - 'A'] = t->dims[k] / times;
        if (want < 0 && is_letter(a->axis[k])) size[a->axis[k][0] - 'A'] = t->dims[k];
    }
    return true;
}

/* "(N,D) or (steps,N,D)" */
static void spec_text(const char *shape, char *buffer, size_t size)
{
    size_t used = 0;
    for (const char *p = shape; used < size;) {
        size_t n = strcspn(p, "|");
        used += (size_t)snprintf(buffer + used, size - used, "%s(%.*s)", p == shape ? "" : " or ", (int)n, p);
        if (!p[n]) break;
        p += n + 1;
    }
}

static int wrong_size(const pfc_case *c, const char *item, const char *found, const alternative *a, int ranks, pfc_diag *diag)
{
    char axes[PFC_MAX_DIMS * TOKEN] = "", values[256] = "";
    size_t used = 0, told = 0;
    for (int k = 0; k < a->axes; k++) {
        int64_t want = expected(c, c->size, ranks, a->axis[k]);
        used += (size_t)snprintf(axes + used, sizeof axes - used, "%s%s", k ? "," : "", a->axis[k]);
        int64_t times = factor(c, a->axis[k]);
        if (want < 0 && times > 0 && told < sizeof values)
            told += (size_t)snprintf(values + told, sizeof values - told, "%s%s = %lld", told ? ", " : " with ", a->axis[k] + 2, (long long)times);
        if (want >= 0 && told < sizeof values && !isdigit((unsigned char)a->axis[k][0]))
            told += (size_t)snprintf(values + told, sizeof values - told, "%s%s = %lld", told ? ", " : " with ", a->axis[k], (long long)want);
    }
    return pfc_case_fail(c, diag, item, "found shape %s, expected (%s%s)%s", found, axes, a->open ? ",..." : "", values);
}

static int check_shape(pfc_case *c, const pfc_tensor_spec *spec, const pfc_tensor *t, int ranks, pfc_diag *diag)
{
    char item[PFC_MAX_NAME + 8], found[160], wanted[256];
    alternative a, first = { 0 };
    bool have = false;
    snprintf(item, sizeof item, "/in/%s", t->name);
    pfc_dims_text(t->ndim, t->dims, found, sizeof found);
    for (const char *p = spec->shape; p;) {
        p = parse(p, &a);
        if (!axes_fit(&a, t->ndim)) continue;
        int64_t size[26];
        memcpy(size, c->size, sizeof size);
        if (match(c, &a, t, ranks, size)) {
            memcpy(c->size, size, sizeof size);
            return 0;
        }
        if (!have) first = a;
        have = true;
    }
    if (have) return wrong_size(c, item, found, &first, ranks, diag);
    spec_text(spec->shape, wanted, sizeof wanted);
    return pfc_case_fail(c, diag, item, "found shape %s, expected %s", found, wanted);
}

static int check_sizes(const pfc_case *c, const pfc_tensor_spec *spec, const pfc_tensor *t, int ranks, pfc_diag *diag)
{
    char item[PFC_MAX_NAME + 8], found[160];
    snprintf(item, sizeof item, "/in/%s", t->name);
    pfc_dims_text(t->ndim, t->dims, found, sizeof found);
    for (int k = 0; k < t->ndim; k++)
        if (t->dims[k] == 0) return pfc_case_fail(c, diag, item, "found shape %s, which is empty, expected at least one element", found);
    int axis = pfc_shape_axis(spec, t->ndim);
    if (spec->dist == PFC_DIST_BATCH && axis >= 0 && t->dims[axis] % ranks != 0)
        return pfc_case_fail(c, diag, item, "found %c = %lld, expected a multiple of the number of ranks, %d", spec->cut, (long long)t->dims[axis], ranks);
    return 0;
}

int pfc_shape_axis(const pfc_tensor_spec *spec, int ndim)
{
    alternative a;
    if (spec->dist == PFC_DIST_NONE || !spec->cut) return -1;
    for (const char *p = spec->shape; p;) {
        p = parse(p, &a);
        if (!axes_fit(&a, ndim)) continue;
        for (int k = 0; k < a.axes; k++)
            if (a.axis[k][0] == spec->cut && (!a.axis[k][1] || a.axis[k][1] == '*')) return k;
    }
    return -1;
}

int64_t pfc_shape_unit(const pfc_case *c, const pfc_tensor_spec *spec, int ndim)
{
    alternative a;
    for (const char *p = spec->cut ? spec->shape : NULL; p;) {
        p = parse(p, &a);
        if (!axes_fit(&a, ndim)) continue;
        for (int k = 0; k < a.axes; k++)
            if (a.axis[k][0] == spec->cut && factor(c, a.axis[k]) > 0) return factor(c, a.axis[k]);
    }
    return 1;
}

int pfc_shape_dims(const pfc_case *c, const pfc_tensor_spec *spec, int ranks, int *ndim, int64_t dims[PFC_MAX_DIMS])
{
    alternative a;
    int wanted = *ndim, fewest = -1;
    for (const char *p = spec->shape; p;) {
        int64_t shape[PFC_MAX_DIMS];
        int unknown = 0;
        p = parse(p, &a);
        for (int k = 0; k < a.axes; k++) {
            shape[k] = expected(c, c->size, ranks, a.axis[k]);
            unknown += shape[k] < 0;
        }
        if (a.open || (wanted >= 0 && a.axes != wanted) || (fewest >= 0 && unknown >= fewest)) continue;
        fewest = unknown;
        *ndim = a.axes;
        memcpy(dims, shape, (size_t)a.axes * sizeof *dims);
    }
    return fewest;
}

const pfc_tensor_spec *pfc_spec_find(const pfc_tensor_spec *specs, const char *name)
{
    for (const pfc_tensor_spec *s = specs; s && s->name; s++) {
        const char *mark = strstr(s->name, "<t>");
        if (!mark && strcmp(s->name, name) == 0) return s;
        size_t stem = mark ? (size_t)(mark - s->name) : 0;
        if (mark && strncmp(s->name, name, stem) == 0 && name[stem] && strspn(name + stem, "0123456789") == strlen(name + stem)) return s;
    }
    return NULL;
}

int pfc_case_check_shapes(pfc_case *c, int ranks, pfc_diag *diag)
{
    for (const pfc_tensor_spec *s = c->algorithm->in; s && s->name; s++) {
        const pfc_tensor *t = pfc_tensor_find(&c->in, s->name);
        if (!t) continue;
        if (check_shape(c, s, t, ranks, diag) || check_sizes(c, s, t, ranks, diag)) return diag->exit_status;
    }
    return 0;
}
