/* arcface_problem.c: see arcface_problem.h. */
#include "arcface_problem.h"

#include "pfc_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const ARC_NAMES[ARC_RESULTS] = { "logits", "subcenter", "loss", "x_grad", "weight_grad", "bias_grad", "cosine", "prob" };

static double *normals(int64_t seed, uint32_t step, int64_t count, double scale)
{
    double *v = pfc_test_zeros(count);
    for (int64_t i = 0; i < count; i++) v[i] = (double)(float)(scale * pfc_normal(seed, i, step, PFC_STREAM_FILL));
    return v;
}

static double *uniforms(int64_t seed, uint32_t step, int64_t count, double low, double high)
{
    double *v = pfc_test_zeros(count);
    for (int64_t i = 0; i < count; i++) v[i] = (double)(float)(low + (high - low) * pfc_uniform(seed, i, step, PFC_STREAM_FILL));
    return v;
}

pfc_arcface_config arc_config(int64_t c, int64_t d, int64_t k)
{
    pfc_arcface_config o = pfc_arcface_defaults();
    o.num_classes = c;
    o.embedding_size = d;
    o.num_subcenters = k;
    o.scale = 16;
    return o;
}

arc_problem *arc_problem_new(const pfc_arcface_config *cfg, int64_t n, int optional, int64_t seed)
{
    arc_problem *p = pfc_test_zeros(sizeof *p / 8 + 1);
    int64_t c = cfg->num_classes, d = cfg->embedding_size, rows = c * cfg->num_subcenters;
    p->cfg = *cfg;
    p->n = n;
    p->x = normals(seed, 0, n * d, cfg->feature_norm ? 1 : 0.3); /* products of rows as they are stay near (-1, 1) */
    p->weight = normals(seed, 1, rows * d, cfg->weight_norm ? 1 : 0.3);
    p->labels = pfc_test_zeros(n);
    for (int64_t i = 0; i < n; i++) p->labels[i] = (int64_t)((double)c * pfc_uniform(seed, i, 2, PFC_STREAM_FILL));
    if (optional & ARC_BIAS) p->bias = normals(seed, 3, rows, 0.05);
    if (optional & ARC_MARGINS) p->margins = uniforms(seed, 4, c, 0.05, 0.6);
    if (optional & ARC_SOFT) p->soft = uniforms(seed, 5, n * c, 0, 0.4);
    if (optional & ARC_CLASS_WEIGHT) p->class_weight = uniforms(seed, 6, c, 0.5, 2);
    return p;
}

void arc_problem_free(arc_problem *p)
{
    free(p->x);
    free(p->weight);
    free(p->labels);
    free(p->bias);
    free(p->margins);
    free(p->soft);
    free(p->class_weight);
    free(p);
}

pfc_ctx *arc_ctx(MPI_Comm comm, pfc_mode mode, const char *engine, int threads)
{
    return pfc_test_ctx(comm, (pfc_options){ .mode = mode, .engine = engine, .threads = threads });
}

static arc_outcome *outcome_new(const arc_problem *p)
{
    int64_t n = p->n, c = p->cfg.num_classes, d = p->cfg.embedding_size, rows = c * p->cfg.num_subcenters;
    const int64_t size[ARC_RESULTS] = { n * c, n * c, 1, n * d, rows * d, rows, n * c, n * c };
    arc_outcome *o = pfc_test_zeros(sizeof *o / 8 + 1);
    for (int k = 0; k < ARC_RESULTS; k++) {
        o->size[k] = size[k];
        o->v[k] = pfc_test_zeros(size[k]);
    }
    return o;
}

void arc_outcome_free(arc_outcome *o)
{
    for (int k = 0; k < ARC_RESULTS; k++) free(o->v[k]);
    free(o);
}

/* ---- the library ---- */

typedef struct tap {
    const arc_problem *p;
    arc_outcome *o;
    pfc_shard shard;
} tap;

static void keep(void *user, const char *name, pfc_view local, pfc_layout layout)
{
    tap *t = user;
    int k = strcmp(name, "cosine") == 0 ? ARC_COSINE : ARC_PROB;
    if (strcmp(name, ARC_NAMES[k]) != 0 || layout != PFC_CLASS_COLS || local.rows != t->p->n || local.cols != t->shard.count)
        t->o->status = PFC_ERR_SHAPE;
    else
        pfc_test_place(t->o->v[k], t->p->cfg.num_classes, local, 0, t->shard.start);
}

/* Rows [first, first + rows) of a (.., cols) matrix; without data where there is none. */
static pfc_view rows_of(const double *whole, int64_t first, int64_t rows, int64_t cols)
{
    return pfc_view_make(whole ? (void *)(uintptr_t)(whole + first * cols) : NULL, PFC_F64, rows, cols);
}

static pfc_view memory(pfc_dtype dtype, int64_t rows, int64_t cols) { return pfc_view_make(pfc_test_zeros(rows * cols), dtype, rows, cols); }

static void add_over_ranks(MPI_Comm comm, arc_outcome *o)
{
    for (int k = 0; k < ARC_RESULTS; k++)
        if (k != ARC_LOSS) MPI_Allreduce(MPI_IN_PLACE, o->v[k], (int)o->size[k], MPI_DOUBLE, MPI_SUM, comm);
}

arc_outcome *arc_library(MPI_Comm comm, pfc_ctx *ctx, const arc_problem *p)
{
    arc_outcome *o = outcome_new(p);
    int rank = pfc_ctx_rank(ctx), ranks = pfc_ctx_ranks(ctx);
    int64_t b = p->n / ranks, c = p->cfg.num_classes, d = p->cfg.embedding_size, k = p->cfg.num_subcenters;
    pfc_shard s = pfc_shard_of(c, ranks, rank);
    pfc_dtype real = pfc_ctx_real(ctx);
    pfc_arcface *head = NULL;
    pfc_arcface_input in = { .features = rows_of(p->x, b * rank, b, d),
                             .labels = pfc_view_make(p->labels + b * rank, PFC_I64, b, 1),
                             .weight = rows_of(p->weight, s.start * k, s.count * k, d),
                             .bias = rows_of(p->bias, s.start * k, s.count * k, 1),
                             .class_weight = rows_of(p->class_weight, s.start, s.count, 1) };
    if (p->soft) { /* columns of a whole matrix: ld is C */
        in.soft_targets = pfc_view_make(p->soft + s.start, PFC_F64, p->n, s.count);
        in.soft_targets.ld = c;
    }
    pfc_arcface_result r = {
        NAN, memory(real, p->n, s.count), memory(PFC_I64, p->n, s.count), memory(real, b, d), memory(real, s.count * k, d), memory(real, s.count * k, 1)
    };
    tap t = { p, o, s };
    pfc_ctx_set_tap(ctx, keep, &t);
    pfc_status st = pfc_arcface_create(ctx, &p->cfg, &head);
    if (st == PFC_OK && p->margins) st = pfc_arcface_set_margins(head, rows_of(p->margins, s.start, s.count, 1), p->cfg.margin_constants);
    if (st == PFC_OK) st = p->eval ? pfc_arcface_eval(head, &in, &r) : pfc_arcface_step(head, &in, &r);
    if (o->status == PFC_OK) o->status = st;
    pfc_ctx_set_tap(ctx, NULL, NULL);
    pfc_arcface_destroy(&head);
    pfc_test_place(o->v[ARC_LOGITS], c, r.logits, 0, s.start);
    pfc_test_place(o->v[ARC_SUBCENTER], c, r.subcenter, 0, s.start);
    pfc_test_place(o->v[ARC_X_GRAD], d, r.x_grad, b * rank, 0);
    pfc_test_place(o->v[ARC_WEIGHT_GRAD], d, r.weight_grad, s.start * k, 0);
    pfc_test_place(o->v[ARC_BIAS_GRAD], 1, r.bias_grad, s.start * k, 0);
    o->v[ARC_LOSS][0] = p->eval ? 0 : r.loss;
    free(r.logits.data);
    free(r.subcenter.data);
    free(r.x_grad.data);
    free(r.weight_grad.data);
    free(r.bias_grad.data);
    add_over_ranks(comm, o);
    return o;
}

/* ---- the dense equations ---- */

arc_outcome *arc_dense(const arc_problem *p)
{
    arc_outcome *o = outcome_new(p);
    pfc_dense_arcface *d = pfc_dense_arcface_new(&p->cfg, p->n);
    ck_assert_ptr_nonnull(d);
    d->eval = p->eval;
    d->x = p->x, d->weight = p->weight, d->labels = p->labels, d->bias = p->bias, d->margins = p->margins;
    d->soft_targets = p->soft, d->class_weight = p->class_weight;
    pfc_dense_arcface_run(d);
    const double *from[ARC_RESULTS] = { d->logits, NULL, &d->loss, d->x_grad, d->weight_grad, p->bias ? d->bias_grad : NULL, d->cosine, d->prob };
    for (int k = 0; k < ARC_RESULTS; k++)
        if (from[k]) memcpy(o->v[k], from[k], (size_t)o->size[k] * sizeof(double));
    for (int64_t i = 0; i < o->size[ARC_SUBCENTER]; i++) o->v[ARC_SUBCENTER][i] = (double)d->subcenter[i];
    pfc_dense_arcface_free(d);
    return o;
}

/* ---- comparing ---- */

double arc_worst(const double *a, const double *b, int64_t count)
{
    double error = 0, largest = 0;
    for (int64_t i = 0; i < count; i++) {
        if (isnan(a[i]) != isnan(b[i]) || isinf(a[i]) != isinf(b[i])) return INFINITY;
        if (!isfinite(b[i])) continue;
        error = fmax(error, fabs(a[i] - b[i]));
        largest = fmax(largest, fabs(b[i]));
    }
    return error == 0 ? 0 : error / largest;
}

int arc_first_difference(const arc_outcome *a, const arc_outcome *b)
{
    for (int k = 0; k < ARC_RESULTS; k++)
        for (int64_t i = 0; i < a->size[k]; i++)
            if (memcmp(a->v[k] + i, b->v[k] + i, 8) != 0 && !(isnan(a->v[k][i]) && isnan(b->v[k][i]))) return k;
    return -1;
}
