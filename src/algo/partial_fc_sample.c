/* partial_fc_sample.c: which classes take part in a step (semantics 2.4, appendix A.4).
 *
 * Every class that is somebody's label (a positive) takes part; the rest of the places go to the classes with the largest keys, ties to the lower
 * class. Rule shard fills trunc(rate * C_r) places on every rank, as the source does; rule global fills trunc(rate * C) over all ranks, so that
 * the chosen set does not depend on how many there are.
 *
 * The largest keys are found by a radix search for the threshold. The first digit is trunc(2048 key), so that uniform keys spread over its bins; the keys
 * of the one bin that matters are then searched by their bits (doubles >= 0 order like these), 2048 bins a digit, six digits. Under rule global the
 * histograms are added over the ranks: 7 x 16 KiB. */
#include "algo/partial_fc.h"

#include "algo/blocks.h"
#include "core/px.h"
#include "core/rng_kernels.h"

#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

enum { DIGIT = 11, BINS = 1 << DIGIT, ROUNDS = 6 };

void pfc_partial_fc_sample_free(pfc_sampled *s)
{
    free(s->target);
    memset(s, 0, sizeof *s);
}

void pfc_partial_fc_sampler_free(pfc_sampler *m)
{
    free(m->keys);
    free(m->index);
    free(m->positive);
    memset(m, 0, sizeof *m);
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
    double key;   /* every candidate above it is chosen */
    int64_t ties; /* and this many of those equal to it, lowest class first (over all ranks under rule global) */
} threshold;

/* Keys of candidates, as bits. */
typedef struct candidates {
    uint64_t *key;
    int64_t count;
} candidates;

static int first_digit(double key) { return (int)(key * BINS); }

/* From the highest bin down: the bin in which the want-th largest key is; want becomes its place there. */
static int bin_of(const int64_t *bins, int64_t *want)
{
    int digit = BINS - 1;
    while (digit > 0 && bins[digit] < *want) *want -= bins[digit--];
    return digit;
}

/* The candidates of the bin of the first digit in which the threshold is. */
static pfc_status first_round(pfc_ctx *ctx, bool global, const double *keys, const unsigned char *positive, int64_t n, int64_t *want, candidates *out)
{
    int64_t bins[BINS] = { 0 }, mine[BINS];
    for (int64_t c = 0; c < n; c++) bins[first_digit(keys[c])] += 1 - positive[c];
    memcpy(mine, bins, sizeof mine);
    if (global) PFC_TRY(pfc_comm_sum(&ctx->comm, bins, BINS, PFC_I64));
    int digit = bin_of(bins, want);
    out->key = malloc((size_t)(mine[digit] + 1) * sizeof *out->key);
    pfc_status st = out->key ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    if (global) st = pfc_agree(ctx, st);
    for (int64_t c = 0; st == PFC_OK && c < n; c++) { /* one place more than there are candidates: written always, kept sometimes */
        out->key[out->count] = px_bits(keys[c]);
        out->count += !positive[c] && first_digit(keys[c]) == digit;
    }
    return st;
}

/* Histogram of one digit of the candidates that share the prefix found so far. */
static void count_digit(const candidates *some, uint64_t prefix, int shift, int64_t *bins)
{
    memset(bins, 0, BINS * sizeof *bins);
    uint64_t above = shift + DIGIT >= 64 ? 0 : ~(uint64_t)0 << (shift + DIGIT);
    for (int64_t i = 0; i < some->count; i++)
        if ((some->key[i] & above) == prefix) bins[(some->key[i] >> shift) & (BINS - 1)]++;
}

static pfc_status find_threshold(pfc_ctx *ctx, bool global, const candidates *some, int64_t want, threshold *out)
{
    int64_t bins[BINS];
    uint64_t prefix = 0;
    for (int round = ROUNDS - 1; round >= 0; round--) {
        count_digit(some, prefix, round * DIGIT, bins);
        if (global) PFC_TRY(pfc_comm_sum(&ctx->comm, bins, BINS, PFC_I64));
        prefix |= (uint64_t)bin_of(bins, &want) << (round * DIGIT);
    }
    out->key = px_from_bits(prefix);
    out->ties = want;
    return PFC_OK;
}

/* How many of the tied candidates are this rank's to take: those of lower ranks come first. */
static pfc_status share_of_ties(pfc_ctx *ctx, bool global, const candidates *some, threshold *t)
{
    int64_t mine = 0, before = 0;
    if (!global) return PFC_OK;
    for (int64_t i = 0; i < some->count; i++) mine += some->key[i] == px_bits(t->key);
    int64_t *all = malloc((size_t)ctx->comm.ranks * sizeof *all);
    pfc_status st = all ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    st = pfc_agree(ctx, st);
    if (st == PFC_OK) st = pfc_comm_allgather(&ctx->comm, &mine, 1, PFC_I64, all);
    for (int r = 0; st == PFC_OK && r < ctx->comm.rank; r++) before += all[r];
    free(all);
    t->ties = t->ties > before ? t->ties - before : 0;
    return st;
}

/* Which negatives are chosen; want of them on this rank, or over all ranks. */
static pfc_status choose_negatives(pfc_ctx *ctx, bool global, const double *keys, const unsigned char *positive, int64_t n, int64_t want, threshold *t)
{
    candidates some = { NULL, 0 };
    *t = (threshold){ 1.0, 0 }; /* keys are below 1: none */
    if (want <= 0) return PFC_OK;
    pfc_status st = first_round(ctx, global, keys, positive, n, &want, &some);
    if (st == PFC_OK) st = find_threshold(ctx, global, &some, want, t);
    if (st == PFC_OK) st = share_of_ties(ctx, global, &some, t);
    free(some.key);
    return st;
}

typedef struct drawing {
    const pfc_partial_fc *layer;
    double *keys;
} drawing;

static pfc_status draw_some(void *arg, int lane, int64_t c, int64_t count)
{
    const drawing *d = arg;
    const pfc_partial_fc *layer = d->layer;
    uint32_t step = (uint32_t)(layer->cfg.first_step + layer->steps_done);
    (void)lane;
    pfc_uniform_range(layer->ctx->rng, layer->cfg.seed, layer->shard.start + c, count, step, PFC_STREAM_CLASS_KEY, d->keys + c);
    return PFC_OK;
}

/* A key in [0, 1) for every class of this rank, a pure function of seed, class and step. */
static pfc_status draw_keys(const pfc_partial_fc *layer, double *keys)
{
    enum { PIECE = 4096 };
    drawing d = { layer, keys };
    return pfc_for_blocks(layer->ctx, layer->shard.count, PIECE, draw_some, &d);
}

/* The positives and the chosen negatives as an ascending list. */
static void list_classes(const pfc_sampler *m, int64_t n, threshold t, pfc_sampled *s)
{
    s->index = m->index;
    for (int64_t c = 0; c < n; c++) {
        bool tie = m->keys[c] == t.key && !m->positive[c] && t.ties > 0;
        t.ties -= tie;
        s->index[s->count] = c; /* written always, kept sometimes */
        s->count += m->positive[c] || m->keys[c] > t.key || tie;
    }
}

/* Position of class c in the list, which contains it. */
static int64_t position(const pfc_sampled *s, int64_t c)
{
    int64_t low = 0, high = s->count - 1;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (s->index[middle] < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static pfc_status choose(pfc_partial_fc *layer, int64_t n_rows, pfc_sampled *s)
{
    const pfc_partial_fc_config *cfg = &layer->cfg;
    const pfc_sampler *m = &layer->sampler;
    bool global = cfg->sample_rule == PFC_SAMPLE_GLOBAL;
    int64_t n = layer->shard.count, positives = 0;
    threshold t;
    for (int64_t c = 0; c < n; c++) positives += m->positive[c];
    if (global) PFC_TRY(pfc_comm_sum(&layer->ctx->comm, &positives, 1, PFC_I64));
    PFC_TRY(choose_negatives(layer->ctx, global, m->keys, m->positive, n, places(cfg, global ? cfg->num_classes : n) - positives, &t));
    list_classes(m, n, t, s);
    for (int64_t i = 0; i < n_rows; i++)
        if (s->target[i] >= 0) s->target[i] = position(s, s->target[i]);
    return PFC_OK;
}

/* Room for this rank's classes, kept from step to step. */
static bool make_sampler(pfc_sampler *m, int64_t n)
{
    if (!m->keys) m->keys = malloc((size_t)n * sizeof *m->keys + 8);
    if (!m->index) m->index = malloc((size_t)n * sizeof *m->index + 8);
    if (!m->positive) m->positive = malloc((size_t)n + 1);
    return m->keys && m->index && m->positive;
}

/* Keys of this step and the classes that are somebody's label. */
static pfc_status prepare(pfc_partial_fc *layer, pfc_view keys_in, const int64_t *target, int64_t n_rows)
{
    pfc_sampler *m = &layer->sampler;
    int64_t n = layer->shard.count;
    memset(m->positive, 0, (size_t)n + 1);
    for (int64_t i = 0; i < n_rows; i++)
        if (target[i] >= 0) m->positive[target[i]] = 1;
    if (!keys_in.data) return draw_keys(layer, m->keys);
    for (int64_t c = 0; c < n; c++) m->keys[c] = ((const double *)keys_in.data)[c * keys_in.ld] + 0.0; /* no -0 */
    return PFC_OK;
}

pfc_status pfc_partial_fc_sample(pfc_partial_fc *layer, const int64_t *labels, int64_t n_rows, pfc_view keys_in, pfc_sampled *out)
{
    int64_t n = layer->shard.count;
    memset(out, 0, sizeof *out);
    out->sampling = samples(&layer->cfg);
    out->target = malloc((size_t)n_rows * sizeof *out->target + 8);
    bool room = out->target && (!out->sampling || make_sampler(&layer->sampler, n));
    pfc_status st = room ? PFC_OK : pfc_fail(layer->ctx, PFC_ERR_NOMEM, "out of memory");
    for (int64_t i = 0; room && i < n_rows; i++) {
        int64_t t = labels[i] - layer->shard.start;
        out->target[i] = labels[i] >= layer->shard.start && t < n ? t : -1;
    }
    out->keys = layer->sampler.keys;
    out->count = out->sampling ? 0 : n;
    if (room && out->sampling) st = prepare(layer, keys_in, out->target, n_rows);
    PFC_TRY(pfc_agree(layer->ctx, st));
    return out->sampling ? choose(layer, n_rows, out) : PFC_OK;
}
