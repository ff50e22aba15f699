/* nearest.c: the class whose centre is nearest to a feature, over the classes of all ranks. */
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>

enum { ROWS = 256, LOGITS = 1 << 23 }; /* of one round on all ranks: at most so many rows, and logits on a rank */
#define NOT_HERE INT64_MIN             /* below every negated class */

typedef struct search {
    pfc_trainer *t;
    pfc_arcface *eval; /* logit = cosine, or product */
    int64_t classes;   /* C_r */
    int64_t first;     /* class */
    int64_t b, N, D;   /* rows of a round: here, on all ranks */
    pfc_view weight, features, logits;
    double *mine, *best; /* N: the largest logit of this rank, of all */
    int64_t *class;      /* N, negated: of equal logits the first class wins */
} search;

static pfc_status open_search(search *s)
{
    pfc_trainer *t = s->t;
    const pfc_train_config *c = &t->plan.cfg;
    pfc_ctx *ctx = t->ctx;
    int ranks = pfc_ctx_ranks(ctx);
    pfc_shard shard = pfc_shard_of(c->num_classes, ranks, pfc_ctx_rank(ctx));
    pfc_dtype real = pfc_ctx_real(ctx);
    bool arcface = c->layer == PFC_TRAIN_ARCFACE, cosine = c->partial_fc.head != PFC_HEAD_LINEAR;
    pfc_arcface_config e = pfc_arcface_defaults();
    e.num_classes = c->num_classes;
    e.embedding_size = s->D = c->embedding_size;
    e.num_subcenters = pfc_train_subcenters(c);
    e.scale = 1.0;
    e.feature_norm = arcface ? c->arcface.feature_norm : cosine;
    e.weight_norm = arcface ? c->arcface.weight_norm : cosine;
    PFC_TRY(pfc_arcface_create(ctx, &e, &s->eval));
    s->classes = shard.count;
    s->first = shard.start;
    int64_t most = pfc_shard_of(c->num_classes, ranks, 0).count;
    s->b = (most < LOGITS / ROWS ? ROWS : LOGITS / most) / ranks;
    if (s->b < 1) s->b = 1;
    s->N = s->b * ranks;
    s->weight = pfc_view_make(malloc((size_t)(t->rows.count * s->D) * pfc_dtype_size(real) + 1), real, t->rows.count, s->D);
    s->features = pfc_view_make(malloc((size_t)(s->b * s->D) * sizeof(float)), PFC_F32, s->b, s->D);
    s->logits = pfc_view_make(malloc((size_t)(s->N * s->classes) * pfc_dtype_size(real) + 1), real, s->N, s->classes);
    s->mine = malloc((size_t)s->N * sizeof *s->mine);
    s->best = malloc((size_t)s->N * sizeof *s->best);
    s->class = malloc((size_t)s->N * sizeof *s->class);
    bool made = s->weight.data && s->features.data && s->logits.data && s->mine && s->best && s->class;
    pfc_status st = made ? pfc_trainer_state(t, s->weight, pfc_view_make(NULL, real, 0, 0)) : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    return pfc_agree(ctx, st);
}

static void close_search(search *s)
{
    pfc_arcface_destroy(&s->eval);
    free(s->weight.data);
    free(s->features.data);
    free(s->logits.data);
    free(s->mine);
    free(s->best);
    free(s->class);
}

static double logit(const search *s, int64_t n, int64_t c)
{
    int64_t i = n * s->classes + c;
    return s->logits.dtype == PFC_F64 ? ((const double *)s->logits.data)[i] : (double)((const float *)s->logits.data)[i];
}

/* Rows [first, first + b) of this rank, zeros beyond its last one. */
static void take_rows(const search *s, pfc_view from, int64_t first)
{
    float *to = s->features.data;
    for (int64_t i = 0; i < s->b; i++)
        for (int64_t j = 0; j < s->D; j++) {
            int64_t at = (first + i) * from.ld + j;
            bool here = first + i < from.rows;
            to[i * s->D + j] = !here ? 0.0f : from.dtype == PFC_F64 ? (float)((const double *)from.data)[at] : ((const float *)from.data)[at];
        }
}

/* The largest logit of every row over all ranks, and the first class that has it. */
static pfc_status search_round(search *s)
{
    pfc_comm *comm = &s->t->ctx->comm;
    pfc_arcface_input in = { .features = s->features, .weight = s->weight };
    pfc_arcface_result out = { .logits = s->logits };
    PFC_TRY(pfc_arcface_eval(s->eval, &in, &out));
    for (int64_t n = 0; n < s->N; n++) {
        double best = -INFINITY;
        int64_t at = -1;
        for (int64_t c = 0; c < s->classes; c++) {
            double x = logit(s, n, c);
            if (isnan(x) || x > best || at < 0) best = x, at = c;
            if (isnan(x)) break;
        }
        s->mine[n] = s->best[n] = best;
        s->class[n] = at < 0 ? NOT_HERE : -(s->first + at);
    }
    PFC_TRY(pfc_comm_max(comm, s->best, s->N, PFC_F64));
    for (int64_t n = 0; n < s->N; n++)
        if (!(s->mine[n] == s->best[n])) s->class[n] = NOT_HERE; /* a NaN of any rank is nobody's */
    return pfc_comm_max(comm, s->class, s->N, PFC_I64);
}

pfc_status pfc_trainer_nearest(pfc_trainer *t, pfc_view features, int64_t *classes)
{
    search s = { .t = t };
    pfc_status st = PFC_OK;
    if (features.rows && (features.cols != t->plan.cfg.embedding_size || (features.dtype != PFC_F32 && features.dtype != PFC_F64) || !features.data))
        st = pfc_fail(t->ctx, PFC_ERR_SHAPE, "features: found (%lld,%lld), expected (%lld,%lld) float", (long long)features.rows, (long long)features.cols,
                      (long long)features.rows, (long long)t->plan.cfg.embedding_size);
    PFC_TRY(pfc_agree(t->ctx, st));
    st = open_search(&s);
    int64_t rounds = st == PFC_OK ? (features.rows + s.b - 1) / s.b : 0;
    if (st == PFC_OK) st = pfc_comm_max(&t->ctx->comm, &rounds, 1, PFC_I64);
    for (int64_t k = 0; k < rounds && st == PFC_OK; k++) {
        take_rows(&s, features, k * s.b);
        st = search_round(&s);
        const int64_t *mine = s.class + pfc_ctx_rank(t->ctx) * s.b;
        for (int64_t i = 0; i < s.b && st == PFC_OK && k * s.b + i < features.rows; i++) classes[k * s.b + i] = mine[i] == NOT_HERE ? -1 : -mine[i];
    }
    close_search(&s);
    return pfc_agree(t->ctx, st);
}
