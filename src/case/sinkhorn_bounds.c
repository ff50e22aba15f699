/* sinkhorn_bounds.c: the bounds of Sinkhorn (doc/numerics.md sections 10 and 14.2). */
#include "case/sinkhorn_bounds.h"

#include "case/family.h"
#include "case/round.h"
#include "case/swav_case.h"
#include "core/ctx.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EPS PFC_BOUND_EPS
#define LARGEST 0x1p127 /* beyond it float32 may overflow */
#define FLOAT_EXP 88.72 /* beyond it exp does in float32 */
#define DOUBLE_EXP 709.78
#define LARGE 0.05 /* of a sum: what is missing is no relative error of first order any more */

/* A running sum of n terms of one sign. */
static double running(const pfc_sinkhorn_bound *b, int64_t n)
{
    double r = pfc_round_sum(b->precision, (double)n);
    return !b->beyond ? r : r < 1 ? -px_log(1 - r) : PX_INF;
}

static double grow(double x) { return x > 50.0 ? PX_INF : px_exp(x) - 1.0 + x * EPS; } /* e^x - 1 from above, x >= 0 */

/* The error of a sum is the mean of its terms' in first order, log sum w e^error in fact: mean() of what term() makes of them. */
static double term(const pfc_sinkhorn_bound *b, double w, double error)
{
    if (!b->beyond) return w * error;
    return w == 0 && px_finite(error) ? 0 : w * (px_exp(error) - 1);
}
static double mean(const pfc_sinkhorn_bound *b, double sum) { return b->beyond ? px_log(1 + sum) : sum; }

/* ---- exp and its errors ---- */

static double largest(const double *x, int64_t count)
{
    double m = -PX_INF;
    for (int64_t i = 0; i < count; i++) m = px_nan(x[i]) || x[i] > m ? x[i] : m;
    return m;
}

/* a = score/epsilon, eps = relative error of exp(a - shift): of the division, of the subtraction, of exp, of the scores. */
static void exponents(pfc_sinkhorn_bound *b)
{
    double epsilon = b->cfg->epsilon;
    bool log = b->cfg->version == PFC_SINKHORN_LOG;
    for (int64_t i = 0; i < b->N * b->K; i++) b->a[i] = b->scores[i] / epsilon;
    double M = largest(b->a, b->N * b->K), reach = 0;
    for (int64_t i = 0; log && i < b->N * b->K; i++) reach = px_finite(b->a[i]) && fabs(b->a[i]) > reach ? fabs(b->a[i]) : reach;
    if (log) reach += px_log((double)(b->N * b->K)); /* about the largest |f|, |g| */
    for (int64_t i = 0; i < b->N * b->K; i++) {
        double shifted = !log && b->cfg->stabilise ? b->a[i] - M : 0;
        b->eps[i] = EPS * (4.0 + fabs(b->a[i]) + fabs(shifted) + 2.0 * reach) + (b->escores ? b->escores[i] / epsilon : 0);
        if (log && !px_finite(b->a[i])) b->eps[i] = 0;
    }
}

/* The absolute error of a result q after an operation that may underflow; before: what its operands' errors make of it. Results below 2^-126 lose bits or,
 * where subnormal numbers count as 0, all of them. */
static double underflow(double q, double before)
{
    if (!(q < 0x1p-125 + 2 * before)) return before;
    double rounded = before + (q + before < 0x1p-148 ? q + before : 0x1p-148);
    return rounded > q ? rounded : q;
}

/* shoot_infs on one rank's part: infinities take the errors of the largest other value; lost NULL: none. */
static void replace(double *q, double *eps, double *lost, int64_t count)
{
    double m = 0, em = 0, lm = 0;
    for (int64_t i = 0; i < count; i++)
        if (q[i] != PX_INF && (px_nan(q[i]) || q[i] > m)) m = q[i];
    for (int64_t i = 0; i < count; i++) {
        if (q[i] == PX_INF || !(q[i] >= m / 2)) continue;
        if (eps[i] > em) em = eps[i];
        if (lost && lost[i] > lm) lm = lost[i];
    }
    for (int64_t i = 0; i < count; i++) {
        if (q[i] != PX_INF) continue;
        q[i] = m, eps[i] = em;
        if (lost) lost[i] = lm;
    }
}

/* A NaN is one in float32, too: a sum of 0 stays one. Not with vissl, which may add 1e-12 in one of the two only. */
static double settle(const pfc_sinkhorn_bound *b, double x, bool vague, double e)
{
    return pfc_bound_settle(x, b->open || (vague && !(px_nan(x) && b->cfg->version != PFC_SINKHORN_VISSL)), e);
}

/* Whether an element is above 0 in float32 for sure. */
static bool solid(double q, double lost) { return lost < 0.99 * q; }

/* Relative error of a sum of which `gone` may be missing. */
static double missing(double gone, double sum) { return gone == 0 ? 0 : gone / (sum > gone ? sum - gone : 0x1p-1000 * sum); }

static bool replaces(const pfc_sinkhorn_bound *b) { return b->cfg->version == PFC_SINKHORN_V1 || b->cfg->version == PFC_SINKHORN_VISSL; }

/* exp of one element: open where float32 overflows and float64 does not. */
static void one_exp(pfc_sinkhorn_bound *b, int64_t i, double shift)
{
    double x = b->a[i] - shift;
    b->q[i] = px_exp(x);
    b->lost[i] = underflow(b->q[i], fabs(x + 708.0) <= b->eps[i] ? 0x1p-1021 : 0); /* there float64 itself has 0 or 2^-1021 */
    if (x + b->eps[i] > FLOAT_EXP && x - b->eps[i] < DOUBLE_EXP) b->open = true;
    if (fabs(b->a[i]) > LARGEST && px_finite(b->a[i])) b->open = true;
}

static void kernel(pfc_sinkhorn_bound *b)
{
    double shift = b->cfg->stabilise ? largest(b->a, b->N * b->K) : 0, total = 0, etotal = 0, gone = 0;
    for (int64_t i = 0; i < b->N * b->K; i++) one_exp(b, i, shift);
    for (int64_t r = 0, part = b->n * b->K; replaces(b) && r < b->ranks; r++) replace(b->q + r * part, b->eps + r * part, b->lost + r * part, part);
    for (int64_t i = 0; i < b->N * b->K; i++) {
        total += b->q[i];
        gone += b->lost[i];
    }
    if (gone > LARGE * total) b->vague = true;
    if (total > LARGEST && px_finite(total)) b->open = true;
    for (int64_t i = 0; i < b->N * b->K; i++) {
        b->q[i] = b->q[i] / total;
        b->lost[i] = underflow(b->q[i], b->lost[i] / total);
        etotal += term(b, b->q[i], b->eps[i]);
    }
    b->common = mean(b, etotal) + missing(gone, total);
    b->common = b->precision->sound ? b->common + running(b, b->N * b->K) : b->common + running(b, b->N) + running(b, b->K);
    for (int64_t j = 0; j < b->N; j++) b->beta[j] = b->beyond ? 0 : b->common;
    if (!b->beyond) b->common = 0;
    for (int64_t k = 0; k < b->K; k++) b->rho[k] = 0;
}

/* ---- iterations ---- */

/* u_k = sum over samples, rho_k its relative error but for that of the prototype's own factor. Returns whether a sum may be 0 in float32 and is not. */
static bool rows(pfc_sinkhorn_bound *b, double *erow)
{
    bool vague = false;
    for (int64_t k = 0; k < b->K; k++) {
        double s = 0, e = 0, gone = 0;
        bool sure = false;
        for (int64_t j = 0; j < b->N; j++) {
            double q = b->q[j * b->K + k];
            s += q;
            e += term(b, q, b->eps[j * b->K + k] + b->beta[j]);
            gone += b->lost[j * b->K + k];
            sure = sure || solid(q, b->lost[j * b->K + k]);
        }
        bool large = gone > LARGE * s;
        vague = vague || (gone > 0 && !sure);
        b->u[k] = s;
        b->gone[k] = large ? missing(gone, s) : 0;
        erow[k] = (s == 0 ? 0 : mean(b, e / s) + (large ? 0 : missing(gone, s))) + running(b, b->N);
    }
    return vague;
}

/* vissl: 1e-12 more everywhere; the factors' errors become the elements' own. */
static void add_everywhere(pfc_sinkhorn_bound *b)
{
    for (int64_t j = 0; j < b->N; j++)
        for (int64_t k = 0; k < b->K; k++) {
            int64_t i = j * b->K + k;
            double more = b->q[i] + 1e-12;
            b->eps[i] = mean(b, term(b, b->q[i] / more, b->eps[i] + b->rho[k] + b->beta[j] + b->common)) + 2 * EPS;
            b->q[i] = more;
        }
    for (int64_t j = 0; j < b->N; j++) b->beta[j] = 0;
    for (int64_t k = 0; k < b->K; k++) b->rho[k] = 0;
    b->common = 0;
}

/* The absolute error of q, at most 1/n, where the sum that it was divided by has the relative error `gone`. */
static double more_lost(double q, double lost, double gone, int64_t n)
{
    double e = lost + q * gone;
    return gone == 0 || e < 1.0 / (double)n ? e : 1.0 / (double)n;
}

/* Times u_k, then to a sum of 1/N. False: this sum may be 0 in float32 and is not, a NaN. */
static bool scale_sample(pfc_sinkhorn_bound *b, int64_t j)
{
    double *q = b->q + j * b->K, *lost = b->lost + j * b->K, s = 0, e = 0, gone = 0;
    bool sure = false;
    for (int64_t k = 0; k < b->K; k++) {
        q[k] *= b->u[k];
        lost[k] = underflow(q[k], more_lost(q[k], lost[k] * b->u[k], b->gone[k], b->K));
        s += q[k];
        e += term(b, q[k], b->eps[j * b->K + k] + b->rho[k]);
        gone += lost[k];
        sure = sure || solid(q[k], lost[k]);
    }
    bool large = gone > LARGE * s;
    double c = 1.0 / (double)b->N / s, miss = missing(gone, s);
    for (int64_t k = 0; k < b->K; k++) {
        q[k] = q[k] * c;
        lost[k] = underflow(q[k], more_lost(q[k], lost[k] * c, large ? miss : 0, b->N));
    }
    b->beta[j] = mean(b, e / s) + (large ? 0 : miss) + running(b, b->K) + 4 * EPS;
    return gone == 0 || sure;
}

static void iteration(pfc_sinkhorn_bound *b, int64_t t, double *erow)
{
    bool zero = false, vague = rows(b, erow);
    for (int64_t k = 0; k < b->K; k++) zero = zero || b->u[k] == 0;
    if (zero && !vague && b->cfg->version == PFC_SINKHORN_VISSL) {
        add_everywhere(b);
        vague = rows(b, erow);
    }
    b->vague = b->vague || vague;
    for (int64_t k = 0; k < b->K; k++) {
        if (b->sums) b->sums[t * b->K + k] = b->u[k];
        if (b->esums) b->esums[t * b->K + k] = settle(b, b->u[k], b->vague, fabs(b->u[k]) * (grow(erow[k] + b->rho[k] + b->common) + b->gone[k]) + 0x1p-125);
        b->rho[k] = erow[k] + 4 * EPS;
        b->u[k] = 1.0 / (double)b->K / b->u[k];
    }
    b->common = 0;
    if (replaces(b)) replace(b->u, b->rho, NULL, b->K);
    for (int64_t j = 0; j < b->N; j++)
        if (!scale_sample(b, j) && t + 1 < b->cfg->iterations) b->vague = true; /* a NaN: the next row sums take it to all */
}

/* ---- log domain: q holds exp(a + f + g) only at the end ---- */

static double log_sum(const pfc_sinkhorn_bound *b, const double *x, int64_t stride, const double *y, const double *ex, const double *ey, int64_t count,
                      double *e)
{
    double m = -PX_INF, s = 0, w = 0;
    for (int64_t i = 0; i < count; i++) m = px_nan(x[i * stride]) || x[i * stride] + y[i] > m ? x[i * stride] + y[i] : m;
    for (int64_t i = 0; i < count && px_finite(m); i++) {
        double p = px_exp(x[i * stride] + y[i] - m);
        s += p;
        w += term(b, p, ex[i * stride] + ey[i]);
    }
    *e = px_finite(m) ? mean(b, w / s) + running(b, count) : 0;
    return px_log_sum(m, s);
}

static void log_iteration(pfc_sinkhorn_bound *b, int64_t t)
{
    for (int64_t k = 0; k < b->K; k++) {
        double e, L = log_sum(b, b->a + k, b->K, b->g, b->eps + k, b->beta, b->N, &e);
        if (b->sums) b->sums[t * b->K + k] = L;
        if (b->esums) b->esums[t * b->K + k] = pfc_bound_settle(L, false, e + 4 * EPS * (1 + fabs(L)));
        b->u[k] = -px_log((double)b->K) - L;
        b->rho[k] = e;
    }
    for (int64_t j = 0; j < b->N; j++) {
        double e;
        b->g[j] = -px_log((double)b->N) - log_sum(b, b->a + j * b->K, 1, b->u, b->eps + j * b->K, b->rho, b->K, &e);
        b->beta[j] = e;
    }
    for (int64_t k = 0; k < b->K; k++) b->f[k] = b->u[k];
}

/* ---- the assignment ---- */

/* dq = q (d_k - sum_k' q_k' d_k') where d are the relative errors: certain samples have small ones. */
static void finish_row(pfc_sinkhorn_bound *b, int64_t j)
{
    double *q = b->q + j * b->K, *eq = b->eq + j * b->K, *lost = b->lost + j * b->K, s = 0, all = 0, gone = 0;
    bool sure = false, plain = b->cfg->version == PFC_SINKHORN_V2 && b->cfg->iterations == 0;
    for (int64_t k = 0; k < b->K; k++) s += q[k];
    for (int64_t k = 0; k < b->K; k++) {
        q[k] = plain ? q[k] * (double)b->N : q[k] / s;
        lost[k] = plain ? lost[k] * (double)b->N : lost[k] / s;
        all += q[k] * (b->eps[j * b->K + k] + b->rho[k]);
        gone += lost[k];
        sure = sure || solid(q[k], lost[k]);
    }
    bool vague = b->vague || (gone > 0 && !sure && !plain);
    for (int64_t k = 0; k < b->K; k++) b->own[k] = b->eps[j * b->K + k] + b->rho[k];
    if (b->beyond) pfc_softmax_errors(b->K, q, b->own, eq, NULL);
    for (int64_t k = 0; k < b->K; k++) {
        double own = b->own[k], tail = running(b, b->K) + 4 * EPS + (plain ? 0 : missing(gone, 1));
        double rel = plain ? own + b->beta[j] : own + all - 2 * q[k] * own;
        if (own + all > 0.05) rel = plain ? grow(rel) : grow(own + all);
        if (b->beyond && plain) rel = grow(own + b->beta[j] + b->common);
        double e = (b->beyond && !plain ? eq[k] + q[k] * tail : q[k] * (rel + tail)) + lost[k] + 0x1p-125, room = q[k] > 1 - q[k] ? q[k] : 1 - q[k];
        eq[k] = settle(b, q[k], vague, plain || e < room ? e : room);
    }
}

static void finish_log_row(pfc_sinkhorn_bound *b, int64_t j)
{
    double *q = b->q + j * b->K, e, lse = log_sum(b, b->a + j * b->K, 1, b->f, b->eps + j * b->K, b->rho, b->K, &e);
    for (int64_t k = 0; k < b->K; k++) q[k] = px_exp(b->a[j * b->K + k] + b->f[k] - lse);
    finish_row(b, j);
    for (int64_t k = 0; lse == PX_INF && k < b->K; k++) b->eq[j * b->K + k] = PX_INF; /* one NaN as in the formula, or all as in softmax */
}

static void run(pfc_sinkhorn_bound *b, double *erow)
{
    bool log = b->cfg->version == PFC_SINKHORN_LOG;
    exponents(b);
    if (!log) kernel(b);
    for (int64_t t = 0; t < b->cfg->iterations; t++) log ? log_iteration(b, t) : iteration(b, t, erow);
    for (int64_t j = 0; j < b->N; j++) log ? finish_log_row(b, j) : finish_row(b, j);
}

bool pfc_sinkhorn_bound_run(pfc_sinkhorn_bound *b)
{
    size_t N = (size_t)(b->N = b->n * b->ranks), K = (size_t)b->K;
    double *erow = calloc(K, sizeof *erow);
    b->open = b->vague = false;
    b->a = calloc(N * K, sizeof(double));
    b->eps = calloc(N * K, sizeof(double));
    b->lost = calloc(N * K, sizeof(double));
    b->gone = calloc(K, sizeof(double));
    b->rho = calloc(K, sizeof(double));
    b->beta = calloc(N, sizeof(double));
    b->f = calloc(K, sizeof(double));
    b->g = calloc(N, sizeof(double));
    b->u = calloc(K, sizeof(double));
    b->own = calloc(K, sizeof(double));
    bool ok = erow && b->a && b->eps && b->lost && b->gone && b->rho && b->beta && b->f && b->g && b->u && b->own;
    if (ok) run(b, erow);
    free(erow);
    free(b->a);
    free(b->eps);
    free(b->lost);
    free(b->gone);
    free(b->rho);
    free(b->beta);
    free(b->f);
    free(b->g);
    free(b->u);
    free(b->own);
    return ok;
}

/* ---- the case ---- */

typedef struct job {
    const pfc_sinkhorn_config *cfg;
    const pfc_precision *precision;
    int ranks;
    int64_t N, K;
    double *scores, *rounded;                /* (N,K) given, in T */
    double *q, *eq, *first, *most;           /* (N,K) one run's results; those of the first, and the bounds over all */
    double *sums, *esums, *first_s, *most_s; /* (iterations,K) likewise */
} job;

static bool run_on(job *t, const double *scores)
{
    pfc_sinkhorn_bound b = { .cfg = t->cfg,
                             .precision = t->precision,
                             .beyond = t->precision->sound,
                             .ranks = t->ranks,
                             .n = t->N / t->ranks,
                             .K = t->K,
                             .scores = scores,
                             .q = t->q,
                             .eq = t->eq,
                             .sums = t->sums,
                             .esums = t->esums };
    return pfc_sinkhorn_bound_run(&b);
}

/* Scores as given, and rounded to T in every way that a port may round: known numbers, so is what they change. */
static bool all_roundings(job *t)
{
    int64_t count = t->N * t->K, sums = t->cfg->iterations * t->K;
    if (!run_on(t, t->scores)) return false;
    memcpy(t->first, t->q, (size_t)count * sizeof(double));
    memcpy(t->most, t->eq, (size_t)count * sizeof(double));
    memcpy(t->first_s, t->sums, (size_t)sums * sizeof(double));
    memcpy(t->most_s, t->esums, (size_t)sums * sizeof(double));
    for (pfc_rounding how = 0; how < PFC_ROUNDINGS; how++) {
        if (!pfc_round_inputs(t->precision, how, t->scores, count, t->rounded)) continue;
        if (!run_on(t, t->rounded)) return false;
        pfc_round_widen(t->most, t->first, t->q, t->eq, count);
        pfc_round_widen(t->most_s, t->first_s, t->sums, t->esums, sums);
    }
    return true;
}

static void compute(pfc_case *c, job *t, pfc_diag *diag)
{
    size_t count = (size_t)(t->N * t->K), sums = (size_t)(t->cfg->iterations * t->K);
    double *room = malloc((5 * count + 4 * sums + 1) * sizeof(double));
    t->rounded = room;
    t->q = room + count;
    t->eq = room + 2 * count;
    t->first = room + 3 * count;
    t->most = room + 4 * count;
    t->sums = room + 5 * count;
    t->esums = t->sums + sums;
    t->first_s = t->sums + 2 * sums;
    t->most_s = t->sums + 3 * sums;
    if (!room || !all_roundings(t)) {
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "bounds: out of memory");
    } else {
        pfc_bound_put(&c->bound_out, "assignment", t->most, 0, (int64_t)count);
        for (int64_t i = 0; i < t->cfg->iterations; i++) {
            char name[PFC_MAX_NAME];
            snprintf(name, sizeof name, "row_sum_%lld", (long long)i);
            pfc_bound_put(&c->bound_step, name, t->most_s + i * t->K, 0, t->K);
        }
    }
    free(room);
}

int pfc_sinkhorn_case_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag)
{
    MPI_Comm comm = ctx->comm.mpi;
    pfc_sinkhorn_config cfg = pfc_case_sinkhorn_config(c);
    job t = { .cfg = &cfg, .precision = precision, .ranks = pfc_ctx_ranks(ctx), .N = c->size['N' - 'A'], .K = c->size['K' - 'A'] };
    if (pfc_bounds_begin(comm, c, diag)) return diag->exit_status;
    pfc_case_gather_reals(comm, c, "scores", &t.scores, diag);
    if (!pfc_diag_agree(comm, diag) && pfc_ctx_rank(ctx) == 0) compute(c, &t, diag);
    free(t.scores);
    return pfc_bounds_share(comm, c, diag);
}
