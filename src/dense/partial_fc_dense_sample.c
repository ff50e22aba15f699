/* partial_fc_dense_sample.c: which classes take part in a step (semantics.md 2.4, A.4), and the object's memory. */
#include "dense/dense.h"

#include <math.h>
#include <pfc/rng.h>
#include <pfc/shard.h>
#include <stdlib.h>

typedef struct pfc_dense_candidate {
    double key;
    int64_t class;
} candidate;

/* Largest key first; equal keys: lower class first. */
static int by_key(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->key != y->key) return x->key > y->key ? -1 : 1;
    return x->class < y->class ? -1 : 1;
}

/* Of the classes [start, start+count): all positives (marked already), then those with the largest keys until `want` are chosen. */
static void choose(pfc_dense_partial_fc *p, int64_t start, int64_t count, int64_t want)
{
    candidate *list = p->candidates;
    int64_t negatives = 0;
    for (int64_t j = start; j < start + count; j++)
        if (!p->sampled[j]) list[negatives++] = (candidate){ p->keys[j], j };
    int64_t positives = count - negatives;
    qsort(list, (size_t)negatives, sizeof *list, by_key);
    for (int64_t k = 0; k < negatives && positives + k < want; k++) p->sampled[list[k].class] = 1;
}

/* How many classes of `count` a rank (or all ranks together) asks for. */
static int64_t wanted(const pfc_partial_fc_config *cfg, int64_t count)
{
    if (cfg->num_sample >= 0) return cfg->num_sample < count ? cfg->num_sample : count;
    return (int64_t)(cfg->sample_rate * (double)count); /* the double product, truncated */
}

void pfc_dense_partial_fc_sample(pfc_dense_partial_fc *p, const int64_t *labels, const double *keys)
{
    bool full = p->cfg.num_sample < 0 && p->cfg.sample_rate >= 1;
    for (int64_t j = 0; j < p->c; j++) {
        p->keys[j] = keys ? keys[j] : pfc_uniform(p->cfg.seed, j, (uint32_t)(p->cfg.first_step + p->steps), PFC_STREAM_CLASS_KEY);
        p->sampled[j] = full;
    }
    if (full) return;
    for (int64_t i = 0; i < p->n; i++)
        if (labels[i] >= 0 && labels[i] < p->c) p->sampled[labels[i]] = 1;
    if (p->cfg.sample_rule == PFC_SAMPLE_GLOBAL) {
        choose(p, 0, p->c, wanted(&p->cfg, p->c));
        return;
    }
    for (int r = 0; r < p->ranks; r++) {
        pfc_shard s = pfc_shard_of(p->c, p->ranks, r);
        choose(p, s.start, s.count, wanted(&p->cfg, s.count));
    }
}

/* ---- memory ---- */

pfc_dense_partial_fc *pfc_dense_partial_fc_new(const pfc_partial_fc_config *cfg, int ranks, int64_t rows)
{
    pfc_dense_partial_fc *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->cfg = *cfg;
    p->ranks = ranks;
    p->n = rows;
    p->d = cfg->embedding_size;
    p->c = cfg->num_classes;
    struct {
        double **array;
        int64_t size;
    } all[] = { { &p->weight, p->c * p->d }, { &p->momentum, p->c * p->d }, { &p->keys, p->c },          { &p->xhat, p->n * p->d },
                { &p->what, p->c * p->d },   { &p->xnorm, p->n },           { &p->wnorm, p->c },         { &p->cosine, p->n * p->c },
                { &p->logits, p->n * p->c }, { &p->slope, p->n * p->c },    { &p->row_max, p->n },       { &p->row_sum, p->n },
                { &p->prob_target, p->n },   { &p->dlogits, p->n * p->c },  { &p->x_grad, p->n * p->d }, { &p->weight_grad, p->c * p->d } };
    bool ok = true;
    for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) ok = (*all[k].array = calloc((size_t)all[k].size + 1, sizeof(double))) && ok;
    ok = (p->sampled = calloc((size_t)p->c + 1, sizeof *p->sampled)) && ok;
    ok = (p->candidates = calloc((size_t)p->c + 1, sizeof *p->candidates)) && ok;
    if (ok) return p;
    pfc_dense_partial_fc_free(p);
    return NULL;
}

void pfc_dense_partial_fc_free(pfc_dense_partial_fc *p)
{
    if (!p) return;
    double *all[] = { p->weight, p->momentum, p->keys,    p->xhat,    p->what,        p->xnorm,   p->wnorm,  p->cosine,
                      p->logits, p->slope,    p->row_max, p->row_sum, p->prob_target, p->dlogits, p->x_grad, p->weight_grad };
    for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) free(all[k]);
    free(p->sampled);
    free(p->candidates);
    free(p);
}
