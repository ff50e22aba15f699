/* checkpoint_folder.c: the checkpoints of a run: DIR/step-000000000123.h5. Rank 0 looks and removes. */
#include "train/checkpoint.h"

#include "file/new_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DIGITS = 12 };

/* The step of "step-000000000123.h5" and where its name ends; -1: no such name. */
static int64_t step_of(const char *name, const char **rest)
{
    int64_t step = 0;
    if (strncmp(name, "step-", 5)) return -1;
    for (int k = 5; k < 5 + DIGITS; k++) {
        if (name[k] < '0' || name[k] > '9') return -1;
        step = 10 * step + (name[k] - '0');
    }
    *rest = name + 5 + DIGITS;
    return strncmp(*rest, ".h5", 3) ? -1 : (*rest += 3, step);
}

static void name_of(const char *folder, int64_t step, char *path, size_t size) { snprintf(path, size, "%s/step-%0*lld.h5", folder, DIGITS, (long long)step); }

static int descending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Steps of all checkpoints, the highest first; removes unfinished files if asked. NULL: errno says why. */
static int64_t *list_steps(const char *folder, bool clean, int *count)
{
    DIR *dir = opendir(folder);
    int64_t *steps = dir ? malloc(sizeof *steps) : NULL;
    *count = 0;
    for (struct dirent *e; steps && (e = readdir(dir));) {
        const char *rest;
        int64_t step = step_of(e->d_name, &rest);
        if (step < 0) continue;
        if (clean && strncmp(rest, ".tmp-", 5) == 0) unlinkat(dirfd(dir), e->d_name, 0);
        if (*rest) continue;
        int64_t *longer = realloc(steps, ((size_t)*count + 2) * sizeof *steps);
        if (!longer) free(steps);
        steps = longer;
        if (steps) steps[(*count)++] = step;
    }
    if (dir) closedir(dir);
    if (steps) qsort(steps, (size_t)*count, sizeof *steps, descending);
    return steps;
}

static pfc_status make_folder(pfc_ctx *ctx, const char *folder)
{
    char why[160];
    if (ctx->comm.rank != 0 || pfc_new_folder(folder, why, sizeof why)) return PFC_OK;
    return pfc_checkpoint_fail(ctx, PFC_ERR_IO, folder, NULL, "cannot be made: %s", why);
}

pfc_status pfc_checkpoint_save(pfc_ctx *ctx, const char *folder, int64_t step, int keep, const pfc_item *items, int count, char *path, size_t size)
{
    char name[PFC_CHECKPOINT_PATH + 40];
    pfc_status st = make_folder(ctx, folder);
    if (step < 0 || step > 999999999999) st = pfc_fail(ctx, PFC_ERR_ARG, "step: found %lld, expected 0 to 999999999999", (long long)step);
    PFC_TRY(pfc_agree(ctx, st));
    int found = 0;
    if (ctx->comm.rank == 0) free(list_steps(folder, true, &found)); /* unfinished files first: they may take the room of this one */
    name_of(folder, step, name, sizeof name);
    PFC_TRY(pfc_checkpoint_write(ctx, name, items, count));
    if (path) snprintf(path, size, "%s", name);
    if (ctx->comm.rank != 0) return PFC_OK;
    int64_t *steps = list_steps(folder, false, &found);
    for (int k = keep; keep > 0 && steps && k < found; k++) {
        name_of(folder, steps[k], name, sizeof name);
        if (steps[k] != step) unlink(name);
    }
    free(steps);
    return PFC_OK;
}

pfc_status pfc_checkpoint_latest(pfc_ctx *ctx, const char *folder, char *path, size_t size, int64_t *step)
{
    int64_t newest = -1;
    pfc_status st = PFC_OK;
    if (ctx->comm.rank == 0) {
        int found = 0;
        int64_t *steps = list_steps(folder, false, &found);
        if (!steps)
            st = pfc_checkpoint_fail(ctx, PFC_ERR_DATA, folder, NULL, "found no folder (%s), expected one with checkpoints", strerror(errno));
        else if (found == 0)
            st = pfc_checkpoint_fail(ctx, PFC_ERR_DATA, folder, NULL, "found no checkpoint, expected step-....h5");
        else
            newest = steps[0];
        free(steps);
    }
    PFC_TRY(pfc_agree(ctx, st));
    PFC_TRY(pfc_comm_broadcast(&ctx->comm, &newest, 1, PFC_I64, 0));
    if (strlen(folder) + 24 > size) st = pfc_checkpoint_fail(ctx, PFC_ERR_ARG, folder, NULL, "no room for the path of a checkpoint in %zu bytes", size);
    PFC_TRY(pfc_agree(ctx, st));
    name_of(folder, newest, path, size);
    if (step) *step = newest;
    return PFC_OK;
}
