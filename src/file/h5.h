/* h5.h (internal): the HDF5 idioms that case files and checkpoints share. Local, unless said otherwise. */
#ifndef PFC_FILE_H5_H
#define PFC_FILE_H5_H

#include <hdf5.h>
#include <pfc/view.h>
#include <stdbool.h>

typedef enum pfc_value_kind { PFC_VALUE_INT, PFC_VALUE_REAL, PFC_VALUE_TEXT } pfc_value_kind;

typedef struct pfc_value { /* what an attribute or a command line gives */
    pfc_value_kind kind;
    int64_t i;
    double r;
    char text[128];
} pfc_value;

/* 3, 0.25 or "text", for messages: whole numbers without an exponent. */
const char *pfc_value_text(const pfc_value *v, char *buffer, size_t size);

/* ---- reading ---- */

typedef struct pfc_h5_quiet { /* the caller's error printing, put back at the end */
    H5E_auto2_t function;
    void *data;
} pfc_h5_quiet;
pfc_h5_quiet pfc_h5_quiet_begin(void);
void pfc_h5_quiet_end(pfc_h5_quiet saved);
/* The innermost reason of the last failed HDF5 call, one line. Call at once. */
const char *pfc_h5_reason(char *buffer, size_t size);

/* File access over MPI-IO on comm, or serial with MPI_COMM_NULL; files written are of format V18, files read of any. Negative on failure. */
hid_t pfc_h5_access(MPI_Comm comm, bool write);

/* 1: a hard link is there; 0: nothing; -1: a soft or external link (which = its kind). */
int pfc_h5_link(hid_t where, const char *name, const char **which);

/* A scalar or 1-element attribute. On failure returns -1 and says in `found` what was there instead. */
int pfc_h5_read_attribute(hid_t object, const char *name, pfc_value *value, char *found, size_t size);

/* How a dataset is stored: "f32", "f64", "f16", "bf16", "i8".."i64", "u8".."u64", or "other" (then `found` says what). Big-endian alike. */
const char *pfc_h5_stored(hid_t type, char *found, size_t size);
/* PFC_F32, PFC_F64, PFC_U8; others: int64. */
hid_t pfc_h5_memory_type(pfc_dtype dtype);

/* Why the values of a dataset are not, or not all, in this file; NULL: they are. Local. */
const char *pfc_h5_storage_fault(hid_t dataset);

/* ---- writing: every object without times, so that a file's bytes depend on its contents alone ---- */

/* A creation list of H5P_FILE_CREATE, H5P_GROUP_CREATE or (dataset = true) H5P_DATASET_CREATE. Negative on failure. */
hid_t pfc_h5_creation_list(hid_t class, bool dataset);
/* Scalar attributes; type is one of the little-endian file types. Collective on a file of several ranks, the same on all. */
bool pfc_h5_put(hid_t object, const char *name, hid_t type, const void *value);
bool pfc_h5_put_text(hid_t object, const char *name, const char *text);
bool pfc_h5_put_int(hid_t object, const char *name, int64_t value);
hid_t pfc_h5_file_type(pfc_dtype dtype);

#endif
