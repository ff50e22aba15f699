/* cmd_export.c: a checkpoint as .npy files: DIR/NAME.npy, or DIR/rank-R-of-P/NAME.npy. */
#include "case/internal.h"
#include "driver/stored_file.h"
#include "file/new_file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct writer {
    const pfc_cli *cli;
    pfc_diag *diag;
    hid_t file;
    char folder[1000];
    FILE *out;
} writer;

static int fail(const writer *w, const char *path, const char *reason)
{
    return pfc_diag_fail(w->diag, PFC_EXIT_RUNTIME, "%s: cannot be written: %s", path, reason);
}

static int make_folder(const writer *w, const char *path)
{
    char why[160];
    return pfc_new_folder(path, why, sizeof why) ? 0 : fail(w, path, why);
}

static const char *npy_type(const char *type)
{
    static const char *const names[][2] = { { "f32", "<f4" }, { "f64", "<f8" }, { "i64", "<i8" }, { "u8", "|u1" } };
    for (int k = 0; k < 4; k++)
        if (strcmp(names[k][0], type) == 0) return names[k][1];
    return NULL;
}

/* Version 1.0; the numbers begin at a multiple of 64 bytes. */
static void write_header(FILE *out, const char *type, const pfc_stored_tensor *t, int64_t rows)
{
    char text[256];
    int n = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (%lld,", type, (long long)rows);
    for (int k = 1; k < t->ndim; k++) n += snprintf(text + n, sizeof text - (size_t)n, "%s%lld", k > 1 ? ", " : " ", (long long)t->dims[k]);
    n += snprintf(text + n, sizeof text - (size_t)n, "), }");
    int length = (10 + n + 1 + 63) / 64 * 64 - 10;
    fwrite("\x93NUMPY\x01\x00", 1, 8, out);
    fputc(length & 255, out);
    fputc(length >> 8, out);
    fprintf(out, "%-*s\n", length - 1, text);
}

static bool write_rows(void *user, const void *data, size_t bytes) { return fwrite(data, 1, bytes, user) == bytes; }

static int write_tensor(writer *w, const pfc_stored_tensor *t, pfc_shard rows)
{
    char path[1200], temporary[1300], why[160];
    const char *type = npy_type(t->type);
    bool renamed;
    if (!type || t->ndim < 1)
        return pfc_diag_fail(w->diag, PFC_EXIT_FILE, "%s: %s: found %s, expected a tensor of f32, f64, i64 or u8", w->cli->files[0], t->path, t->type);
    snprintf(path, sizeof path, "%s/%s.npy", w->folder, strrchr(t->path, '/') + 1);
    if (!pfc_new_file_make(path, temporary, sizeof temporary, why, sizeof why)) return fail(w, path, why);
    pfc_temporary_add(temporary);
    FILE *out = fopen(temporary, "wb");
    bool good = out != NULL;
    if (out) write_header(out, type, t, rows.count);
    if (out && rows.count) good = pfc_stored_rows(w->cli->files[0], w->file, t, rows.start, rows.count, write_rows, out, w->diag);
    if (out) good = good && !ferror(out);
    if (out && fclose(out)) good = false;
    if (!good && !w->diag->exit_status) fail(w, path, strerror(errno));
    if (good && !pfc_new_file_publish(temporary, path, &renamed, why, sizeof why)) fail(w, path, why);
    if (w->diag->exit_status) unlink(temporary);
    pfc_temporary_drop(temporary);
    return w->diag->exit_status;
}

static int write_folder(writer *w, const pfc_stored_file *f, int rank, int ranks)
{
    for (int i = 0; i < f->tensor_count && !w->diag->exit_status; i++) {
        const pfc_stored_tensor *t = &f->tensors[i];
        pfc_shard rows = { 0, t->dims[0] };
        if (t->unit > 0) {
            rows = pfc_shard_of(t->dims[0] / t->unit, ranks, rank);
            rows = (pfc_shard){ rows.start * t->unit, rows.count * t->unit };
        }
        write_tensor(w, t, rows);
    }
    return w->diag->exit_status;
}

static int check(const pfc_cli *cli, const pfc_stored_file *f, pfc_diag *diag)
{
    if (strcmp(f->format, "pfc-checkpoint"))
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: attribute format: found \"%s\", expected \"pfc-checkpoint\"", cli->files[0], f->format);
    for (int i = 0; i < f->tensor_count; i++) {
        const pfc_stored_tensor *t = &f->tensors[i];
        if (t->unit < 0 || t->ndim < 1 || (t->unit > 0 && t->dims[0] % t->unit)) /* rows would be lost; no digest covers it */
            return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: %s: found unit %lld, expected 0 or a divisor of the rows", cli->files[0], t->path,
                                 (long long)t->unit);
        if (!f->tensors[i].intact)
            return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: %s: found data without its SHA-256, expected %s: it is damaged", cli->files[0], f->tensors[i].path,
                                 f->tensors[i].sha256[0] ? f->tensors[i].sha256 : "an attribute sha256");
    }
    return 0;
}

static int export(writer *w, const pfc_stored_file *f)
{
    const pfc_cli *cli = w->cli;
    int ranks = cli->split ? cli->split : 1;
    hid_t fapl = pfc_h5_access(MPI_COMM_NULL, false);
    w->file = fapl < 0 ? -1 : H5Fopen(cli->files[0], H5F_ACC_RDONLY, fapl);
    if (w->file < 0) pfc_diag_fail(w->diag, PFC_EXIT_FILE, "%s: cannot be opened", cli->files[0]);
    if (!w->diag->exit_status) make_folder(w, cli->output);
    for (int rank = 0; rank < ranks && !w->diag->exit_status; rank++) {
        snprintf(w->folder, sizeof w->folder, "%.900s", cli->output);
        if (cli->split) snprintf(w->folder + strlen(w->folder), sizeof w->folder - strlen(w->folder), "/rank-%d-of-%d", rank, ranks);
        if (!make_folder(w, w->folder)) write_folder(w, f, rank, ranks);
    }
    if (w->file >= 0) H5Fclose(w->file);
    if (fapl >= 0) H5Pclose(fapl);
    return w->diag->exit_status;
}

/* DIR/facts.json. */
static int write_facts(const pfc_cli *cli, const pfc_stored_file *f, pfc_diag *diag)
{
    char path[1100];
    pfc_cli here = *cli;
    snprintf(path, sizeof path, "%.1000s/facts.json", cli->output);
    here.json = path;
    pfc_json *j = pfc_json_open(&here, diag);
    if (diag->exit_status) return diag->exit_status;
    for (int i = 0; i < f->value_count; i++)
        if (strcmp(f->values[i].group, "/fact") == 0) pfc_stored_json(&f->values[i], j);
    return pfc_json_close(&j, &here, diag);
}

int pfc_cmd_export(pfc_cli *cli)
{
    pfc_diag diag = { 0 };
    pfc_stored_file f = { .values = NULL };
    writer w = { .cli = cli, .diag = &diag, .file = -1 };
    if (cli->json) pfc_diag_fail(&diag, PFC_EXIT_USAGE, "--json %s: export writes DIR/facts.json; inspect has --json", cli->json);
    if (!diag.exit_status && cli->rank == 0 && !pfc_stored_read(cli->files[0], &f, &diag) && !check(cli, &f, &diag)) export(&w, &f);
    if (!pfc_diag_agree(cli->comm, &diag)) write_facts(cli, &f, &diag);
    if (!diag.exit_status && cli->rank == 0 && !cli->quiet) printf("%s: %d tensors to %s\n", cli->files[0], f.tensor_count, cli->output);
    pfc_stored_free(&f);
    return pfc_report(cli, &diag);
}
