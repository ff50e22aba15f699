/* internal.h: what the files of this folder share and nobody else uses. */
#ifndef PFC_CASE_INTERNAL_H
#define PFC_CASE_INTERNAL_H

#include "case/case.h"
#include "file/h5.h"
#include <pfc/shard.h>

/* ---- messages ---- */

/* "FILE: ITEM: ..." with status PFC_EXIT_FILE; FILE is the case's path, else its name. Local. */
int pfc_case_fail(const pfc_case *c, pfc_diag *diag, const char *item, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The path, or "..." and its end if it is very long. The buffer holds at least PFC_LABEL bytes. */
enum { PFC_LABEL = 320 };
const char *pfc_label(const char *path, char *buffer);
/* "(24,8)"; a scalar is "()". */
const char *pfc_dims_text(int ndim, const int64_t *dims, char *buffer, size_t size);
/* Global coordinates of a local element, "(3,5)". */
const char *pfc_tensor_place_text(const pfc_tensor *t, int64_t local, char *buffer, size_t size);

/* ---- algorithms ---- */

const pfc_algorithm *pfc_algorithm_find_in(const pfc_algorithm *const *table, const char *name);
/* pfc_case_read_with and any table of algorithms; given may be NULL. Collective. */
int pfc_case_read_from(MPI_Comm comm, const char *path, int what, const pfc_algorithm *const *table, const pfc_tensor_list *given, pfc_case **out,
                       pfc_diag *diag);
/* The entry whose name it is; a table name that ends in "<t>" stands for any number there ("row_sum_<t>"). NULL: none. */
const pfc_tensor_spec *pfc_spec_find(const pfc_tensor_spec *specs, const char *name);

/* ---- parameters ---- */

int pfc_case_set_value(pfc_case *c, const char *name, const pfc_value *value, pfc_diag *diag);
/* Defaults for what was not given; a required parameter that is absent is an error. Local. */
int pfc_case_apply_defaults(pfc_case *c, pfc_diag *diag);

/* ---- shapes ---- */

/* Shapes of c->in against the table, binding letters in c->size. Local, needs no data. */
int pfc_case_check_shapes(pfc_case *c, int ranks, pfc_diag *diag);
/* How many elements of the cut axis stay together: the parameter of an axis "C*num_subcenters", or its default; else 1. */
int64_t pfc_shape_unit(const pfc_case *c, const pfc_tensor_spec *spec, int ndim);
/* The cut axis of a tensor with ndim axes; -1: none of the alternatives has the cut letter there. */
int pfc_shape_axis(const pfc_tensor_spec *spec, int ndim);
/* The shape that the table gives a tensor: of the alternative with *ndim axes, or (*ndim < 0) of the first one with the fewest unknown axes. An axis that
 * bound letters, P, parameters and numbers do not tell is -1. Returns how many these are; -1: no such alternative. Local. */
int pfc_shape_dims(const pfc_case *c, const pfc_tensor_spec *spec, int ranks, int *ndim, int64_t dims[PFC_MAX_DIMS]);
/* The number of elements; false if it or its bytes overflow int64. */
bool pfc_dims_elements(int ndim, const int64_t *dims, int64_t *elements);
/* Parameters, world, presence and shapes of inputs: all that needs no data. Local. */
int pfc_case_check_form(pfc_case *c, int ranks, pfc_diag *diag);

/* ---- tensors ---- */

/* The input `name` of the case becomes these numbers (float64 or int64, whole on every rank), whatever it was; this rank keeps its block. Local. */
int pfc_case_put_input(MPI_Comm comm, pfc_case *c, const pfc_tensor *given, pfc_diag *diag);

/* Appends a tensor without data. NULL: out of memory. */
pfc_tensor *pfc_tensor_describe(pfc_tensor_list *list, const char *name, pfc_dtype dtype, int ndim, const int64_t *dims);
/* Elements of the cut axis that a rank holds, by its length and unit. */
pfc_shard pfc_tensor_shard(const pfc_tensor *t, int ranks, int rank);
/* Sets dist, axis and this rank's block. `unit` is set before. */
void pfc_tensor_cut(pfc_tensor *t, pfc_dist dist, int axis, int ranks, int rank);
/* Zero-filled local block; false: out of memory. */
bool pfc_tensor_allocate(pfc_tensor *t);

/* Geometry of the local block: outer x (count * inner) elements out of outer x (dims[axis] * inner). */
typedef struct pfc_block {
    int64_t outer, inner;
} pfc_block;
pfc_block pfc_tensor_block(const pfc_tensor *t);

/* ---- blocks of tensors in HDF5 files (h5util.c) ---- */

enum { PFC_SLAB_ELEMENTS = 1 << 22 }; /* of one transfer */
/* Rows of the first axis that make a good transfer, and how many the largest block has. */
int64_t pfc_h5_slab_rows(const pfc_tensor *t, int ranks, int64_t *most_rows);
/* Selects local rows [first, first + rows) of the first axis in the file; elements = how many that is. Negative on failure. */
int pfc_h5_select(hid_t space, const pfc_tensor *t, int64_t first, int64_t rows, int64_t *elements);
/* Reads the local block of a tensor that file_read described. rounded counts changed values (may be NULL). Local. */
int pfc_h5_read_block(hid_t dataset, const pfc_case *c, const char *item, pfc_tensor *t, int64_t *rounded, pfc_diag *diag);

/* ---- MPI calls that fail (mpi_errors.c) ---- */

/* From here on they end all ranks, with a line on stderr and status 5. */
void pfc_mpi_errors_end_all(void);
/* But not those of files, where no other rank waits: around independent transfers, which can say which file and item it was. */
void pfc_mpi_file_errors_return(bool yes);

/* ---- unfinished files (temporary.c) ---- */

/* A file that has no final name yet; it has one, or is gone. Local. */
void pfc_temporary_add(const char *path);
void pfc_temporary_drop(const char *path);
/* Before the program ends in the middle of things. Safe in a signal handler. */
void pfc_temporary_unlink_all(void);

/* ---- a disposable process reads a file first (probe.c) ---- */

/* `pfc_ref --probe-file FILE [DATASET]` is that process: main calls pfc_probe_limited and returns what it returns. dataset NULL: all that our files have, or
 * the datasets of the root. */
#define PFC_PROBE_OPTION "--probe-file"
int pfc_probe_limited(const char *path, const char *dataset);
/* From here on pfc_probe does its work; before (in programs that are not pfc_ref) it finds every file sound. */
void pfc_probe_enable(void);
/* NULL: HDF5 survives this file. Else text says what happens. Local. */
const char *pfc_probe(const char *path, char *text, size_t size);
const char *pfc_probe_dataset(const char *path, const char *dataset, char *text, size_t size);
const char *pfc_probe_verdict(int status, char *text, size_t size); /* of waitpid */

#endif
