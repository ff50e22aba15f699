/* explain_svg.c: the data flow as a picture: a lane for each rank, time running down. What a rank hands in stands above a bar, what it gets below; colours say
 * whose numbers they are. */
#include "driver/explain.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MARGIN = 12, BOX = 22, ARROW = 24, BAR = 38, ROWS = 96, SLIM = 22 };

const int pfc_ex_hue[PFC_EX_COLOURS] = { 210, 28, 140, 280, 0, 178, 50, 325 };

/* f NULL: nothing is drawn, only y moves: for the height. */
typedef struct pen {
    FILE *f;
    const pfc_ex_story *s;
    double lane, y;
    bool whole; /* all steps, not one exchange */
} pen;

/* Inside a page lanes are narrow, so that four ranks fit on a phone. */
static pen new_pen(FILE *f, const pfc_ex_story *s, bool page)
{
    double lane = fmax(s->ranks <= 4 ? 150 : 140, 536.0 / s->ranks); /* an equation has 80 characters at most */
    if (page) lane = s->ranks <= 2 ? 150 : 86;
    return (pen){ f, s, lane, MARGIN, !page };
}
/* Of a box that fills its lane. */
static double full(const pen *p) { return p->lane - (p->lane < 100 ? 12 : 28); }
static double left(const pen *p, int rank) { return MARGIN + p->lane * rank; }
static double middle(const pen *p, int rank) { return left(p, rank) + p->lane / 2; }
static double width(const pen *p) { return 2 * MARGIN + p->lane * p->s->ranks; }

/* ---- shapes ---- */

static void words(const pen *p, double x, double y, const char *class, const char *format, ...) __attribute__((format(printf, 5, 6)));
static void words(const pen *p, double x, double y, const char *class, const char *format, ...)
{
    char text[200];
    va_list args;
    if (!p->f) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(p->f, "<text x='%.0f' y='%.0f' class='%s'>", x, y, class);
    pfc_ex_escape(p->f, text, sizeof text);
    fprintf(p->f, "</text>\n");
}

/* owner -1: nobody's alone. */
static void box(const pen *p, double x, double y, double w, double h, int owner)
{
    char class[8] = "all";
    if (owner >= 0) snprintf(class, sizeof class, "r%d", owner % PFC_EX_COLOURS);
    if (p->f) fprintf(p->f, "<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' rx='3' class='%s'/>\n", x, y, w, h, class);
}

static void arrow(const pen *p, double x1, double y1, double x2, double y2, int owner)
{
    char class[16] = "line";
    double length = hypot(x2 - x1, y2 - y1), dx = (x2 - x1) / length, dy = (y2 - y1) / length;
    if (!p->f) return;
    if (owner >= 0) snprintf(class, sizeof class, "line s%d", owner % PFC_EX_COLOURS);
    fprintf(p->f, "<path class='%s' d='M%.1f %.1fL%.1f %.1fM%.1f %.1fL%.1f %.1fL%.1f %.1f'/>\n", class, x1, y1, x2, y2, x2 - 7 * dx + 3.5 * dy,
            y2 - 7 * dy - 3.5 * dx, x2, y2, x2 - 7 * dx - 3.5 * dy, y2 - 7 * dy + 3.5 * dx);
}

/* ---- one exchange ---- */

static bool member(const pen *p, int event, int rank, int of) { return pfc_ex_event_of(p->s, event, rank)->leader == pfc_ex_event_of(p->s, event, of)->leader; }

/* A box in parts, one for each rank of the group, in their colours. */
static void parts(const pen *p, int event, int rank, double w)
{
    int n = pfc_ex_event_of(p->s, event, rank)->ranks, k = 0;
    for (int r = 0; r < p->s->ranks; r++)
        if (member(p, event, r, rank)) box(p, middle(p, rank) - w / 2 + w / n * k++, p->y, w / n, BOX, r);
}

/* What a rank has before (side 0) or after. */
static void holding(const pen *p, int event, int rank, int side)
{
    const pfc_ex_event *e = pfc_ex_event_of(p->s, event, rank);
    double small = fmin(40, p->lane / 3), large = full(p);
    bool gather = e->op == PFC_COMM_GATHER || e->op == PFC_COMM_GATHER_ROWS;
    if (gather && side)
        parts(p, event, rank, large);
    else if (e->op == PFC_COMM_REDUCE_SCATTER && !side)
        parts(p, event, rank, large);
    else if (gather || e->op == PFC_COMM_REDUCE_SCATTER)
        box(p, middle(p, rank) - small / 2, p->y, small, BOX, rank);
    else
        box(p, middle(p, rank) - large / 2, p->y, large, BOX, side ? -1 : rank);
    words(p, middle(p, rank), p->y + 15, "mid halo", "%lld B", (long long)e->side[side].bytes);
}

/* Up to the first comma. */
static void short_name(const pfc_ex_exchange *x, char text[40])
{
    int n = (int)strcspn(x->what, ",:;(");
    while (n > 0 && x->what[n - 1] == ' ') n--;
    snprintf(text, 40, "%.*s", n < 44 ? n : 34, x->what);
}

/* A bar for each group, with the operation and what it works on; slim: both in one line, with the bytes. */
static void bars(const pen *p, int event, bool slim)
{
    char name[40], often[32] = "";
    short_name(p->s->entry[event], name);
    if (p->whole) pfc_ex_times(pfc_ex_group_of(p->s, event, false).of, often);
    for (int r = 0; r < p->s->ranks; r++) {
        const pfc_ex_event *e = pfc_ex_event_of(p->s, event, r);
        if (e->leader != r) continue;
        int last = r;
        for (int k = r; k < p->s->ranks; k++)
            if (member(p, event, k, r)) last = k;
        double x = left(p, r) + 6, w = left(p, last) + p->lane - 6 - x;
        if (p->f) fprintf(p->f, "<rect x='%.1f' y='%.1f' width='%.1f' height='%d' rx='8' class='bar'/>\n", x, p->y, w, slim ? SLIM : BAR);
        if (slim) words(p, x + w / 2, p->y + 15, "mid", "%s%s: %s, %lld B", pfc_ex_op_name(e->op), often, name, (long long)e->side[0].bytes);
        if (slim) continue;
        words(p, x + w / 2, p->y + 16, "mid strong", "%s%s", pfc_ex_op_name(e->op), often);
        words(p, x + w / 2, p->y + 31, "mid", "%s", name);
    }
}

static void collective(pen *p, int event)
{
    for (int r = 0; r < p->s->ranks; r++) holding(p, event, r, 0);
    p->y += BOX;
    for (int r = 0; r < p->s->ranks; r++) arrow(p, middle(p, r), p->y + 2, middle(p, r), p->y + ARROW - 2, r);
    p->y += ARROW;
    bars(p, event, false);
    p->y += BAR;
    for (int r = 0; r < p->s->ranks; r++) arrow(p, middle(p, r), p->y + 2, middle(p, r), p->y + ARROW - 2, -1);
    p->y += ARROW;
    for (int r = 0; r < p->s->ranks; r++) holding(p, event, r, 1);
    p->y += BOX + 14;
}

static int rows_to(const pfc_ex_event *e, int peer)
{
    int n = 0;
    for (int i = 0; i < e->rows && i < PFC_EX_ROWS; i++) n += e->peer[i] == peer;
    return n;
}

/* Rows from the ranks that hold them to those that want them; own rows stay. */
static void rows(pen *p, int event)
{
    int ranks = p->s->ranks;
    double w = full(p), top = p->y + BOX + 16, bottom = top + ROWS;
    char name[40];
    short_name(p->s->entry[event], name);
    words(p, width(p) / 2, p->y + 12, "mid strong", "%s: %s", pfc_ex_op_name(PFC_COMM_EXCHANGE_ROWS), name);
    p->y += 18;
    top += 18, bottom += 18;
    for (int r = 0; r < ranks; r++) {
        const pfc_ex_event *e = pfc_ex_event_of(p->s, event, r);
        box(p, middle(p, r) - w / 2, p->y, w, BOX, r);
        words(p, middle(p, r), p->y + 15, "mid", "sends %lld B", (long long)e->side[0].bytes);
        for (int to = 0; to < ranks; to++) {
            int n = rows_to(e, to);
            double step = w / (ranks + 1), from = middle(p, r) - w / 2 + step * (to + 1), end = middle(p, to) - w / 2 + step * (r + 1);
            bool told = step >= 22;
            if (n) arrow(p, from, p->y + BOX + (told ? 13 : 1), end, bottom - 2, r);
            if (n && told) words(p, from, p->y + BOX + 11, "mid small", to == r ? "own" : "%lld B", (long long)(n * e->row_bytes));
        }
    }
    for (int r = 0; r < ranks; r++) {
        box(p, middle(p, r) - w / 2, bottom, w, BOX, r);
        words(p, middle(p, r), bottom + 15, "mid", "gets %lld B", (long long)pfc_ex_event_of(p->s, event, r)->side[1].bytes);
    }
    p->y = bottom + BOX + 8;
}

static void exchange(pen *p, int event)
{
    if (pfc_ex_event_of(p->s, event, 0)->op == PFC_COMM_EXCHANGE_ROWS)
        rows(p, event);
    else
        collective(p, event);
}

/* ---- the whole flow ---- */

/* Which part of the inputs is a rank's. */
static void rank_parts(pen *p)
{
    for (int i = 0; i < p->s->c->in.count; i++) {
        const pfc_ex_tensor *t = &p->s->tensors[i];
        char text[80];
        pfc_ex_panel panel;
        if (!pfc_ex_panel_tensor(p->s, t, &panel)) continue;
        for (int r = 0; r < p->s->ranks; r++) words(p, middle(p, r), p->y + 8, "mid", "%s %s", t->t->name, pfc_ex_part_text(t->t, &panel, r, text));
        pfc_ex_panel_free(&panel);
        p->y += 16;
    }
}

static void rank_titles(pen *p)
{
    for (int r = 0; r < p->s->ranks; r++) {
        box(p, left(p, r) + 6, p->y, p->lane - 12, BOX, r);
        words(p, middle(p, r), p->y + 15, "mid strong", "rank %d", r);
    }
    p->y += BOX + 10;
}

/* What a step leaves behind, a line each, at most 4. */
static void work(pen *p, const pfc_ex_step *step)
{
    const pfc_tensor *left_behind[4];
    bool shared = true;
    int n = 0;
    for (int i = 0; i < p->s->tensor_count && n < 4; i++) {
        const pfc_ex_tensor *t = &p->s->tensors[i];
        if (strcmp(t->list, "in") == 0 || strcmp(t->list, "again") == 0 || !pfc_ex_shows(p->s, step, t)) continue;
        shared = shared && t->t->dist == PFC_DIST_NONE;
        left_behind[n++] = t->t;
    }
    if (!n) return;
    double h = 8 + 15 * n;
    for (int r = 0; r < p->s->ranks; r++) {
        box(p, middle(p, r) - full(p) / 2, p->y, full(p), h, shared ? -1 : r);
        for (int i = 0; i < n; i++) words(p, middle(p, r), p->y + 15 + 15 * i, "mid", "%s", left_behind[i]->name);
    }
    p->y += h + 8;
}

/* The first equation without the remark behind three blanks. A line that ends in * goes on in the next. */
static const char *first_equation(const char *lines, char text[160])
{
    const char *remark = strstr(lines, "   ");
    size_t n = strcspn(lines, "\n");
    if (n > 0 && lines[n] && lines[n - 1] == '*') {
        const char *rest = lines + n + 1 + strspn(lines + n + 1, " ");
        snprintf(text, 160, "%.*s %.*s", (int)n, lines, (int)strcspn(rest, "\n"), rest);
    } else {
        if (remark && remark < lines + n) n = (size_t)(remark - lines);
        snprintf(text, 160, "%.*s", (int)n, lines);
    }
    return text;
}

static bool groups(const pfc_ex_story *s)
{
    for (int i = 0; i < s->event_count; i++)
        if (pfc_ex_event_of(s, i, 0)->ranks < s->ranks) return true;
    return false;
}

static void flow_step(pen *p, const pfc_ex_step *step)
{
    char equation[160], *lines = pfc_ex_lines(p->s, step->equations);
    p->y += 10;
    words(p, MARGIN + 6, p->y + 12, "step", "%s. %s", step->number, step->title);
    words(p, MARGIN + 6, p->y + 28, "mono", "%s", first_equation(lines ? lines : "", equation));
    free(lines);
    p->y += 38;
    for (int i = 0; i < p->s->event_count; i++) {
        const pfc_ex_exchange *x = p->s->entry[i];
        if (strcmp(x->step, step->number) || pfc_ex_group_of(p->s, i, false).nth > 1) continue;
        if (x->shape || x->op == PFC_COMM_EXCHANGE_ROWS) {
            exchange(p, i);
        } else {
            bars(p, i, true);
            p->y += SLIM + 10;
        }
    }
    work(p, step);
}

static void flow(pen *p)
{
    rank_titles(p);
    rank_parts(p);
    for (const pfc_ex_step *step = p->s->told->steps; step->number; step++)
        if (pfc_ex_holds(p->s, step->when)) flow_step(p, step);
    words(p, MARGIN + 6, p->y + 18, "small", "Grey: the same on every rank%s.", groups(p->s) ? " of a group" : "");
    p->y += 20;
}

static void open_svg(const pen *p, double height, const char *label)
{
    fprintf(p->f,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %.0f %.0f' width='%.0f' height='%.0f' style='min-width:%dpx' role='img' "
            "aria-label='%s'>\n",
            width(p), height, width(p), height, 76 * p->s->ranks, label);
}

void pfc_ex_svg_event(FILE *f, const pfc_ex_story *s, int event)
{
    pen dry = new_pen(NULL, s, true), p = new_pen(f, s, true);
    rank_titles(&dry);
    exchange(&dry, event);
    open_svg(&p, dry.y, pfc_ex_op_name(pfc_ex_event_of(s, event, 0)->op));
    rank_titles(&p);
    exchange(&p, event);
    fprintf(f, "</svg>\n");
}

void pfc_ex_style(FILE *f)
{
    fputs("svg text{font:12px system-ui,'DejaVu Sans',sans-serif;fill:#222}svg .mid{text-anchor:middle}svg .strong,svg .step{font-weight:600}svg "
          ".step{font-size:13px}"
          "svg .small{font-size:10px}svg .mono{font:11px ui-monospace,'DejaVu Sans Mono',monospace}svg "
          ".halo{paint-order:stroke;stroke:#fff;stroke-opacity:.6;stroke-width:3px}svg .line{fill:none;stroke:#777;stroke-width:1.3}svg "
          ".bar{fill:#fff;stroke:#777;stroke-width:1.3}svg .all{fill:#e8e8e8;stroke:#888}\n",
          f);
    for (int i = 0; i < PFC_EX_COLOURS; i++)
        fprintf(f, "svg .r%d{fill:hsl(%d,70%%,87%%);stroke:hsl(%d,50%%,48%%)}svg .s%d{stroke:hsl(%d,50%%,48%%)}\n", i, pfc_ex_hue[i], pfc_ex_hue[i], i,
                pfc_ex_hue[i]);
    fputs("@media(prefers-color-scheme:dark){svg text{fill:#eee}svg .bar{fill:#1c1c1f;stroke:#aaa}svg .all{fill:#3a3a3d;stroke:#999}svg "
          ".line{stroke:#aaa}svg .halo{stroke:#000}\n",
          f);
    for (int i = 0; i < PFC_EX_COLOURS; i++)
        fprintf(f, "svg .r%d{fill:hsl(%d,35%%,27%%);stroke:hsl(%d,45%%,58%%)}svg .s%d{stroke:hsl(%d,45%%,58%%)}\n", i, pfc_ex_hue[i], pfc_ex_hue[i], i,
                pfc_ex_hue[i]);
    fputs("}\n", f);
}

static void draw(FILE *f, const pfc_ex_story *s, bool alone)
{
    pen dry = new_pen(NULL, s, false), p = new_pen(f, s, false);
    flow(&dry);
    dry.y += MARGIN;
    open_svg(&p, dry.y, s->told->name);
    if (alone) {
        fputs("<style>\n", f);
        pfc_ex_style(f);
        fputs(".paper{fill:#fff}@media(prefers-color-scheme:dark){.paper{fill:#1c1c1f}}\n</style>\n", f);
        fprintf(f, "<rect class='paper' width='%.0f' height='%.0f'/>\n", width(&p), dry.y);
    }
    flow(&p);
    fputs("</svg>\n", f);
}

void pfc_ex_svg(FILE *f, const pfc_ex_story *s) { draw(f, s, true); }
void pfc_ex_svg_flow(FILE *f, const pfc_ex_story *s) { draw(f, s, false); }
