/* cmd_golden.c: makes goldens: results in exact mode, digests, bounds for ports, and beside each a file with facts about the machine. */
#include "case/emulate.h"
#include "case/internal.h"
#include "driver/driver.h"
#include "driver/suite.h"
#include "file/new_file.h"
#include <cblas.h>
#include <ctype.h>
#include <hdf5.h>
#include <libgen.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

typedef struct maker {
    pfc_cli *cli;
    pfc_ctx *ctx, *emulator; /* emulator: exact mode on a CPU; NULL: no type needs one */
    pfc_diag *diag;
    pfc_table *table;
    pfc_json *json;
    pfc_tensor_list given; /* of --in */
    const pfc_precision *precisions[PFC_PRECISIONS];
    int precision_count;
    int made, skipped;
} maker;

/* The precisions of --dtype, a list as in "f32,bf16,bf16-rz", each once, in the order of the table; without it, the four types. */
static int choose_precisions(maker *m)
{
    char text[256], *rest = NULL;
    bool wanted[PFC_PRECISIONS] = { false };
    snprintf(text, sizeof text, "%s", m->cli->dtype ? m->cli->dtype : "f32,tf32,bf16,f16");
    for (char *name = strtok_r(text, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        const pfc_precision *p = pfc_precision_find(name);
        if (!p)
            return pfc_diag_fail(m->diag, PFC_EXIT_USAGE, "--dtype %s: expected a list of f32, tf32, bf16, f16, any with -sound, the last three with -rz",
                                 name);
        wanted[p - pfc_precisions] = true;
    }
    for (int k = 0; k < PFC_PRECISIONS; k++)
        if (wanted[k]) m->precisions[m->precision_count++] = &pfc_precisions[k];
    if (m->precision_count == 0) return pfc_diag_fail(m->diag, PFC_EXIT_USAGE, "--dtype: expected at least one type");
    return 0;
}

static int make_folder(const pfc_cli *cli, pfc_diag *diag)
{
    char why[160];
    if (cli->rank == 0 && !pfc_new_folder(cli->output, why, sizeof why))
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: cannot make the folder: %s", cli->output, why);
    return pfc_diag_agree(cli->comm, diag);
}

/* "model name" of /proc/cpuinfo, or the machine's word for itself. */
static void cpu_name(char *text, size_t size)
{
    struct utsname u;
    char line[256];
    snprintf(text, size, "%s", uname(&u) == 0 ? u.machine : "unknown");
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(text, size, "%s", colon + 2);
        break;
    }
    if (file) fclose(file);
}

/* NAME.info.json: what a golden must not contain, because it differs from machine to machine. */
static int write_sidecar(const maker *m, const pfc_case *c, const char *path, double seconds)
{
    pfc_cli side = *m->cli;
    char name[1400], text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int n = 0;
    unsigned major = 0, minor = 0, release = 0;
    snprintf(name, sizeof name, "%.*s.info.json", (int)(strlen(path) - 3), path);
    side.json = name;
    pfc_json *j = pfc_json_open(&side, m->diag);
    if (m->diag->exit_status) return m->diag->exit_status;
    pfc_json_text(j, "case", c->name);
    pfc_json_text(j, "spec", c->spec);
    pfc_json_int(j, "ranks", m->cli->ranks);
    pfc_json_int(j, "threads", pfc_cli_threads(m->cli) ? pfc_cli_threads(m->cli) : omp_get_max_threads());
    pfc_json_real(j, "seconds", seconds);
    pfc_json_context(j, m->ctx);
    pfc_json_text(j, "openblas", openblas_get_config());
    pfc_json_text(j, "openblas_core", pfc_openblas_state()->core);
    MPI_Get_library_version(text, &n);
    text[strcspn(text, "\n")] = 0;
    pfc_json_text(j, "mpi", text);
    H5get_libversion(&major, &minor, &release);
    snprintf(text, sizeof text, "%u.%u.%u", major, minor, release);
    pfc_json_text(j, "hdf5", text);
    cpu_name(text, sizeof text);
    pfc_json_text(j, "cpu", text);
    return pfc_json_close(&j, m->cli, m->diag);
}

static void tell(maker *m, const pfc_case *c, const char *path, double seconds)
{
    pfc_table_cell(m->table, "%s", c->name);
    pfc_table_cell(m->table, "%s", c->algorithm->name);
    pfc_table_cell(m->table, "%d", c->out.count);
    pfc_table_cell(m->table, "%d", c->kept_count ? c->kept[0].out.count : 0);
    pfc_table_cell(m->table, "%.3f s", seconds);
    pfc_table_cell(m->table, "%s", path);
    pfc_json_begin(m->json, NULL, '{');
    pfc_json_text(m->json, "name", c->name);
    pfc_json_text(m->json, "path", path);
    pfc_json_begin(m->json, "out", '{');
    for (int i = 0; i < c->out.count; i++) pfc_json_text(m->json, c->out.items[i].name, c->out.items[i].sha256);
    pfc_json_end(m->json);
    pfc_json_end(m->json);
    m->made++;
}

/* For every precision asked for, with the error of an emulated port. They need the steps, whether or not they are written. */
static int make_bounds(maker *m, pfc_case *c, bool steps)
{
    for (int k = 0; k < m->precision_count && c->algorithm->bounds; k++) {
        if (c->algorithm->bounds(m->ctx, c, m->precisions[k], m->diag)) return m->diag->exit_status;
        if (!steps) pfc_tensor_list_free(&c->bound_step);
        if (m->precisions[k]->u > 0 && pfc_case_bound_rms(m->emulator, c, m->precisions[k], m->diag)) return m->diag->exit_status;
        pfc_case_keep_bounds(c, m->precisions[k]);
    }
    return 0;
}

static int make(maker *m, pfc_case *c, bool steps)
{
    char path[1400];
    snprintf(path, sizeof path, "%s/%s.h5", m->cli->output, c->name);
    if (c->path[0] && pfc_same_file(m->cli, c->path, path)) return pfc_diag_fail(m->diag, PFC_EXIT_USAGE, "%s: output and input are the same file", path);
    double start = MPI_Wtime();
    if (c->algorithm->run(m->ctx, c, true, m->diag)) return m->diag->exit_status;
    snprintf(c->spec, sizeof c->spec, "%s", PFC_SPEC_EXACT);
    if (make_bounds(m, c, steps)) return m->diag->exit_status;
    double seconds = MPI_Wtime() - start;
    for (int i = 0; i < c->out.count; i++)
        if (pfc_tensor_digest(m->cli->comm, &c->out.items[i], m->diag)) return m->diag->exit_status;
    int what = PFC_WRITE_INPUTS | PFC_WRITE_BOUNDS | (steps ? PFC_WRITE_STEPS : 0);
    if (pfc_case_write(m->cli->comm, path, c, what, m->diag)) return m->diag->exit_status;
    if (write_sidecar(m, c, path, seconds)) return m->diag->exit_status;
    tell(m, c, path, seconds);
    return 0;
}

/* A golden made again has the steps it had. */
static int make_from_file(maker *m, const char *path, bool optional)
{
    pfc_peek peek;
    pfc_case *c = NULL;
    pfc_peek_file(m->cli, path, &peek);
    if (optional && peek.unfit[0]) {
        if (m->cli->rank == 0 && !m->cli->quiet) printf("%s: left out, %s\n", path, peek.unfit);
        m->skipped++;
        return 0;
    }
    if (pfc_case_read_with(m->cli->comm, path, PFC_READ_INPUTS, &m->given, &c, m->diag) == 0) make(m, c, m->cli->steps || peek.has_step);
    pfc_case_free(c);
    return m->diag->exit_status;
}

static bool is_path(const char *name)
{
    size_t n = strlen(name);
    return strchr(name, '/') || (n > 3 && strcmp(name + n - 3, ".h5") == 0);
}

/* Inputs of --in in place of generated ones, then the conditions of the case. Frees it. */
static int make_filled(maker *m, pfc_case *c)
{
    for (int k = 0; k < m->given.count && !m->diag->exit_status; k++) pfc_case_put_input(m->cli->comm, c, &m->given.items[k], m->diag);
    if (!pfc_diag_agree(m->cli->comm, m->diag) && !pfc_case_check(m->cli->comm, c, m->diag)) make(m, c, m->cli->steps);
    pfc_case_free(c);
    return m->diag->exit_status;
}

static bool is_shipped(const pfc_folder *folder, const char *name)
{
    for (int i = 0; i < folder->count; i++)
        if (strcmp(folder->names[i], name) == 0) return true;
    return false;
}

/* Cases of the suite that `word` asks for (suite.h); a shipped one of the same name goes first. Returns whether there are any. */
static bool make_suite(maker *m, const pfc_folder *folder, const char *word)
{
    bool found = false;
    for (const pfc_suite_case *s = pfc_suite; s->name && !m->diag->exit_status; s++) {
        if (!pfc_suite_asked(s, word) || is_shipped(folder, s->name)) continue;
        found = true;
        if (!(word && strcmp(word, s->name) == 0) && !pfc_suite_fits(s, m->cli->ranks)) {
            m->skipped++;
            continue;
        }
        pfc_case *c = pfc_suite_fill(m->cli, s, m->diag);
        if (c) make_filled(m, c);
    }
    return found;
}

/* Shipped cases, then those of the suite: all (name NULL), one by its name, or all of an algorithm. The suite needs no folder. */
static int make_known(maker *m, const char *name)
{
    pfc_folder folder;
    pfc_diag no_folder = { 0 };
    bool found = false, all = !name || pfc_algorithm_find(name);
    pfc_folder_open(m->cli, &folder, &no_folder);
    for (int i = 0; i < folder.count && !m->diag->exit_status; i++) {
        char path[1300];
        pfc_peek peek;
        pfc_folder_file(&folder, folder.names[i], path, sizeof path);
        pfc_peek_file(m->cli, path, &peek);
        if (name && strcmp(all ? peek.algorithm : folder.names[i], name)) continue;
        found = true;
        make_from_file(m, path, all);
    }
    if (!name && no_folder.exit_status)
        *m->diag = no_folder;
    else if ((all || !found) && make_suite(m, &folder, name))
        found = true;
    if (!found && !m->diag->exit_status)
        pfc_diag_fail(m->diag, PFC_EXIT_USAGE, "%s: no shipped case, no case of the suite, no algorithm; pfc_ref list names them", name);
    pfc_folder_free(&folder);
    return m->diag->exit_status;
}

/* partial_fc_normal_N256_C10000_D512, unless --name says otherwise. */
static void generated_name(const pfc_cli *cli, pfc_case *c)
{
    if (cli->name) {
        snprintf(c->name, sizeof c->name, "%s", cli->name);
        return;
    }
    int n = snprintf(c->name, sizeof c->name, "%s_%s", c->algorithm->name, cli->fill);
    static const char first[] = "NCD"; /* the usual order, then the others */
    for (const char *s = first; *s; s++)
        if (c->size[*s - 'A'] >= 0) n += snprintf(c->name + n, sizeof c->name - (size_t)n, "_%c%lld", *s, (long long)c->size[*s - 'A']);
    for (int i = 0; i < 26; i++)
        if (c->size[i] >= 0 && !strchr(first, 'A' + i)) n += snprintf(c->name + n, sizeof c->name - (size_t)n, "_%c%lld", 'A' + i, (long long)c->size[i]);
}

static int make_generated(maker *m)
{
    const pfc_cli *cli = m->cli;
    const pfc_algorithm *a = cli->file_count == 1 ? pfc_algorithm_find(cli->files[0]) : NULL;
    if (!a || !a->fill)
        return pfc_diag_fail(m->diag, PFC_EXIT_USAGE,
                             "--size, --param: expected one algorithm with generated inputs, as in: golden partial_fc --size N=24,C=37,D=8 --param head=cos");
    if (cli->name && (!cli->name[0] || strchr(cli->name, '/')))
        return pfc_diag_fail(m->diag, PFC_EXIT_USAGE, "--name %s: expected a file name without folder", cli->name);
    pfc_case *c = pfc_case_new(a);
    if (!c) return pfc_diag_fail(m->diag, PFC_EXIT_RUNTIME, "out of memory");
    if (!cli->size || !pfc_cli_sizes(cli->size, c, m->diag)) {
        generated_name(cli, c);
        if (!pfc_cli_params(cli, c, m->diag)) a->fill(cli->comm, c, cli->fill, cli->seed, m->diag);
    }
    return make_filled(m, c);
}

static int make_named(maker *m)
{
    if (m->cli->size || m->cli->param_count) return make_generated(m);
    if (m->cli->generating)
        return pfc_diag_fail(m->diag, PFC_EXIT_USAGE, "%s: only a case that is generated has one; expected --size or --param, too", m->cli->generating);
    if (m->cli->file_count == 0) return make_known(m, NULL);
    for (int i = 0; i < m->cli->file_count && !m->diag->exit_status; i++) {
        const char *name = m->cli->files[i];
        if (is_path(name))
            make_from_file(m, name, false);
        else
            make_known(m, name);
    }
    return m->diag->exit_status;
}

static void open_contexts(maker *m)
{
    pfc_cli cpu = *m->cli;
    cpu.backend = "cpu";
    m->ctx = pfc_cli_context(m->cli, PFC_EXACT, m->diag);
    for (int k = 0; k < m->precision_count && m->ctx; k++)
        if (m->precisions[k]->u > 0 && !m->emulator && !m->diag->exit_status) m->emulator = pfc_cli_context(&cpu, PFC_EXACT, m->diag);
}

int pfc_cmd_golden(pfc_cli *cli)
{
    static const char *const titles[] = { "golden", "algorithm", "results", "bounds", "time", "file" };
    pfc_diag diag = { 0 };
    maker m = { .cli = cli, .diag = &diag };
    if (cli->mode_given && cli->mode == PFC_FAST) pfc_diag_fail(&diag, PFC_EXIT_USAGE, "--mode fast: goldens are made in exact mode");
    if (!diag.exit_status && !choose_precisions(&m)) open_contexts(&m);
    if (!diag.exit_status && !make_folder(cli, &diag)) {
        m.table = pfc_table_new("llrrrl", titles);
        m.json = pfc_json_open(cli, &diag);
        pfc_json_begin(m.json, "goldens", '[');
        if (!diag.exit_status && !pfc_cli_inputs(cli, &m.given, &diag)) make_named(&m);
        pfc_tensor_list_free(&m.given);
        pfc_json_end(m.json);
        if (m.made && cli->rank == 0 && !cli->quiet) pfc_table_print(m.table, stdout);
        if (!m.made && !diag.exit_status) pfc_diag_fail(&diag, PFC_EXIT_FILE, "no golden was made: every case is for another number of ranks");
        pfc_table_free(m.table);
        pfc_json_close(&m.json, cli, &diag);
    }
    pfc_cli_context_close(&m.emulator, &diag);
    pfc_cli_context_close(&m.ctx, &diag);
    return pfc_report(cli, &diag);
}
