/* arcface_head_table.c: the arcface_head family as tables: parameters, inputs, results, intermediate results (doc/case-format.md). */
#include "case/arcface_head_case.h"
#include "case/algorithms.h"
#include "core/words.h"

static const pfc_param_spec params[] = {
    { "scale", PFC_PARAM_REAL, "64", NULL, "factor s of every logit" },
    { "num_subcenters", PFC_PARAM_INT, "1", NULL, "sub-centers k of a class" },
    { "margin", PFC_PARAM_REAL, "0.5", NULL, "margin of every class, radians; the input margins takes its place" },
    { "easy_margin", PFC_PARAM_INT, "0", "0|1", "margin where the cosine is positive, plain cosine elsewhere" },
    { "feature_norm", PFC_PARAM_INT, "1", "0|1", "normalise the features" },
    { "weight_norm", PFC_PARAM_INT, "1", "0|1", "normalise the rows of the weight" },
    { "loss_weight", PFC_PARAM_REAL, "1", NULL, "factor of the loss" },
    { "margin_constants", PFC_PARAM_WORD, "init", PFC_WORDS_MARGIN_CONSTANTS,
      "formulas of threshold and fallback: the source's constructor's or those of set_margins" },
    { "eval", PFC_PARAM_INT, "0", "0|1", "scale times cosine, no margin, no loss" },
    { "cos_clamp", PFC_PARAM_INT, "0", "0|1", "clamp cosines to [-1,1], margin at the target only" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

static const pfc_tensor_spec inputs[] = {
    { "features", PFC_KIND_REAL, "N,D", PFC_DIST_BATCH, 'N', false, "features, not normalised" },
    { "labels", PFC_KIND_INT, "N", PFC_DIST_BATCH, 'N', true, "class of each row; not needed with eval=1" },
    { "weight", PFC_KIND_REAL, "C*num_subcenters,D", PFC_DIST_CLASS, 'C', false, "row c*k+j is sub-center j of class c" },
    { "bias", PFC_KIND_REAL, "C*num_subcenters", PFC_DIST_CLASS, 'C', true, "added before the maximum over sub-centers" },
    { "margins", PFC_KIND_REAL64, "C", PFC_DIST_CLASS, 'C', true, "margin of each class, instead of margin" },
    { "soft_targets", PFC_KIND_REAL, "N,C", PFC_DIST_CLASS, 'C', true, "target probabilities; the margin stays at the label" },
    { "class_weight", PFC_KIND_REAL, "C", PFC_DIST_CLASS, 'C', true, "weight of each class in the loss" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec outputs[] = {
    { "logits", PFC_KIND_REAL, "N,C", PFC_DIST_CLASS, 'C', false, "after margin and scale" },
    { "subcenter", PFC_KIND_INT, "N,C", PFC_DIST_CLASS, 'C', false, "the winning sub-center" },
    { "loss", PFC_KIND_REAL, "", PFC_DIST_NONE, 0, true, "loss_weight times the mean over the rows" },
    { "x_grad", PFC_KIND_REAL, "N,D", PFC_DIST_BATCH, 'N', true, "gradient of the features" },
    { "weight_grad", PFC_KIND_REAL, "C*num_subcenters,D", PFC_DIST_CLASS, 'C', true, "gradient of the weight" },
    { "bias_grad", PFC_KIND_REAL, "C*num_subcenters", PFC_DIST_CLASS, 'C', true, "gradient of the bias, with one" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec steps[] = {
    { "cosine", PFC_KIND_REAL, "N,C", PFC_DIST_CLASS, 'C', false, "cosine of the winning sub-center, with the bias, before any clamp" },
    { "prob", PFC_KIND_REAL, "N,C", PFC_DIST_CLASS, 'C', true, "softmax of the logits; not with eval=1" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

/* C prime: uneven shards, and empty ones from 12 ranks up. */
static int any_ranks(pfc_case *c, int ranks, pfc_diag *diag)
{
    static const char *const settings[][2] = { { "scale", "16" }, { "num_subcenters", "3" }, { "margin", "0.3" }, { "loss_weight", "1.5" } };
    c->size['N' - 'A'] = 4 * (int64_t)ranks;
    c->size['C' - 'A'] = 11;
    c->size['D' - 'A'] = 16;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (pfc_case_set_param(c, settings[i][0], settings[i][1], diag)) break;
    return diag->exit_status;
}

/* Three products of the shape N, C k, D; the weight read twice and its gradient written once, cosines and logits written once and read twice. */
static void bench_cost(const pfc_case *c, int ranks, pfc_dtype real, double *flops, double *bytes)
{
    double n = (double)c->size['N' - 'A'], classes = (double)c->size['C' - 'A'], d = (double)c->size['D' - 'A'];
    double rows = classes * (double)pfc_param_int(c, "num_subcenters");
    (void)ranks;
    *flops = 6.0 * n * rows * d;
    bytes[PFC_BYTES_COPY] = (double)pfc_dtype_size(real) * (2.0 * rows * d + 6.0 * n * classes);
    bytes[PFC_BYTES_READ] = (double)pfc_dtype_size(real) * rows * d;
}

const pfc_algorithm pfc_algorithm_arcface_head = {
    .name = "arcface_head",
    .help = "sub-center ArcFace head, classes sharded: logits, loss, gradients",
    .params = params,
    .in = inputs,
    .out = outputs,
    .step = steps,
    .check = pfc_arcface_check,
    .run = pfc_arcface_run_case,
    .dense = pfc_arcface_dense_case,
    .bounds = pfc_arcface_bounds,
    .fill = pfc_arcface_fill,
    .sizes = "N C D",
    .any_ranks = any_ranks,
    .bench_open = pfc_arcface_bench_open,
    .bench_step = pfc_arcface_bench_step,
    .bench_close = pfc_arcface_bench_close,
    .bench_cost = bench_cost,
};
