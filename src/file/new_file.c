/* new_file.c: temporary names, syncing, renaming, folders. */
#include "file/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static bool fail(char *why, size_t size, const char *reason)
{
    snprintf(why, size, "%s", reason);
    return false;
}

bool pfc_new_file_make(const char *path, char *temporary, size_t temporary_size, char *why, size_t size)
{
    struct stat s;
    if (strlen(path) + 64 > temporary_size) return fail(why, size, strerror(ENAMETOOLONG));
    if (stat(path, &s) == 0 && !S_ISREG(s.st_mode)) return fail(why, size, S_ISDIR(s.st_mode) ? "it is a directory" : "it is no plain file");
    for (int try = 0;; try++) {
        snprintf(temporary, temporary_size, "%s.tmp-%ld-%d", path, (long)getpid(), try);
        int fd = open(temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
        if (fd >= 0) {
            close(fd);
            return true;
        }
        if (errno != EEXIST || try > 100) return fail(why, size, strerror(errno));
    }
}

bool pfc_new_file_room(const char *temporary, double bytes)
{
    struct statvfs s;
    return statvfs(temporary, &s) != 0 || s.f_frsize == 0 || (double)s.f_bavail * (double)s.f_frsize >= bytes;
}

static bool sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) return false;
    bool ok = fsync(fd) == 0 || errno == EINVAL; /* some file systems cannot sync a folder */
    close(fd);
    return ok;
}

bool pfc_new_file_publish(const char *temporary, const char *path, bool *renamed, char *why, size_t size)
{
    char parent[1200];
    *renamed = sync_path(temporary, O_RDWR) && rename(temporary, path) == 0;
    if (!*renamed) return fail(why, size, strerror(errno));
    snprintf(parent, sizeof parent, "%s", path);
    return sync_path(dirname(parent), O_RDONLY | O_DIRECTORY) || fail(why, size, strerror(errno));
}

bool pfc_new_file_place(const char *path, char *place, size_t size)
{
    struct stat s;
    char *target = realpath(path, NULL);
    bool plain = target ? stat(target, &s) == 0 && S_ISREG(s.st_mode) : lstat(path, &s) != 0;
    if (plain) plain = snprintf(place, size, "%s", target ? target : path) < (int)size;
    free(target);
    return plain;
}

bool pfc_new_folder(const char *path, char *why, size_t size)
{
    struct stat s;
    if (mkdir(path, 0777) && errno != EEXIST) return fail(why, size, strerror(errno));
    return (stat(path, &s) == 0 && S_ISDIR(s.st_mode)) || fail(why, size, strerror(ENOTDIR));
}
