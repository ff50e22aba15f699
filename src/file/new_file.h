/* new_file.h (internal): a file that gets its name when it is whole, and folders. One rank calls these; why (size bytes) says what failed. */
#ifndef PFC_FILE_NEW_FILE_H
#define PFC_FILE_NEW_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* An empty file beside path under a name of its own, PATH.tmp-PID-N. */
bool pfc_new_file_make(const char *path, char *temporary, size_t temporary_size, char *why, size_t size);
/* A disk that fills up in the middle of MPI-IO is reported late and badly: asked before. */
bool pfc_new_file_room(const char *temporary, double bytes);
/* On disk, then under its name, then its folder on disk. renamed: whether the name was given, even if what followed failed. */
bool pfc_new_file_publish(const char *temporary, const char *path, bool *renamed, char *why, size_t size);
/* The plain file that the name stands for, there or not, into place: a link's target. False: a pipe, a device such as /dev/stdout, a link to nothing, or
 * no room: it must stay what it is, so it is written without a temporary name. */
bool pfc_new_file_place(const char *path, char *place, size_t size);
/* Makes the folder if it is not there. */
bool pfc_new_folder(const char *path, char *why, size_t size);

#endif
