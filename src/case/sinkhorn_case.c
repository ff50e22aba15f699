/* sinkhorn_case.c: the sinkhorn family as tables, its check, run, dense equations and bench. */
#include "case/algorithms.h"
#include "case/family.h"
#include "case/internal.h"
#include "case/swav_case.h"
#include "core/ctx.h"
#include "dense/swav_dense.h"

#include <math.h>
#include <stdlib.h>

static const pfc_param_spec params[] = {
    PFC_SINKHORN_PARAMS,
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

static const pfc_tensor_spec inputs[] = {
    { "scores", PFC_KIND_REAL, "N,K", PFC_DIST_BATCH, 'N', false, "similarity of every sample to every prototype" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec outputs[] = {
    { "assignment", PFC_KIND_REAL, "N,K", PFC_DIST_BATCH, 'N', false, "of every sample; rows sum to 1" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec steps[] = {
    { "row_sum_<t>", PFC_KIND_REAL, "K", PFC_DIST_NONE, 0, true, "all-reduced row sums of iteration t (log: their logarithms)" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

pfc_sinkhorn_config pfc_case_sinkhorn_config(const pfc_case *c)
{
    return (pfc_sinkhorn_config){ .epsilon = pfc_param_real(c, "epsilon"),
                                  .iterations = pfc_param_int(c, "iterations"),
                                  .stabilise = (int)pfc_param_int(c, "stabilise"),
                                  .version = (pfc_sinkhorn_version)pfc_param_choice(c, "version") };
}

int pfc_case_sinkhorn_check(const pfc_case *c, pfc_diag *diag)
{
    double epsilon = pfc_param_real(c, "epsilon");
    int64_t iterations = pfc_param_int(c, "iterations");
    if (!(epsilon > 0.0) || isinf(epsilon)) return pfc_case_fail(c, diag, "/param/epsilon", "found %g, expected a number above 0", epsilon);
    if (iterations < 0) return pfc_case_fail(c, diag, "/param/iterations", "found %lld, expected 0 or more", (long long)iterations);
    return 0;
}

/* Without the shift exp may overflow, and every rank replaces its infinities by its own maximum: then the result is of these ranks only. */
static int check(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    if (pfc_case_sinkhorn_check(c, diag)) return diag->exit_status;
    pfc_sinkhorn_config cfg = pfc_case_sinkhorn_config(c);
    const pfc_tensor *scores = pfc_tensor_find(&c->in, "scores");
    int infinite = 0;
    for (int64_t i = 0; i < pfc_tensor_local(scores); i++) infinite |= pfc_tensor_get(scores, i) / cfg.epsilon > 709.78;
    MPI_Allreduce(MPI_IN_PLACE, &infinite, 1, MPI_INT, MPI_MAX, comm);
    bool replaces = cfg.version == PFC_SINKHORN_V1 || cfg.version == PFC_SINKHORN_VISSL;
    if (infinite && replaces && !cfg.stabilise) c->depends_on_world = true;
    return 0;
}

/* NULL: diag says why, agreed. */
static pfc_tensor *add_result(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag)
{
    double scores = (double)c->size['N' - 'A'] * (double)c->size['K' - 'A'];
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    /* Beside the assignment, exact mode has the scores in float64. */
    if (pfc_case_check_memory(ctx, c, "/in/scores", "the assignment", pfc_ctx_mode(ctx) == PFC_EXACT ? 2.0 * scores : scores, diag)) return NULL;
    pfc_tensor *q = pfc_case_add_out(ctx, c, "assignment", -1, NULL, diag);
    return pfc_diag_agree(ctx->comm.mpi, diag) ? NULL : q;
}

static int run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag)
{
    pfc_sinkhorn_config cfg = pfc_case_sinkhorn_config(c);
    pfc_capture capture;
    pfc_tensor *q = add_result(ctx, c, diag);
    if (!q) return diag->exit_status;
    if (want_steps) pfc_capture_begin(&capture, ctx, c, NULL);
    pfc_status status = pfc_sinkhorn(ctx, &cfg, pfc_case_input_view(c, "scores"), pfc_tensor_view(q));
    if (want_steps) pfc_capture_end(&capture, diag);
    pfc_case_status(diag, status, ctx, c);
    if (!pfc_diag_agree(ctx->comm.mpi, diag)) pfc_case_canonical(c, NULL);
    return diag->exit_status;
}

static int dense(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag)
{
    pfc_sinkhorn_config cfg = pfc_case_sinkhorn_config(c);
    int64_t dims[2] = { c->size['N' - 'A'], c->size['K' - 'A'] };
    double *scores = NULL;
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    pfc_case_gather_reals(comm, c, "scores", &scores, diag);
    pfc_tensor *q = pfc_tensor_add(comm, out, "assignment", PFC_F64, 2, dims, PFC_DIST_NONE, 0);
    if (!q) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense sinkhorn: out of memory");
    if (!pfc_diag_agree(comm, diag) && rank == 0 && !pfc_dense_sinkhorn(&cfg, ranks, dims[0] / ranks, dims[1], scores, q->data))
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense sinkhorn: out of memory");
    free(scores);
    return pfc_diag_agree(comm, diag);
}

static int any_ranks(pfc_case *c, int ranks, pfc_diag *diag)
{
    (void)diag;
    c->size['N' - 'A'] = 8 * (int64_t)ranks;
    c->size['K' - 'A'] = 19;
    return 0;
}

/* ---- bench ---- */

typedef struct bench {
    pfc_ctx *ctx;
    pfc_case *c;
    pfc_sinkhorn_config cfg;
    pfc_tensor *q;
} bench;

static void *bench_open(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag)
{
    pfc_tensor *q = add_result(ctx, c, diag);
    if (!q) return NULL;
    pfc_tensor_list_align(&c->in);
    pfc_tensor_list_align(&c->out);
    bench *b = malloc(sizeof *b);
    if (b) *b = (bench){ ctx, c, pfc_case_sinkhorn_config(c), q };
    if (!b) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "bench: out of memory");
    return b;
}

static int bench_step(void *bench_, pfc_diag *diag)
{
    bench *b = bench_;
    return pfc_case_status(diag, pfc_sinkhorn(b->ctx, &b->cfg, pfc_case_input_view(b->c, "scores"), pfc_tensor_view(b->q)), b->ctx, b->c);
}

static void bench_close(void *bench_) { free(bench_); }

/* exp, then five operations an element and iteration. Passes over memory at least: scores read and the matrix written; the matrix read for the row sums of
 * every iteration but the first, whose sums are made on the way; read and written at the end. Six for three iterations. */
static void bench_cost(const pfc_case *c, int ranks, pfc_dtype real, double *flops, double *bytes)
{
    (void)ranks;
    double elements = (double)c->size['N' - 'A'] * (double)c->size['K' - 'A'], passes = (double)pfc_param_int(c, "iterations");
    *flops = elements * (20.0 + 5.0 * passes);
    elements *= (double)pfc_dtype_size(real);
    bytes[PFC_BYTES_COPY] = elements * 4.0;
    bytes[PFC_BYTES_READ] = elements * (passes > 1.0 ? passes - 1.0 : 0.0);
}

static const char *const narrow[] = { "scores", NULL };

const pfc_algorithm pfc_algorithm_sinkhorn = {
    .name = "sinkhorn",
    .help = "assignment of samples to prototypes by Sinkhorn iterations",
    .params = params,
    .in = inputs,
    .out = outputs,
    .step = steps,
    .narrow = narrow,
    .check = check,
    .run = run,
    .dense = dense,
    .bounds = pfc_sinkhorn_case_bounds,
    .fill = pfc_sinkhorn_case_fill,
    .sizes = "N K",
    .any_ranks = any_ranks,
    .bench_open = bench_open,
    .bench_step = bench_step,
    .bench_close = bench_close,
    .bench_cost = bench_cost,
};
