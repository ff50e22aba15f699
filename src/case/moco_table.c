/* moco_table.c: moco_shuffle and moco as tables: parameters, inputs, results, intermediate results (doc/case-format.md). */
#include "case/algorithms.h"
#include "case/moco_case.h"

#define END_TENSORS                                              \
    {                                                            \
        NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL \
    }
#define END_PARAMS                            \
    {                                         \
        NULL, PFC_PARAM_INT, NULL, NULL, NULL \
    }

/* ---- moco_shuffle ---- */

static const pfc_param_spec shuffle_params[] = {
    { "seed", PFC_PARAM_INT, "0", NULL, "of the drawn permutation" },
    { "step", PFC_PARAM_INT, "0", NULL, "of the drawn permutation, 0 to 2^32 - 1" },
    END_PARAMS,
};

static const pfc_tensor_spec shuffle_inputs[] = {
    { "x", PFC_KIND_REAL, "N,...", PFC_DIST_BATCH, 'N', false, "the batch, one row per image" },
    { "permutation", PFC_KIND_INT, "N", PFC_DIST_NONE, 0, true, "row j of the shuffled batch is row permutation[j]; default drawn from seed and step" },
    END_TENSORS,
};

static const pfc_tensor_spec shuffle_outputs[] = {
    { "shuffled", PFC_KIND_REAL, "N,...", PFC_DIST_BATCH, 'N', false, "the shuffled batch" },
    { "inverse", PFC_KIND_INT, "N", PFC_DIST_NONE, 0, false, "inverse[permutation[j]] = j" },
    { "unshuffled", PFC_KIND_REAL, "N,...", PFC_DIST_BATCH, 'N', false, "the shuffled batch, put back in order" },
    END_TENSORS,
};

static const pfc_tensor_spec no_steps[] = { END_TENSORS };

static int shuffle_any_ranks(pfc_case *c, int ranks, pfc_diag *diag)
{
    c->size['N' - 'A'] = 9 * (int64_t)ranks;
    c->size['C' - 'A'] = 3;
    c->size['H' - 'A'] = 5;
    pfc_case_set_param(c, "seed", "2026", diag);
    return diag->exit_status;
}

static const char *const shuffle_narrow[] = { "x", NULL };

const pfc_algorithm pfc_algorithm_moco_shuffle = {
    .name = "moco_shuffle",
    .help = "batch shuffle over the ranks and back, as MoCo does around its key encoder",
    .params = shuffle_params,
    .in = shuffle_inputs,
    .out = shuffle_outputs,
    .step = no_steps,
    .narrow = shuffle_narrow,
    .check = pfc_moco_shuffle_check,
    .run = pfc_moco_shuffle_run,
    .dense = pfc_moco_shuffle_dense,
    .bounds = pfc_moco_shuffle_bounds,
    .fill = pfc_moco_shuffle_fill,
    .sizes = "N; optional C H W D",
    .any_ranks = shuffle_any_ranks,
    .bench_open = pfc_moco_shuffle_bench_open,
    .bench_step = pfc_moco_shuffle_bench_step,
    .bench_close = pfc_moco_shuffle_bench_close,
    .bench_cost = pfc_moco_shuffle_bench_cost,
};

/* ---- moco ---- */

static const pfc_param_spec params[] = {
    { "momentum", PFC_PARAM_REAL, "0.999", NULL, "mu of params_k <- mu params_k + (1-mu) params_q" },
    { "temperature", PFC_PARAM_REAL, "0.2", NULL, "divisor tau of every logit" },
    { "queue_ptr", PFC_PARAM_INT, "0", NULL, "row of the queue that is written next" },
    { "first_call", PFC_PARAM_INT, "0", "0|1", "1: params_k becomes params_q" },
    { "queue_wrap", PFC_PARAM_INT, "0", "0|1", "0: K is a multiple of N and the keys fit at queue_ptr; 1: the ring wraps" },
    END_PARAMS,
};

static const pfc_tensor_spec inputs[] = {
    { "params_q", PFC_KIND_REAL, "n", PFC_DIST_NONE, 0, false, "parameters of the query encoder" },
    { "params_k", PFC_KIND_REAL, "n", PFC_DIST_NONE, 0, false, "parameters of the key encoder" },
    { "query", PFC_KIND_REAL, "N,D", PFC_DIST_BATCH, 'N', false, "queries, not normalised" },
    { "key", PFC_KIND_REAL, "N,D", PFC_DIST_BATCH, 'N', false, "the encoder's keys of the same images, natural order, not normalised" },
    { "queue", PFC_KIND_REAL, "K,D", PFC_DIST_NONE, 0, false, "one key per row" },
    END_TENSORS,
};

static const pfc_tensor_spec outputs[] = {
    { "params_k", PFC_KIND_REAL, "n", PFC_DIST_NONE, 0, false, "after the momentum update" },
    { "loss", PFC_KIND_REAL, "P", PFC_DIST_RANK, 'P', false, "of each rank, mean over its rows" },
    { "query_grad", PFC_KIND_REAL, "N,D", PFC_DIST_BATCH, 'N', false, "gradient of each rank's own loss" },
    { "key", PFC_KIND_REAL, "N,D", PFC_DIST_BATCH, 'N', false, "normalised keys, natural order" },
    { "queue", PFC_KIND_REAL, "K,D", PFC_DIST_NONE, 0, false, "after the keys went in" },
    { "queue_ptr", PFC_KIND_INT, "", PFC_DIST_NONE, 0, false, "row that is written next" },
    END_TENSORS,
};

static const pfc_tensor_spec steps[] = {
    { "logits", PFC_KIND_REAL, "N,1+K", PFC_DIST_BATCH, 'N', false, "positive first, then the queue as it was before the keys went in" },
    END_TENSORS,
};

static int any_ranks(pfc_case *c, int ranks, pfc_diag *diag)
{
    c->size['N' - 'A'] = 4 * (int64_t)ranks;
    c->size['K' - 'A'] = 37;
    c->size['D' - 'A'] = 16;
    if (!pfc_case_set_param(c, "queue_wrap", "1", diag)) pfc_case_set_param(c, "queue_ptr", "29", diag);
    return diag->exit_status;
}

const pfc_algorithm pfc_algorithm_moco = {
    .name = "moco",
    .help = "momentum contrast: momentum update, keys, InfoNCE loss and gradient, queue",
    .params = params,
    .in = inputs,
    .out = outputs,
    .step = steps,
    .check = pfc_moco_check,
    .run = pfc_moco_run,
    .dense = pfc_moco_dense,
    .bounds = pfc_moco_bounds,
    .fill = pfc_moco_fill,
    .sizes = "N K D; optional M, numbers of the encoder (1000)",
    .any_ranks = any_ranks,
    .bench_open = pfc_moco_bench_open,
    .bench_step = pfc_moco_bench_step,
    .bench_close = pfc_moco_bench_close,
    .bench_cost = pfc_moco_bench_cost,
};
