/* partial_fc_table.c: the partial_fc family as tables: parameters, inputs, results, intermediate results (doc/case-format.md). */
#include "case/partial_fc_case.h"
#include "case/algorithms.h"
#include "core/words.h"

static const pfc_param_spec params[] = {
    { "head", PFC_PARAM_WORD, NULL, PFC_WORDS_HEAD, "how a cosine becomes a logit" },
    { "scale", PFC_PARAM_REAL, NULL, NULL, "factor s of every logit" },
    { "margin", PFC_PARAM_REAL, "", NULL, "margin m at the target, radians for arc; required unless head is linear" },
    { "sample_rate", PFC_PARAM_REAL, "1", NULL, "share of the classes in a step; from 1 to below 2: all of them" },
    { "num_sample", PFC_PARAM_INT, "", NULL, "classes per rank (shard) or in all (global), instead of sample_rate" },
    { "sample_rule", PFC_PARAM_WORD, "shard", PFC_WORDS_SAMPLE_RULE, "where classes are counted: in each rank's shard, or over all" },
    { "seed", PFC_PARAM_INT, "0", NULL, "of the drawn sample keys" },
    { "first_step", PFC_PARAM_INT, "0", NULL, "number of the first step, for the drawn sample keys" },
    { "lr", PFC_PARAM_REAL, "0", NULL, "learning rate" },
    { "momentum", PFC_PARAM_REAL, "0.9", NULL, "momentum of the update; 0 leaves weight_momentum alone" },
    { "weight_decay", PFC_PARAM_REAL, "0", NULL, "weight decay of the updated rows" },
    { "nesterov", PFC_PARAM_INT, "0", "0|1", "Nesterov's momentum; needs momentum" },
    { "steps", PFC_PARAM_INT, "1", NULL, "training steps" },
    { "xgrad_scale", PFC_PARAM_REAL, "", NULL, "factor of the finished feature gradient; default the number of ranks" },
    { "loss", PFC_PARAM_WORD, "clamp", PFC_WORDS_LOSS, "-log(max(p, 1e-30)) as the source, or log-sum-exp" },
    { "arc_gradient", PFC_PARAM_WORD, "exact", PFC_WORDS_ARC_GRADIENT, "derivative of the arc margin" },
    { "arc_fallback", PFC_PARAM_WORD, "none", PFC_WORDS_ARC_FALLBACK, "target logit where the angle plus m passes pi" },
    { "cos_clamp", PFC_PARAM_INT, "0", "0|1", "clamp cosines to [-1,1]" },
    { "interclass_threshold", PFC_PARAM_REAL, "0", NULL, "cosines above it at other classes count as 0; 0: off; cos and arc" },
    { "momentum_rule", PFC_PARAM_WORD, "lazy", PFC_WORDS_MOMENTUM_RULE, "update the sampled rows, or all" },
    { "unowned_label", PFC_PARAM_WORD, "source", PFC_WORDS_UNOWNED_LABEL, "labels outside [0,C)" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

static const pfc_tensor_spec inputs[] = {
    { "features", PFC_KIND_REAL, "N,D|steps,N,D", PFC_DIST_BATCH, 'N', false, "features, not normalised" },
    { "labels", PFC_KIND_INT, "N|steps,N", PFC_DIST_BATCH, 'N', false, "global class of each row" },
    { "weight", PFC_KIND_REAL, "C,D", PFC_DIST_CLASS, 'C', false, "one row per class" },
    { "weight_momentum", PFC_KIND_REAL, "C,D", PFC_DIST_CLASS, 'C', true, "momentum of the rows; default zeros" },
    { "sample_keys", PFC_KIND_REAL64, "C|steps,C", PFC_DIST_CLASS, 'C', true, "keys in [0,1), largest are sampled; default drawn from seed" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec outputs[] = {
    { "loss", PFC_KIND_REAL, "steps", PFC_DIST_NONE, 0, false, "mean over all rows, of each step" },
    { "x_grad", PFC_KIND_REAL, "N,D|steps,N,D", PFC_DIST_BATCH, 'N', false, "gradient of the features, times xgrad_scale" },
    { "weight_grad", PFC_KIND_REAL, "C,D", PFC_DIST_CLASS, 'C', false, "last step, before weight decay, zero where not sampled" },
    { "weight", PFC_KIND_REAL, "C,D", PFC_DIST_CLASS, 'C', false, "after the last step" },
    { "weight_momentum", PFC_KIND_REAL, "C,D", PFC_DIST_CLASS, 'C', false, "after the last step" },
    { "sampled", PFC_KIND_INT, "C", PFC_DIST_CLASS, 'C', false, "1 where sampled in the last step" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

/* In data-flow order; of the last step. */
static const pfc_tensor_spec steps[] = {
    { "sample_keys", PFC_KIND_REAL64, "C", PFC_DIST_CLASS, 'C', true, "keys that decided the sample; absent when all classes take part" },
    { "cosine", PFC_KIND_REAL, "N,C", PFC_DIST_CLASS, 'C', false, "cosines (head linear: products); NaN where not sampled" },
    { "logits", PFC_KIND_REAL, "N,C", PFC_DIST_CLASS, 'C', false, "after margin and scale; NaN where not sampled" },
    { "row_max", PFC_KIND_REAL, "N", PFC_DIST_NONE, 0, false, "largest logit of the row over all ranks" },
    { "row_sum", PFC_KIND_REAL, "N", PFC_DIST_NONE, 0, false, "sum of exp(logit - row_max) over all ranks" },
    { "prob_target", PFC_KIND_REAL, "N", PFC_DIST_NONE, 0, false, "probability of the label's class" },
    { "dlogits", PFC_KIND_REAL, "N,C", PFC_DIST_CLASS, 'C', false, "(p - onehot)/N; NaN where not sampled" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

/* Sampled over all ranks, C prime: uneven shards, and empty ones from 38 ranks up. */
static int any_ranks(pfc_case *c, int ranks, pfc_diag *diag)
{
    static const char *const settings[][2] = { { "head", "arc" },  { "scale", "16" },           { "margin", "0.5" },         { "sample_rate", "0.57" },
                                               { "steps", "2" },   { "sample_rule", "global" }, { "xgrad_scale", "1" },      { "lr", "0.1" },
                                               { "seed", "2026" }, { "weight_decay", "0.01" },  { "momentum_rule", "dense" } };
    c->size['N' - 'A'] = 8 * (int64_t)ranks;
    c->size['C' - 'A'] = 37;
    c->size['D' - 'A'] = 16;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (pfc_case_set_param(c, settings[i][0], settings[i][1], diag)) break;
    return diag->exit_status;
}

const pfc_algorithm pfc_algorithm_partial_fc = {
    .name = "partial_fc",
    .help = "class-sharded softmax layer with sampled negatives: training steps",
    .params = params,
    .in = inputs,
    .out = outputs,
    .step = steps,
    .check = pfc_partial_fc_check,
    .run = pfc_partial_fc_run,
    .dense = pfc_partial_fc_dense_case,
    .bounds = pfc_partial_fc_bounds,
    .fill = pfc_partial_fc_fill,
    .sizes = "N C D",
    .any_ranks = any_ranks,
};
