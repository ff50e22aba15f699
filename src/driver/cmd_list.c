/* cmd_list.c: what there is: algorithms with parameters, inputs and results, the shipped cases, the suite. */
#include "driver/driver.h"
#include "driver/suite.h"
#include <string.h>

static const char *const type_names[] = { "int", "real", "word" };
static const char *const kind_names[] = { "real", "real64", "int" };

static const char *default_text(const pfc_param_spec *p) { return !p->def ? "required" : !p->def[0] ? "none" : p->def; }

static void print_tensors(const char *title, const pfc_tensor_spec *specs)
{
    const char *titles[] = { title, "type", "shape", "", "" };
    pfc_table *table = pfc_table_new("lllll", titles);
    for (const pfc_tensor_spec *s = specs; s && s->name; s++) {
        pfc_table_cell(table, "  %s", s->name);
        pfc_table_cell(table, "%s", kind_names[s->kind]);
        pfc_table_cell(table, "(%s)", s->shape);
        pfc_table_cell(table, "%s", s->optional ? "optional" : "");
        pfc_table_cell(table, "%s", s->help);
    }
    pfc_table_print(table, stdout);
    pfc_table_free(table);
}

static void print_algorithm(const pfc_algorithm *a)
{
    static const char *const titles[] = { "parameter", "type", "default", "" };
    printf("%s: %s\n\n", a->name, a->help);
    pfc_table *table = pfc_table_new("llll", titles);
    for (const pfc_param_spec *p = a->params; p && p->name; p++) {
        pfc_table_cell(table, "  %s", p->name);
        pfc_table_cell(table, "%s", p->words ? p->words : type_names[p->type]);
        pfc_table_cell(table, "%s", default_text(p));
        pfc_table_cell(table, "%s", p->help);
    }
    pfc_table_print(table, stdout);
    pfc_table_free(table);
    if (a->in && a->in->name) putchar('\n'), print_tensors("input", a->in);
    putchar('\n');
    print_tensors("result", a->out);
    if (a->step && a->step->name) putchar('\n'), print_tensors("step", a->step);
    if (a->sizes) printf("\nletters of --size: %s\n", a->sizes);
    putchar('\n');
}

static void json_tensors(pfc_json *j, const char *key, const pfc_tensor_spec *specs)
{
    pfc_json_begin(j, key, '[');
    for (const pfc_tensor_spec *s = specs; s && s->name; s++) {
        pfc_json_begin(j, NULL, '{');
        pfc_json_text(j, "name", s->name);
        pfc_json_text(j, "type", kind_names[s->kind]);
        pfc_json_text(j, "shape", s->shape);
        pfc_json_bool(j, "optional", s->optional);
        pfc_json_text(j, "help", s->help);
        pfc_json_end(j);
    }
    pfc_json_end(j);
}

static void json_algorithm(pfc_json *j, const pfc_algorithm *a)
{
    pfc_json_begin(j, NULL, '{');
    pfc_json_text(j, "name", a->name);
    pfc_json_text(j, "help", a->help);
    pfc_json_begin(j, "parameters", '[');
    for (const pfc_param_spec *p = a->params; p && p->name; p++) {
        pfc_json_begin(j, NULL, '{');
        pfc_json_text(j, "name", p->name);
        pfc_json_text(j, "type", type_names[p->type]);
        pfc_json_bool(j, "required", !p->def);
        if (p->def && p->def[0]) pfc_json_text(j, "default", p->def);
        if (p->words) pfc_json_text(j, "words", p->words);
        pfc_json_text(j, "help", p->help);
        pfc_json_end(j);
    }
    pfc_json_end(j);
    json_tensors(j, "in", a->in);
    json_tensors(j, "out", a->out);
    json_tensors(j, "step", a->step);
    if (a->sizes) pfc_json_text(j, "sizes", a->sizes);
    pfc_json_end(j);
}

static void list_cases(const pfc_cli *cli, const pfc_folder *folder, pfc_json *j)
{
    static const char *const titles[] = { "case", "algorithm", "ranks", "golden", "sizes" };
    pfc_table *table = pfc_table_new("lllll", titles);
    pfc_json_begin(j, "cases", '[');
    for (int i = 0; i < folder->count; i++) {
        char path[1300];
        pfc_peek peek;
        pfc_folder_file(folder, folder->names[i], path, sizeof path);
        pfc_peek_file(cli, path, &peek);
        pfc_table_cell(table, "%s", folder->names[i]);
        pfc_table_cell(table, "%s", peek.algorithm);
        if (peek.world > 0)
            pfc_table_cell(table, "%lld", (long long)peek.world);
        else
            pfc_table_cell(table, "any");
        pfc_table_cell(table, "%s", peek.has_out ? "yes" : "no");
        pfc_table_cell(table, "%s", peek.sizes);
        pfc_json_begin(j, NULL, '{');
        pfc_json_text(j, "name", folder->names[i]);
        pfc_json_text(j, "path", path);
        pfc_json_text(j, "algorithm", peek.algorithm);
        pfc_json_int(j, "world", peek.world);
        pfc_json_bool(j, "golden", peek.has_out);
        pfc_json_text(j, "sizes", peek.sizes);
        pfc_json_end(j);
    }
    pfc_json_end(j);
    if (cli->rank == 0 && !cli->quiet) pfc_table_print(table, stdout);
    pfc_table_free(table);
}

static void list_suite(const pfc_cli *cli, pfc_json *j)
{
    static const char *const titles[] = { "suite", "algorithm", "ranks", "fill", "sizes", "" };
    pfc_table *table = pfc_table_new("llllll", titles);
    pfc_json_begin(j, "suite", '[');
    for (const pfc_suite_case *s = pfc_suite; s->name; s++) {
        pfc_table_cell(table, "%s", s->name);
        pfc_table_cell(table, "%s", s->algorithm);
        if (s->world > 0)
            pfc_table_cell(table, "%d", s->world);
        else
            pfc_table_cell(table, "any");
        pfc_table_cell(table, "%s", s->fill);
        pfc_table_cell(table, "%s", s->sizes);
        pfc_table_cell(table, "%s%s", s->purpose, s->large ? " (large)" : "");
        pfc_json_begin(j, NULL, '{');
        pfc_json_text(j, "name", s->name);
        pfc_json_text(j, "algorithm", s->algorithm);
        pfc_json_int(j, "world", s->world > 0 ? s->world : -1);
        pfc_json_text(j, "fill", s->fill);
        pfc_json_text(j, "sizes", s->sizes);
        pfc_json_text(j, "param", s->param);
        pfc_json_int(j, "seed", s->seed);
        pfc_json_bool(j, "large", s->large);
        pfc_json_text(j, "purpose", s->purpose);
        pfc_json_end(j);
    }
    pfc_json_end(j);
    if (cli->rank == 0 && !cli->quiet) {
        putchar('\n');
        pfc_table_print(table, stdout);
    }
    pfc_table_free(table);
}

int pfc_cmd_list(pfc_cli *cli)
{
    pfc_diag diag = { 0 }, no_folder = { 0 };
    pfc_folder folder;
    pfc_json *j = pfc_json_open(cli, &diag);
    if (diag.exit_status) return pfc_report(cli, &diag);
    pfc_json_begin(j, "algorithms", '[');
    for (int i = 0; pfc_algorithms[i]; i++) {
        if (cli->rank == 0 && !cli->quiet) print_algorithm(pfc_algorithms[i]);
        json_algorithm(j, pfc_algorithms[i]);
    }
    pfc_json_end(j);
    /* The algorithms can be listed without any shipped case. */
    if (pfc_folder_open(cli, &folder, &no_folder) == 0)
        list_cases(cli, &folder, j);
    else if (cli->rank == 0 && !cli->quiet)
        printf("%s\n", no_folder.text);
    pfc_folder_free(&folder);
    list_suite(cli, j);
    pfc_json_close(&j, cli, &diag);
    return pfc_report(cli, &diag);
}
