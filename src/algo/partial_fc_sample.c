/* partial_fc_sample.c: which classes take part in a step (semantics 2.4, appendix A.4).
 *
 * Every class that is somebody's label (a positive) takes part; the rest of the places go to the classes with the largest keys, ties to the lower
 * class. Rule shard fills trunc(rate * C_r) places on every rank, as the source does; rule global fills trunc(rate * C) over all ranks, so that
 * the chosen set does not depend on how many there are.
 *
 * The largest keys are found by a radix search for the threshold: six histograms of 2048 bins over the key's bits (doubles >= 0 order like their
 * bits), added over the ranks under rule global: 6 x 16 KiB. */
#include "algo/partial_fc.h"

#include "core/px.h"

#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

enum { DIGIT = 11, BINS = 1 << DIGIT, ROUNDS = 6 };

void pfc_partial_fc_sample_free(pfc_sampled *s)
{
    free(s->index);
    free(s->target);
    free(s->keys);
    memset(s, 0, sizeof *s);
}

static bool samples(const pfc_partial_fc_config *cfg) { return cfg->num_sample >= 0 || !(cfg->sample_rate >= 1.0 && cfg->sample_rate < 2.0); }

/* trunc(rate * total) as the source truncates its double product, or the given number, clipped. */
static int64_t places(const pfc_partial_fc_config *cfg, int64_t total)
{
    if (cfg->num_sample >= 0) return cfg->num_sample < total ? cfg->num_sample : total;
    double x = cfg->sample_rate * (double)total;
    return x <= 0.0 ? 0 : (int64_t)x;
}

typedef struct threshold {
    uint64_t key; /* every candidate above it is chosen */
    int64_t ties; /* and this many of those equal to it, lowest class first (over all ranks under rule global) */
} threshold;

/* A key as an integer of the same order. */
static uint64_t order_of(double key) { return px_bits(key + 0.0); }

/* Histogram of one digit of the candidates that share the prefix found so far. */
static void count_digit(const double *keys, const unsigned char *positive, int64_t n, uint64_t prefix, int shift, int64_t *bins)
{
    memset(bins, 0, BINS * sizeof *bins);
    uint64_t above = shift + DIGIT >= 64 ? 0 : ~(uint64_t)0 << (shift + DIGIT);
    for (int64_t c = 0; c < n; c++) {
        uint64_t key = order_of(keys[c]);
        if (!positive[c] && (key & above) == prefix) bins[(key >> shift) & (BINS - 1)]++;
    }
}

static pfc_status find_threshold(pfc_ctx *ctx, bool global, const double *keys, const unsigned char *positive, int64_t n, int64_t want, threshold *out)
{
    int64_t bins[BINS];
    uint64_t prefix = 0;
    for (int round = ROUNDS - 1; round >= 0; round--) {
        int shift = round * DIGIT, digit = BINS - 1;
        count_digit(keys, positive, n, prefix, shift, bins);
        if (global) PFC_TRY(pfc_comm_sum(&ctx->comm, bins, BINS, PFC_I64));
        while (digit > 0 && bins[digit] < want) want -= bins[digit--];
        prefix |= (uint64_t)digit << shift;
    }
    out->key = prefix;
    out->ties = want;
    return PFC_OK;
}

/* How many of the tied candidates are this rank's to take: those of lower ranks come first. */
static pfc_status share_of_ties(pfc_ctx *ctx, bool global, const double *keys, const unsigned char *positive, int64_t n, threshold *t)
{
    int64_t mine = 0, before = 0;
    if (!global) return PFC_OK;
    for (int64_t c = 0; c < n; c++) mine += !positive[c] && order_of(keys[c]) == t->key;
    int64_t *all = malloc((size_t)ctx->comm.ranks * sizeof *all);
    pfc_status st = all ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    PFC_TRY(pfc_agree(ctx, st));
    st = pfc_comm_allgather(&ctx->comm, &mine, 1, PFC_I64, all);
    for (int r = 0; r < ctx->comm.rank; r++) before += all[r];
    free(all);
    t->ties = t->ties > before ? t->ties - before : 0;
    return st;
}

/* Marks the chosen negatives in `chosen`; want of them on this rank, or over all ranks. */
static pfc_status choose_negatives(pfc_ctx *ctx, bool global, const double *keys, const unsigned char *positive, int64_t n, int64_t want, unsigned char *chosen)
{
    if (want <= 0) return PFC_OK;
    threshold t;
    PFC_TRY(find_threshold(ctx, global, keys, positive, n, want, &t));
    PFC_TRY(share_of_ties(ctx, global, keys, positive, n, &t));
    for (int64_t c = 0; c < n; c++) {
        uint64_t key = order_of(keys[c]);
        if (positive[c] || key < t.key) continue;
        chosen[c] = key > t.key || t.ties-- > 0;
    }
    return PFC_OK;
}

/* Given keys, or those of this step. */
static void take_keys(const pfc_partial_fc *layer, pfc_view given, double *keys)
{
    int64_t n = layer->shard.count, step = layer->cfg.first_step + layer->steps_done;
    if (!given.data) pfc_uniform_range(layer->ctx->rng, layer->cfg.seed, layer->shard.start, n, (uint32_t)step, PFC_STREAM_CLASS_KEY, keys);
    for (int64_t c = 0; given.data && c < n; c++) keys[c] = ((const double *)given.data)[c * given.ld];
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The chosen classes as an ascending list, and the targets as positions in it (the list contains every positive). */
static pfc_status list_classes(pfc_partial_fc *layer, const unsigned char *chosen, int64_t n_rows, pfc_sampled *s)
{
    int64_t n = layer->shard.count, count = 0;
    for (int64_t c = 0; c < n; c++) count += chosen[c];
    s->index = malloc((size_t)count * sizeof *s->index + 8);
    if (!s->index) return pfc_fail(layer->ctx, PFC_ERR_NOMEM, "out of memory");
    for (int64_t c = 0; c < n; c++)
        if (chosen[c]) s->index[s->count++] = c;
    for (int64_t i = 0; i < n_rows; i++) {
        if (s->target[i] < 0) continue;
        const int64_t *at = bsearch(&s->target[i], s->index, (size_t)count, sizeof *at, ascending);
        s->target[i] = at - s->index;
    }
    return PFC_OK;
}

/* Positives and negatives into `chosen`. */
static pfc_status choose(pfc_partial_fc *layer, const unsigned char *positive, const double *keys, unsigned char *chosen)
{
    const pfc_partial_fc_config *cfg = &layer->cfg;
    bool global = cfg->sample_rule == PFC_SAMPLE_GLOBAL;
    int64_t n = layer->shard.count, positives = 0;
    for (int64_t c = 0; c < n; c++) positives += chosen[c] = positive[c];
    if (global) PFC_TRY(pfc_comm_sum(&layer->ctx->comm, &positives, 1, PFC_I64));
    return choose_negatives(layer->ctx, global, keys, positive, n, places(cfg, global ? cfg->num_classes : n) - positives, chosen);
}

pfc_status pfc_partial_fc_sample(pfc_partial_fc *layer, const int64_t *labels, int64_t n_rows, pfc_view keys, pfc_sampled *out)
{
    pfc_ctx *ctx = layer->ctx;
    int64_t n = layer->shard.count;
    memset(out, 0, sizeof *out);
    out->sampling = samples(&layer->cfg);
    out->target = malloc((size_t)n_rows * sizeof *out->target + 8);
    unsigned char *positive = calloc((size_t)n + 1, 2), *chosen = positive ? positive + n + 1 : NULL;
    if (out->sampling) out->keys = malloc((size_t)n * sizeof *out->keys + 8);
    pfc_status st = out->target && positive && (!out->sampling || out->keys) ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    st = pfc_agree(ctx, st);
    for (int64_t i = 0; st == PFC_OK && i < n_rows; i++) {
        int64_t t = labels[i] - layer->shard.start;
        bool here = labels[i] >= layer->shard.start && t < n;
        out->target[i] = here ? t : -1;
        if (here) positive[t] = 1;
    }
    if (st == PFC_OK && out->sampling) {
        take_keys(layer, keys, out->keys);
        st = choose(layer, positive, out->keys, chosen);
        if (st == PFC_OK) st = list_classes(layer, chosen, n_rows, out);
    } else {
        out->count = n;
    }
    free(positive);
    return st;
}
