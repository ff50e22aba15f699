/* cmd_inspect.c: what is in a file. */
#include "case/internal.h"
#include "driver/stored_file.h"
#include <string.h>

static void print_values(const pfc_stored_file *f)
{
    static const char *const titles[] = { "fact", "value" };
    char text[200];
    pfc_table *table = pfc_table_new("ll", titles);
    for (int i = 0; i < f->value_count; i++) {
        const pfc_stored_value *v = &f->values[i];
        pfc_table_cell(table, "%s%s%s", v->group, v->group[0] ? "/" : "", v->name);
        pfc_table_cell(table, "%s", pfc_value_text(&v->value, text, sizeof text));
    }
    pfc_table_print(table, stdout);
    pfc_table_free(table);
}

static const char *cut_text(const pfc_stored_tensor *t, char *text, size_t size)
{
    if (t->unit < 0) return "";
    if (t->unit == 0) return "whole";
    if (t->unit == 1) return "by rows";
    snprintf(text, size, "by %lld rows", (long long)t->unit);
    return text;
}

static void print_tensors(const pfc_stored_file *f)
{
    static const char *const titles[] = { "tensor", "shape", "type", "cut", "digest", "sha256" };
    char text[160], cut[48];
    pfc_table *table = pfc_table_new("llllll", titles);
    for (int i = 0; i < f->tensor_count; i++) {
        const pfc_stored_tensor *t = &f->tensors[i];
        pfc_table_cell(table, "%s", t->path);
        pfc_table_cell(table, "%s", pfc_stored_shape(t, text, sizeof text));
        pfc_table_cell(table, "%s", t->type);
        pfc_table_cell(table, "%s", cut_text(t, cut, sizeof cut));
        pfc_table_cell(table, "%s", !t->sha256[0] ? "none" : t->intact ? "ok" : "WRONG");
        pfc_table_cell(table, "%s", t->sha256);
    }
    pfc_table_print(table, stdout);
    pfc_table_free(table);
}

static int write_json(const pfc_cli *cli, const pfc_stored_file *f, pfc_diag *diag)
{
    pfc_json *j = pfc_json_open(cli, diag);
    char text[160];
    if (!cli->json || diag->exit_status) return diag->exit_status;
    pfc_json_text(j, "file", cli->files[0]);
    pfc_json_begin(j, "facts", '{');
    for (int i = 0; i < f->value_count; i++) pfc_stored_json(&f->values[i], j);
    pfc_json_end(j);
    pfc_json_begin(j, "tensors", '[');
    for (int i = 0; i < f->tensor_count; i++) {
        const pfc_stored_tensor *t = &f->tensors[i];
        pfc_json_begin(j, NULL, '{');
        pfc_json_text(j, "name", t->path);
        pfc_json_text(j, "shape", pfc_stored_shape(t, text, sizeof text));
        pfc_json_text(j, "type", t->type);
        if (t->unit >= 0) pfc_json_int(j, "unit", t->unit);
        if (t->sha256[0]) pfc_json_text(j, "sha256", t->sha256);
        if (t->sha256[0]) pfc_json_bool(j, "intact", t->intact);
        pfc_json_end(j);
    }
    pfc_json_end(j);
    return pfc_json_close(&j, cli, diag);
}

int pfc_cmd_inspect(pfc_cli *cli)
{
    pfc_diag diag = { 0 };
    pfc_stored_file f = { .values = NULL };
    if (cli->rank == 0 && !pfc_stored_read(cli->files[0], &f, &diag) && !cli->quiet) {
        print_values(&f);
        if (f.tensor_count) printf("\n");
        if (f.tensor_count) print_tensors(&f);
    }
    if (!pfc_diag_agree(cli->comm, &diag)) write_json(cli, &f, &diag);
    for (int i = 0; i < f.tensor_count; i++)
        if (f.tensors[i].sha256[0] && !f.tensors[i].intact)
            pfc_diag_fail(&diag, PFC_EXIT_FILE, "%s: %s: found data with another SHA-256 than its own, expected %s: it is damaged", cli->files[0],
                          f.tensors[i].path, f.tensors[i].sha256);
    pfc_stored_free(&f);
    pfc_diag_agree(cli->comm, &diag);
    return pfc_report(cli, &diag);
}
