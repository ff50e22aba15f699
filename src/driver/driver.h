/* driver.h: what the commands of pfc_ref share: the command line, the output helpers, folders, result files.
 *
 * Rank 0 alone prints, on stdout what people read, on stderr one line per error. Every command returns the exit status of
 * doc/case-format.md section 3, the same on all ranks. */
#ifndef PFC_DRIVER_H
#define PFC_DRIVER_H

#include "case/case.h"

#include <stdbool.h>
#include <stdio.h>

/* ---- the command line (options.c) ---- */

struct pfc_command;

typedef struct pfc_cli {
    MPI_Comm comm; /* set by main */
    int rank, ranks;
    int node_ranks; /* ranks that share this machine */

    const struct pfc_command *command;
    const char **files; /* arguments that are no options, in order */
    int file_count;
    const char **params; /* --param, each NAME=VALUE[,NAME=VALUE]... */
    int param_count;
    char *param_texts[16]; /* those that came from options of their own: --batch 64 */
    int param_text_count;
    const char **inputs; /* --in, each NAME=FILE.txt */
    int input_count;

    const char *backend; /* NULL: PFC_BACKEND or cpu */
    pfc_mode mode;       /* meaningful if mode_given */
    bool mode_given;
    const char *json;
    bool quiet;
    int threads; /* 0: not given */

    const char *output; /* -o */
    bool steps, no_inputs;
    const char *dtype, *size, *fill, *name;
    const char *emulate;          /* --emulate; NULL: float32, or exact */
    bool sound;                   /* --sound */
    const char *operand_rounding; /* rn, rz; NULL: not given */
    int64_t seed;
    const char *generating;   /* an option that was given and is about a generated case: --fill, --name or --seed; NULL: none */
    int shard_rank, shard_of; /* --rank, --of; -1: not given */
    int rounds;
    bool quick;       /* --quick */
    const char *plot; /* --plot; NULL: none */
    bool recompute;   /* --recompute */

    const char *recipe;                       /* --recipe; NULL: not given */
    const char *glyphs;                       /* --glyphs; NULL: not given */
    const char *features, *labels;            /* --features, --labels */
    const char **held_out, **held_out_labels; /* --held-out, --held-out-labels, in pairs */
    int held_out_count, held_out_label_count;
    const char *checkpoint; /* --checkpoint: a folder */
    const char *resume;     /* --resume; "": from the folder of --checkpoint; NULL: not given */
    const char *log;        /* --log */
    int every, keep;        /* --every, --keep; 0: not given */
    int split;              /* export --ranks; 0: whole */
    const char *html, *svg; /* explain --html, --svg; NULL: not given */
} pfc_cli;

typedef struct pfc_command {
    const char *name, *args, *help;
    int min_files, max_files;
    const char *options; /* keys of the options it takes besides the common ones */
    bool computes;       /* its help shows --backend, --mode and --threads; without effect for the others, which take them as all commands do */
    int (*run)(pfc_cli *cli);
} pfc_command;

extern const pfc_command pfc_commands[]; /* main.c; ends with name NULL; the first is the default */

/* Parses argv. Prints help, version and usage errors if `speak`. Returns -1 to go on, else the exit status. Local. */
int pfc_cli_parse(pfc_cli *cli, int argc, char **argv, bool speak);
void pfc_cli_free(pfc_cli *cli);

/* Threads of a rank: --threads; else OMP_NUM_THREADS or what OpenMP would use (0), but 1 where ranks share a machine. */
int pfc_cli_threads(const pfc_cli *cli);

int pfc_cmd_verify(pfc_cli *cli);
int pfc_cmd_list(pfc_cli *cli);
int pfc_cmd_info(pfc_cli *cli);
int pfc_cmd_explain(pfc_cli *cli);
int pfc_cmd_run(pfc_cli *cli);
int pfc_cmd_golden(pfc_cli *cli);
int pfc_cmd_check(pfc_cli *cli);
int pfc_cmd_bench(pfc_cli *cli);
int pfc_cmd_train(pfc_cli *cli);
int pfc_cmd_inspect(pfc_cli *cli);
int pfc_cmd_export(pfc_cli *cli);

/* ---- small things all commands need (common.c) ---- */

/* Prints the diagnosis as one line on stderr of rank 0 and returns its status. Collective only in that all ranks hold the same diag. */
int pfc_report(const pfc_cli *cli, const pfc_diag *diag);
/* A context for the command line's backend and threads. NULL: diag says why (status 4 if it cannot run here). Collective. */
pfc_ctx *pfc_cli_context(const pfc_cli *cli, pfc_mode mode, pfc_diag *diag);
/* Destroys it; diag says what backend "checked" found at the end (status 5). Collective; NULL-safe. */
void pfc_cli_context_close(pfc_ctx **ctx, pfc_diag *diag);
/* Applies every --param to the case. Local. */
int pfc_cli_params(const pfc_cli *cli, pfc_case *c, pfc_diag *diag);
/* --size N=24,C=37,D=8 into c->size. Local. */
int pfc_cli_sizes(const char *text, pfc_case *c, pfc_diag *diag);
/* Every --in NAME=FILE.txt as a tensor of one axis, whole on all ranks: int64 if all its numbers are integers, else float64. Rank 0 reads: one number a
 * line; blank lines and what follows a '#' do not count. A failure is agreed (text_input.c). Collective. */
int pfc_cli_inputs(const pfc_cli *cli, pfc_tensor_list *given, pfc_diag *diag);
/* "(24, 8)" into text. */
const char *pfc_shape_text(const pfc_tensor *t, char *text, size_t size);
/* Element `index` of a tensor as "[3, 7]". */
const char *pfc_index_text(const pfc_tensor *t, int64_t index, char *text, size_t size);
/* The same file by device and inode on rank 0, agreed. Collective. */
bool pfc_same_file(const pfc_cli *cli, const char *a, const char *b);

/* ---- OpenBLAS on a CPU it does not know (openblas.c) ---- */

typedef struct pfc_openblas {
    char found[32], core[32]; /* core type before and now */
    bool mended;
} pfc_openblas;

/* OpenBLAS falls back to its slowest kernels on a CPU it does not know. If it did and the user has not set OPENBLAS_CORETYPE, move it to the right ones; one
 * thread in any case (ranks and OpenMP are the threads). Process-global, hence the driver's business. */
pfc_openblas pfc_openblas_mend(void);
const pfc_openblas *pfc_openblas_state(void); /* of the last call */
void pfc_openblas_threads(int threads);

/* ---- the folder of shipped cases (folder.c) ---- */

typedef struct pfc_folder {
    char path[1024];
    char (*names)[256]; /* without .h5, sorted */
    int count;
} pfc_folder;

/* PFC_DATA, else data/ beside the build tree's executable or in its source tree, else where it was installed, else ./data. Collective. */
int pfc_folder_open(const pfc_cli *cli, pfc_folder *folder, pfc_diag *diag);
void pfc_folder_free(pfc_folder *folder);
/* A shipped file that is no case: a name with a '/', or of a file that is there, is the path itself; another one is PATH/BELOW/NAME (below "": PATH/NAME).
 * Status 3: no such file. Collective. */
int pfc_shipped_file(const pfc_cli *cli, const char *option, const char *name, const char *below, char *path, size_t size, pfc_diag *diag);
/* PATH/NAME.h5. */
void pfc_folder_file(const pfc_folder *folder, const char *name, char *path, size_t size);

/* ---- files looked at without their table (results.c), on one rank ---- */

/* What a file is, without reading its data. */
typedef struct pfc_peek {
    char algorithm[64], spec[16];
    int64_t world; /* -1: any */
    bool has_out, has_step, has_bound;
    char sizes[128]; /* "N=24 C=37 D=8" */
    char unfit[160]; /* why it cannot run on this many ranks; "" if it can */
} pfc_peek;

/* Fills *peek on all ranks. Errors leave everything empty: reading the case will name them. Collective. */
void pfc_peek_file(const pfc_cli *cli, const char *path, pfc_peek *peek);

typedef struct pfc_result_file {
    char path[1024], algorithm[64], spec[16];
    int64_t world;
    pfc_tensor_list out, step, bound_out, bound_step; /* whole tensors; steps in data-flow order */
    pfc_tensor_list rows;                             /* the input that the algorithm's `rows` names; empty: none */

    /* what pfc_results_more adds of a golden */
    pfc_case *settings;                    /* its parameters; no tensors */
    pfc_tensor_list in;                    /* inputs */
    pfc_tensor_list f32_out, f32_step;     /* bounds for f32 */
    pfc_tensor_list whole_out, whole_step; /* shapes before pfc_cut_results cut them, without data */
} pfc_result_file;

/* Reads /out and /step, /bound/<bound>/ if bound is not NULL, and how the batch is cut; needs neither parameters nor other inputs nor the number of
 * ranks. A port's file may lack the header (`golden` false). Local (plain HDF5). */
int pfc_results_read(const char *path, bool golden, const char *bound, pfc_result_file *file, pfc_diag *diag);
/* After pfc_results_read of a golden: parameters, inputs, and with a precision its bounds (none is no failure) and, if it is none of float32, the
 * bounds for f32. Local. */
int pfc_results_more(pfc_result_file *file, const pfc_precision *precision, pfc_diag *diag);
/* The types that a golden has bounds for: "f32, bf16"; "" if none. Local. */
const char *pfc_results_bounds(const char *path, char *text, size_t size);
void pfc_results_free(pfc_result_file *file);

/* A folder of .npy files: the results and steps that the golden has. DIR/out/NAME.npy, DIR/out_NAME.npy or DIR/NAME.npy; DIR/step/NAME.npy or
 * DIR/step_NAME.npy. Local (npy_folder.c). */
int pfc_npy_folder_read(const char *folder, const pfc_result_file *golden, pfc_result_file *file, pfc_diag *diag);
/* Appends the array of a .npy file (versions 1 to 3; little or big endian; C or Fortran order; real numbers, integers, booleans, bfloat16). Local (npy.c). */
int pfc_npy_read(const char *path, const char *name, pfc_tensor_list *list, pfc_diag *diag);
/* The same of one part of the first axis, that of pfc_shard_of; rows: the length of the axis in the file. */
int pfc_npy_read_part(const char *path, const char *name, int rank, int ranks, pfc_tensor_list *list, int64_t *rows, pfc_diag *diag);

/* Where an element of a tensor that check compares lies. index: in what was compared. */
typedef struct pfc_owned {
    int64_t index;   /* in the whole tensor */
    int rank;        /* that holds it; -1: unknown, or every rank does */
    char whole[160]; /* "[3, 7]" in the whole tensor */
    char local[160]; /* in that rank's part */
} pfc_owned;
/* rank: whose part was compared; -1: the whole. ranks: of the port; -1: unknown. Local (shard_part.c). */
void pfc_find_place(const pfc_result_file *file, bool step, const char *name, int64_t index, int rank, int ranks, pfc_owned *place);

/* Cuts /out and /step and their bounds to what rank `rank` of `ranks` of a port holds: by the table, axis N by `rows` where the file has it. Local
 * (shard_part.c). */
int pfc_cut_results(pfc_result_file *file, int rank, int ranks, pfc_diag *diag);

/* ---- results against the dense equations (dense_check.c) ---- */

/* Told of every result of the dense equations, on all ranks alike. */
typedef void (*pfc_dense_fn)(void *user, const pfc_tensor *want, const pfc_comparison *r);
/* c->out of exact mode against the textbook equations: within 1e-9 of each tensor's largest magnitude, NaN where NaN. An algorithm without them: nothing is
 * told. Collective. */
int pfc_dense_compare(MPI_Comm comm, pfc_case *c, pfc_dense_fn each, void *user, pfc_diag *diag);

/* ---- text tables (table.c) ---- */

typedef struct pfc_table pfc_table;
/* align: one letter per column, 'l' or 'r'. NULL: out of memory; every function accepts NULL. */
pfc_table *pfc_table_new(const char *align, const char *const *titles);
void pfc_table_cell(pfc_table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void pfc_table_print(const pfc_table *t, FILE *file);
void pfc_table_free(pfc_table *t);

/* ---- plots by gnuplot (plot.c) ---- */

/* Whether --plot can be done: status 2, 4. Collective. */
int pfc_plot_check(const pfc_cli *cli, pfc_diag *diag);
/* gnuplot's input, with the output set to cli->plot; NULL: it cannot be started. Close says of either how it went. Local. */
FILE *pfc_plot_open(const pfc_cli *cli, int height);
int pfc_plot_close(const pfc_cli *cli, FILE *gnuplot, pfc_diag *diag);

/* ---- JSON files (json.c) ---- */

typedef struct pfc_json pfc_json;
/* No --json, or a rank other than 0: NULL, which every function accepts; a file that cannot be written is in diag on all ranks. key NULL: element of a list.
 * Non-finite reals become strings. Collective. */
pfc_json *pfc_json_open(const pfc_cli *cli, pfc_diag *diag);
void pfc_json_begin(pfc_json *j, const char *key, char bracket); /* '{' or '[' */
void pfc_json_end(pfc_json *j);
void pfc_json_text(pfc_json *j, const char *key, const char *value);
void pfc_json_int(pfc_json *j, const char *key, int64_t value);
void pfc_json_real(pfc_json *j, const char *key, double value);
void pfc_json_bool(pfc_json *j, const char *key, bool value);
/* What computed it: backend, isa, engine, transport. */
void pfc_json_context(pfc_json *j, const pfc_ctx *ctx);
/* Ends the file and moves it to its name. Collective: all ranks call it and learn of a failure. */
int pfc_json_close(pfc_json **j, const pfc_cli *cli, pfc_diag *diag);

/* ---- cases for any number of ranks (alone.c) ---- */

enum { PFC_MAX_DIGESTS = 64 };

typedef struct pfc_digests {
    int count;
    char name[PFC_MAX_DIGESTS][PFC_MAX_NAME];
    char sha256[PFC_MAX_DIGESTS][65];
} pfc_digests;

/* The algorithm's case for this many ranks, filled and checked, over comm, which may have another number of them. NULL: diag says why. Collective. */
pfc_case *pfc_case_any_ranks(MPI_Comm comm, const pfc_algorithm *a, int ranks, pfc_diag *diag);
/* Digests of all results and steps of that case computed by rank 0 alone, on all ranks. Collective over cli->comm. */
int pfc_digests_alone(const pfc_cli *cli, const pfc_algorithm *a, pfc_digests *d, pfc_diag *diag);
const char *pfc_digests_find(const pfc_digests *d, const char *name); /* NULL: absent */

#endif
