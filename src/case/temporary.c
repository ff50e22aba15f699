/* temporary.c: names of unfinished files, so that a program that is ended from outside can take them away. */
#include "case/internal.h"

#include <string.h>
#include <unistd.h>

enum { MAX_TEMPORARIES = 4, LONGEST = 1200 };
static char names[MAX_TEMPORARIES][LONGEST]; /* "": free */

void pfc_temporary_add(const char *path)
{
    for (int k = 0; k < MAX_TEMPORARIES; k++)
        if (!names[k][0] && path[0] && strlen(path) < LONGEST) {
            strcpy(names[k], path);
            return;
        }
}

void pfc_temporary_drop(const char *path)
{
    for (int k = 0; k < MAX_TEMPORARIES; k++)
        if (strcmp(names[k], path) == 0) names[k][0] = 0;
}

void pfc_temporary_unlink_all(void)
{
    for (int k = 0; k < MAX_TEMPORARIES; k++)
        if (names[k][0]) unlink(names[k]);
}
