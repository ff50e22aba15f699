/* explain_batch_norm.c: the steps of batch_norm and group_gather, and examples with two channels and whole numbers. */
#include "driver/explain.h"

#include <stdlib.h>
#include <string.h>

/* ---- batch_norm ---- */

static double x_at(int64_t i)
{
    static const double list[] = { 1, 10, 3, 14, 2, 9, 6, 11, 4, 12, 0, 8, 5, 15, 3, 13, 7, 10, 2, 12 };
    return list[i % 20];
}

static double gradient_at(int64_t i)
{
    static const double list[] = { 0.2, -0.1, 0.4, 0.3, -0.3, 0.1, 0.1, -0.4, 0.5, 0.2, -0.2, 0.3, 0.3, -0.2, -0.1, 0.4, 0.2, 0.1, -0.4, 0.2 };
    return list[i % 20];
}

static double weight_at(int64_t i) { return i == 0 ? 1.0 : 2.0; }
static double bias_at(int64_t i) { return i == 0 ? 0.0 : 0.5; }

/* Each unit of a rank needs two values. */
static int norm_example(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag)
{
    int64_t splits = strcmp(pfc_param_word(c, "kind"), "sub") == 0 ? pfc_param_int(c, "num_splits") : 1, least = 2 * (splits < 1 ? 1 : splits);
    int64_t rows = pfc_ex_rows(ranks, 8) / ranks, dims[2] = { ranks * (rows < least ? least : pfc_ex_rows((int)least / 2, rows)), 2 };
    if (strcmp(pfc_param_word(c, "kind"), "sync") == 0) pfc_ex_set(c, "num_sync_devices", "0", diag);
    pfc_ex_input(comm, c, "x", 2, dims, x_at, diag);
    pfc_ex_input(comm, c, "grad_y", 2, dims, gradient_at, diag);
    pfc_ex_input(comm, c, "weight", 1, dims + 1, weight_at, diag);
    pfc_ex_input(comm, c, "bias", 1, dims + 1, bias_at, diag);
    return pfc_diag_agree(comm, diag);
}

/* Ranks share statistics in training; without running statistics evaluation takes those of its batch, of the rank alone. */
#define SHARED "kind=sync training=1 !local_size=1"
#define RUNNING "training=0 track_running_stats=1"
#define BATCH "training=1 / track_running_stats=0"

static const pfc_ex_step norm_steps[] = {
    { "1", "count",
      "{" SHARED "} M = elements of a channel over the ranks of the group\n"
      "{kind=sub training=1} M = elements of a channel in a split\n"
      "{kind=plain / kind=sync local_size=1 / training=0} M = elements of a channel on this rank",
      NULL, NULL, BATCH },
    { "2", "grid",
      "{exact} the largest |x| of each channel\n"
      "{!exact} the first x of each channel, of whichever size",
      "{exact} It says in which unit the integers count that are added.\n"
      "{!exact} It is subtracted before squaring: a number of the data's size, so little is lost to rounding.\n"
      "{" SHARED "} The largest of all ranks of the group is taken.",
      NULL, BATCH },
    { "3", "sums",
      "sum x, sum x^2                              by channel\n"
      "{" SHARED "} both over all ranks of the group",
      "{" SHARED "} With step 2 this is all that a rank needs to know of the others' data.\n{!exact} x stands for x minus the number of step 2.\n"
      "{kind=sub training=1} A channel of each split has sums of its own.",
      "in:x", BATCH },
    { "4", "statistics",
      "{" BATCH "} mean = sum x / M\n"
      "{" BATCH "} var = sum x^2 / M - mean^2\n"
      "{" RUNNING "} mean = running_mean, var = running_var      training=0",
      "A rank's mean and var, with which it normalises.\n"
      "{" RUNNING "} No input gives running statistics here: running_mean is 0, running_var 1.\n"
      "{" RUNNING " kind=sub aggregate=1} First they are made from the running statistics of the splits, likewise 0 and 1.",
      "{" RUNNING "} in:x\nstep:mean step:var", NULL },
    { "5", "running",
      "{!momentum=nan} running_mean <- (1 - momentum) running_mean + momentum mean\n"
      "{momentum=nan} running_mean <- (1 - w) running_mean + w mean\n"
      "{momentum=nan} w = 1/(1 + num_batches_tracked)              momentum=nan\n"
      "running_var likewise",
      "Before the step they are 0 and 1.\n"
      "{kind=sub} Each split has its own; those of the rank are then made from them, as of one batch.\n"
      "{running_var=unbiased / running_var=source local_size=1 / running_var=source !kind=sync} From M/(M - 1) var, the unbiased variance.\n"
      "{running_var=biased / running_var=source kind=sync !local_size=1} From var, the biased variance.\n"
      "{running_var=source} The published synchronous layer takes the biased one where there are several ranks, plain layers the unbiased.",
      "out:running_mean out:running_var out:split_running_mean out:split_running_var", "training=1 track_running_stats=1" },
    { "6", "normalise",
      "x^ = (x - mean)/sqrt(var + eps)\n"
      "y = weight x^ + bias",
      NULL, "in:weight in:bias out:y", NULL },
    { "7", "grid", "the largest |g| and |g x^| of each channel",
      "Exact mode only: in which unit the integers count.\n{" SHARED "} The largest of all ranks of the group are taken.", "in:grad_y", "exact" },
    { "8", "sums",
      "bias_grad = sum g, weight_grad = sum g x^   of this rank\n"
      "{" SHARED "} sum g, sum g x^                             over all ranks of the group",
      "Gradients of weight and bias are each rank's own: whoever trains averages them.\n{!exact} The gradient that comes in:",
      "{!exact} in:grad_y\n"
      "out:bias_grad out:weight_grad",
      NULL },
    { "9", "gradient",
      "{" BATCH "} dx = weight/sqrt(var + eps) (g - sum g / M - x^ sum g x^ / M)\n"
      "{" RUNNING "} dx = weight/sqrt(var + eps) g",
      "{" SHARED " weighting=equal} Where ranks have unequal counts, not here, another divisor takes the place of M.\n"
      "{" RUNNING "} mean and var do not depend on x.",
      "out:x_grad", NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const pfc_ex_exchange norm_exchanges[] = {
    { "", PFC_COMM_MAX, "i", "have all ranks as many columns", NULL, NULL },
    { "1", PFC_COMM_MAX, "i", "counts: the largest, and the smallest, negative", NULL, SHARED },
    { "1", PFC_COMM_SUM, "i", "M, the count of all", "M|", SHARED },
    { "2", PFC_COMM_MAX, "r", "grid, of each channel", "C", SHARED },
    { "3", PFC_COMM_SUM, "a", "sum x and sum x^2, of each channel", "sum x|sum x^2,C", SHARED },
    { NULL, PFC_COMM_MAX, "mean", NULL, NULL, NULL },
    { "7", PFC_COMM_MAX, "r", "grids, of each channel", "of g|of g x^,C", SHARED },
    { "8", PFC_COMM_SUM, "a", "sum g and sum g x^, of each channel", "sum g|sum g x^,C", SHARED },
    { NULL, PFC_COMM_MAX, NULL, NULL, NULL, NULL },
};

static const char *const norm_settings[] = { "kind", "sync", "eps", "1e-5", "momentum", "0.1", NULL };

const pfc_ex_algorithm pfc_ex_batch_norm = {
    .name = "batch_norm",
    .source = "src/algo/batch_norm.c",
    .about = "Each channel is brought to mean 0 and variance 1 over a batch: that of the rank (kind=plain), parts of it (sub), or those of a group "
             "of ranks "
             "together (sync), which then share two sums forward and two backward.",
    .letters = "P  ranks           N  samples in all, in rank order     C  channels\n"
               "M  elements of a channel that are normalised together\n"
               "u  in tables: a channel, with kind=sub a channel of a split\n"
               "g  gradient of y, the input grad_y\n"
               "a <- b  a becomes b",
    .settings = norm_settings,
    .example = norm_example,
    .steps = norm_steps,
    .exchanges = norm_exchanges,
};

/* ---- group_gather ---- */

static double input_at(int64_t i) { return (double)(10 * (i / 3) + i % 3 + 1); }
static double grad_output_at(int64_t i) { return (double)(i % 5) - 2.0; }

/* Pairs of ranks where there are more than one pair; else all together. */
static int gather_example(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag)
{
    int64_t dims[2] = { ranks, 3 };
    char groups[16];
    bool pairs = ranks > 2 && ranks % 2 == 0;
    snprintf(groups, sizeof groups, "%d", pairs ? ranks / 2 : 1);
    if (!pfc_ex_given(c, "num_sync_devices") && !pfc_ex_given(c, "num_groups") && !pfc_ex_given(c, "local_size")) {
        pfc_ex_set(c, "num_sync_devices", pairs ? "2" : "1", diag);
        pfc_ex_set(c, "num_groups", groups, diag);
    }
    pfc_ex_set(c, "num_sync_devices", "1", diag);
    pfc_ex_set(c, "num_groups", "1", diag);
    pfc_ex_input(comm, c, "input", 2, dims, input_at, diag);
    pfc_ex_input(comm, c, "grad_output", 2, dims, grad_output_at, diag);
    return pfc_diag_agree(comm, diag);
}

static const pfc_ex_step gather_steps[] = {
    { "1", "the group, a communicator of its own",
      "{!num_groups=1} ranks d*i to d*i + d - 1                         d = num_sync_devices\n"
      "{num_groups=1} the ranks of the machine                         local_size of them",
      "The published code gathers the vectors of the whole machine on every rank and drops what is not the group's.", NULL, NULL },
    { "2", "exponents, allreduce MAX", "e_i = exponent of the largest element i of the group",
      "Exact mode only: in which unit the integers count that are added.", NULL, "exact" },
    { "3", "allreduce SUM over the group",
      "output_i = sum over the group of input_i\n"
      "grad_input_i = sum over the group of grad_output_i",
      "Forward and backward are the same sum.", "in:input in:grad_output out:output out:grad_input", NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const pfc_ex_exchange gather_exchanges[] = {
    { "", PFC_COMM_MAX, "i", "have all ranks as many elements", NULL, NULL },
    { "2", PFC_COMM_MAX, "e", "e, exponents of input", NULL, NULL },
    { "3", PFC_COMM_SUM, "a", "input, the vectors of the group", "M", NULL },
    { "", PFC_COMM_MAX, "i", "have all ranks as many elements", NULL, NULL },
    { "2", PFC_COMM_MAX, "e", "e', exponents of grad_output", NULL, NULL },
    { "3", PFC_COMM_SUM, "a", "grad_output, the vectors of the group", "M", NULL },
    { NULL, PFC_COMM_MAX, NULL, NULL, NULL, NULL },
};

const pfc_ex_algorithm pfc_ex_group_gather = {
    .name = "group_gather",
    .source = "src/algo/group_gather.c",
    .about = "Every rank has a vector and gets the sum of those of its group. Synchronous batch norm was published on top of it.",
    .letters = "P  ranks      M  elements of a vector\n"
               "{!num_groups=1} d  ranks of a group    i  a group, and an element of the vectors\n"
               "{num_groups=1} i  an element of the vectors",
    .example = gather_example,
    .steps = gather_steps,
    .exchanges = gather_exchanges,
};
