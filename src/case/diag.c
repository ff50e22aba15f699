/* diag.c: one line of text and an exit status, agreed by all ranks. */
#include "case/internal.h"

#include <limits.h>
#include <stdarg.h>
#include <string.h>

/* Names come from files: whatever would break the line or the terminal is replaced. */
static void keep_one_line(char *text)
{
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
}

static int fail_at(pfc_diag *diag, int exit_status, const char *prefix, const char *format, va_list args)
{
    if (diag->exit_status != PFC_EXIT_OK) return diag->exit_status;
    diag->exit_status = exit_status ? exit_status : PFC_EXIT_RUNTIME;
    size_t used = (size_t)snprintf(diag->text, sizeof diag->text, "%s", prefix);
    if (used < sizeof diag->text) vsnprintf(diag->text + used, sizeof diag->text - used, format, args);
    keep_one_line(diag->text);
    return diag->exit_status;
}

int pfc_diag_fail(pfc_diag *diag, int exit_status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int status = fail_at(diag, exit_status, "", format, args);
    va_end(args);
    return status;
}

const char *pfc_label(const char *path, char *buffer)
{
    size_t length = strlen(path);
    if (length < PFC_LABEL)
        memcpy(buffer, path, length + 1);
    else
        snprintf(buffer, PFC_LABEL, "...%s", path + length - (PFC_LABEL - 4));
    return buffer;
}

int pfc_case_fail(const pfc_case *c, pfc_diag *diag, const char *item, const char *format, ...)
{
    char label[PFC_LABEL], prefix[2 * PFC_LABEL];
    const char *file = c->path[0] ? c->path : c->name[0] ? c->name : c->algorithm->name;
    snprintf(prefix, sizeof prefix, "%s: %.200s: ", pfc_label(file, label), item);
    va_list args;
    va_start(args, format);
    int status = fail_at(diag, PFC_EXIT_FILE, prefix, format, args);
    va_end(args);
    return status;
}

int pfc_diag_agree(MPI_Comm comm, pfc_diag *diag)
{
    int rank, first;
    MPI_Comm_rank(comm, &rank);
    int mine = diag->exit_status != PFC_EXIT_OK ? rank : INT_MAX;
    MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, comm);
    if (first == INT_MAX) return PFC_EXIT_OK;
    MPI_Bcast(diag, (int)sizeof *diag, MPI_BYTE, first, comm);
    return diag->exit_status;
}

int pfc_diag_from_status(pfc_diag *diag, pfc_status status, const pfc_ctx *ctx, const char *item)
{
    int exit_status = PFC_EXIT_RUNTIME;
    if (status == PFC_ERR_DATA || status == PFC_ERR_ARG || status == PFC_ERR_SHAPE) exit_status = PFC_EXIT_FILE;
    if (status == PFC_ERR_UNSUPPORTED) exit_status = PFC_EXIT_BACKEND;
    const char *text = ctx ? pfc_ctx_error(ctx) : "";
    return pfc_diag_fail(diag, exit_status, "%s: %s", item, text[0] ? text : pfc_status_string(status));
}
