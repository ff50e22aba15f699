/* explain_panel.c: tensors and exchanges as small matrices, each with the rank that holds it. */
#include "driver/explain.h"

#include "case/internal.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *pfc_ex_number(double x, char text[32])
{
    snprintf(text, 32, "%.4g", x == 0.0 ? 0.0 : x);
    return text;
}

const char *pfc_ex_label(char letter, int64_t number, int64_t unit, char text[32])
{
    char name[2] = { letter > ' ' ? letter : 0, 0 };
    if (unit > 1)
        snprintf(text, 32, "%s%d.%d", name, (int)(number / unit), (int)(number % unit));
    else
        snprintf(text, 32, "%s%lld", name, (long long)number);
    return text;
}

/* Name k of "a|b|c". */
static const char *name_at(const char *names, int64_t k, char text[32])
{
    for (; k > 0 && strchr(names, '|'); k--) names = strchr(names, '|') + 1;
    snprintf(text, 32, "%.*s", (int)strcspn(names, "|"), names);
    return text;
}

const char *pfc_ex_row_label(const pfc_ex_block *b, int64_t row, char text[32])
{
    if (!b->row_label) return "";
    if (b->per_group > 0) {
        char within[32];
        pfc_ex_label(b->row_label, b->row0 + row % b->per_group, 1, within);
        snprintf(text, 32, "%d:%.28s", (int)(row / b->per_group), within);
        return text;
    }
    return b->names[0] ? name_at(b->names, row, text) : pfc_ex_label(b->row_label, b->row0 + row, b->unit, text);
}

const char *pfc_ex_col_label(const pfc_ex_block *b, int64_t col, char text[32])
{
    if (!b->col_label) return "";
    if (b->names[0] && !b->row_label) return name_at(b->names, b->col0 + col, text);
    return pfc_ex_label(b->col_label, b->col0 + col, b->row_label ? 1 : b->unit, text);
}

static pfc_ex_block *new_block(pfc_ex_panel *p, int64_t rows, int64_t cols)
{
    pfc_ex_block *blocks = realloc(p->blocks, (size_t)(p->count + 1) * sizeof *blocks);
    if (!blocks) return NULL;
    p->blocks = blocks;
    pfc_ex_block *b = &blocks[p->count];
    memset(b, 0, sizeof *b);
    b->rows = rows;
    b->cols = cols;
    b->unit = 1;
    b->value = calloc((size_t)(rows * cols) + 1, sizeof *b->value);
    if (!b->value) return NULL;
    p->count++;
    return b;
}

void pfc_ex_panel_free(pfc_ex_panel *p)
{
    for (int i = 0; i < p->count; i++) {
        free(p->blocks[i].value);
        free(p->blocks[i].absent);
    }
    free(p->blocks);
    *p = (pfc_ex_panel){ .count = 0 };
}

static void whose(const pfc_ex_story *s, pfc_ex_block *b, int rank)
{
    b->rank = rank < 0 && s->ranks == 1 ? 0 : rank;
    if (b->rank < 0)
        snprintf(b->title, sizeof b->title, "every rank");
    else
        snprintf(b->title, sizeof b->title, "rank %d", b->rank);
}

/* ---- tensors ---- */

static const pfc_tensor_spec *spec_of(const pfc_ex_story *s, const pfc_ex_tensor *t)
{
    const pfc_algorithm *a = s->c->algorithm;
    return pfc_spec_find(strcmp(t->list, "in") == 0 ? a->in : strcmp(t->list, "step") == 0 ? a->step : a->out, t->t->name);
}

/* The text of axis k of the alternative with ndim axes; "" if there is none. */
static void axis_text(const char *shape, int ndim, int k, char text[24])
{
    text[0] = 0;
    for (const char *at = shape; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL) {
        int axes = *at && *at != '|' ? 1 : 0, wanted = 0;
        const char *from = at;
        for (const char *p = at; *p && *p != '|'; p++) {
            if (*p != ',') continue;
            axes++;
            if (++wanted == k) from = p + 1;
        }
        if (axes == ndim) snprintf(text, 24, "%.*s", (int)strcspn(from, ",|"), from);
        if (axes == ndim) return;
    }
}

static char axis_letter(const pfc_tensor_spec *spec, const pfc_tensor *t, int k)
{
    char text[24];
    axis_text(spec->shape, t->ndim, k, text);
    bool alone = text[0] >= 'A' && text[0] <= 'Z' && (!text[1] || (text[1] == '*' && k == t->axis));
    return alone ? (char)tolower((unsigned char)text[0]) : ' ';
}

/* Columns are the last axis, rows all before it; the slices of PFC_DIST_RANK have no rank axis. */
static void set_labels(pfc_ex_block *b, const pfc_tensor_spec *spec, const pfc_tensor *t, int64_t start)
{
    int last = t->ndim - 1;
    bool slices = t->dist == PFC_DIST_RANK;
    if (t->ndim == 0 || (t->ndim == 1 && slices) || pfc_tensor_elements(t) == 1) return;
    bool last_cut = t->dist != PFC_DIST_NONE && t->axis == last;
    b->col_label = axis_letter(spec, t, last);
    b->col0 = last_cut ? start : 0;
    b->unit = t->unit;
    if (t->ndim == 1 || (t->ndim == 2 && slices)) return;
    b->row_label = t->ndim == 2 ? axis_letter(spec, t, 0) : t->ndim == 3 && slices ? axis_letter(spec, t, 1) : ' ';
    if (t->ndim == 3 && t->axis == 1 && t->dist != PFC_DIST_NONE) {
        b->row_label = axis_letter(spec, t, 1);
        b->row0 = start;
        b->per_group = b->rows / t->dims[0];
    } else if (t->ndim == 4 && slices) {
        b->per_group = t->dims[2];
    } else if (!last_cut && !slices && t->dist != PFC_DIST_NONE)
        b->row0 = start * (t->ndim == 2 ? 1 : b->rows / (b->rows ? t->dims[0] : 1));
}

static double whole_at(const pfc_ex_tensor *t, int64_t i)
{
    pfc_tensor all = *t->t;
    all.data = t->whole;
    return pfc_tensor_get(&all, i);
}

static const pfc_ex_tensor *result(const pfc_ex_story *s, const char *name)
{
    for (int i = s->tensor_count - 1; name && i >= 0; i--)
        if (strcmp(s->tensors[i].t->name, name) == 0) return &s->tensors[i];
    return NULL;
}

/* Columns of classes that take no part. */
static void mask(const pfc_ex_story *s, const pfc_ex_tensor *t, pfc_ex_block *b, int64_t start)
{
    const pfc_ex_tensor *m = result(s, s->told->mask);
    if (!m || strcmp(t->list, "step") || t->t->ndim != 2 || t->t->axis != 1) return;
    b->absent = calloc((size_t)(b->rows * b->cols) + 1, sizeof *b->absent);
    for (int64_t i = 0; b->absent && i < b->rows * b->cols; i++) b->absent[i] = whole_at(m, start + i % b->cols) == 0.0;
}

static bool tensor_block(const pfc_ex_story *s, const pfc_ex_tensor *t, const pfc_tensor_spec *spec, int rank, pfc_ex_panel *p)
{
    const pfc_tensor *g = t->t;
    bool cut = g->dist != PFC_DIST_NONE;
    pfc_shard part = { 0, g->ndim ? g->dims[g->axis] : 1 };
    if (cut) part = pfc_tensor_shard(g, s->ranks, rank);
    int64_t outer = 1, inner = 1, length = g->ndim ? g->dims[g->axis] : 1, last = g->ndim ? g->dims[g->ndim - 1] : 1;
    for (int k = 0; k < g->axis; k++) outer *= g->dims[k];
    for (int k = g->axis + 1; k < g->ndim; k++) inner *= g->dims[k];
    if (cut && g->axis == g->ndim - 1) last = part.count;
    int64_t elements = outer * part.count * inner, cols = g->ndim ? last : 1;
    pfc_ex_block *b = new_block(p, cols ? elements / cols : outer, cols);
    if (!b) return false;
    whose(s, b, cut ? rank : -1);
    set_labels(b, spec, g, part.start);
    for (int64_t i = 0; i < elements; i++) {
        int64_t o = i / (part.count * inner), rest = i % (part.count * inner);
        b->value[i] = whole_at(t, (o * length + part.start) * inner + rest);
    }
    mask(s, t, b, part.start);
    return true;
}

/* Long rows, one on each rank, stand better below each other. */
static void stack_rows(pfc_ex_panel *p)
{
    char label[32];
    for (int i = 0; i < p->count; i++)
        if (p->count == 1 || p->blocks[i].rows != 1 || p->blocks[i].cols < 6 || p->blocks[i].cols != p->blocks[0].cols || p->blocks[i].col0) return;
    for (int i = 0; i < p->count; i++) {
        pfc_ex_block *b = &p->blocks[i];
        size_t n = strlen(b->title);
        if (b->row_label) snprintf(b->title + n, sizeof b->title - n, "  %s", pfc_ex_row_label(b, 0, label));
        b->row_label = 0;
    }
    p->stacked = true;
}

bool pfc_ex_panel_tensor(const pfc_ex_story *s, const pfc_ex_tensor *t, pfc_ex_panel *p)
{
    char shape[160];
    const pfc_tensor_spec *spec = spec_of(s, t);
    *p = (pfc_ex_panel){ .count = 0 };
    if (!spec) return false;
    pfc_shape_text(t->t, shape, sizeof shape);
    if (t->again)
        snprintf(p->title, sizeof p->title, "%s %s: what it would be with %s=%d", t->t->name, shape, s->told->again, t->again);
    else
        snprintf(p->title, sizeof p->title, "%s %s: %s", t->t->name, shape, spec->help);
    int blocks = t->t->dist == PFC_DIST_NONE ? 1 : s->ranks;
    for (int r = 0; r < blocks; r++)
        if (!tensor_block(s, t, spec, r, p)) {
            pfc_ex_panel_free(p);
            return false;
        }
    stack_rows(p);
    return true;
}

const char *pfc_ex_part_text(const pfc_tensor *t, const pfc_ex_panel *p, int rank, char text[80])
{
    const pfc_ex_block *b = &p->blocks[p->count > 1 ? rank : 0];
    char first[32], last[32];
    bool cols = t->axis == t->ndim - 1;
    int64_t n = cols ? b->cols : b->rows;
    if (t->dist == PFC_DIST_NONE)
        snprintf(text, 80, "all");
    else if (t->dist == PFC_DIST_RANK)
        snprintf(text, 80, "slice %d", rank);
    else if (n == 0)
        snprintf(text, 80, "none");
    else if (n == 1)
        snprintf(text, 80, "%s", cols ? pfc_ex_col_label(b, 0, first) : pfc_ex_row_label(b, 0, first));
    else if (cols)
        snprintf(text, 80, "%s-%s", pfc_ex_col_label(b, 0, first), pfc_ex_col_label(b, n - 1, last));
    else
        snprintf(text, 80, "%s-%s", pfc_ex_row_label(b, 0, first), pfc_ex_row_label(b, n - 1, last));
    return text;
}

char pfc_ex_first_letter(const pfc_ex_story *s)
{
    char letter = 0;
    pfc_ex_panel p;
    for (int i = 0; i < s->c->in.count && letter <= ' '; i++) {
        if (!pfc_ex_panel_tensor(s, &s->tensors[i], &p)) continue;
        letter = p.blocks[0].row_label > ' ' ? p.blocks[0].row_label : p.blocks[0].col_label;
        pfc_ex_panel_free(&p);
    }
    return letter > ' ' ? letter : 0;
}

/* ---- exchanges ---- */

typedef struct layout {
    char names[64]; /* "": letters */
    char row, col;  /* row 0: a vector */
    int64_t named;  /* rows with names */
    int64_t cols;   /* of a matrix with letters */
} layout;

static char letter(const char *text) { return text[0] >= 'A' && text[0] <= 'Z' && !text[1] ? (char)tolower((unsigned char)text[0]) : ' '; }

/* "K|sum": the elements k0, k1, ... and one more with a name. */
static void names_of(const pfc_case *c, const char *text, char names[64])
{
    bool letters = text[0] >= 'A' && text[0] <= 'Z' && text[1] == '|' && text[2];
    int64_t n = letters ? c->size[text[0] - 'A'] : 0;
    int used = 0;
    for (int64_t i = 0; i < n && used < 48; i++) used += snprintf(names + used, (size_t)(64 - used), "%c%d|", text[0] - 'A' + 'a', (int)i);
    snprintf(names + used, (size_t)(64 - used), "%s", letters ? text + 2 : text);
}

static layout parse(const pfc_case *c, const char *shape)
{
    layout l = { .col = ' ' };
    char text[96];
    snprintf(text, sizeof text, "%s", shape);
    char *comma = strrchr(text, ',');
    const char *last = comma ? comma + 1 : text;
    l.col = letter(last);
    if (!comma && strchr(text, '|')) names_of(c, text, l.names);
    if (!comma) return l;
    *comma = 0;
    if (strchr(text, '|')) {
        snprintf(l.names, sizeof l.names, "%.60s", text);
        l.named = 1;
        for (const char *p = text; *p; p++) l.named += *p == '|';
        l.row = ' ';
        return l;
    }
    l.row = letter(text);
    l.cols = last[0] >= 'A' && last[0] <= 'Z' ? c->size[last[0] - 'A'] : 0;
    return l;
}

/* How many elements stand before this rank's in the order of the ranks of its communicator. */
static int64_t offset_of(const pfc_ex_story *s, int event, int rank, int side)
{
    int64_t before = 0;
    for (int r = 0; r < rank; r++) {
        const pfc_ex_event *e = pfc_ex_event_of(s, event, r);
        if (e->leader == pfc_ex_event_of(s, event, rank)->leader) before += e->side[side].count;
    }
    return before;
}

static bool event_block(const pfc_ex_story *s, int event, int rank, int side, const layout *l, pfc_ex_panel *p)
{
    const pfc_ex_event *e = pfc_ex_event_of(s, event, rank);
    const pfc_ex_side *numbers = &e->side[side];
    bool part = (e->op == PFC_COMM_GATHER || e->op == PFC_COMM_GATHER_ROWS) ? !side : e->op == PFC_COMM_REDUCE_SCATTER && side;
    int64_t rows = l->named ? l->named : l->row && l->cols > 0 ? numbers->count / l->cols : 1, cols = rows ? numbers->count / rows : 0;
    int64_t first = part ? offset_of(s, event, rank, side) : 0;
    pfc_ex_block *b = new_block(p, rows, cols);
    if (!b) return false;
    whose(s, b, rank);
    snprintf(b->names, sizeof b->names, "%s", l->names);
    b->col_label = l->col;
    b->row_label = l->row;
    if (l->row && l->cols > 0)
        b->row0 = first / l->cols;
    else if (!l->named)
        b->col0 = first;
    memcpy(b->value, numbers->value, (size_t)(rows * cols) * sizeof *b->value);
    return true;
}

static bool same_block(const pfc_ex_block *a, const pfc_ex_block *b)
{
    return a->rows == b->rows && a->cols == b->cols && a->row0 == b->row0 && a->col0 == b->col0 &&
           memcmp(a->value, b->value, (size_t)(a->rows * a->cols) * sizeof *a->value) == 0;
}

/* Blocks from `first` on that are alike become one: "every rank", "ranks 0-1". */
static void merge(const pfc_ex_story *s, pfc_ex_panel *p, int first)
{
    int kept = first;
    for (int i = first; i < p->count;) {
        int same = i + 1;
        while (same < p->count && same_block(&p->blocks[i], &p->blocks[same])) free(p->blocks[same++].value);
        pfc_ex_block *b = &p->blocks[kept++];
        *b = p->blocks[i];
        if (same - i == s->ranks)
            whose(s, b, -1);
        else if (same - i > 1)
            snprintf(b->title, sizeof b->title, "ranks %d-%d", i - first, same - 1 - first), b->rank = -1;
        i = same;
    }
    p->count = kept;
}

static void name_sides(pfc_ex_panel *p, int first)
{
    for (int i = 0; i < p->count; i++) {
        char title[sizeof p->blocks[i].title];
        snprintf(title, sizeof title, i < first ? "%.30s in" : "%.30s out", p->blocks[i].title);
        memcpy(p->blocks[i].title, title, sizeof title);
    }
}

bool pfc_ex_panel_event(const pfc_ex_story *s, int event, int side, pfc_ex_panel *p)
{
    const pfc_ex_exchange *x = s->entry[event];
    *p = (pfc_ex_panel){ .count = 0 };
    if (!x->shape || pfc_ex_event_of(s, event, 0)->op == PFC_COMM_EXCHANGE_ROWS) return false;
    layout l = parse(s->c, x->shape);
    bool ok = true, vector = l.row == 0;
    if (vector && side) return false;
    for (int r = 0; r < s->ranks; r++) {
        const pfc_ex_event *e = pfc_ex_event_of(s, event, r);
        if (e->side[0].count > PFC_EX_VALUES || e->side[1].count > PFC_EX_VALUES) return false;
    }
    for (int r = 0; ok && r < s->ranks; r++) ok = event_block(s, event, r, side, &l, p);
    int first = side ? 0 : p->count;
    for (int r = 0; ok && vector && r < s->ranks; r++) ok = event_block(s, event, r, 1, &l, p);
    if (ok) merge(s, p, first);
    if (ok && vector) name_sides(p, first);
    p->stacked = vector;
    if (!vector) snprintf(p->title, sizeof p->title, side ? "out" : "in");
    if (!ok) pfc_ex_panel_free(p);
    return ok;
}
