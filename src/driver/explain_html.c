/* explain_html.c: a story as one page for a browser: no script, nothing loaded; readable on a phone, in light and dark. */
#include "driver/explain.h"

#include <string.h>

void pfc_ex_escape(FILE *f, const char *text, size_t n)
{
    for (size_t i = 0; i < n && text[i]; i++) {
        switch (text[i]) {
        case '<': fputs("&lt;", f); break;
        case '>': fputs("&gt;", f); break;
        case '&': fputs("&amp;", f); break;
        default: fputc(text[i], f);
        }
    }
}

static void put(FILE *f, const char *text) { pfc_ex_escape(f, text, strlen(text)); }

static void style(FILE *f)
{
    fputs("<style>\n"
          ":root{color-scheme:light dark}\n"
          "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;color:#1b1b1f;background:#fff}\n"
          "h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2.2rem 0 .5rem;border-top:1px solid #ccc;padding-top:.8rem}\n"
          "h2 b{display:inline-block;min-width:1.9rem;padding:0 "
          ".3rem;box-sizing:border-box;margin-right:.5rem;border-radius:1rem;background:#333;color:#fff;text-align:center}\n"
          "p{margin:.5rem 0}\n"
          "code{font:.88em ui-monospace,'DejaVu Sans Mono',monospace}\n"
          "pre,table{font:13px/1.45 ui-monospace,'DejaVu Sans Mono',monospace}\n"
          "pre{background:#f5f5f3;border-left:3px solid #999;padding:.5rem .8rem;overflow-x:auto;margin:.6rem 0}\n"
          "pre s{text-decoration:none}\n"
          "table{border-collapse:collapse;margin:0}th{font-weight:600}td,th{padding:.1rem .55rem;text-align:right;white-space:nowrap}\n"
          "td.w,th.w{text-align:left}\n"
          "@media(max-width:34rem){pre,table{font-size:11.5px}pre{padding:.4rem .5rem;white-space:pre-wrap}\n"
          "pre s{font-size:0}pre s::after{content:'\\A   ';font-size:11.5px}td,th{padding:.1rem .3rem}td.w,th.w{white-space:normal}}\n"
          ".scroll{overflow-x:auto;margin:.4rem 0}.blocks,.cells{display:flex;flex-wrap:wrap;gap:.5rem;align-items:flex-start}\n"
          "figure{margin:.7rem 0;max-width:100%}figcaption{font-size:.9rem;margin:.2rem 0}figcaption i{color:#666;font-style:normal}\n"
          ".all{background:#eee}.b{border-radius:6px;padding:.25rem .35rem;background:#eee;overflow-x:auto;max-width:100%;box-sizing:border-box}"
          ".b>span{font-size:.78rem;font-weight:600}\n"
          ".row{display:flex;flex-wrap:wrap;gap:0 1.5rem;align-items:flex-start}.row>*{max-width:100%}.x{border:1px solid "
          "#bbb;border-radius:8px;padding:.6rem .8rem;margin:.8rem 0}.x h3{font-size:1rem;margin:0}\n"
          ".x>p{font-size:.9rem;margin:.1rem 0 .5rem}.l{color:#777;font-weight:400}svg{display:block;height:auto;max-width:100%}.wide "
          "svg{max-width:none}summary{cursor:pointer;font-weight:600;margin-top:1rem}\n",
          f);
    for (int i = 0; i < PFC_EX_COLOURS; i++) fprintf(f, ".c%d{background:hsl(%d,70%%,91%%)}\n", i, pfc_ex_hue[i]);
    fputs("@media(prefers-color-scheme:dark){body{color:#e8e8ea;background:#1c1c1f}h2{border-color:#444}h2 b{background:#ddd;color:#111}"
          "pre{background:#28282c;border-color:#777}"
          ".b,.all{background:#333338}.x{border-color:#555}.l,figcaption i{color:#a5a5aa}\n",
          f);
    for (int i = 0; i < PFC_EX_COLOURS; i++) fprintf(f, ".c%d{background:hsl(%d,35%%,23%%)}\n", i, pfc_ex_hue[i]);
    fputs("}\n", f);
    pfc_ex_style(f);
    fputs("</style>\n", f);
}

static void begin(FILE *f, const pfc_ex_story *s)
{
    fprintf(f,
            "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n<meta name='viewport' content='width=device-width, "
            "initial-scale=1'>\n"
            "<title>%s on %d rank%s</title>\n",
            s->told->name, s->ranks, s->ranks == 1 ? "" : "s");
    style(f);
    fprintf(f, "</head>\n<body>\n<h1>%s on %d rank%s, %s mode</h1>\n", s->told->name, s->ranks, s->ranks == 1 ? "" : "s",
            s->mode == PFC_EXACT ? "exact" : "fast");
}

static void heading(FILE *f, const char *number, const char *title)
{
    fputs("<h2>", f);
    if (number[0]) fprintf(f, "<b>%s</b>", number);
    put(f, title);
    fputs("</h2>\n", f);
}

static void prose(FILE *f, const char *text)
{
    bool code = false;
    fputs("<p>", f);
    for (size_t n; *text; text += n + (text[n] != 0)) { /* `code` */
        n = strcspn(text, "`");
        pfc_ex_escape(f, text, n);
        if (text[n]) fputs(code ? "</code>" : "<code>", f), code = !code;
    }
    fputs("</p>\n", f);
}

/* Marked blanks end a line on a phone: those before the remark of an equation; every second gap where letters and their meanings stand side by side. */
static void preformatted(FILE *f, const char *lines, bool pairs)
{
    int gaps = 0;
    fputs("<pre>", f);
    for (const char *p = lines; *p;) {
        size_t blanks = strspn(p, " "), n = blanks ? blanks : strcspn(p, " \n") + (p[strcspn(p, " \n")] == '\n');
        bool first = p == lines || p[-1] == '\n', gap = blanks > 1 && !first;
        if (first) gaps = 0;
        if (gap) gaps++;
        bool marked = gap && (pairs ? gaps % 2 == 0 : blanks > 5);
        if (marked) fprintf(f, "  <s>%*s</s>", (int)blanks - 2, "");
        if (!marked) pfc_ex_escape(f, p, n);
        p += n;
    }
    fputs("</pre>\n", f);
}

static void equations(FILE *f, const char *lines) { preformatted(f, lines, false); }
static void letters(FILE *f, const char *lines) { preformatted(f, lines, true); }

/* Wider than a phone; who wants it opens it. */
static void overview(FILE *f, const pfc_ex_story *s)
{
    fputs("<details><summary>The data flow of all steps in one picture</summary>\n<div class='scroll wide'>", f);
    pfc_ex_svg_flow(f, s);
    fputs("</div></details>\n", f);
}

static void table(FILE *f, int rows, int columns, char *const *cells, const int *owner)
{
    fputs("<div class='scroll'><table>\n", f);
    for (int r = 0; r < rows; r++) {
        fputs("<tr", f);
        if (owner && owner[r] >= 0) fprintf(f, " class='c%d'", owner[r] % PFC_EX_COLOURS);
        fputc('>', f);
        for (int k = 0; k < columns; k++) {
            fputs(r == 0 ? "<th class='w'>" : "<td class='w'>", f);
            put(f, cells[r * columns + k]);
            fputs(r == 0 ? "</th>" : "</td>", f);
        }
        fputs("</tr>\n", f);
    }
    fputs("</table></div>\n", f);
}

/* ---- panels ---- */

static void colour(FILE *f, int rank)
{
    if (rank >= 0) fprintf(f, " c%d", rank % PFC_EX_COLOURS);
}

static void number_cell(FILE *f, const pfc_ex_block *b, int64_t i)
{
    char text[32];
    fprintf(f, "<td>%s</td>", b->absent && b->absent[i] ? "." : pfc_ex_number(b->value[i], text));
}

static void head(FILE *f, const char *text)
{
    fputs("<th class='l'>", f);
    put(f, text);
    fputs("</th>", f);
}

/* A long row, which goes on in the next line where the page is narrow. */
static void long_row(FILE *f, const pfc_ex_block *b)
{
    char text[32];
    fputs("<div class='cells'>", f);
    for (int64_t k = 0; k < b->cols; k++) {
        fprintf(f, "<table><tr>");
        head(f, pfc_ex_col_label(b, k, text));
        fputs("</tr><tr>", f);
        number_cell(f, b, k);
        fputs("</tr></table>", f);
    }
    fputs("</div></div>\n", f);
}

enum { LONG_ROW = 9 };

static void block(FILE *f, const pfc_ex_block *b)
{
    char text[32];
    fputs("<div class='b", f);
    colour(f, b->rank);
    fprintf(f, "'><span>%s</span>", b->title);
    if (b->rows == 1 && b->cols >= LONG_ROW && !b->row_label && b->col_label) {
        long_row(f, b);
        return;
    }
    fputs("<table>\n", f);
    if (b->col_label) {
        fputs(b->row_label ? "<tr><th></th>" : "<tr>", f);
        for (int64_t k = 0; k < b->cols; k++) head(f, pfc_ex_col_label(b, k, text));
        fputs("</tr>\n", f);
    }
    for (int64_t r = 0; r < b->rows; r++) {
        fputs("<tr>", f);
        if (b->row_label) head(f, pfc_ex_row_label(b, r, text));
        for (int64_t k = 0; k < b->cols; k++) number_cell(f, b, r * b->cols + k);
        fputs("</tr>\n", f);
    }
    fputs("</table></div>\n", f);
}

static void stacked(FILE *f, const pfc_ex_panel *p)
{
    int64_t cols = 0;
    char text[32];
    for (int i = 0; i < p->count; i++)
        if (p->blocks[i].col0 + p->blocks[i].cols > cols) cols = p->blocks[i].col0 + p->blocks[i].cols;
    fputs("<div class='scroll'><table>\n<tr><th></th>", f);
    for (int64_t k = 0; k < cols; k++) head(f, pfc_ex_col_label(&p->blocks[0], k - p->blocks[0].col0, text));
    fputs("</tr>\n", f);
    for (int i = 0; i < p->count; i++) {
        const pfc_ex_block *b = &p->blocks[i];
        fputs(b->rank < 0 ? "<tr class='all" : "<tr class='", f);
        colour(f, b->rank);
        fprintf(f, "'><th class='w'>%s</th>", b->title);
        for (int64_t k = 0; k < cols; k++) {
            if (k < b->col0 || k >= b->col0 + b->cols)
                fputs("<td></td>", f);
            else
                number_cell(f, b, k - b->col0);
        }
        fputs("</tr>\n", f);
    }
    fputs("</table></div>\n", f);
}

static void panel(FILE *f, const pfc_ex_panel *p)
{
    size_t name = strcspn(p->title, ":");
    fputs("<figure>", f);
    if (p->title[0]) {
        fputs("<figcaption><b>", f);
        pfc_ex_escape(f, p->title, name);
        fputs("</b> <i>", f);
        if (p->title[name]) put(f, p->title + name + 1);
        fputs("</i></figcaption>\n", f);
    }
    if (p->stacked) {
        stacked(f, p);
    } else {
        fputs("<div class='blocks'>\n", f);
        for (int i = 0; i < p->count; i++) block(f, &p->blocks[i]);
        fputs("</div>\n", f);
    }
    fputs("</figure>\n", f);
}

/* A frame, to exchange_end. */
static void exchange(FILE *f, const pfc_ex_story *s, int event, const char *title, const char *amounts)
{
    fputs("<div class='x'><h3>", f);
    put(f, title);
    fputs("</h3>\n<p>", f);
    put(f, amounts);
    fputs("</p>\n<div class='row'><div class='scroll'>", f);
    pfc_ex_svg_event(f, s, event);
    fputs("</div>\n", f);
}

static void exchange_end(FILE *f) { fputs("</div></div>\n", f); }

static void end(FILE *f, const pfc_ex_story *s)
{
    (void)s;
    fputs("</body>\n</html>\n", f);
}

const pfc_ex_writer pfc_ex_html = { "Exchanges between ranks are framed; colours say whose numbers they are, grey is everybody's.",
                                    begin,
                                    heading,
                                    prose,
                                    equations,
                                    letters,
                                    overview,
                                    table,
                                    panel,
                                    exchange,
                                    exchange_end,
                                    end };
