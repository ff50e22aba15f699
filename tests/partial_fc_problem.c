/* partial_fc_problem.c: see partial_fc_problem.h. */
#include "partial_fc_problem.h"

#include "pfc_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const RESULT_NAMES[RESULTS] = { "loss",   "x_grad", "weight_grad", "weight",  "weight_momentum", "sampled",
                                            "cosine", "logits", "row_max",     "row_sum", "prob_target",     "dlogits" };

static double *normals(int64_t seed, uint32_t step, int64_t count)
{
    double *v = pfc_test_zeros(count);
    for (int64_t i = 0; i < count; i++) v[i] = (double)(float)pfc_normal(seed, i, step, PFC_STREAM_FILL);
    return v;
}

problem *problem_new(const pfc_partial_fc_config *cfg, int64_t n, int64_t steps, bool with_keys, int64_t seed)
{
    problem *p = pfc_test_zeros(sizeof *p / 8 + 1);
    int64_t c = cfg->num_classes, d = cfg->embedding_size;
    p->cfg = *cfg;
    p->n = n;
    p->steps = steps;
    p->x = normals(seed, 0, steps * n * d);
    p->weight = normals(seed, 1, c * d);
    p->momentum = normals(seed, 2, c * d);
    p->labels = pfc_test_zeros(steps * n);
    for (int64_t i = 0; i < steps * n; i++) p->labels[i] = (int64_t)((double)c * pfc_uniform(seed, i, 3, PFC_STREAM_FILL));
    if (with_keys) p->keys = pfc_test_zeros(steps * c);
    for (int64_t i = 0; with_keys && i < steps * c; i++) p->keys[i] = floor(8 * pfc_uniform(seed, i, 4, PFC_STREAM_FILL)) / 8; /* with ties */
    return p;
}

void problem_free(problem *p)
{
    free(p->x);
    free(p->labels);
    free(p->keys);
    free(p->weight);
    free(p->momentum);
    free(p);
}

pfc_partial_fc_config problem_config(int64_t c, int64_t d)
{
    pfc_partial_fc_config o = pfc_partial_fc_defaults();
    o.num_classes = c;
    o.embedding_size = d;
    o.scale = 16;
    o.xgrad_scale = 1;
    return o;
}

pfc_ctx *make_ctx(MPI_Comm comm, pfc_mode mode, const char *engine, int threads)
{
    return pfc_test_ctx(comm, (pfc_options){ .mode = mode, .engine = engine, .threads = threads });
}

static outcome *outcome_new(const problem *p)
{
    int64_t n = p->n, c = p->cfg.num_classes, d = p->cfg.embedding_size;
    const int64_t size[RESULTS] = { p->steps, p->steps * n * d, c * d, c * d, c * d, c, n * c, n * c, n, n, n, n * c };
    outcome *o = pfc_test_zeros(sizeof *o / 8 + 1);
    for (int k = 0; k < RESULTS; k++) {
        o->size[k] = size[k];
        o->v[k] = pfc_test_zeros(size[k]);
    }
    o->labels_kept = true;
    return o;
}

void outcome_free(outcome *o)
{
    for (int k = 0; k < RESULTS; k++) free(o->v[k]);
    free(o);
}

/* ---- the library ---- */

typedef struct tap {
    const problem *p;
    outcome *o;
    pfc_shard shard;
    int rank, order;
} tap;

/* Every intermediate result must be one of the known names, in data-flow order. Replicated ones are kept on rank 0 and must be the same everywhere. */
static void keep(void *user, const char *name, pfc_view local, pfc_layout layout)
{
    tap *t = user;
    int k = COSINE;
    while (k < RESULTS && strcmp(name, RESULT_NAMES[k]) != 0) k++;
    if (k == RESULTS) {
        ck_assert_str_eq(name, "sample_keys");
        ck_assert_int_eq(layout, PFC_CLASS_ROWS);
        return;
    }
    ck_assert_int_gt(k, t->order);
    t->order = k;
    ck_assert_int_eq(layout, t->o->size[k] == t->p->n && k != COSINE && k != LOGITS && k != DLOGITS ? PFC_REPLICATED : PFC_CLASS_COLS);
    ck_assert_int_eq(local.rows, t->p->n);
    if (layout == PFC_CLASS_COLS) pfc_test_place(t->o->v[k], t->p->cfg.num_classes, local, 0, t->shard.start);
    if (layout == PFC_REPLICATED && t->rank == 0) pfc_test_place(t->o->v[k], 1, local, 0, 0);
}

static float *floats(const double *v, int64_t count)
{
    float *f = pfc_test_zeros(count);
    for (int64_t i = 0; i < count; i++) f[i] = (float)v[i];
    return f;
}

typedef struct rank_part {
    int rank, ranks;
    int64_t b;       /* rows of this rank */
    pfc_shard shard; /* classes of this rank */
} rank_part;

static pfc_status one_step(pfc_ctx *ctx, pfc_partial_fc *layer, const problem *p, int64_t t, const rank_part *me, bool halves, outcome *o)
{
    int64_t d = p->cfg.embedding_size, c = p->cfg.num_classes, first = me->rank * me->b;
    pfc_dtype real = pfc_ctx_real(ctx);
    float *x = floats(p->x + (t * p->n + first) * d, me->b * d);
    int64_t *labels = pfc_test_zeros(me->b);
    memcpy(labels, p->labels + t * p->n + first, (size_t)me->b * 8);
    pfc_view features = pfc_view_make(x, PFC_F32, me->b, d), y = pfc_view_make(labels, PFC_I64, me->b, 1);
    pfc_view keys = pfc_view_make(p->keys ? p->keys + t * c + me->shard.start : NULL, PFC_F64, p->keys ? me->shard.count : 0, 1);
    pfc_partial_fc_result r = { 0, pfc_view_make(pfc_test_zeros(me->b * d), real, me->b, d),
                                pfc_view_make(pfc_test_zeros(me->shard.count * d), real, me->shard.count, d),
                                pfc_view_make(pfc_test_zeros(me->shard.count), PFC_I64, me->shard.count, 1) };
    pfc_status status;
    if (halves) {
        status = pfc_partial_fc_start(layer, y);
        if (status == PFC_OK) status = pfc_partial_fc_finish(layer, features, keys, &r);
    } else {
        status = pfc_partial_fc_step(layer, features, y, keys, &r);
    }
    if (status == PFC_OK) {
        if (me->rank == 0) o->v[LOSS][t] = r.loss;
        pfc_test_place(o->v[X_GRAD] + t * p->n * d, d, r.x_grad, first, 0);
        if (t == p->steps - 1) {
            pfc_test_place(o->v[WEIGHT_GRAD], d, r.weight_grad, me->shard.start, 0);
            pfc_test_place(o->v[SAMPLED], 1, r.sampled, me->shard.start, 0);
        }
    }
    o->labels_kept = o->labels_kept && memcmp(labels, p->labels + t * p->n + first, (size_t)me->b * 8) == 0;
    free(x);
    free(labels);
    free(r.x_grad.data);
    free(r.weight_grad.data);
    free(r.sampled.data);
    return status;
}

static pfc_status set_and_run(pfc_ctx *ctx, pfc_partial_fc *layer, const problem *p, const rank_part *me, bool halves, outcome *o)
{
    int64_t d = p->cfg.embedding_size, count = me->shard.count, first = me->shard.start * d;
    pfc_dtype real = pfc_ctx_real(ctx);
    float *w = floats(p->weight + first, count * d), *m = floats(p->momentum + first, count * d);
    pfc_status status = pfc_partial_fc_set_state(layer, pfc_view_make(w, PFC_F32, count, d), pfc_view_make(m, PFC_F32, count, d));
    free(w);
    free(m);
    tap t = { p, o, me->shard, me->rank, -1 };
    for (int64_t step = 0; step < p->steps && status == PFC_OK; step++) {
        if (step == p->steps - 1) pfc_ctx_set_tap(ctx, keep, &t);
        status = one_step(ctx, layer, p, step, me, halves, o);
    }
    pfc_ctx_set_tap(ctx, NULL, NULL);
    if (status != PFC_OK) return status;
    pfc_view weight = pfc_view_make(pfc_test_zeros(count * d), real, count, d), momentum = pfc_view_make(pfc_test_zeros(count * d), real, count, d);
    status = pfc_partial_fc_get_state(layer, weight, momentum);
    pfc_test_place(o->v[WEIGHT], d, weight, me->shard.start, 0);
    pfc_test_place(o->v[MOMENTUM], d, momentum, me->shard.start, 0);
    free(weight.data);
    free(momentum.data);
    return status;
}

outcome *problem_library(MPI_Comm comm, pfc_ctx *ctx, const problem *p, bool halves)
{
    outcome *o = outcome_new(p);
    rank_part me = { .rank = pfc_ctx_rank(ctx), .ranks = pfc_ctx_ranks(ctx) };
    ck_assert_int_eq(p->n % me.ranks, 0);
    me.b = p->n / me.ranks;
    me.shard = pfc_shard_of(p->cfg.num_classes, me.ranks, me.rank);
    pfc_partial_fc *layer = NULL;
    o->status = pfc_partial_fc_create(ctx, &p->cfg, &layer);
    if (o->status == PFC_OK) o->status = set_and_run(ctx, layer, p, &me, halves, o);
    pfc_partial_fc_destroy(&layer);
    /* Each element was written by one rank and is zero elsewhere: or-ing the bits puts the parts together untouched. */
    MPI_Allreduce(MPI_IN_PLACE, &o->labels_kept, 1, MPI_C_BOOL, MPI_LAND, comm);
    for (int k = 0; k < RESULTS; k++) MPI_Allreduce(MPI_IN_PLACE, o->v[k], (int)o->size[k], MPI_UINT64_T, MPI_BOR, comm);
    return o;
}

/* ---- the dense equations ---- */

outcome *problem_dense(const problem *p, int ranks)
{
    int64_t n = p->n, c = p->cfg.num_classes, d = p->cfg.embedding_size;
    outcome *o = outcome_new(p);
    pfc_dense_partial_fc *e = pfc_dense_partial_fc_new(&p->cfg, ranks, n);
    ck_assert_ptr_nonnull(e);
    memcpy(e->weight, p->weight, (size_t)(c * d) * 8);
    memcpy(e->momentum, p->momentum, (size_t)(c * d) * 8);
    for (int64_t t = 0; t < p->steps && o->status == PFC_OK; t++) {
        if (!pfc_dense_partial_fc_step(e, p->x + t * n * d, p->labels + t * n, p->keys ? p->keys + t * c : NULL)) o->status = PFC_ERR_DATA;
        o->v[LOSS][t] = e->loss;
        memcpy(o->v[X_GRAD] + t * n * d, e->x_grad, (size_t)(n * d) * 8);
    }
    const double *from[RESULTS] = { NULL,      NULL,      e->weight_grad, e->weight,  e->momentum,    NULL,
                                    e->cosine, e->logits, e->row_max,     e->row_sum, e->prob_target, e->dlogits };
    for (int k = 0; k < RESULTS; k++)
        if (from[k]) memcpy(o->v[k], from[k], (size_t)o->size[k] * 8);
    for (int64_t j = 0; j < c; j++) o->v[SAMPLED][j] = (double)e->sampled[j];
    pfc_dense_partial_fc_free(e);
    return o;
}

/* ---- comparing ---- */

double worst(const double *a, const double *b, int64_t count, double floor)
{
    double top = floor, err = 0;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(b[i])) top = fmax(top, fabs(b[i]));
    for (int64_t i = 0; i < count; i++) {
        if (isnan(a[i]) && isnan(b[i])) continue;
        if (isnan(a[i]) || isnan(b[i]) || (isinf(b[i]) && a[i] != b[i])) return INFINITY;
        if (a[i] != b[i]) err = fmax(err, fabs(a[i] - b[i]) / top);
    }
    return err;
}

/* NaNs and zeros count as one each: files hold them in one form. */
static uint64_t bits(double x)
{
    uint64_t u;
    if (isnan(x)) return UINT64_MAX;
    x += 0.0;
    memcpy(&u, &x, sizeof u);
    return u;
}

bool same_bits(const double *a, const double *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (bits(a[i]) != bits(b[i])) return false;
    return true;
}

int first_difference(const outcome *a, const outcome *b)
{
    for (int k = 0; k < RESULTS; k++)
        if (!same_bits(a->v[k], b->v[k], a->size[k])) return k;
    return -1;
}
