/* reader.h: what the three files that read share: file_read.c (file, header, order of things), file_describe.c (shapes and types),
 * file_data.c (numbers). */
#ifndef PFC_CASE_READER_H
#define PFC_CASE_READER_H

#include "case/internal.h"

typedef struct pfc_reader {
    MPI_Comm comm; /* a plain duplicate, never cartesian (Open MPI #12718) */
    int rank, ranks, what;
    hid_t file;
    const char *path;
    const pfc_algorithm *const *table;
    const pfc_tensor_list *given; /* inputs that take the place of the file's; NULL: none */
    pfc_case *c;
    pfc_diag *diag;
} pfc_reader;

typedef enum pfc_purpose { PFC_FOR_INPUT, PFC_FOR_RESULT, PFC_FOR_BOUND } pfc_purpose;

/* A group of the file and the list it goes to. */
typedef struct pfc_folder {
    const char *path;
    pfc_purpose purpose;
    int what; /* the PFC_READ_ bit that asks for it */
    const pfc_tensor_spec *specs;
    pfc_tensor_list *list;
    const pfc_tensor_list *like; /* bounds: the tensors they belong to */
} pfc_folder;

/* 1: opened; 0: absent; -1: something else is there (told). Local. */
int pfc_reader_open_group(const pfc_reader *r, const char *path, hid_t *group);
/* A dataset that is a hard link; negative: something else is there (told). Local. */
hid_t pfc_reader_open_dataset(const pfc_reader *r, hid_t group, const char *name, const char *item);
/* Name of link i; false: it cannot be had. Local. */
bool pfc_reader_link_name(hid_t group, hsize_t i, char *name, size_t size);
/* Fills the folder's list with tensors without data: types, shapes, storage, this rank's blocks. Local. */
int pfc_reader_describe(pfc_reader *r, const pfc_folder *folder);

#endif
