/* explain_text.c: a story as plain text, at most 80 columns wide. */
#include "driver/explain.h"

#include <string.h>

enum { WIDTH = 80, INDENT = 4, PANEL_INDENT = 8 };

/* ---- words ---- */

/* Words of `text` in lines from column `indent` on. */
static void wrap(FILE *f, const char *text, int indent)
{
    int at = 0;
    while (*text) {
        int n = (int)strcspn(text, " \n");
        if (at && at + 1 + n > WIDTH) {
            fputc('\n', f);
            at = 0;
        }
        at += fprintf(f, at ? "%*s%.*s" : "%*s%.*s", at ? 1 : indent, "", n, text);
        text += n;
        while (*text == ' ' || *text == '\n') text++;
    }
    if (at) fputc('\n', f);
}

static void lines(FILE *f, const char *text, int indent)
{
    for (const char *end; *text; text = *end ? end + 1 : end) {
        end = text + strcspn(text, "\n");
        fprintf(f, "%*s%.*s\n", end == text ? 0 : indent, "", (int)(end - text), text);
    }
}

static void begin(FILE *f, const pfc_ex_story *s)
{
    char title[160];
    int n =
        snprintf(title, sizeof title, "%s on %d rank%s, %s mode", s->told->name, s->ranks, s->ranks == 1 ? "" : "s", s->mode == PFC_EXACT ? "exact" : "fast");
    fprintf(f, "%s\n", title);
    for (int i = 0; i < n; i++) fputc('=', f);
    fputc('\n', f);
}

static void heading(FILE *f, const char *number, const char *title)
{
    fprintf(f, "\n");
    if (number[0])
        fprintf(f, "Step %s  %s\n", number, title);
    else
        fprintf(f, "%s\n", title);
}

static void prose(FILE *f, const char *text) { wrap(f, text, INDENT); }
static void equations(FILE *f, const char *text) { lines(f, text, PANEL_INDENT); }

/* Text at a column of the line; nothing is written for "", so that no line ends in blanks. */
static void place(FILE *f, int *at, int column, const char *text)
{
    if (text[0]) *at += fprintf(f, "%*s%s", column - *at, "", text);
}

static void table(FILE *f, int rows, int columns, char *const *cells, const int *owner)
{
    (void)owner;
    for (int r = 0; r < rows; r++) {
        int at = 0, column = INDENT;
        for (int k = 0; k < columns; k++) {
            int width = 0;
            for (int i = 0; i < rows; i++) {
                int n = (int)strlen(cells[i * columns + k]);
                if (n > width) width = n;
            }
            place(f, &at, column, cells[r * columns + k]);
            column += width + 2;
        }
        fputc('\n', f);
    }
}

/* ---- panels ---- */

static const char *cell(const pfc_ex_block *b, int64_t row, int64_t col, char text[32])
{
    int64_t i = row * b->cols + col;
    return b->absent && b->absent[i] ? "." : pfc_ex_number(b->value[i], text);
}

static int label_width(const pfc_ex_block *b)
{
    int width = 0;
    char text[32];
    for (int64_t r = 0; r < b->rows; r++) {
        int n = (int)strlen(pfc_ex_row_label(b, r, text));
        if (n > width) width = n;
    }
    return width;
}

static int column_width(const pfc_ex_block *b, int64_t col)
{
    char text[32];
    int width = (int)strlen(pfc_ex_col_label(b, col, text));
    for (int64_t r = 0; r < b->rows; r++) {
        int n = (int)strlen(cell(b, r, col, text));
        if (n > width) width = n;
    }
    return width;
}

/* Characters of columns [col, end) and the labels before them; 2 blanks between columns. */
static int block_width(const pfc_ex_block *b, int64_t col, int64_t end)
{
    int labels = label_width(b), width = labels;
    for (int64_t k = col; k < end; k++) width += column_width(b, k) + (k > col || labels ? 2 : 0);
    int title = (int)strlen(b->title);
    return width > title ? width : title;
}

/* Row `row` of a block: -2 its title, -1 the columns' labels, then its rows. From `column` on. */
static void block_row(FILE *f, int *at, int column, const pfc_ex_block *b, int64_t row, int64_t col, int64_t end)
{
    char text[32];
    int labels = label_width(b);
    if (row == -2) place(f, at, column, b->title);
    if (row == -2 || row >= b->rows) return;
    if (row >= 0) place(f, at, column, pfc_ex_row_label(b, row, text));
    column += labels;
    if (row >= 0 && b->cols == 0) place(f, at, column, "-");
    for (int64_t k = col; k < end; k++) {
        const char *what = row >= 0 ? cell(b, row, k, text) : pfc_ex_col_label(b, k, text);
        column += column_width(b, k) + (k > col || labels ? 2 : 0);
        place(f, at, column - (int)strlen(what), what);
    }
}

/* Blocks [first, last), columns [col, end) of each, side by side. */
static void print_band(FILE *f, const pfc_ex_panel *p, int first, int last, int64_t col, int64_t end)
{
    int64_t rows = 0;
    for (int i = first; i < last; i++) rows = p->blocks[i].rows > rows ? p->blocks[i].rows : rows;
    for (int64_t row = -2; row < rows; row++) {
        int at = 0, column = PANEL_INDENT;
        if (row == -1 && !p->blocks[first].col_label) continue;
        for (int i = first; i < last; i++) {
            const pfc_ex_block *b = &p->blocks[i];
            int64_t to = end < b->cols ? end : b->cols;
            if (i > first) place(f, &at, column - 2, "|");
            block_row(f, &at, column, b, row, col, to);
            column += block_width(b, col, to) + 3;
        }
        fputc('\n', f);
    }
}

/* How many blocks from `first` on fit in a line, at most `most`; 1 at least. */
static int blocks_in_line(const pfc_ex_panel *p, int first, int most, int *width)
{
    int n = 0;
    *width = PANEL_INDENT;
    for (int i = first; i < p->count && n < most; i++, n++) {
        int more = (n ? 3 : 0) + block_width(&p->blocks[i], 0, p->blocks[i].cols);
        if (n && *width + more > WIDTH) break;
        *width += more;
    }
    return n;
}

/* As few lines of blocks as can be, of about the same length. */
static int even_share(const pfc_ex_panel *p)
{
    int bands = 0, width;
    for (int first = 0; first < p->count; bands++) first += blocks_in_line(p, first, p->count, &width);
    return bands ? (p->count + bands - 1) / bands : 1;
}

/* One that is too wide by itself comes in parts. */
static void in_parts(FILE *f, const pfc_ex_panel *p, int first)
{
    const pfc_ex_block *b = &p->blocks[first];
    for (int64_t col = 0, end; col < b->cols; col = end) {
        for (end = col + 1; end < b->cols && PANEL_INDENT + block_width(b, col, end + 1) <= WIDTH;) end++;
        print_band(f, p, first, first + 1, col, end);
    }
}

static void side_by_side(FILE *f, const pfc_ex_panel *p)
{
    int share = even_share(p), width;
    for (int first = 0, n; first < p->count; first += n) {
        n = blocks_in_line(p, first, share, &width);
        if (n == 1 && width > WIDTH)
            in_parts(f, p, first);
        else
            print_band(f, p, first, first + n, 0, INT64_MAX);
    }
}

/* ---- vectors below each other ---- */

static const char *stacked_cell(const pfc_ex_block *b, int64_t col, char text[32])
{
    return col < b->col0 || col >= b->col0 + b->cols ? "" : cell(b, 0, col - b->col0, text);
}

static int stacked_width(const pfc_ex_panel *p, int64_t col)
{
    char text[32];
    int width = (int)strlen(pfc_ex_col_label(&p->blocks[0], col - p->blocks[0].col0, text));
    for (int i = 0; i < p->count; i++) {
        int n = (int)strlen(stacked_cell(&p->blocks[i], col, text));
        if (n > width) width = n;
    }
    return width;
}

static void stacked(FILE *f, const pfc_ex_panel *p)
{
    int titles = 0;
    int64_t cols = 0;
    char text[32];
    for (int i = 0; i < p->count; i++) {
        const pfc_ex_block *b = &p->blocks[i];
        if ((int)strlen(b->title) > titles) titles = (int)strlen(b->title);
        if (b->col0 + b->cols > cols) cols = b->col0 + b->cols;
    }
    for (int64_t col = 0, end; col < cols; col = end) {
        int width = PANEL_INDENT + titles;
        for (end = col; end < cols && (end == col || width + 2 + stacked_width(p, end) <= WIDTH); end++) width += 2 + stacked_width(p, end);
        for (int i = p->blocks[0].col_label ? -1 : 0; i < p->count; i++) {
            int at = 0, column = PANEL_INDENT + titles;
            if (i >= 0) place(f, &at, PANEL_INDENT, p->blocks[i].title);
            for (int64_t k = col; k < end; k++) {
                const char *what = i < 0 ? pfc_ex_col_label(&p->blocks[0], k - p->blocks[0].col0, text) : stacked_cell(&p->blocks[i], k, text);
                column += 2 + stacked_width(p, k);
                place(f, &at, column - (int)strlen(what), what);
            }
            fputc('\n', f);
        }
    }
}

static void panel(FILE *f, const pfc_ex_panel *p)
{
    if (p->title[0]) wrap(f, p->title, p->stacked || strchr(p->title, ':') ? INDENT : INDENT + 2);
    if (p->stacked)
        stacked(f, p);
    else
        side_by_side(f, p);
}

static void exchange(FILE *f, const pfc_ex_story *s, int event, const char *title, const char *amounts)
{
    char text[400];
    (void)s, (void)event;
    snprintf(text, sizeof text, ">> %s", title);
    wrap(f, text, INDENT);
    wrap(f, amounts, PANEL_INDENT);
}

static void exchange_end(FILE *f) { (void)f; }

static void end(FILE *f, const pfc_ex_story *s) { (void)f, (void)s; }

const pfc_ex_writer pfc_ex_text = {
    "Exchanges between ranks are marked >>.", begin, heading, prose, equations, equations, NULL, table, panel, exchange, exchange_end, end
};
