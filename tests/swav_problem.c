/* swav_problem.c: see swav_problem.h. */
#include "swav_problem.h"

#include <math.h>
#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

pfc_ctx *context(MPI_Comm comm, pfc_mode mode, int threads) { return pfc_test_ctx(comm, (pfc_options){ .mode = mode, .threads = threads }); }

double random_float(int64_t seed, int64_t i) { return (double)(float)pfc_normal(seed, i, 0, PFC_STREAM_FILL); }

double distance(const double *a, const double *b, int64_t count)
{
    double most = 0, largest = 1e-300;
    for (int64_t i = 0; i < count; i++) {
        if ((isnan(a[i]) && isnan(b[i])) || a[i] == b[i]) {
            if (isfinite(b[i]) && fabs(b[i]) > largest) largest = fabs(b[i]);
            continue;
        }
        double d = fabs(a[i] - b[i]);
        most = d <= most ? most : isnan(d) ? INFINITY : d;
        if (fabs(b[i]) > largest) largest = fabs(b[i]);
    }
    return most / largest;
}

void make_problem(problem *p, int64_t V, int64_t A, int64_t bs, int64_t L, bool filled, int64_t seed)
{
    memset(p, 0, sizeof *p);
    p->cfg = pfc_swav_defaults();
    p->cfg.num_prototypes = MAX_K;
    p->cfg.embedding_size = MAX_D;
    p->cfg.crops = V;
    p->cfg.num_assign = A;
    for (int64_t i = 0; i < A; i++) p->crops[i] = (2 * i) % V;
    p->bs = bs;
    p->L = L;
    for (int64_t i = 0; i < MAX_ROWS * MAX_D; i++) p->embedding[i] = random_float(seed, i);
    for (int64_t i = 0; i < MAX_K * MAX_D; i++) p->prototypes[i] = random_float(seed + 1, i);
    for (int64_t i = 0; filled && i < MAX_P * MAX_A * MAX_L * MAX_D; i++) p->queue[i] = random_float(seed + 2, i);
    p->cfg.crops_for_assign = p->crops;
}

/* count doubles of every rank, after real numbers of the mode. */
static void gather(MPI_Comm comm, pfc_dtype real, void *part, int64_t count, double *whole)
{
    double *mine = malloc((size_t)count * sizeof *mine + 1);
    for (int64_t i = 0; i < count; i++) mine[i] = real == PFC_F64 ? ((double *)part)[i] : (double)((float *)part)[i];
    MPI_Allgather(mine, (int)count, MPI_DOUBLE, whole, (int)count, MPI_DOUBLE, comm);
    free(mine);
}

static void widen(pfc_dtype real, double *x, int64_t count)
{
    for (int64_t i = count - 1; real == PFC_F32 && i >= 0; i--) {
        float f;
        memcpy(&f, (char *)x + i * 4, 4);
        x[i] = (double)f;
    }
}

pfc_swav *make_layer(pfc_ctx *ctx, problem *p)
{
    pfc_swav *layer;
    p->cfg.crops_for_assign = p->crops;
    int64_t mine = p->cfg.num_assign * p->L;
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_create(ctx, &p->cfg, &layer) == PFC_OK);
    bool ok = pfc_swav_set_prototypes(layer, pfc_view_make(p->prototypes, PFC_F64, MAX_K, MAX_D), (pfc_view){ 0 }) == PFC_OK;
    pfc_view queue = pfc_view_make(p->queue + pfc_ctx_rank(ctx) * mine * MAX_D, PFC_F64, mine, MAX_D);
    if (!p->L) queue.data = NULL;
    ok = pfc_swav_set_queue(layer, queue, p->use) == PFC_OK && ok;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    return layer;
}

void library(MPI_Comm comm, pfc_mode mode, int threads, problem *p, results *r)
{
    pfc_ctx *ctx = context(comm, mode, threads);
    pfc_swav *layer = make_layer(ctx, p);
    pfc_dtype real = pfc_ctx_real(ctx);
    int64_t rows = p->cfg.crops * p->bs, assigned = p->cfg.num_assign * p->bs, queued = p->cfg.num_assign * p->L, rank = pfc_ctx_rank(ctx);
    double *q = malloc((size_t)(assigned * MAX_K) * 8), *dh = malloc((size_t)(rows * MAX_D) * 8), *queue = malloc((size_t)(queued * MAX_D) * 8 + 8);
    pfc_swav_result out = { .assignment = pfc_view_make(q, real, assigned, MAX_K),
                            .embedding_grad = pfc_view_make(dh, real, rows, MAX_D),
                            .prototypes_grad = pfc_view_make(r->prototypes_grad, real, MAX_K, MAX_D) };
    int use = 0;
    r->status = pfc_swav_step(layer, pfc_view_make(p->embedding + rank * rows * MAX_D, PFC_F64, rows, MAX_D), p->frozen, &out);
    if (r->status == PFC_OK) {
        ck_assert(pfc_swav_get_prototypes(layer, pfc_view_make(r->prototypes, real, MAX_K, MAX_D), (pfc_view){ 0 }) == PFC_OK);
        ck_assert(pfc_swav_get_queue(layer, pfc_view_make(p->L ? queue : NULL, real, queued, MAX_D), &use) == PFC_OK);
        widen(real, r->prototypes, MAX_K * MAX_D);
        widen(real, r->prototypes_grad, MAX_K * MAX_D);
        MPI_Allgather(&out.loss, 1, MPI_DOUBLE, r->loss, 1, MPI_DOUBLE, comm);
        gather(comm, real, q, assigned * MAX_K, r->assignment);
        gather(comm, real, dh, rows * MAX_D, r->embedding_grad);
        if (p->L) gather(comm, real, queue, queued * MAX_D, r->queue);
        r->use = use;
    }
    pfc_swav_destroy(&layer);
    pfc_ctx_destroy(&ctx);
    free(q);
    free(dh);
    free(queue);
}

void dense(int ranks, const problem *p, results *r)
{
    memcpy(r->prototypes, p->prototypes, sizeof r->prototypes);
    memcpy(r->queue, p->queue, sizeof r->queue);
    pfc_dense_swav s = { .cfg = &p->cfg,
                         .ranks = ranks,
                         .bs = p->bs,
                         .L = p->L,
                         .frozen = p->frozen,
                         .embedding = p->embedding,
                         .prototypes = r->prototypes,
                         .queue = r->queue,
                         .use_the_queue = p->use,
                         .loss = r->loss,
                         .assignment = r->assignment,
                         .embedding_grad = r->embedding_grad,
                         .prototypes_grad = r->prototypes_grad };
    ck_assert(pfc_dense_swav_step(&s));
    r->use = s.use_the_queue;
    r->status = s.same_answer ? PFC_OK : PFC_ERR_DATA;
}

double worst(const problem *p, int ranks, const results *a, const results *b)
{
    int64_t V = p->cfg.crops, A = p->cfg.num_assign;
    double d[6] = { distance(a->loss, b->loss, ranks),
                    distance(a->assignment, b->assignment, ranks * A * p->bs * MAX_K),
                    distance(a->embedding_grad, b->embedding_grad, ranks * V * p->bs * MAX_D),
                    distance(a->prototypes, b->prototypes, MAX_K * MAX_D),
                    distance(a->prototypes_grad, b->prototypes_grad, MAX_K * MAX_D),
                    p->L ? distance(a->queue, b->queue, ranks * A * p->L * MAX_D) : 0 };
    double most = 0;
    for (int i = 0; i < 6; i++) most = d[i] > most ? d[i] : most;
    return a->use == b->use ? most : INFINITY;
}

void compare(problem *p, results *exact, double tolerance)
{
    static results fast, want; /* large */
    int ranks = pfc_test_ranks();
    dense(ranks, p, &want);
    library(MPI_COMM_WORLD, PFC_EXACT, 1, p, exact);
    library(MPI_COMM_WORLD, PFC_FAST, 1, p, &fast);
    PFC_AGREE(MPI_COMM_WORLD, exact->status == PFC_OK && fast.status == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, worst(p, ranks, exact, &want) <= 1e-9);
    PFC_AGREE(MPI_COMM_WORLD, worst(p, ranks, &fast, exact) <= tolerance);
}
