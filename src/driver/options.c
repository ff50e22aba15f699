/* options.c: the command line, with glibc's argp. All commands share one set of options; each says which of them it takes. */
#include "driver/driver.h"
#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_NONE, KEY_GO, KEY_HELP, KEY_USAGE, KEY_VERSION };
enum { OPT_USAGE = 1001, OPT_BACKEND, OPT_MODE, OPT_JSON, OPT_THREADS };

/* The keys of the commands' own options are letters, so that pfc_command.options can list them. */
static const struct argp_option common_options[] = {
    { "backend", OPT_BACKEND, "NAME", 0, "cpu; cuda; checked: cpu with every operation verified, slow; default PFC_BACKEND, else cpu", 8 },
    { "mode", OPT_MODE, "MODE", 0, "exact: the same bits everywhere (default); fast: float32 (default of bench and train)", 8 },
    { "threads", OPT_THREADS, "N", 0,
      "threads in each rank; default OMP_NUM_THREADS, else 1 with several ranks on a machine (bench: 1), all processors with one", 8 },
    { "json", OPT_JSON, "FILE", 0, "write the results there, too", 8 },
    { "quiet", 'q', NULL, 0, "print errors only", 8 },
    { "help", '?', NULL, 0, "give this help list", -1 },
    { "usage", OPT_USAGE, NULL, 0, "give a short usage message", -1 },
    { "version", 'V', NULL, 0, "print program version and numerical specification", -1 },
    { NULL, 0, NULL, 0, NULL, 0 },
};

static const struct argp_option own_options[] = {
    { "output", 'o', "PATH", 0, "file (run) or folder (golden, export) to write", 1 },
    { "in", 'i', "NAME=FILE.txt", 0, "take this input from a text file, one number a line", 2 },
    { "steps", 'S', NULL, 0, "write the intermediate results of the last step, too", 2 },
    { "no-inputs", 'I', NULL, 0, "leave the inputs out of the written file", 2 },
    { "emulate", 'E', "TYPE", 0,
      "products as a port in tf32, bf16 or f16 computes them, -rz behind it: operands truncated, -stored: results of products kept in the type, too; mode "
      "fast unless --mode exact",
      3 },
    { "dtype", 'd', "TYPE", 0, "the type of the port's products: exact, f64, f32, tf32, bf16 or f16; default the type its results are stored in", 3 },
    { "size", 's', "N=..,C=..", 0, "sizes of a generated case; the letters of pfc_ref list", 4 },
    { "param", 'p', "NAME=VALUE,..", 0, "parameters of a generated case or of the example; the names of pfc_ref list", 4 },
    { "fill", 'f', "KIND", 0, "normal (default), lattice or hard; doc/fills.md", 4 },
    { "seed", 'e', "N", 0, "of the generated inputs (1)", 4 },
    { "name", 'n', "NAME", 0, "file name of a generated case, without .h5", 4 },
    { "rounds", 'r', "N", 0, "measured steps (5)", 5 },
    { "quick", 'Q', NULL, 0, "small standard sizes, for a try; no figures to quote", 5 },
    { "plot", 'g', "FILE.svg", 0, "draw the shares of the bound, by gnuplot; or FILE.png", 5 },
    { "recompute", 'C', NULL, 0, "partial_fc: form the cosines again in the second pass instead of keeping them; the same results in less memory", 5 },
    { "rank", 'R', "R", 0, "the candidate holds only this rank's part", 6 },
    { "of", 'P', "P", 0, "ranks of the port; without --rank the candidate is whole", 6 },
    { "sound", 'D', NULL, 0, "use bounds that no correct port exceeds, whatever its roundings; wider", 6 },
    { "operand-rounding", 'O', "MODE", 0, "how the port rounds what enters matrix products: rn, to nearest (default), or rz, towards zero", 6 },
    { "features", 'F', "FILE", 0, "the examples: .npy, or HDF5 (FILE.h5 or FILE.h5:/dataset); (rows, width), real numbers", 1 },
    { "labels", 'L', "FILE", 0, "their classes, from 0: (rows), integers", 1 },
    { "held-out", 'H', "FILE", 0, "features to measure the accuracy on after every epoch; may be given several times", 1 },
    { "held-out-labels", 'h', "FILE", 0, "their classes, one file for each --held-out", 1 },
    { "glyphs", 'z', "FILE", 0,
      "instead: images of characters, the classes, and an encoder that makes the features of them; hanglyph's file (data/README.md), or han256.bin, which is "
      "shipped",
      1 },
    { "recipe", 'y', "NAME|FILE", 0,
      "settings of the run, lines NAME=VALUE: a file, or a shipped one (han-5k, han-21k, moco, swav); what the command line says goes before it", 1 },
    { "batch", 'b', "N", 0, "rows of a step on all ranks; a multiple of the number of ranks", 2 },
    { "epochs", 'N', "N", 0, "length of the run, and of the schedule", 2 },
    { "steps", 'T', "N", 0, "the same in steps", 2 },
    { "stop-at", 'A', "STEP", 0, "stop after this step, with a checkpoint; the schedule is unchanged", 2 },
    { "lr", 'a', "RATE", 0, "learning rate", 2 },
    { "seed", 'G', "N", 0, "of weights, sampling and the order of the examples", 2 },
    { "checkpoint", 'c', "DIR", 0, "folder for checkpoints: at the end, when stopped, and as --every says", 3 },
    { "every", 'v', "K", 0, "a checkpoint every K steps", 3 },
    { "keep", 'k', "K", 0, "how many checkpoints stay (3)", 3 },
    { "resume", 'u', "FILE|DIR", OPTION_ARG_OPTIONAL, "go on from a checkpoint; without a value: from the newest one in the folder of --checkpoint", 3 },
    { "log", 'l', "FILE", 0, "a line for every step, tab-separated", 3 },
    { "plot", 'j', "FILE.svg", 0, "draw loss and accuracy, by gnuplot; or FILE.png", 3 },
    { "param", 'x', "NAME=VALUE,..", 0, "any setting of the run: doc/training.md", 4 },
    { "html", 'M', "FILE", 0, "write the same as one page for a browser", 3 },
    { "svg", 'X', "FILE", 0, "draw the data flow of all steps", 3 },
    { "ranks", 'W', "P", 0, "split for so many ranks: a folder for each", 6 },
    { NULL, 0, NULL, 0, NULL, 0 },
};
static const char golden_dtype[] = "types to make bounds for, as f32,bf16,bf16-rz,bf16-sound; default f32,tf32,bf16,f16";
enum { OWN_COUNT = sizeof own_options / sizeof own_options[0] };

typedef struct parser {
    pfc_cli *cli;
    int action;
    int command_at; /* first pass: position of the command in argv; 0: none */
    bool first;
} parser;

static error_t bad_value(struct argp_state *state, const char *option, const char *arg, const char *expected)
{
    argp_error(state, "--%s %s: expected %s", option, arg, expected);
    return EINVAL;
}

static error_t parse_int(struct argp_state *state, const char *option, const char *arg, int64_t low, int64_t high, int64_t *out)
{
    char *end = NULL;
    char expected[80];
    errno = 0;
    long long value = strtoll(arg, &end, 10);
    snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)low, (long long)high);
    if (errno || end == arg || *end || value < low || value > high) return bad_value(state, option, arg, expected);
    *out = value;
    return 0;
}

static error_t parse_small(struct argp_state *state, const char *option, const char *arg, int low, int *out)
{
    int64_t value = 0;
    error_t error = parse_int(state, option, arg, low, 1 << 20, &value);
    if (!error) *out = (int)value;
    return error;
}

static error_t append(const char ***list, int *count, const char *text)
{
    const char **longer = realloc(*list, (size_t)(*count + 1) * sizeof *longer);
    if (!longer) return ENOMEM;
    *list = longer;
    longer[(*count)++] = text;
    return 0;
}

/* --batch 64 is --param batch=64. */
static error_t append_param(pfc_cli *cli, const char *name, const char *value)
{
    char *text = NULL;
    if (cli->param_text_count == (int)(sizeof cli->param_texts / sizeof cli->param_texts[0])) return E2BIG;
    if (asprintf(&text, "%s=%s", name, value) < 0) return ENOMEM;
    cli->param_texts[cli->param_text_count++] = text;
    return append(&cli->params, &cli->param_count, text);
}

static error_t parse_mode(struct argp_state *state, pfc_cli *cli, const char *arg)
{
    cli->mode_given = true;
    cli->mode = strcmp(arg, "fast") == 0 ? PFC_FAST : PFC_EXACT;
    if (cli->mode == PFC_EXACT && strcmp(arg, "exact")) return bad_value(state, "mode", arg, "exact or fast");
    return 0;
}

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    parser *p = state->input;
    pfc_cli *cli = p->cli;
    switch (key) {
    case OPT_BACKEND: cli->backend = arg; return 0;
    case OPT_MODE: return parse_mode(state, cli, arg);
    case OPT_JSON: cli->json = arg; return 0;
    case OPT_THREADS: return parse_small(state, "threads", arg, 1, &cli->threads);
    case 'q': cli->quiet = true; return 0;
    case '?': p->action = KEY_HELP; return 0;
    case OPT_USAGE: p->action = KEY_USAGE; return 0;
    case 'V': p->action = KEY_VERSION; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t finish_train(struct argp_state *state, const pfc_cli *cli)
{
    const char *wrong = NULL;
    if (!cli->glyphs && (!cli->features || !cli->labels)) wrong = "--features and --labels are needed, or --glyphs";
    if (cli->glyphs && (cli->features || cli->labels || cli->held_out_count || cli->held_out_label_count))
        wrong = "--glyphs goes without --features, --labels, --held-out and --held-out-labels";
    if (cli->held_out_count != cli->held_out_label_count) wrong = "as many --held-out-labels are needed as --held-out";
    if (cli->resume && !cli->resume[0] && !cli->checkpoint) wrong = "--resume without a file or folder needs --checkpoint";
    if ((cli->every || cli->keep) && !cli->checkpoint) wrong = "--every and --keep need --checkpoint";
    if (wrong) argp_error(state, "%s", wrong);
    return wrong ? EINVAL : 0;
}

/* Conditions that need the whole line. */
static error_t finish(struct argp_state *state, const parser *p)
{
    const pfc_cli *cli = p->cli;
    const pfc_command *command = cli->command;
    if (p->action != KEY_GO) return 0;
    if (cli->file_count < command->min_files) {
        argp_error(state, "expected %s", command->args);
        return EINVAL;
    }
    if (cli->file_count > command->max_files) {
        argp_error(state, "%s: one argument too many", cli->files[command->max_files]);
        return EINVAL;
    }
    if (strchr(command->options, 'o') && !cli->output) {
        argp_error(state, "-o is missing: where to write");
        return EINVAL;
    }
    if (cli->shard_rank >= 0 && cli->shard_rank >= cli->shard_of) {
        argp_error(state, "--rank R --of P: expected both, with 0 <= R < P");
        return EINVAL;
    }
    if (command->run == pfc_cmd_train) return finish_train(state, cli);
    if (cli->operand_rounding && strcmp(cli->operand_rounding, "rn") && strcmp(cli->operand_rounding, "rz"))
        return bad_value(state, "operand-rounding", cli->operand_rounding, "rn or rz");
    return 0;
}

/* The options of train. */
static error_t parse_train(int key, char *arg, struct argp_state *state)
{
    parser *p = state->input;
    pfc_cli *cli = p->cli;
    switch (key) {
    case 'F': cli->features = arg; return 0;
    case 'L': cli->labels = arg; return 0;
    case 'H': return append(&cli->held_out, &cli->held_out_count, arg);
    case 'h': return append(&cli->held_out_labels, &cli->held_out_label_count, arg);
    case 'z': cli->glyphs = arg; return 0;
    case 'y': cli->recipe = arg; return 0;
    case 'b': return append_param(cli, "batch", arg);
    case 'N': return append_param(cli, "epochs", arg);
    case 'T': return append_param(cli, "steps", arg);
    case 'A': return append_param(cli, "stop_at", arg);
    case 'a': return append_param(cli, "lr", arg);
    case 'G': return append_param(cli, "seed", arg);
    case 'c': cli->checkpoint = arg; return 0;
    case 'v': return parse_small(state, "every", arg, 1, &cli->every);
    case 'k': return parse_small(state, "keep", arg, 1, &cli->keep);
    case 'u': cli->resume = arg ? arg : ""; return 0;
    case 'l': cli->log = arg; return 0;
    case 'j': cli->plot = arg; return 0;
    case 'x': return append(&cli->params, &cli->param_count, arg);
    default: return parse_common(key, arg, state);
    }
}

static error_t parse_own(int key, char *arg, struct argp_state *state)
{
    parser *p = state->input;
    pfc_cli *cli = p->cli;
    switch (key) {
    case 'o': cli->output = arg; return 0;
    case 'S': cli->steps = true; return 0;
    case 'I': cli->no_inputs = true; return 0;
    case 'd': cli->dtype = arg; return 0;
    case 'E': cli->emulate = arg; return 0;
    case 's': cli->size = arg; return 0;
    case 'p': return append(&cli->params, &cli->param_count, arg);
    case 'i': return append(&cli->inputs, &cli->input_count, arg);
    case 'f': cli->generating = "--fill", cli->fill = arg; return 0;
    case 'n': cli->generating = "--name", cli->name = arg; return 0;
    case 'e': cli->generating = "--seed"; return parse_int(state, "seed", arg, INT64_MIN, INT64_MAX, &cli->seed);
    case 'r': return parse_small(state, "rounds", arg, 1, &cli->rounds);
    case 'Q': cli->quick = true; return 0;
    case 'g': cli->plot = arg; return 0;
    case 'R': return parse_small(state, "rank", arg, 0, &cli->shard_rank);
    case 'P': return parse_small(state, "of", arg, 1, &cli->shard_of);
    case 'C': cli->recompute = true; return 0;
    case 'D': cli->sound = true; return 0;
    case 'O': cli->operand_rounding = arg; return 0;
    case 'M': cli->html = arg; return 0;
    case 'X': cli->svg = arg; return 0;
    case 'W': return parse_small(state, "ranks", arg, 1, &cli->split);
    case ARGP_KEY_ARG: return append(&cli->files, &cli->file_count, arg);
    case ARGP_KEY_END: return finish(state, p);
    default: return parse_train(key, arg, state);
    }
}

/* First pass: options up to the command's name. */
static error_t parse_first(int key, char *arg, struct argp_state *state)
{
    parser *p = state->input;
    if (key != ARGP_KEY_ARG) return parse_common(key, arg, state);
    p->command_at = state->next - 1;
    state->next = state->argc;
    return 0;
}

static int usage_error(void) { return PFC_EXIT_USAGE; }

static int act(const parser *p, const struct argp *argp, char *name, bool speak)
{
    if (p->action == KEY_GO) return -1;
    if (!speak) return PFC_EXIT_OK;
    if (p->action == KEY_VERSION)
        printf("pfc_ref %s\nnumerical specification %s\n", pfc_version(), PFC_SPEC_EXACT);
    else
        argp_help(argp, stdout, p->action == KEY_USAGE ? ARGP_HELP_USAGE : ARGP_HELP_LONG | ARGP_HELP_USAGE | ARGP_HELP_DOC, name);
    return fflush(stdout) ? PFC_EXIT_RUNTIME : PFC_EXIT_OK;
}

static const char top_doc[] = "CPU and MPI reference of distributed training algorithms, to check ports against."
                              "\v"
                              "Commands (pfc_ref COMMAND --help says more):\n"
                              "  verify   every shipped case against its golden and the dense equations (default)\n"
                              "  list     algorithms, parameters, shipped cases, the golden suite\n"
                              "  info     build, instruction sets, BLAS, MPI, threads, backends\n"
                              "  explain  a small example of an algorithm, step by step\n"
                              "  run      compute a case\n"
                              "  golden   make goldens: inputs, results, bounds, digests\n"
                              "  check    compare a port's results with a golden\n"
                              "  bench    measure the machine, then time an algorithm or all of them\n"
                              "  train    train a layer on features, or an encoder on glyphs, with checkpoints\n"
                              "  inspect  what is in a checkpoint, a case or a golden\n"
                              "  export   a checkpoint as .npy files\n"
                              "Open MPI refuses root, and more ranks than cores: . tests/mpi-env.sh (doc/faq.md) allows both; mpirun -q leaves its own "
                              "messages out.\n"
                              "Exit status: 0 done and matching, 1 different, 2 usage, 3 bad or incomplete file, 4 backend not available, 5 run-time failure.";

static int parse_command(parser *p, int argc, char **argv, bool speak, unsigned flags)
{
    const pfc_command *command = p->cli->command;
    struct argp_option options[OWN_COUNT + sizeof common_options / sizeof common_options[0]];
    int n = 0;
    for (int i = 0; own_options[i].name; i++) {
        if (!strchr(command->options, own_options[i].key)) continue;
        options[n++] = own_options[i];
        if (own_options[i].key == 'd' && command->run == pfc_cmd_golden) options[n - 1].doc = golden_dtype;
    }
    memcpy(options + n, common_options, sizeof common_options);
    for (; options[n].name; n++)
        if (!command->computes && (options[n].key == OPT_BACKEND || options[n].key == OPT_MODE || options[n].key == OPT_THREADS))
            options[n].flags |= OPTION_HIDDEN;
    const struct argp argp = { options, parse_own, command->args, command->help, NULL, NULL, NULL };
    char name[80];
    snprintf(name, sizeof name, "pfc_ref %s", command->name);
    char *saved = argv[0];
    argv[0] = name; /* argp's messages begin with it */
    p->action = KEY_GO;
    error_t error = argp_parse(&argp, argc, argv, flags, NULL, p);
    argv[0] = saved;
    return error ? usage_error() : act(p, &argp, name, speak);
}

int pfc_cli_parse(pfc_cli *cli, int argc, char **argv, bool speak)
{
    static const struct argp top = { common_options, parse_first, "[COMMAND [ARGUMENT...]]", top_doc, NULL, NULL, NULL };
    unsigned flags = ARGP_NO_EXIT | ARGP_NO_HELP | (speak ? 0 : ARGP_NO_ERRS);
    parser p = { .cli = cli, .action = KEY_GO };
    char name[] = "pfc_ref";
    cli->shard_rank = cli->shard_of = -1;
    cli->rounds = 5;
    cli->seed = 1;
    cli->fill = "normal";
    argp_err_exit_status = PFC_EXIT_USAGE;

    char *saved = argv[0];
    argv[0] = name;
    error_t error = argp_parse(&top, argc, argv, flags | ARGP_IN_ORDER, NULL, &p);
    argv[0] = saved;
    if (error) return usage_error();
    int status = act(&p, &top, name, speak);
    if (status >= 0) return status;

    int at = p.command_at ? p.command_at : argc;
    cli->command = &pfc_commands[0];
    if (at < argc) {
        while (cli->command->name && strcmp(cli->command->name, argv[at])) cli->command++;
        if (!cli->command->name) {
            if (speak) fprintf(stderr, "pfc_ref: %s: no such command; pfc_ref --help lists them\n", argv[at]);
            return usage_error();
        }
        return parse_command(&p, argc - at, argv + at, speak, flags);
    }
    char *none[] = { name, NULL };
    return parse_command(&p, 1, none, speak, flags);
}

void pfc_cli_free(pfc_cli *cli)
{
    free(cli->files);
    free(cli->params);
    free(cli->inputs);
    free(cli->held_out);
    free(cli->held_out_labels);
    for (int i = 0; i < cli->param_text_count; i++) free(cli->param_texts[i]);
    cli->param_text_count = 0;
    cli->files = cli->params = cli->inputs = cli->held_out = cli->held_out_labels = NULL;
}
