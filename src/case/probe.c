/* probe.c: a file is read by a disposable process first.
 *
 * HDF5 itself crashes, loops and allocates without limit on some damaged files (doc/case-format.md section 5). So before a file is opened for good,
 * rank 0 starts this program once more, on that file alone, with little time and memory: it makes every HDF5 call that the readers make, and keeps
 * nothing. If it does not come back, the file is refused. Started with posix_spawn: a fork of a process that uses MPI is unsafe with some
 * transports. What HDF5 reports as an error is no business of the probe: the readers will name it. */
#include "case/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOUND = 0, TOO_LARGE = 3 }; /* exit statuses of the probe; whatever else: HDF5 failed */
enum { MEMORY = 1 << 30, BYTES_PER_SECOND = 1 << 22, LEAST_SECONDS = 3 };

/* ---- in the disposable process ---- */

static bool out_of_memory;

static herr_t note_record(unsigned n, const H5E_error2_t *error, void *data)
{
    (void)n;
    (void)data;
    if (error->maj_num == H5E_RESOURCE && error->min_num == H5E_NOSPACE) out_of_memory = true;
    return 0;
}

/* HDF5 calls this when one of its functions fails. */
static herr_t note_error(hid_t stack, void *data)
{
    H5Ewalk2(stack, H5E_WALK_UPWARD, note_record, data);
    return 0;
}

static void probe_attribute(hid_t object, const char *name)
{
    pfc_value v;
    char found[160];
    pfc_h5_read_attribute(object, name, &v, found, sizeof found);
}

/* Data in chunks go through filters and an index that may be damaged. Others are bytes at an address: the first ones are enough. */
static void probe_data(hid_t dataset, const char *stored)
{
    hsize_t extent[H5S_MAX_RANK], start[H5S_MAX_RANK] = { 0 }, count[H5S_MAX_RANK], row = 1, elements = 1;
    hid_t space = H5Dget_space(dataset), dcpl = H5Dget_create_plist(dataset);
    hid_t type = stored[0] == 'i' ? H5T_NATIVE_INT64 : stored[0] == 'u' ? H5T_NATIVE_UINT64 : H5T_NATIVE_DOUBLE;
    int n = space < 0 || H5Sget_simple_extent_type(space) == H5S_NULL ? -1 : H5Sget_simple_extent_dims(space, extent, NULL);
    bool chunked = dcpl >= 0 && H5Pget_layout(dcpl) == H5D_CHUNKED;
    for (int k = 0; k < n; k++) {
        if (extent[k] > 0 && elements > ((hsize_t)1 << 40) / extent[k]) n = -1;
        if (n < 0) break;
        elements *= extent[k];
        if (k > 0) row *= extent[k];
        count[k] = extent[k];
    }
    hsize_t rows = n > 0 ? extent[0] : 1, step = elements > 0 && row < PFC_SLAB_ELEMENTS ? PFC_SLAB_ELEMENTS / row : 1;
    if (step > rows) step = rows;
    void *to = n >= 0 && n <= PFC_MAX_DIMS && elements > 0 && row <= MEMORY / 8 ? malloc((size_t)(row * step) * 8) : NULL;
    for (hsize_t first = 0; to && first < rows; first += step) {
        if (n > 0) start[0] = first, count[0] = rows - first < step ? rows - first : step;
        hsize_t length = n > 0 ? row * count[0] : 1;
        hid_t memory = H5Screate_simple(1, &length, NULL);
        herr_t bad = n == 0 ? H5Sselect_all(space) : H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
        if (bad >= 0) bad = H5Dread(dataset, type, memory, space, H5P_DEFAULT, to);
        H5Sclose(memory);
        if (bad < 0 || !chunked) break;
    }
    free(to);
    if (space >= 0) H5Sclose(space);
    if (dcpl >= 0) H5Pclose(dcpl);
}

static void probe_dataset(hid_t dataset)
{
    char found[160];
    hid_t type = H5Dget_type(dataset);
    const char *stored = type < 0 ? "other" : pfc_h5_stored(type, found, sizeof found);
    if (type >= 0) H5Tclose(type);
    probe_attribute(dataset, "order");
    probe_attribute(dataset, "sha256");
    probe_attribute(dataset, "rms");
    probe_attribute(dataset, "unit");
    if (strcmp(stored, "other") && !pfc_h5_storage_fault(dataset)) probe_data(dataset, stored);
}

static hid_t open_hard(hid_t where, const char *name)
{
    const char *which;
    return pfc_h5_link(where, name, &which) > 0 ? H5Oopen(where, name, H5P_DEFAULT) : -1;
}

static void probe_members(hid_t group)
{
    H5G_info_t info = { 0 };
    char name[PFC_MAX_NAME + 1];
    if (H5Gget_info(group, &info) < 0) return;
    for (hsize_t i = 0; i < info.nlinks; i++) {
        if (H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT) < 0) return;
        hid_t object = open_hard(group, name);
        if (object >= 0 && H5Iget_type(object) == H5I_DATASET) probe_dataset(object);
        if (object >= 0) H5Oclose(object);
    }
}

static herr_t probe_param(hid_t group, const char *name, const H5A_info_t *info, void *data)
{
    (void)info;
    (void)data;
    probe_attribute(group, name);
    return 0;
}

static void probe_folder(hid_t where, const char *name)
{
    hid_t object = open_hard(where, name);
    if (object < 0) return;
    if (H5Iget_type(object) == H5I_GROUP) {
        hsize_t index = 0;
        if (strcmp(name, "param") == 0 || strcmp(name, "fact") == 0) H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, &index, probe_param, NULL);
        probe_members(object);
        for (const pfc_precision *p = pfc_precisions; p->name && strcmp(name, "bound") == 0; p++) {
            hid_t typed = open_hard(object, p->name);
            if (typed >= 0 && H5Iget_type(typed) == H5I_GROUP) probe_folder(typed, "out"), probe_folder(typed, "step");
            if (typed >= 0) H5Oclose(typed);
        }
    }
    H5Oclose(object);
}

static void probe_named(hid_t file, const char *name)
{
    hid_t object = open_hard(file, name);
    if (object >= 0 && H5Iget_type(object) == H5I_DATASET) probe_dataset(object);
    if (object >= 0) H5Oclose(object);
}

/* Without limits. */
static int walk(const char *path, const char *dataset)
{
    static const char *const attributes[] = { "format", "format_version", "algorithm", "spec", NULL };
    static const char *const folders[] = { "param", "in", "out", "step", "bound", "fact", "state", NULL };
    H5Eset_auto2(H5E_DEFAULT, note_error, NULL);
    hid_t fapl = pfc_h5_access(MPI_COMM_NULL, false);
    hid_t file = fapl < 0 ? -1 : H5Fopen(path, H5F_ACC_RDONLY, fapl);
    for (int k = 0; file >= 0 && attributes[k]; k++) probe_attribute(file, attributes[k]);
    for (int k = 0; file >= 0 && !dataset && folders[k]; k++) probe_folder(file, folders[k]);
    if (file >= 0 && !dataset && H5Aexists(file, "format") <= 0) probe_members(file); /* a user's arrays */
    if (file >= 0 && dataset) probe_named(file, dataset);
    if (file >= 0) H5Fclose(file);
    if (fapl >= 0) H5Pclose(fapl);
    return out_of_memory ? TOO_LARGE : SOUND;
}

static void set_limit(int resource, rlim_t limit)
{
    struct rlimit old;
    if (getrlimit(resource, &old) || (old.rlim_max != RLIM_INFINITY && old.rlim_max < limit)) return;
    struct rlimit new = { limit, old.rlim_max };
    setrlimit(resource, &new);
}

/* Beyond what the process has already. */
static void limit_memory(void)
{
#ifndef PFC_SANITIZE /* the sanitizer reserves terabytes */
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%ld", &pages) == 1) set_limit(RLIMIT_AS, (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + MEMORY);
    if (file) fclose(file);
#endif
}

int pfc_probe_limited(const char *path, const char *dataset)
{
    struct stat s;
    if (stat(path, &s)) return SOUND;
    mallopt(M_PERTURB, 0x5a); /* memory that was freed or never written does not look harmless */
    set_limit(RLIMIT_CORE, 0);
    set_limit(RLIMIT_CPU, LEAST_SECONDS + (rlim_t)s.st_size / BYTES_PER_SECOND);
    limit_memory();
    return walk(path, dataset);
}

/* ---- in the process that wants to read ---- */

const char *pfc_probe_verdict(int status, char *text, size_t size)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == SOUND) return NULL;
    if (WIFEXITED(status) && WEXITSTATUS(status) == TOO_LARGE)
        snprintf(text, size, "HDF5 needs more than %d MiB beside the data to read it", MEMORY >> 20);
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        snprintf(text, size, "HDF5 does not come to an end with it");
    else if (WIFSIGNALED(status))
        snprintf(text, size, "HDF5 crashes on it: %s", strsignal(WTERMSIG(status)));
    else
        snprintf(text, size, "HDF5 ends the program on it");
    return text;
}

static bool probing;
void pfc_probe_enable(void) { probing = true; }

extern char **environ;

/* This program on that file; false: it could not be started. */
static bool spawn(const char *path, const char *dataset, int *status)
{
    pid_t child;
    posix_spawn_file_actions_t actions;
    char *const args[] = { (char *)"pfc_ref", (char *)PFC_PROBE_OPTION, (char *)path, (char *)dataset, NULL };
    if (posix_spawn_file_actions_init(&actions)) return false;
    for (int fd = 0; fd < 3; fd++) posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", fd ? O_WRONLY : O_RDONLY, 0);
    int bad = posix_spawn(&child, "/proc/self/exe", &actions, NULL, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (bad) return false;
    while (waitpid(child, status, 0) < 0)
        if (errno != EINTR) return false;
    return true;
}

const char *pfc_probe_dataset(const char *path, const char *dataset, char *text, size_t size)
{
    int status = 0;
    return probing && spawn(path, dataset, &status) ? pfc_probe_verdict(status, text, size) : NULL;
}

const char *pfc_probe(const char *path, char *text, size_t size)
{
    static struct stat last; /* sound a moment ago: peek, then read */
    struct stat s;
    int status = 0;
    if (!probing || stat(path, &s)) return NULL;
    bool same = s.st_dev == last.st_dev && s.st_ino == last.st_ino && s.st_size == last.st_size && s.st_mtim.tv_sec == last.st_mtim.tv_sec &&
                s.st_mtim.tv_nsec == last.st_mtim.tv_nsec;
    if (same || !spawn(path, NULL, &status)) return NULL;
    const char *fault = pfc_probe_verdict(status, text, size);
    if (!fault) last = s;
    return fault;
}
