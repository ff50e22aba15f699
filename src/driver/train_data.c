/* train_data.c: examples and their classes, every rank its part. */
#include "case/internal.h"
#include "driver/train.h"
#include "train/checkpoint.h"
#include <math.h>
#include <stdarg.h>
#include <string.h>

static int refuse(const char *path, pfc_diag *diag, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int refuse(const char *path, pfc_diag *diag, const char *format, ...)
{
    char text[300], label[PFC_LABEL];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: %s", pfc_label(path, label), text);
}

static int check_features(const pfc_tensor *x, const char *path, int64_t first, pfc_diag *diag)
{
    const float *value = x->data;
    if (x->ndim != 2 || x->dims[1] < 1) return refuse(path, diag, "found %d axes, expected (rows, width)", x->ndim);
    for (int64_t i = 0; i < x->dims[0] * x->dims[1]; i++)
        if (!isfinite(value[i]))
            return refuse(path, diag, "found %g at (%lld,%lld), expected finite numbers in float32's range", (double)value[i],
                          (long long)(first + i / x->dims[1]), (long long)(i % x->dims[1]));
    return 0;
}

static int check_labels(const pfc_tensor *y, const char *path, int64_t first, int64_t num_classes, int64_t *classes, pfc_diag *diag)
{
    const int64_t *label = y->data;
    if (y->ndim != 1 && !(y->ndim == 2 && y->dims[1] == 1)) return refuse(path, diag, "found %d axes, expected (rows)", y->ndim);
    for (int64_t i = 0; i < y->dims[0]; i++) {
        if (label[i] < 0) return refuse(path, diag, "found %lld at (%lld), expected 0 or more", (long long)label[i], (long long)(first + i));
        if (num_classes > 0 && label[i] >= num_classes)
            return refuse(path, diag, "found %lld at (%lld), expected 0 to %lld, as num_classes is %lld", (long long)label[i], (long long)(first + i),
                          (long long)num_classes - 1, (long long)num_classes);
        if (label[i] >= INT64_MAX / 64) /* also what HDF5 makes of a larger one; + 1 and sizes in bytes must not overflow */
            return refuse(path, diag, "found %lld at (%lld), expected less than 2^57", (long long)label[i], (long long)(first + i));
        if (label[i] >= *classes) *classes = label[i] + 1;
    }
    return 0;
}

static void take_name(const char *path, pfc_data *data)
{
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    snprintf(data->name, sizeof data->name, "%.*s", (int)(strcspn(base, ".") < 60 ? strcspn(base, ".") : 60), base);
}

int pfc_data_read(const pfc_cli *cli, const char *features, const char *labels, int64_t num_classes, pfc_data *data, pfc_diag *diag)
{
    int64_t rows = 0, label_rows = 0;
    memset(data, 0, sizeof *data);
    take_name(features, data);
    pfc_array_read(cli, features, "features", true, &data->arrays, &rows, diag);
    if (pfc_diag_agree(cli->comm, diag)) return diag->exit_status;
    pfc_array_read(cli, labels, "labels", false, &data->arrays, &label_rows, diag);
    if (pfc_diag_agree(cli->comm, diag)) return diag->exit_status;
    const pfc_tensor *x = &data->arrays.items[0], *y = &data->arrays.items[1];
    int64_t first = pfc_shard_of(rows, cli->ranks, cli->rank).start;
    if (rows != label_rows) refuse(labels, diag, "found %lld labels, expected %lld, the rows of %.150s", (long long)label_rows, (long long)rows, features);
    if (!diag->exit_status && !check_features(x, features, first, diag)) check_labels(y, labels, first, num_classes, &data->classes, diag);
    if (pfc_diag_agree(cli->comm, diag)) return diag->exit_status;
    MPI_Allreduce(MPI_IN_PLACE, &data->classes, 1, MPI_INT64_T, MPI_MAX, cli->comm);
    data->width = x->dims[1];
    data->examples = (pfc_examples){ rows, (size_t)data->width * sizeof(float), x->data, y->data };
    return 0;
}

void pfc_data_free(pfc_data *data) { pfc_tensor_list_free(&data->arrays); }

int pfc_data_digest(pfc_ctx *ctx, pfc_data *data, pfc_diag *diag)
{
    const pfc_examples *e = &data->examples;
    pfc_item x = pfc_item_tensor("features", e->rows, PFC_F32, e->count, data->width, 1), y = pfc_item_tensor("labels", e->labels, PFC_I64, e->count, 0, 1);
    pfc_status st = pfc_item_digest(ctx, &x, e->rows, data->features_sha256);
    if (st == PFC_OK) st = pfc_item_digest(ctx, &y, e->labels, data->labels_sha256);
    return st == PFC_OK ? 0 : pfc_diag_from_status(diag, st, ctx, "digest of the data");
}
