/* json.c: JSON files, written straight through: a temporary name first, renamed when whole; pipes and devices in place. */
#include "case/internal.h"
#include "driver/driver.h"
#include "file/new_file.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DEPTH = 16 };

struct pfc_json {
    FILE *file;
    char path[1024], temporary[1088]; /* temporary "": written in place */
    int depth;
    char closing[MAX_DEPTH];
    bool filled[MAX_DEPTH]; /* something stands at this depth already */
};

static void write_string(FILE *file, const char *s)
{
    fputc('"', file);
    for (const unsigned char *c = (const unsigned char *)s; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(file, "\\%c", *c);
        else if (*c < 0x20)
            fprintf(file, "\\u%04x", *c);
        else
            fputc(*c, file);
    }
    fputc('"', file);
}

/* Comma, line, indentation and key of the next value. */
static void lead(pfc_json *j, const char *key)
{
    if (j->filled[j->depth]) fputc(',', j->file);
    if (j->depth) fprintf(j->file, "\n%*s", 2 * j->depth, "");
    j->filled[j->depth] = true;
    if (!key) return;
    write_string(j->file, key);
    fputs(": ", j->file);
}

static pfc_json *open_alone(const char *path, pfc_diag *diag)
{
    pfc_json *j = calloc(1, sizeof *j);
    if (!j) {
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", path);
        return NULL;
    }
    char why[160] = "";
    bool good = true, moved = pfc_new_file_place(path, j->path, sizeof j->path);
    if (!moved) snprintf(j->path, sizeof j->path, "%s", path);
    if (moved) good = pfc_new_file_make(j->path, j->temporary, sizeof j->temporary, why, sizeof why);
    if (moved && good) pfc_temporary_add(j->temporary);
    if (good) j->file = fopen(moved ? j->temporary : path, "w");
    if (!j->file) {
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: cannot write: %s", path, good ? strerror(errno) : why);
        if (moved && good) unlink(j->temporary);
        if (moved && good) pfc_temporary_drop(j->temporary);
        free(j);
        return NULL;
    }
    pfc_json_begin(j, NULL, '{');
    pfc_json_text(j, "pfc_ref", pfc_version());
    return j;
}

pfc_json *pfc_json_open(const pfc_cli *cli, pfc_diag *diag)
{
    if (!cli->json) return NULL;
    pfc_json *j = cli->rank == 0 ? open_alone(cli->json, diag) : NULL;
    pfc_diag_agree(cli->comm, diag);
    return j;
}

void pfc_json_begin(pfc_json *j, const char *key, char bracket)
{
    if (!j || j->depth + 1 >= MAX_DEPTH) return;
    lead(j, key);
    fputc(bracket, j->file);
    j->closing[++j->depth] = bracket == '{' ? '}' : ']';
    j->filled[j->depth] = false;
}

void pfc_json_end(pfc_json *j)
{
    if (!j || !j->depth) return;
    bool filled = j->filled[j->depth];
    char closing = j->closing[j->depth--];
    if (filled) fprintf(j->file, "\n%*s", 2 * j->depth, "");
    fputc(closing, j->file);
}

void pfc_json_text(pfc_json *j, const char *key, const char *value)
{
    if (!j) return;
    lead(j, key);
    write_string(j->file, value);
}

void pfc_json_int(pfc_json *j, const char *key, int64_t value)
{
    if (!j) return;
    lead(j, key);
    fprintf(j->file, "%lld", (long long)value);
}

void pfc_json_real(pfc_json *j, const char *key, double value)
{
    if (!j) return;
    lead(j, key);
    if (isnan(value))
        fputs("\"nan\"", j->file);
    else if (isinf(value))
        fputs(value > 0 ? "\"inf\"" : "\"-inf\"", j->file);
    else
        fprintf(j->file, "%.17g", value);
}

void pfc_json_bool(pfc_json *j, const char *key, bool value)
{
    if (!j) return;
    lead(j, key);
    fputs(value ? "true" : "false", j->file);
}

void pfc_json_context(pfc_json *j, const pfc_ctx *ctx)
{
    pfc_json_text(j, "backend", pfc_ctx_backend_name(ctx));
    pfc_json_text(j, "isa", pfc_ctx_isa(ctx));
    pfc_json_text(j, "engine", pfc_ctx_engine_name(ctx));
    pfc_json_text(j, "transport", pfc_ctx_transport(ctx));
}

/* Whole and on disk before it gets its name. */
static void close_alone(pfc_json *j, pfc_diag *diag)
{
    char why[160];
    bool moved = j->temporary[0] != 0, renamed = false, good = ferror(j->file) == 0;
    good = fclose(j->file) == 0 && good;
    if (!good) snprintf(why, sizeof why, "%s", strerror(errno));
    if (good && moved) good = pfc_new_file_publish(j->temporary, j->path, &renamed, why, sizeof why);
    if (!good) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: cannot write: %s", j->path, why);
    if (moved && !renamed) unlink(j->temporary);
    if (moved) pfc_temporary_drop(j->temporary);
}

int pfc_json_close(pfc_json **j, const pfc_cli *cli, pfc_diag *diag)
{
    pfc_json *json = *j;
    *j = NULL;
    if (json) {
        while (json->depth) pfc_json_end(json);
        fputc('\n', json->file);
        close_alone(json, diag);
        free(json);
    }
    return pfc_diag_agree(cli->comm, diag);
}
