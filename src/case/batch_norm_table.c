/* batch_norm_table.c: the batch_norm family as tables: parameters, inputs, results, intermediate results (doc/case-format.md). */
#include "case/algorithms.h"
#include "case/batch_norm_case.h"

static const pfc_param_spec params[] = {
    { "kind", PFC_PARAM_WORD, "plain", "plain|sub|sync", "statistics of the rank's batch, of its splits, or of a group of ranks" },
    { "num_splits", PFC_PARAM_INT, "1", NULL, "splits of a batch (sub); split s holds the samples n with n mod num_splits = s" },
    { "num_sync_devices", PFC_PARAM_INT, "1", NULL, "ranks of a group (sync); 0 or less: local_size" },
    { "local_size", PFC_PARAM_INT, "", NULL, "ranks of a machine; default the number of ranks" },
    { "eps", PFC_PARAM_REAL, "1e-5", NULL, "added to the variance" },
    { "momentum", PFC_PARAM_REAL, "0.1", NULL, "of the running statistics; NaN: cumulative average" },
    { "training", PFC_PARAM_INT, "1", "0|1", "statistics of the batch, or running ones" },
    { "track_running_stats", PFC_PARAM_INT, "1", "0|1", "0: running statistics stay; evaluation takes those of the batch" },
    { "num_batches_tracked", PFC_PARAM_INT, "0", NULL, "batches before this one, for the cumulative average" },
    { "aggregate", PFC_PARAM_INT, "0", "0|1", "sub, training=0: aggregate the split statistics first" },
    { "running_var", PFC_PARAM_WORD, "source", "source|biased|unbiased", "source: unbiased for plain and sub, biased for sync" },
    { "weighting", PFC_PARAM_WORD, "equal", "equal|count", "sync: every rank counts the same, or every element" },
    { "variance", PFC_PARAM_WORD, "e2", "e2|two_pass", "sync: which float32 formula the bounds allow for" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

#define BATCH "N,C|N,C,T|N,C,H,W|N,C,T,H,W"
static const pfc_tensor_spec inputs[] = {
    { "x", PFC_KIND_REAL, BATCH, PFC_DIST_CLASS, 'N', false, "batch of all ranks, in rank order" },
    { "grad_y", PFC_KIND_REAL, BATCH, PFC_DIST_CLASS, 'N', true, "gradient of y; absent: forward only" },
    { "weight", PFC_KIND_REAL, "C", PFC_DIST_NONE, 0, true, "1 if absent" },
    { "bias", PFC_KIND_REAL, "C", PFC_DIST_NONE, 0, true, "0 if absent" },
    { "running_mean", PFC_KIND_REAL, "P,C", PFC_DIST_RANK, 'P', true, "0 if absent" },
    { "running_var", PFC_KIND_REAL, "P,C", PFC_DIST_RANK, 'P', true, "1 if absent" },
    { "rows", PFC_KIND_INT, "P", PFC_DIST_NONE, 0, true, "samples of each rank; absent: the same on all" },
    { "split_running_mean", PFC_KIND_REAL, "P,S*C", PFC_DIST_RANK, 'P', true, "sub: element s*C + c; 0 if absent" },
    { "split_running_var", PFC_KIND_REAL, "P,S*C", PFC_DIST_RANK, 'P', true, "sub; 1 if absent" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec outputs[] = {
    { "y", PFC_KIND_REAL, BATCH, PFC_DIST_CLASS, 'N', false, "normalised" },
    { "running_mean", PFC_KIND_REAL, "P,C", PFC_DIST_RANK, 'P', false, "after the step; sub: aggregated" },
    { "running_var", PFC_KIND_REAL, "P,C", PFC_DIST_RANK, 'P', false, "after the step; sub: aggregated" },
    { "split_running_mean", PFC_KIND_REAL, "P,S*C", PFC_DIST_RANK, 'P', true, "sub: after the step" },
    { "split_running_var", PFC_KIND_REAL, "P,S*C", PFC_DIST_RANK, 'P', true, "sub: after the step" },
    { "x_grad", PFC_KIND_REAL, BATCH, PFC_DIST_CLASS, 'N', true, "with grad_y" },
    { "weight_grad", PFC_KIND_REAL, "P,C", PFC_DIST_RANK, 'P', true, "with grad_y: of each rank's samples" },
    { "bias_grad", PFC_KIND_REAL, "P,C", PFC_DIST_RANK, 'P', true, "with grad_y: of each rank's samples" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

/* (P,S*C) in training of sub, else (P,C). */
static const pfc_tensor_spec steps[] = {
    { "mean", PFC_KIND_REAL, "P,U", PFC_DIST_RANK, 'P', false, "means that each rank normalised with" },
    { "var", PFC_KIND_REAL, "P,U", PFC_DIST_RANK, 'P', false, "biased variances" },
    { "sum_g", PFC_KIND_REAL, "P,U", PFC_DIST_RANK, 'P', true, "sum of grad_y over what shares the statistics" },
    { "sum_gx", PFC_KIND_REAL, "P,U", PFC_DIST_RANK, 'P', true, "sum of grad_y (x - mean)/sqrt(var + eps) over the same" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

/* Synchronous over all ranks, whatever their number. */
static int any_ranks(pfc_case *c, int ranks, pfc_diag *diag)
{
    static const char *const settings[][2] = { { "kind", "sync" }, { "num_sync_devices", "0" }, { "running_var", "unbiased" } };
    c->size['N' - 'A'] = 3 * (int64_t)ranks;
    c->size['C' - 'A'] = 5;
    c->size['H' - 'A'] = 4;
    c->size['W' - 'A'] = 7;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (pfc_case_set_param(c, settings[i][0], settings[i][1], diag)) break;
    return diag->exit_status;
}

/* Seventeen operations an element. Passes over memory at least: a rank alone reads x and writes y, reads x and the gradient and writes x_grad, 5, each channel
 * being in the cache when it is visited again. Where ranks share statistics, these are known only when all of the batch has been read: x comes once more
 * forward, x and the gradient once more backward, 8. */
static void bench_cost(const pfc_case *c, int ranks, pfc_dtype real, double *flops, double *bytes)
{
    double elements = (double)c->size['N' - 'A'] * (double)c->size['C' - 'A'] * (double)pfc_batch_norm_case_inner(c);
    bool shared = ranks > 1 && pfc_param_choice(c, "kind") == PFC_BN_SYNC && pfc_param_int(c, "num_sync_devices") != 1 && pfc_param_int(c, "training");
    *flops = 17.0 * elements;
    elements *= (double)pfc_dtype_size(real);
    bytes[PFC_BYTES_COPY] = 2.0 * elements;
    bytes[PFC_BYTES_TRIAD] = 3.0 * elements;
    bytes[PFC_BYTES_READ] = shared ? 3.0 * elements : 0.0;
}

static const char *const narrow[] = { "x", "grad_y", NULL };

const pfc_algorithm pfc_algorithm_batch_norm = {
    .name = "batch_norm",
    .help = "batch normalisation: plain, of sub-batches, synchronous over groups; forward, backward, running statistics",
    .params = params,
    .in = inputs,
    .out = outputs,
    .step = steps,
    .rows = "rows",
    .narrow = narrow,
    .check = pfc_batch_norm_check,
    .run = pfc_batch_norm_run,
    .dense = pfc_batch_norm_dense_case,
    .bounds = pfc_batch_norm_bounds,
    .fill = pfc_batch_norm_fill,
    .sizes = "N C; optional T H W",
    .any_ranks = any_ranks,
    .bench_open = pfc_batch_norm_bench_open,
    .bench_step = pfc_batch_norm_bench_step,
    .bench_close = pfc_batch_norm_bench_close,
    .bench_cost = bench_cost,
};
