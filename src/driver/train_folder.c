/* train_folder.c: a run's checkpoints: where it goes on from, whether its folder fits, writing them. */
#include "case/internal.h"
#include "driver/train_task.h"
#include "file/new_file.h"
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- before the first step ---- */

static bool is_folder(const pfc_cli *cli, const char *path)
{
    struct stat s;
    int folder = cli->rank == 0 && stat(path, &s) == 0 && S_ISDIR(s.st_mode);
    MPI_Bcast(&folder, 1, MPI_INT, 0, cli->comm);
    return folder != 0;
}

/* A disposable process reads it first (probe.c). Collective. */
static int probe(pfc_train *t, const char *path)
{
    char text[160], label[PFC_LABEL];
    const char *fault = t->cli->rank == 0 ? pfc_probe(path, text, sizeof text) : NULL;
    if (fault) pfc_diag_fail(t->diag, PFC_EXIT_FILE, "%s: found a damaged file (%s), expected a checkpoint", pfc_label(path, label), fault);
    return pfc_diag_agree(t->cli->comm, t->diag);
}

/* Which task it is, then the task's items: a file of another task is refused as such, not by the first setting that differs. Collective. */
static pfc_status make_items(pfc_train *t, pfc_items *items)
{
    pfc_items_text(items, "task", t->task->name);
    pfc_status st = t->task->items(t, items);
    return pfc_agree(t->ctx, st == PFC_OK ? pfc_items_check(t->ctx, items) : st);
}

static pfc_status load(pfc_train *t, const char *path)
{
    pfc_items items = { 0 };
    pfc_status st = make_items(t, &items);
    if (st == PFC_OK) st = pfc_checkpoint_read(t->ctx, path, items.list, items.count);
    if (st == PFC_OK) st = pfc_agree(t->ctx, t->task->take(t, path, &items));
    pfc_items_free(&items);
    return st;
}

int pfc_train_resume(pfc_train *t)
{
    const char *from = t->cli->resume, *folder = t->cli->checkpoint;
    if (!from) return 0;
    if (!from[0]) from = folder;
    snprintf(t->path, sizeof t->path, "%s", from);
    if ((!t->cli->resume[0] || is_folder(t->cli, from)) && pfc_train_failed(t, pfc_checkpoint_latest(t->ctx, from, t->path, sizeof t->path, NULL), from))
        return t->diag->exit_status;
    if (probe(t, t->path) || pfc_train_failed(t, load(t, t->path), t->path)) return t->diag->exit_status;
    size_t n = folder ? strlen(folder) : 0;
    if (n && strncmp(t->path, folder, n) == 0 && t->path[n] == '/') t->saved = t->plan->steps; /* it is there already */
    return 0;
}

/* A folder that cannot be written is better known now than after the last step. Collective. */
static int make_folder(pfc_train *t)
{
    const char *folder = t->cli->checkpoint;
    if (t->cli->rank == 0) {
        char why[160];
        bool made = pfc_new_folder(folder, why, sizeof why);
        if (!made || access(folder, W_OK | X_OK))
            pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "%s: no checkpoint can be written there: %s", folder, made ? strerror(errno) : why);
    }
    return pfc_diag_agree(t->cli->comm, t->diag);
}

/* Newer checkpoints in the folder are another run's, or of a branch that this run leaves: "the newest" would not be this run's. */
int pfc_train_check_folder(pfc_train *t)
{
    int64_t newest = -1, begins = t->plan->steps;
    char path[1100];
    if (!t->cli->checkpoint) return 0;
    if (pfc_checkpoint_latest(t->ctx, t->cli->checkpoint, path, sizeof path, &newest) != PFC_OK || newest <= begins) return make_folder(t);
    return pfc_diag_fail(
        t->diag, PFC_EXIT_USAGE,
        "%s: found the checkpoint of step %lld, expected none after step %lld, where this run begins: go on with --resume, or choose another folder",
        t->cli->checkpoint, (long long)newest, (long long)begins);
}

/* ---- writing ---- */

static bool is_finite(const pfc_item *item, int64_t values)
{
    if (item->dtype == PFC_F32)
        for (int64_t i = 0; i < values; i++)
            if (!isfinite(((const float *)item->data)[i])) return false;
    if (item->dtype == PFC_F64)
        for (int64_t i = 0; i < values; i++)
            if (!isfinite(((const double *)item->data)[i])) return false;
    return true;
}

/* Nobody goes on from numbers that are not finite, and good checkpoints would make room for them. Collective. */
static int check_finite(pfc_train *t, const pfc_items *items)
{
    for (int i = 0; i < items->count && !t->diag->exit_status; i++) {
        const pfc_item *item = &items->list[i];
        int64_t rows = item->unit ? pfc_shard_of(item->rows / item->unit, t->cli->ranks, t->cli->rank).count * item->unit : item->rows;
        if (item->kind == PFC_ITEM_TENSOR && !is_finite(item, rows * (item->cols ? item->cols : 1)))
            pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "step %lld: the run has diverged: %s is not finite; no checkpoint of it is written",
                          (long long)t->plan->steps, item->name);
    }
    return pfc_diag_agree(t->cli->comm, t->diag);
}

int pfc_train_save(pfc_train *t)
{
    const char *folder = t->cli->checkpoint;
    pfc_items items = { 0 };
    if (!folder || t->saved == t->plan->steps) return 0;
    if (t->log.file) fflush(t->log.file); /* a run that goes on from here finds the lines up to here */
    if (!pfc_train_failed(t, make_items(t, &items), folder) && !check_finite(t, &items)) {
        int keep = t->cli->keep ? t->cli->keep : 3;
        pfc_status st = pfc_checkpoint_save(t->ctx, folder, t->plan->steps, keep, items.list, items.count, t->path, sizeof t->path);
        if (!pfc_train_failed(t, st, folder)) t->saved = t->plan->steps;
    }
    pfc_items_free(&items);
    return t->diag->exit_status;
}
