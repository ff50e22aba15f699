/* folder.c: where the shipped cases are, and what lies with them. */
#include "driver/driver.h"
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_case(const char *name)
{
    size_t n = strlen(name);
    return n > 3 && n < 256 && name[0] != '.' && strcmp(name + n - 3, ".h5") == 0;
}

static int select_case(const struct dirent *entry) { return is_case(entry->d_name); }

static int has_cases(const char *path)
{
    struct dirent **list = NULL;
    int n = scandir(path, &list, select_case, alphasort);
    for (int i = 0; i < n; i++) free(list[i]);
    free(list);
    return n > 0;
}

/* Folder of the running program, without libtool's .libs. */
static bool program_folder(char *path, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", path, size - 1);
    if (n <= 0) return false;
    path[n] = 0;
    char *slash = strrchr(path, '/');
    if (!slash) return false;
    *slash = 0;
    size_t length = strlen(path);
    if (length > 6 && strcmp(path + length - 6, "/.libs") == 0) path[length - 6] = 0;
    return true;
}

/* srcdir as the Makefile of the build tree at `build` has it: "srcdir = ..". */
static bool source_folder(const char *build, char *path, size_t size)
{
    char line[PATH_MAX + 32];
    bool found = false;
    snprintf(line, sizeof line, "%s/Makefile", build);
    FILE *file = fopen(line, "r");
    if (!file) return false;
    while (!found && fgets(line, sizeof line, file)) {
        const char *value = line + 9;
        found = strncmp(line, "srcdir = ", 9) == 0;
        line[strcspn(line, "\n")] = 0;
        if (found && (size_t)snprintf(path, size, "%s%s%s", value[0] == '/' ? "" : build, value[0] == '/' ? "" : "/", value) >= size) found = false;
    }
    fclose(file);
    return found;
}

static bool try_folder(char *out, size_t size, const char *base, const char *below)
{
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s%s", base, below);
    if (!has_cases(path) || strlen(path) >= size) return false;
    memcpy(out, path, strlen(path) + 1);
    return true;
}

static int find(char *out, size_t size, pfc_diag *diag)
{
    char program[PATH_MAX], source[PATH_MAX];
    const char *given = getenv("PFC_DATA");
    if (given && *given) {
        if (try_folder(out, size, given, "")) return 0;
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found no case files (*.h5), expected them there because PFC_DATA says so", given);
    }
    if (program_folder(program, sizeof program)) {
        /* An installed program has no Makefile beside it. */
        if (source_folder(program, source, sizeof source)) {
            if (try_folder(out, size, program, "/data")) return 0;
            if (try_folder(out, size, source, "/data")) return 0;
        }
    }
#ifdef PKGDATADIR
    if (try_folder(out, size, PKGDATADIR, "")) return 0;
#endif
    if (try_folder(out, size, ".", "/data")) return 0;
    return pfc_diag_fail(diag, PFC_EXIT_FILE, "found no folder with shipped cases (*.h5); PFC_DATA can name it");
}

static int list_names(pfc_folder *folder, pfc_diag *diag)
{
    struct dirent **list = NULL;
    int n = scandir(folder->path, &list, select_case, alphasort);
    folder->names = n > 0 ? calloc((size_t)n, sizeof *folder->names) : NULL;
    folder->count = folder->names ? n : 0;
    for (int i = 0; i < n; i++) {
        if (folder->names) memcpy(folder->names[i], list[i]->d_name, strlen(list[i]->d_name) - 3);
        free(list[i]);
    }
    free(list);
    return folder->names ? 0 : pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: cannot list the case files", folder->path);
}

int pfc_folder_open(const pfc_cli *cli, pfc_folder *folder, pfc_diag *diag)
{
    memset(folder, 0, sizeof *folder);
    if (cli->rank == 0 && find(folder->path, sizeof folder->path, diag) == 0) list_names(folder, diag);
    if (pfc_diag_agree(cli->comm, diag)) return diag->exit_status;
    MPI_Bcast(folder->path, sizeof folder->path, MPI_CHAR, 0, cli->comm);
    MPI_Bcast(&folder->count, 1, MPI_INT, 0, cli->comm);
    if (cli->rank != 0) folder->names = calloc((size_t)folder->count, sizeof *folder->names);
    if (!folder->names) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for the names of the shipped cases");
    if (pfc_diag_agree(cli->comm, diag)) return diag->exit_status;
    MPI_Bcast(folder->names, (int)(folder->count * (int)sizeof *folder->names), MPI_CHAR, 0, cli->comm);
    return 0;
}

void pfc_folder_free(pfc_folder *folder)
{
    free(folder->names);
    folder->names = NULL;
    folder->count = 0;
}

void pfc_folder_file(const pfc_folder *folder, const char *name, char *path, size_t size) { snprintf(path, size, "%s/%s.h5", folder->path, name); }

/* ---- other shipped files ---- */

static bool is_file(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && !S_ISDIR(s.st_mode);
}

static int select_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* "han-21k, han-5k" */
static void names_in(const char *folder, char *text, size_t size)
{
    struct dirent **list = NULL;
    int n = scandir(folder, &list, select_visible, alphasort);
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < n; i++) {
        if (used < size) used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", list[i]->d_name);
        free(list[i]);
    }
    free(list);
}

int pfc_shipped_file(const pfc_cli *cli, const char *option, const char *name, const char *below, char *path, size_t size, pfc_diag *diag)
{
    int here = cli->rank == 0 && (strchr(name, '/') || is_file(name));
    MPI_Bcast(&here, 1, MPI_INT, 0, cli->comm);
    snprintf(path, size, "%s", name);
    if (here) return 0;
    pfc_folder folder;
    if (!pfc_folder_open(cli, &folder, diag)) {
        char place[1100], names[200];
        snprintf(place, sizeof place, "%s%s%s", folder.path, *below ? "/" : "", below);
        snprintf(path, size, "%s/%s", place, name);
        if (cli->rank == 0 && !is_file(path)) {
            names_in(place, names, sizeof names);
            pfc_diag_fail(diag, PFC_EXIT_FILE, "%s %.60s: found no such file, expected one, or a name of %.200s%s%s", option, name, place, *below ? ": " : "",
                          *below ? names : "");
        }
    }
    pfc_folder_free(&folder);
    return pfc_diag_agree(cli->comm, diag);
}
