/* npy_folder.c: a candidate that is a folder of .npy files, one for each result or step. */
#include "driver/driver.h"
#include <string.h>
#include <sys/stat.h>

static bool is_there(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0;
}

/* Reads FOLDER/PREFIX NAME.npy with one of the prefixes, if it is there. */
static int read_one(const char *folder, const char *const *prefixes, const char *name, pfc_tensor_list *list, pfc_diag *diag)
{
    char path[1280], found[1280] = "";
    for (int i = 0; prefixes[i]; i++) {
        snprintf(path, sizeof path, "%.1024s/%s%s.npy", folder, prefixes[i], name);
        if (!is_there(path)) continue;
        if (found[0]) return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found %s%s.npy beside %s, expected one of them", folder, prefixes[i], name, found);
        memcpy(found, path, sizeof found);
    }
    return found[0] ? pfc_npy_read(found, name, list, diag) : 0;
}

int pfc_npy_folder_read(const char *folder, const pfc_result_file *golden, pfc_result_file *file, pfc_diag *diag)
{
    static const char *const out[] = { "out/", "out_", "", NULL }, *const step[] = { "step/", "step_", NULL };
    memset(file, 0, sizeof *file);
    snprintf(file->path, sizeof file->path, "%s", folder);
    file->world = -1;
    for (int i = 0; i < golden->out.count && !diag->exit_status; i++) read_one(folder, out, golden->out.items[i].name, &file->out, diag);
    for (int i = 0; i < golden->step.count && !diag->exit_status; i++) read_one(folder, step, golden->step.items[i].name, &file->step, diag);
    if (!diag->exit_status && file->out.count == 0)
        pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found none of the golden's results, expected files like out/%s.npy or %s.npy", folder,
                      golden->out.items[0].name, golden->out.items[0].name);
    if (diag->exit_status) pfc_results_free(file);
    return diag->exit_status;
}
