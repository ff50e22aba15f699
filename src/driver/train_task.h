/* train_task.h: what `pfc_ref train` trains, behind a few functions. cmd_train.c is the loop around it: steps, epochs, signals, checkpoints, log.
 *
 * To add a task: a table of its settings (those that an algorithm has, too, by PFC_SETTING_OF) and a pfc_task in a file of its own; a line in `tasks`
 * (train_settings.c). */
#ifndef PFC_DRIVER_TRAIN_TASK_H
#define PFC_DRIVER_TRAIN_TASK_H

#include "driver/train.h"
#include "train/plan.h"

/* In a table of settings: described as the parameter of that name of an algorithm of `pfc_ref list`. */
#define PFC_SETTING_OF(algorithm, name)            \
    {                                              \
        name, PFC_PARAM_INT, NULL, NULL, algorithm \
    }

typedef struct pfc_train_accuracy {
    char name[64];
    double value; /* the last one */
} pfc_train_accuracy;

/* A run. */
typedef struct pfc_train {
    pfc_cli *cli;
    pfc_diag *diag;
    pfc_settings settings;
    pfc_ctx *ctx;
    const pfc_task *task;
    void *state;    /* the task's own */
    pfc_plan *plan; /* set by the task's open: its own, or its trainer's */
    pfc_train_log log;
    int64_t *examples; /* (b) */
    int64_t saved;     /* step of the last checkpoint of this process, -1: none */
    char path[1100];   /* of it, or of what the run goes on from */
    double loss;       /* of the last step; NaN: none */
    pfc_train_accuracy *accuracies;
    int accuracy_count;
} pfc_train;

/* A step as the task gets it, and what it answers: loss and accuracy are of all ranks' rows, the same on every rank. */
typedef struct pfc_train_step {
    int64_t number; /* from 0 */
    double lr;
    const int64_t *examples; /* (b) of this rank, from 0 to config.examples - 1 */
    double loss;
    double accuracy;             /* NaN: this task has none */
    double data_time, head_time; /* seconds of this rank; head_time NaN: nothing that would be a head */
} pfc_train_step;

/* Functions that return int are collective: 0, or the exit status that all ranks agree on, with diag saying why. */
struct pfc_task {
    const char *name;                      /* --param task=NAME */
    const pfc_param_spec *const *settings; /* its tables, besides those of every run; ends with NULL. A table ends with name NULL */
    /* Reads the data and makes the objects; calls pfc_train_length when settings.config.examples is known; sets state and plan. */
    int (*open)(pfc_train *t);
    /* "head arc, C = 300, D = 32": the beginning of the line of facts. Local. */
    void (*facts)(const pfc_train *t, char *text, size_t size);
    /* One step; moves plan->steps on by 1 (pfc_trainer_step does that for its own). */
    int (*step)(pfc_train *t, pfc_train_step *step);
    /* At the end of an epoch and of the run: measures, and says so by pfc_train_tell. NULL: nothing to measure. */
    int (*evaluate)(pfc_train *t);
    /* All items of a checkpoint but the task's name, pfc_plan_items among them, with the state as it is now; tensors have memory of the list. Local. */
    pfc_status (*items)(pfc_train *t, pfc_items *items);
    /* Goes on from what a checkpoint has put into the list, pfc_plan_take first. Collective. */
    pfc_status (*take)(pfc_train *t, const char *path, const pfc_items *items);
    void (*close)(pfc_train *t); /* also after an open that failed half-way */
};

extern const pfc_task pfc_task_head; /* train_head.c */
extern const pfc_task pfc_task_moco; /* train_moco.c */
extern const pfc_task pfc_task_swav; /* train_swav.c */

/* ---- for tasks (train_common.c) ---- */

/* A status of the library as diag: `what` goes before texts that do not name a file. */
int pfc_train_failed(pfc_train *t, pfc_status status, const char *what);
/* settings.config.total_steps from the epochs or steps asked for. */
int pfc_train_length(pfc_train *t);
/* Prints, logs and remembers an accuracy. Local. */
void pfc_train_tell(pfc_train *t, const char *name, int64_t right, int64_t count);
/* The same for a share that is no accuracy on held-out data. */
void pfc_train_tell_share(pfc_train *t, const char *name, int64_t some, int64_t count);
/* The settings of a table as fixed facts of a checkpoint, so that another recipe is refused. An optional one that is absent is none. */
void pfc_settings_items(const pfc_settings *s, const pfc_param_spec *table, pfc_items *items);

/* ---- the rest of a run ---- */

/* Checkpoints (train_folder.c). */
int pfc_train_resume(pfc_train *t);
int pfc_train_check_folder(pfc_train *t);
int pfc_train_save(pfc_train *t);

/* The signals that stop a run after its step (train_signals.c). stopped: the signal that any rank got, 0: none. Collective. */
void pfc_train_catch_signals(void);
void pfc_train_release_signals(void);
int pfc_train_stopped(const pfc_cli *cli);

#endif
