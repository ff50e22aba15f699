/* train.h: the pieces of `pfc_ref train`. */
#ifndef PFC_DRIVER_TRAIN_H
#define PFC_DRIVER_TRAIN_H

#include "driver/driver.h"
#include "train/examples.h"

/* ---- settings: a recipe, then the command line (train_settings.c, train_recipe.c, train_effect.c) ---- */

/* NAME=VALUE as somebody wrote it. */
typedef struct pfc_assignment {
    char name[PFC_MAX_NAME], value[2 * PFC_MAX_WORD];
    long line; /* of the recipe; 0: of the command line */
} pfc_assignment;

typedef struct pfc_assignments {
    pfc_assignment *list;
    int count;
    char recipe[1100]; /* the file */
} pfc_assignments;

/* Those of --recipe, then those of --param and its short forms. Collective. */
int pfc_assignments_read(const pfc_cli *cli, pfc_assignments *a, pfc_diag *diag);
void pfc_assignments_free(pfc_assignments *a);
/* "FILE: line 3" into text; "" for the command line. */
const char *pfc_assignment_place(const pfc_assignments *a, const pfc_assignment *one, char *text, size_t size);

typedef struct pfc_task pfc_task; /* train_task.h */

typedef struct pfc_settings {
    const pfc_task *task;
    pfc_assignments written; /* what recipe and command line say */
    pfc_case *values;        /* all settings of the task: pfc_param_int(values, "batch") */
    pfc_algorithm table;     /* their descriptions; params are our own memory */
    pfc_train_config config; /* what every run has of it; without C, D, examples, total_steps */
    int64_t epochs, steps;   /* -1: not given */
    int64_t stop_at;         /* -1: not given */
    int64_t log_every;
} pfc_settings;

/* Collective. */
int pfc_settings_read(const pfc_cli *cli, pfc_settings *s, pfc_diag *diag);
void pfc_settings_free(pfc_settings *s);
/* A given setting of this table is an error, as it would be overlooked: "NAME: WHY". Local. */
int pfc_settings_refuse(const pfc_settings *s, const pfc_param_spec *table, const char *why, pfc_diag *diag);
/* An integer that is there and below least is an error. Local. */
int pfc_settings_at_least(const pfc_settings *s, const char *name, int64_t least, pfc_diag *diag);
/* One that is given but does nothing, because of another one's value: "NAME: without effect with OTHER=VALUE". Local. */
int pfc_settings_check_effect(const pfc_settings *s, pfc_diag *diag);
/* Given or by default; else -1. Local. */
int64_t pfc_settings_optional(const pfc_settings *s, const char *name);

/* ---- data (train_data.c, train_array.c) ---- */

/* The part of the first axis of an array that this rank keeps, float32 (wanted real) or int64. path: FILE.npy, FILE.h5 or FILE.h5:/dataset; name: the dataset
 * to look for without one. rows: of the file. A failure may be one rank's. Collective. */
int pfc_array_read(const pfc_cli *cli, const char *path, const char *name, bool real, pfc_tensor_list *list, int64_t *rows, pfc_diag *diag);

typedef struct pfc_data {
    char name[64]; /* for people: the file's */
    pfc_examples examples;
    int64_t width;   /* D */
    int64_t classes; /* largest label + 1 */
    pfc_tensor_list arrays;
    char features_sha256[PFC_ITEM_TEXT_SIZE], labels_sha256[PFC_ITEM_TEXT_SIZE];
} pfc_data;

/* Features (E, D) and labels (E), every rank its part. num_classes -1: whatever the labels say. Collective. */
int pfc_data_read(const pfc_cli *cli, const char *features, const char *labels, int64_t num_classes, pfc_data *data, pfc_diag *diag);
void pfc_data_free(pfc_data *data);
/* The digests of both. Collective. */
int pfc_data_digest(pfc_ctx *ctx, pfc_data *data, pfc_diag *diag);

/* ---- what a run says (train_log.c); rank 0 alone ---- */

typedef struct pfc_meter {
    double value, sum;
    int64_t count;
} pfc_meter;

typedef struct pfc_train_log {
    bool terminal; /* stdout is one, and no launcher stands in between */
    bool quiet;
    int64_t every; /* steps between plain lines */
    int64_t epoch_steps, total_steps;
    double start; /* of this process's training, with the step it began at */
    int64_t first_step;
    pfc_meter time, data, loss, accuracy;   /* of the epoch; accuracy.count 0: the task has none */
    pfc_meter all_time, all_data, all_head; /* of this process */
    FILE *file;                             /* NULL: neither --log nor --plot */
    const char *path;                       /* for messages */
} pfc_train_log;

/* Opens the log file. After a resume the lines up to this step stay. Collective. */
int pfc_train_log_open(const pfc_cli *cli, int64_t step, pfc_train_log *log, pfc_diag *diag);
struct pfc_train_step;
/* After a step that took so long. */
void pfc_train_log_step(pfc_train_log *log, const struct pfc_train_step *step, double time);
double pfc_meter_average(const pfc_meter *m);
/* Ends the progress line, so that something else can be printed. */
void pfc_train_log_pause(pfc_train_log *log);
/* what goes before the name on the screen. */
void pfc_train_log_accuracy(pfc_train_log *log, int64_t steps, const char *what, const char *name, int64_t right, int64_t count);
/* Draws what stands in the log file by now (train_plot.c). Collective. */
int pfc_train_plot(const pfc_cli *cli, const pfc_train_log *log, const char *title, pfc_diag *diag);
/* Collective. */
int pfc_train_log_close(const pfc_cli *cli, pfc_train_log *log, pfc_diag *diag);

#endif
