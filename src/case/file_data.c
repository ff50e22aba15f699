/* file_data.c: this rank's part of a dataset, converted to what the case keeps. Local: independent transfers, each rank its own block. */
#include "case/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct block_reader {
    hid_t dataset, space;
    const pfc_case *c;
    const char *item;
    pfc_tensor *t;
    pfc_diag *diag;
    int64_t *rounded;
    double *wide; /* one slab, where float64 becomes float32 */
} block_reader;

/* float64 to float32, to nearest even; changed values are counted, overflow refused. */
static int round_slab(block_reader *r, int64_t at, int64_t n)
{
    float *out = (float *)r->t->data + at;
    for (int64_t i = 0; i < n; i++) {
        out[i] = (float)r->wide[i];
        if (isfinite(r->wide[i]) && !isfinite(out[i])) {
            char place[160];
            return pfc_case_fail(r->c, r->diag, r->item, "found %.17g at %s, expected a number that fits float32", r->wide[i],
                                 pfc_tensor_place_text(r->t, at + i, place, sizeof place));
        }
        if (r->rounded && isfinite(r->wide[i]) && (double)out[i] != r->wide[i]) ++*r->rounded;
    }
    return 0;
}

/* uint64 was read bit for bit: what does not fit int64 has become negative. */
static int check_unsigned(block_reader *r, int64_t at, int64_t n)
{
    const int64_t *x = (const int64_t *)r->t->data + at;
    for (int64_t i = 0; i < n; i++)
        if (x[i] < 0) {
            char place[160];
            return pfc_case_fail(r->c, r->diag, r->item, "found %llu at %s, expected a number that fits int64", (unsigned long long)x[i],
                                 pfc_tensor_place_text(r->t, at + i, place, sizeof place));
        }
    return 0;
}

static int read_slab(block_reader *r, int64_t first, int64_t rows, int64_t at, int64_t *n)
{
    char reason[160];
    bool narrow = r->wide != NULL, is_unsigned = strcmp(r->t->stored, "u64") == 0;
    void *to = narrow ? (void *)r->wide : (void *)((char *)r->t->data + (size_t)at * pfc_dtype_size(r->t->dtype));
    hid_t type = narrow ? H5T_NATIVE_DOUBLE : is_unsigned && r->t->dtype == PFC_I64 ? H5T_NATIVE_UINT64 : pfc_h5_memory_type(r->t->dtype);
    if (pfc_h5_select(r->space, r->t, first, rows, n) < 0)
        return pfc_case_fail(r->c, r->diag, r->item, "cannot be read: %s", pfc_h5_reason(reason, sizeof reason));
    hsize_t count = (hsize_t)*n;
    hid_t memory = H5Screate_simple(1, &count, NULL);
    pfc_mpi_file_errors_return(true);
    herr_t bad = memory < 0 ? -1 : H5Dread(r->dataset, type, memory, r->space, H5P_DEFAULT, to);
    pfc_mpi_file_errors_return(false);
    if (bad < 0) pfc_case_fail(r->c, r->diag, r->item, "cannot be read: %s", pfc_h5_reason(reason, sizeof reason));
    if (memory >= 0) H5Sclose(memory);
    if (bad < 0) return r->diag->exit_status;
    if (narrow) return round_slab(r, at, *n);
    return is_unsigned ? check_unsigned(r, at, *n) : 0;
}

int pfc_h5_read_block(hid_t dataset, const pfc_case *c, const char *item, pfc_tensor *t, int64_t *rounded, pfc_diag *diag)
{
    int64_t rows = t->ndim == 0 ? 1 : t->axis == 0 ? t->count : t->dims[0], most, n, at = 0;
    int64_t step = pfc_h5_slab_rows(t, 1, &most);
    if (pfc_tensor_local(t) == 0) return 0;
    block_reader r = { .dataset = dataset, .space = H5Dget_space(dataset), .c = c, .item = item, .t = t, .diag = diag, .rounded = rounded };
    if (t->dtype == PFC_F32 && strcmp(t->stored, "f64") == 0) {
        int64_t slab = step < rows ? step : rows;
        r.wide = malloc((size_t)(pfc_tensor_local(t) / rows * slab) * sizeof(double));
        if (!r.wide) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory while reading", item);
    }
    for (int64_t first = 0; first < rows && !diag->exit_status; first += step, at += n)
        if (read_slab(&r, first, rows - first < step ? rows - first : step, at, &n)) break;
    free(r.wide);
    if (r.space >= 0) H5Sclose(r.space);
    return diag->exit_status;
}
