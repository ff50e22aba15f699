/* cmd_info.c: how this program was built and what it finds here. */
#include "backend/backend.h"
#include "backend/cpu/fast_bf16.h"
#include "backend/cuda_module.h"
#include "driver/driver.h"
#include <cblas.h>
#include <hdf5.h>
#include <omp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

typedef struct table_entry {
    const pfc_ops *ops;
    bool runs; /* this CPU has the instructions */
} table_entry;

enum { MOST_TABLES = 9 };

static int cpu_tables(table_entry out[MOST_TABLES])
{
    int n = 0;
    bool avx2 = false, avx512 = false;
#ifdef __x86_64__
    __builtin_cpu_init();
    avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl");
#endif
    out[n++] = (table_entry){ &pfc_ops_exact_scalar, true };
    out[n++] = (table_entry){ &pfc_ops_fast_scalar, true };
#ifdef PFC_HAVE_AVX2
    out[n++] = (table_entry){ &pfc_ops_exact_avx2, avx2 };
    out[n++] = (table_entry){ &pfc_ops_fast_avx2, avx2 };
#endif
#ifdef PFC_HAVE_AVX512
    out[n++] = (table_entry){ &pfc_ops_exact_avx512, avx512 };
    out[n++] = (table_entry){ &pfc_ops_fast_avx512, avx512 };
#endif
#ifdef PFC_HAVE_AMX
    char why[160];
    out[n++] = (table_entry){ &pfc_ops_fast_bf16x6, pfc_bf16_usable(why, sizeof why) };
#endif
    (void)avx2;
    (void)avx512;
    return n;
}

/* One line on stdout and one entry in the JSON file. */
static void say(const pfc_cli *cli, pfc_json *j, const char *key, const char *format, ...) __attribute__((format(printf, 4, 5)));
static void say(const pfc_cli *cli, pfc_json *j, const char *key, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (cli->rank == 0 && !cli->quiet) printf("%-14s  %s\n", key, text);
    pfc_json_text(j, key, text);
}

static void say_libraries(const pfc_cli *cli, pfc_json *j)
{
    const pfc_openblas *blas = pfc_openblas_state();
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int n = 0;
    unsigned major = 0, minor = 0, release = 0;
    say(cli, j, "version", "%s", pfc_version());
    say(cli, j, "spec", "%s", PFC_SPEC_EXACT);
#ifdef __VERSION__
    say(cli, j, "compiler", "%s", __VERSION__);
#endif
    say(cli, j, "openblas", "%s", openblas_get_config());
    if (blas->mended)
        say(cli, j, "openblas_core", "%s (found %s, which is wrong for this CPU, and changed it)", blas->core, blas->found);
    else
        say(cli, j, "openblas_core", "%s", blas->core);
    MPI_Get_library_version(mpi, &n);
    mpi[strcspn(mpi, "\n")] = 0;
    say(cli, j, "mpi", "%.400s", mpi);
    H5get_libversion(&major, &minor, &release);
    say(cli, j, "hdf5", "%u.%u.%u", major, minor, release);
    say(cli, j, "ranks", "%d, at most %d on one machine", cli->ranks, cli->node_ranks);
    int threads = pfc_cli_threads(cli);
    say(cli, j, "threads", "%d per rank, %d processors in reach of rank 0", threads ? threads : omp_get_max_threads(), omp_get_num_procs());
}

/* What a context of this backend, mode and engine would be. */
static void say_context(const pfc_cli *cli, pfc_json *j, const char *key, const char *backend, pfc_mode mode, const char *engine, pfc_diag *diag)
{
    pfc_options options = { .mode = mode, .backend = backend, .engine = engine, .threads = pfc_cli_threads(cli) };
    pfc_ctx *ctx = NULL;
    char why[256] = "";
    if (pfc_ctx_create(cli->comm, &options, &ctx, why, sizeof why) == PFC_OK)
        say(cli, j, key, "backend %s, instruction set %s, engine %s, transport %s", pfc_ctx_backend_name(ctx), pfc_ctx_isa(ctx), pfc_ctx_engine_name(ctx),
            pfc_ctx_transport(ctx));
    else
        say(cli, j, key, "not available: %s", why);
    pfc_cli_context_close(&ctx, diag);
}

static void say_tables(const pfc_cli *cli, pfc_json *j)
{
    table_entry tables[MOST_TABLES];
    const pfc_ops *cuda[2];
    char why[256];
    int n = cpu_tables(tables);
    if (pfc_cuda_module_tables(cuda, why, sizeof why) == PFC_OK)
        for (int i = 0; i < 2; i++) tables[n++] = (table_entry){ cuda[i], strcmp(cuda[i]->isa, "no device") != 0 };
    static const char *const titles[] = { "backend", "mode", "instruction set", "table" };
    pfc_table *text = pfc_table_new("llll", titles);
    pfc_json_begin(j, "tables", '[');
    for (int i = 0; i < n; i++) {
        const pfc_ops *ops = tables[i].ops;
        const char *missing = pfc_ops_missing(ops), *mode = ops->mode == PFC_EXACT ? "exact" : "fast";
        char state[128];
        snprintf(state, sizeof state, "%s%s%s",
                 missing          ? "incomplete, lacks "
                 : tables[i].runs ? "complete"
                                  : "complete, this machine cannot run it",
                 missing ? missing : "", "");
        pfc_table_cell(text, "%s", ops->name);
        pfc_table_cell(text, "%s", mode);
        pfc_table_cell(text, "%s", ops->isa);
        pfc_table_cell(text, "%s", state);
        pfc_json_begin(j, NULL, '{');
        pfc_json_text(j, "backend", ops->name);
        pfc_json_text(j, "mode", mode);
        pfc_json_text(j, "isa", ops->isa);
        pfc_json_bool(j, "complete", !missing);
        pfc_json_bool(j, "runs_here", tables[i].runs);
        pfc_json_end(j);
    }
    pfc_json_end(j);
    if (cli->rank == 0 && !cli->quiet) putchar('\n'), pfc_table_print(text, stdout);
    pfc_table_free(text);
}

static const struct {
    const char *key, *backend; /* NULL: what is asked for */
    pfc_mode mode;
    const char *engine;
} contexts[] = {
    { "exact", NULL, PFC_EXACT, NULL },
    { "fast", NULL, PFC_FAST, NULL },
    { "exact, amx", "cpu", PFC_EXACT, "amx" },
    { "exact, dgemm", "cpu", PFC_EXACT, "dgemm" },
    { "exact, int128", "cpu", PFC_EXACT, "int128" },
    { "fast, bf16x6", "cpu", PFC_FAST, "bf16x6" },
    { "exact, checked", "checked", PFC_EXACT, NULL },
    { "fast, checked", "checked", PFC_FAST, NULL },
    { "exact, cuda", "cuda", PFC_EXACT, NULL },
    { "fast, cuda", "cuda", PFC_FAST, NULL },
};

int pfc_cmd_info(pfc_cli *cli)
{
    pfc_diag diag = { 0 };
    pfc_json *j = pfc_json_open(cli, &diag);
    if (diag.exit_status) return pfc_report(cli, &diag);
    const char *cap = getenv("PFC_MAX_ISA");
    say_libraries(cli, j);
    if (cap) say(cli, j, "PFC_MAX_ISA", "%s", cap);
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++)
        say_context(cli, j, contexts[i].key, contexts[i].backend ? contexts[i].backend : cli->backend, contexts[i].mode, contexts[i].engine, &diag);
    say_tables(cli, j);
    pfc_json_close(&j, cli, &diag);
    return pfc_report(cli, &diag);
}
