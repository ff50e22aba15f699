/* readers.h: bytes as a file for every reader of the driver, as the driver reads it: a disposable process first (src/case/probe.c), then the readers. */
#ifndef PFC_FUZZ_READERS_H
#define PFC_FUZZ_READERS_H

#include <stddef.h>

typedef enum pfc_outcome { PFC_REFUSED_FIRST, PFC_REFUSED, PFC_READABLE } pfc_outcome; /* by the disposable process; by the readers; by none */

/* `path` is where the file is put. Aborts if a reader leaves a status other than 0 and 3, or a message that is not one line. One process, after MPI_Init. */
pfc_outcome pfc_try_bytes(const char *path, const void *bytes, size_t size);

#endif
