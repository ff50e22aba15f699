/* explain.h: what `pfc_ref explain` is made of. An example small enough for a page is run as every case is, with taps; an observer of comm writes down what
 * the ranks exchange; tables, one for each algorithm, say which numbered step of the algorithm's file each tensor and each exchange belongs to. From these
 * a story is made on rank 0, and told by a writer: text, HTML or SVG. */
#ifndef PFC_DRIVER_EXPLAIN_H
#define PFC_DRIVER_EXPLAIN_H

#include "comm/comm.h"
#include "driver/driver.h"

/* ---- the tables (explain_FAMILY.c; const) ---- */

/* Texts are told line by line. A line that begins with "{CONDITION} " is told where that holds; a condition is words apart by blanks, all of which hold,
 * and " / " between alternatives:
 *   NAME=a|b    the setting has one of these values      has:NAME    the case has such a tensor
 *   exact       exact mode                               given:NAME  --param or the example has set it
 *   ranks       more than one                            !WORD       where WORD does not hold */

/* An exchange that the algorithm makes, in the order of the data flow. What was seen is found here by its operation and kind of elements: the next such
 * entry, or else, in a loop, the last one before. A tap divides: entries after it are for what comes after that tap. An exchange that no entry knows is an
 * error, and so is an entry whose condition and whose step's holds and that was not seen. */
typedef struct pfc_ex_exchange {
    const char *step; /* number of the step; "": bookkeeping, told at the end; NULL: this is a tap */
    pfc_comm_op op;
    const char *kinds; /* of elements: r real, i int64, e int32 exponents, a accumulator, b bytes of rows. Of a tap: its name */
    const char *what;  /* "X, the features of all rows" */
    /* "N" a vector, "K|sum" with a named number behind it, "a|b" of named numbers; "N,D" a matrix, "a|b,C" of named rows; NULL: only the amount is told. */
    const char *shape;
    const char *when; /* condition; NULL: always */
} pfc_ex_exchange;

typedef struct pfc_ex_step {
    const char *number;    /* as in the algorithm's file: "4", "4'" */
    const char *title;     /* the same */
    const char *equations; /* lines */
    const char *note;      /* lines: what to look at; may be NULL */
    const char *show;      /* lines: tensors, by list and name: "in:features step:cosine again:assignment out:loss"; those that are not there are passed over */
    const char *when;      /* whether this run takes the step: a condition; NULL: always */
} pfc_ex_step;

typedef struct pfc_ex_algorithm {
    const char *name, *source; /* "src/algo/partial_fc.c": the numbered steps stand there */
    const char *about;         /* lines: the problem */
    const char *letters;       /* lines: what the letters stand for */
    /* Settings of the example, NAME, VALUE in turn, where --param does not give them; ends with NULL. */
    const char *const *settings;
    /* More settings, sizes and the inputs, after --param and settings. Collective. */
    int (*example)(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag);
    const pfc_ex_step *steps;         /* ends with number NULL */
    const pfc_ex_exchange *exchanges; /* ends with step and kinds NULL; NULL: there are none */
    const char *mask;                 /* a result of 0 and 1 per class: where it is 0, intermediate results of that class do not exist; or NULL */
    bool rounds;                      /* the run may be of several training steps, each begins with the first of `exchanges` */
    const char *again;                /* a setting: it is run again with 1, 2, ... below its value for the list "again"; or NULL */
} pfc_ex_algorithm;

extern const pfc_ex_algorithm pfc_ex_partial_fc, pfc_ex_arcface_head, pfc_ex_adaptive_margins, pfc_ex_sinkhorn, pfc_ex_swav, pfc_ex_lr_schedule, pfc_ex_moco,
    pfc_ex_moco_shuffle, pfc_ex_batch_norm, pfc_ex_group_gather;

/* ---- the example's inputs (explain_example.c) ---- */

/* A setting that --param did not give. Local. */
int pfc_ex_set(pfc_case *c, const char *name, const char *value, pfc_diag *diag);
bool pfc_ex_given(const pfc_case *c, const char *name);
/* Rows of all ranks: the smallest multiple of the ranks from `least` up. Local. */
int64_t pfc_ex_rows(int ranks, int64_t least);
/* Appends an input; the value of global element i is at(i) for reals (rounded to float32) or (int64_t)at(i). Local, on all ranks alike. */
pfc_tensor *pfc_ex_input(MPI_Comm comm, pfc_case *c, const char *name, int ndim, const int64_t *dims, double (*at)(int64_t i), pfc_diag *diag);

/* ---- what was exchanged (explain_watch.c) ---- */

enum { PFC_EX_VALUES = 128, PFC_EX_ROWS = 64 };

typedef struct pfc_ex_side {
    int64_t bytes, count; /* count: numbers that these bytes stand for */
    double value[PFC_EX_VALUES];
} pfc_ex_side;

/* One exchange as one rank saw it. */
typedef struct pfc_ex_event {
    int64_t number; /* of the call */
    pfc_comm_op op;
    char kind;                   /* as in pfc_ex_exchange */
    int ranks, leader;           /* of the communicator: how many, and which rank of all is its first */
    int taps;                    /* that came before */
    pfc_ex_side side[2];         /* handed in, got */
    int64_t row_bytes;           /* exchange_rows */
    int rows, peer[PFC_EX_ROWS]; /* rows sent, own ones included, and to whom; the first PFC_EX_ROWS */
    int64_t row[PFC_EX_ROWS];    /* which of this rank's */
} pfc_ex_event;

typedef struct pfc_ex_watch {
    pfc_comm_observer observer;
    pfc_ctx *ctx;
    const pfc_case *c;
    pfc_ex_event *events;
    int count;
    bool failed; /* out of memory */
} pfc_ex_watch;

/* From here on what the context's ranks exchange is written down. Local, on all ranks alike. */
void pfc_ex_watch_begin(pfc_ex_watch *w, pfc_ctx *ctx, const pfc_case *c);
void pfc_ex_watch_end(pfc_ex_watch *w);
void pfc_ex_watch_free(pfc_ex_watch *w);

/* ---- the story, on rank 0 ---- */

enum { PFC_EX_AGAIN = 4 };

typedef struct pfc_ex_tensor {
    const pfc_tensor *t;
    const char *list; /* "in", "step", "out", "again" */
    int again;        /* value of the setting that was run again */
    void *whole;
} pfc_ex_tensor;

typedef struct pfc_ex_check {
    char name[PFC_MAX_NAME];
    bool good;
    double error, bound; /* where error over bound is largest; bound 0: nothing may differ */
} pfc_ex_check;

typedef struct pfc_ex_story {
    const pfc_ex_algorithm *told;
    const pfc_case *c;
    pfc_case *again[PFC_EX_AGAIN]; /* [i]: with i + 1 */
    int again_count;
    pfc_mode mode;
    int ranks;
    pfc_ex_tensor *tensors; /* of in, step, out, again, in this order */
    int tensor_count;
    pfc_ex_event *events; /* [event * ranks + rank] */
    int event_count;
    const pfc_ex_exchange **entry; /* of each event */
    int *round, rounds;            /* the training step of each event, from 1; how many there are */
    pfc_ex_check *checks;
    int check_count;
    bool unchecked;      /* a check was lost: out of memory */
    const char *against; /* what the results were checked with */
} pfc_ex_story;

/* Gathers all that a story needs. Collective; the story is filled on rank 0. */
int pfc_ex_story_make(const pfc_cli *cli, const pfc_ex_watch *w, pfc_ex_story *s, pfc_diag *diag);
void pfc_ex_story_free(pfc_ex_story *s);
const pfc_ex_event *pfc_ex_event_of(const pfc_ex_story *s, int event, int rank);
/* "all-reduce MAX", "all-gather". */
const char *pfc_ex_op_name(pfc_comm_op op);

/* Which exchanges are told as one: those of one step, of one operation on the same thing with the same amounts, and of one training step if by_round. */
typedef struct pfc_ex_group {
    int nth, of; /* this is the nth of so many */
} pfc_ex_group;
pfc_ex_group pfc_ex_group_of(const pfc_ex_story *s, int event, bool by_round);
/* "", " (twice)", " (3 times)". */
const char *pfc_ex_times(int n, char text[32]);

/* ---- what holds in this run (explain_when.c) ---- */

bool pfc_ex_holds(const pfc_ex_story *s, const char *condition);
/* The lines of a text whose conditions hold; free() it. NULL: text was, or no memory. */
char *pfc_ex_lines(const pfc_ex_story *s, const char *text);
/* Whether a step shows a tensor. */
bool pfc_ex_shows(const pfc_ex_story *s, const pfc_ex_step *step, const pfc_ex_tensor *t);

/* ---- panels: small matrices, each some rank's (explain_panel.c) ---- */

typedef struct pfc_ex_block {
    char title[40]; /* "rank 2", "rank 0 in", "every rank" */
    int rank;       /* whose; -1: nobody's alone */
    int64_t rows, cols, row0, col0;
    char row_label, col_label; /* letter before the numbers from row0, col0; 0: no label */
    int64_t per_group;         /* rows of one index of the axis before: "0:n2"; 0: there is no such axis */
    int64_t unit;              /* so many rows belong to one label: "c3.0", "c3.1" */
    char names[64];            /* of rows, or without row labels of columns: "sum x|sum x^2"; "": letters and numbers */
    double *value;             /* rows*cols */
    bool *absent;              /* rows*cols; NULL: all are there */
} pfc_ex_block;

typedef struct pfc_ex_panel {
    char title[400];
    bool stacked; /* blocks of one row each, one below the other, columns by col0; otherwise side by side */
    pfc_ex_block *blocks;
    int count;
} pfc_ex_panel;

/* The tensor, cut as the ranks hold it. */
bool pfc_ex_panel_tensor(const pfc_ex_story *s, const pfc_ex_tensor *t, pfc_ex_panel *p);
/* What goes into an event or comes out of it; for vectors both are in one panel (side 0) and there is none for side 1. False: there is nothing to show. */
bool pfc_ex_panel_event(const pfc_ex_story *s, int event, int side, pfc_ex_panel *p);
void pfc_ex_panel_free(pfc_ex_panel *p);
/* What a rank holds of the tensor that the panel shows: "n0-n1", "all". */
const char *pfc_ex_part_text(const pfc_tensor *t, const pfc_ex_panel *p, int rank, char text[80]);
/* Four digits. */
const char *pfc_ex_number(double x, char text[32]);
/* Labels of column col and row `row` of a block; "" where it has none. */
const char *pfc_ex_col_label(const pfc_ex_block *b, int64_t col, char text[32]);
const char *pfc_ex_row_label(const pfc_ex_block *b, int64_t row, char text[32]);
/* The label of the first axis that has a letter, among the inputs: 'n'; 0: none has. */
char pfc_ex_first_letter(const pfc_ex_story *s);
/* "n3", "c2.1"; letter ' ': a number alone. */
const char *pfc_ex_label(char letter, int64_t number, int64_t unit, char text[32]);

/* ---- telling (explain_tell.c) ---- */

/* How a story is put on paper. user: the writer's own. */
typedef struct pfc_ex_writer {
    const char *legend; /* how to read it; one or two sentences */
    void (*begin)(FILE *f, const pfc_ex_story *s);
    void (*heading)(FILE *f, const char *number, const char *title); /* number "": not a step */
    void (*prose)(FILE *f, const char *text);
    void (*equations)(FILE *f, const char *lines);
    void (*letters)(FILE *f, const char *lines);      /* and what they mean, by twos or threes in a line */
    void (*overview)(FILE *f, const pfc_ex_story *s); /* after the holdings; NULL: there is none */
    /* rows*columns cells; titles are the first row; owner: the rank of each row, or -1; NULL: nobody's. */
    void (*table)(FILE *f, int rows, int columns, char *const *cells, const int *owner);
    void (*panel)(FILE *f, const pfc_ex_panel *p);
    void (*exchange)(FILE *f, const pfc_ex_story *s, int event, const char *title, const char *amounts);
    void (*exchange_end)(FILE *f); /* after its panels */
    void (*end)(FILE *f, const pfc_ex_story *s);
} pfc_ex_writer;

extern const pfc_ex_writer pfc_ex_text, pfc_ex_html;

void pfc_ex_tell(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s);
/* An exchange with its numbers, and all of them in one table (explain_traffic.c). */
void pfc_ex_tell_exchange(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s, int event);
void pfc_ex_tell_traffic(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s);

/* A table that grows cell by cell, row after row (explain_table.c). */
typedef struct pfc_ex_table {
    int columns, count;
    char **text;
    int *owner; /* of each row */
} pfc_ex_table;
void pfc_ex_cell(pfc_ex_table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The last cell's row is this rank's. */
void pfc_ex_own(pfc_ex_table *t, int rank);
/* Tells it and forgets it. */
void pfc_ex_give(FILE *f, const pfc_ex_writer *w, pfc_ex_table *t);
void pfc_ex_forget(pfc_ex_table *t);

/* At most n characters of a text for HTML or SVG. */
void pfc_ex_escape(FILE *f, const char *text, size_t n);
/* The data flow of all steps as one picture: a file of its own, or inside a page; and that of one event inside a page. */
void pfc_ex_svg(FILE *f, const pfc_ex_story *s);
void pfc_ex_svg_flow(FILE *f, const pfc_ex_story *s);
void pfc_ex_svg_event(FILE *f, const pfc_ex_story *s, int event);
/* Rules for shapes and colours, for pictures and pages. */
void pfc_ex_style(FILE *f);
enum { PFC_EX_COLOURS = 8 };
extern const int pfc_ex_hue[PFC_EX_COLOURS]; /* of ranks, in turn */
/* The exchanges by step, with bytes. On rank 0. */
void pfc_ex_json(pfc_json *j, const pfc_ex_story *s);

#endif
