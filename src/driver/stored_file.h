/* stored_file.h: what is in a checkpoint, a case or a golden, without a table that says what should be. On one rank; plain HDF5. */
#ifndef PFC_DRIVER_STORED_FILE_H
#define PFC_DRIVER_STORED_FILE_H

#include "driver/driver.h"
#include "file/h5.h"

typedef struct pfc_stored_value { /* an attribute of the root, /param or /fact */
    char group[8], name[64];
    pfc_value value;
} pfc_stored_value;

typedef struct pfc_stored_tensor {
    char path[160]; /* "/state/head.weight" */
    char type[8];   /* "f32", or "other" */
    int ndim;
    int64_t dims[PFC_MAX_DIMS];
    int64_t unit;    /* of a checkpoint's; -1: no such attribute */
    char sha256[65]; /* that it is stored with; "": none */
    bool intact;     /* its data has that digest */
} pfc_stored_tensor;

typedef struct pfc_stored_file {
    char format[64]; /* "pfc-checkpoint", "pfc-case" */
    pfc_stored_value *values;
    pfc_stored_tensor *tensors;
    int value_count, tensor_count;
} pfc_stored_file;

/* Lists the file and hashes every tensor that has a digest. Local. */
int pfc_stored_read(const char *path, pfc_stored_file *file, pfc_diag *diag);
void pfc_stored_free(pfc_stored_file *file);
/* NAME: value. */
void pfc_stored_json(const pfc_stored_value *v, pfc_json *j);
const char *pfc_stored_shape(const pfc_stored_tensor *t, char *text, size_t size);

/* Rows [first, first + rows) of a tensor, in its own type, some at a time, to fn. A false of fn ends it. False: diag says why. Local. */
typedef bool (*pfc_stored_sink)(void *user, const void *data, size_t bytes);
bool pfc_stored_rows(const char *path, hid_t file, const pfc_stored_tensor *t, int64_t first, int64_t rows, pfc_stored_sink fn, void *user, pfc_diag *diag);

#endif
