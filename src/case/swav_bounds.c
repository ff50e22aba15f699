/* swav_bounds.c: the bounds of a swav case (doc/numerics.md sections 10 and 14.2). Rank 0 goes through the step with an error beside every number. */
#include "case/family.h"
#include "case/round.h"
#include "case/sinkhorn_bounds.h"
#include "case/swav_case.h"
#include "core/ctx.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EPS PFC_BOUND_EPS
#define FLOAT_VANISHES -87.3 /* log p below it: p is subnormal or 0 in float32 */

typedef struct step {
    const pfc_precision *precision;
    bool beyond; /* errors of any size: in T, and -sound */
    const pfc_swav_inputs *in;
    int64_t P, bs, V, A, K, D, L, rows; /* rows: P*V*bs */
    bool use, source;
    double *c, *ec, *z, *length;                /* (K,D) twice, (rows,D), (rows) */
    double *tc, *tz, *tqueue;                   /* c, z and the queue in T */
    double *s, *es, *ds, *eds;                  /* (rows,K) scores, gradients */
    double *q, *eq;                             /* (P,A,bs,K) */
    double *equeue, *queue;                     /* (P,A,L,D) */
    double *eh, *edc, *loss, *eloss;            /* (rows,D) (K,D) (P) twice */
    double *o, *eo, *oq, *eoq;                  /* (P*(L+bs),K) one Sinkhorn */
    double *p, *ep, *logp, *el, *elog, *f, *ef; /* (K) five times, (D) twice */
} step;

static double running(const step *t, int64_t n) { return pfc_round_sum(t->precision, (double)n); }

/* out = v / max(|v|, 1e-12); the length. */
static double normalise(const double *v, int64_t n, double *out)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += v[i] * v[i];
    s = sqrt(s);
    for (int64_t i = 0; i < n; i++) out[i] = v[i] / (s < 1e-12 ? 1e-12 : s);
    return s;
}

/* Which side of the clamp a float32 length falls on. */
static bool at_clamp(double length) { return fabs(length - 1e-12) < 1e-17; }

/* A product of two rounded rows (numerics 2); tx, ty: the rows in T. */
static double product(const step *t, const double *x, const double *tx, const double *y, const double *ty, double *e)
{
    int64_t n = t->D;
    double s = 0, Q = 0, xmax = 0, ymax = 0, sizes = 0;
    for (int64_t i = 0; i < n; i++) {
        s += x[i] * y[i];
        Q += x[i] * y[i] * x[i] * y[i];
        sizes += fabs(x[i] * y[i]);
        xmax = fabs(x[i]) > xmax ? fabs(x[i]) : xmax;
        ymax = fabs(y[i]) > ymax ? fabs(y[i]) : ymax;
    }
    *e = 6 * EPS * (sqrt(2 * Q / 3) + sqrt((double)n * Q) + fabs(s)) + 1.5 * EPS * sqrt((double)n / 6) * fabs(s) + pfc_bound_grid(n, xmax * ymax);
    if (t->precision->sound) *e = running(t, n) * (sizes + fabs(s)) + pfc_bound_grid(n, xmax * ymax);
    if (t->precision->u > 0) *e += pfc_round_product(t->precision, x, 1, y, 1, n) + fabs(pfc_round_change(t->precision, x, tx, y, ty, n));
    *e += pfc_round_number(t->precision, s);
    return s;
}

static void forward(step *t)
{
    for (int64_t k = 0; k < t->K; k++) {
        double length = normalise(t->in->prototypes + k * t->D, t->D, t->c + k * t->D);
        for (int64_t d = 0; d < t->D; d++) {
            double c = t->c[k * t->D + d];
            t->tc[k * t->D + d] = pfc_round_as(t->precision, c);
            t->ec[k * t->D + d] = pfc_bound_settle(c, at_clamp(length), running(t, t->D) * fabs(c) + 0x1p-125);
        }
    }
    for (int64_t r = 0; r < t->rows; r++) {
        t->length[r] = normalise(t->in->embedding + r * t->D, t->D, t->z + r * t->D);
        for (int64_t d = 0; d < t->D; d++) t->tz[r * t->D + d] = pfc_round_as(t->precision, t->z[r * t->D + d]);
        for (int64_t k = 0; k < t->K; k++) {
            int64_t i = r * t->K + k;
            t->s[i] = product(t, t->z + r * t->D, t->tz + r * t->D, t->c + k * t->D, t->tc + k * t->D, &t->es[i]);
            t->es[i] = pfc_bound_settle(t->s[i], at_clamp(t->length[r]) || t->ec[k * t->D] == PX_INF, t->es[i]);
        }
    }
}

/* ---- assignment ---- */

static bool last_row_filled(const step *t, int64_t r, int64_t i)
{
    const double *last = t->queue + ((r * t->A + i) * t->L + t->L - 1) * t->D;
    for (int64_t d = 0; d < t->D; d++)
        if (last[d] != 0) return true;
    return false;
}

static void fill(step *t, int64_t r, int64_t i)
{
    int64_t a = t->in->cfg.crops_for_assign[i], first = (r * t->V + a) * t->bs;
    double *queue = t->queue + (r * t->A + i) * t->L * t->D, *e = t->equeue + (r * t->A + i) * t->L * t->D;
    memmove(queue + t->bs * t->D, queue, (size_t)((t->L - t->bs) * t->D) * sizeof *queue);
    for (int64_t x = 0; x < t->bs * t->D; x++) {
        queue[x] = t->z[first * t->D + x];
        e[x] = pfc_bound_settle(queue[x], at_clamp(t->length[first + x / t->D]), running(t, t->D) * fabs(queue[x]) + 0x1p-125);
    }
}

/* False: out of memory. */
static bool assign(step *t, int64_t i)
{
    if (t->L && last_row_filled(t, 0, i)) t->use = true;
    for (int64_t x = 0; x < t->P * t->A * t->L * t->D; x++) t->tqueue[x] = pfc_round_as(t->precision, t->queue[x]);
    int64_t L = t->L && t->use ? t->L : 0, n = L + t->bs, a = t->in->cfg.crops_for_assign[i];
    for (int64_t r = 0; r < t->P; r++) {
        const double *queue = t->L ? t->queue + (r * t->A + i) * t->L * t->D : NULL;
        for (int64_t j = 0; j < L; j++)
            for (int64_t k = 0; k < t->K; k++) {
                int64_t x = (r * n + j) * t->K + k;
                const double *row = queue + j * t->D, *in_t = t->tqueue + (row - t->queue);
                t->o[x] = product(t, row, in_t, t->c + k * t->D, t->tc + k * t->D, &t->eo[x]);
            }
        size_t bytes = (size_t)(t->bs * t->K) * sizeof(double);
        memcpy(t->o + (r * n + L) * t->K, t->s + (r * t->V + a) * t->bs * t->K, bytes);
        memcpy(t->eo + (r * n + L) * t->K, t->es + (r * t->V + a) * t->bs * t->K, bytes);
        if (queue) fill(t, r, i);
    }
    pfc_sinkhorn_bound b = { .cfg = &t->in->cfg.sinkhorn,
                             .precision = t->precision,
                             .beyond = t->beyond,
                             .ranks = (int)t->P,
                             .n = n,
                             .K = t->K,
                             .scores = t->o,
                             .escores = t->eo,
                             .q = t->oq,
                             .eq = t->eoq };
    if (!pfc_sinkhorn_bound_run(&b)) return false;
    for (int64_t r = 0; r < t->P; r++) {
        size_t bytes = (size_t)(t->bs * t->K) * sizeof(double);
        memcpy(t->q + (r * t->A + i) * t->bs * t->K, t->oq + (r * n + L) * t->K, bytes);
        memcpy(t->eq + (r * t->A + i) * t->bs * t->K, t->eoq + (r * n + L) * t->K, bytes);
    }
    return true;
}

/* ---- loss ---- */

/* p, log p and their errors of one row (numerics 4). Returns 1 where a p is 0 and the source takes its logarithm, -1 where it may be. */
static int softmax(step *t, const double *s, const double *es)
{
    double max = -PX_INF, sum = 0, up = 0, down = 0, most = 0;
    int vanished = 0;
    for (int64_t k = 0; k < t->K; k++) {
        double l = s[k] / t->in->cfg.temperature;
        t->logp[k] = l;
        t->el[k] = es[k] / t->in->cfg.temperature + 2 * EPS * fabs(l);
        max = px_nan(l) || l > max ? l : max;
        most = t->el[k] > most ? t->el[k] : most;
    }
    for (int64_t k = 0; k < t->K; k++) sum += px_exp(t->logp[k] - max);
    for (int64_t k = 0; k < t->K; k++) {
        double d = t->logp[k] - max;
        t->p[k] = px_exp(d) / sum;
        t->logp[k] = d - px_log(sum);
        if (t->source && t->logp[k] < FLOAT_VANISHES + t->el[k] + most && d + 708.0 >= -t->el[k] - most) vanished = -1;
        if (t->source && d < -708.0 && vanished == 0) vanished = 1;
        up += t->p[k] * (px_exp(t->el[k]) - 1);
        down += t->p[k] * (1 - px_exp(-t->el[k]));
    }
    double lse = px_log(1 + up), other = down < 1 ? -px_log(1 - down) : PX_INF;
    lse = (lse > other ? lse : other) < most ? (lse > other ? lse : other) : most;
    lse += running(t, t->K);
    if (t->beyond) {
        pfc_softmax_errors(t->K, t->p, t->el, t->ep, t->elog);
        for (int64_t k = 0; k < t->K; k++) {
            t->ep[k] += t->p[k] * (running(t, t->K) + 4 * EPS) + 0x1p-125;
            t->el[k] = t->el[k] == PX_INF ? PX_INF : t->elog[k] + running(t, t->K);
        }
        return vanished;
    }
    for (int64_t k = 0; k < t->K; k++) {
        double p = t->p[k], el = t->el[k], rest = lse - p * el > 0 ? lse - p * el : 0;
        double rho = el + lse <= 0.05 ? 1.06 * ((1 - p) * el + rest) : px_exp(el + lse) - 1;
        double e = p * rho + 4 * EPS * p + 0x1p-125, room = p > 1 - p ? p : 1 - p;
        t->ep[k] = e < room ? e : room;
        t->el[k] += lse; /* of log p */
    }
    return vanished;
}

/* Row r against target i: adds to its loss and gradient. */
static void add_target(step *t, int64_t r, int64_t target, int vanished, double *loss, double *eloss)
{
    const double *q = t->q + target * t->K, *eq = t->eq + target * t->K;
    double *ds = t->ds + r * t->K, *eds = t->eds + r * t->K, mass = 0, emass = 0, l = 0, e = 0;
    bool open = vanished < 0;
    for (int64_t k = 0; k < t->K; k++) {
        mass += q[k];
        emass += eq[k];
    }
    if (t->in->cfg.sinkhorn.version != PFC_SINKHORN_V2 || t->in->cfg.sinkhorn.iterations > 0) emass = running(t, t->K) * mass;
    /* sum q = 1 on both sides: log p counts from its mean */
    double centre = 0;
    for (int64_t k = 0; t->beyond && mass > 0 && k < t->K; k++) centre += t->logp[k] < -700 ? 0 : q[k] * t->logp[k] / mass;
    if (t->beyond) e += emass * fabs(centre);
    for (int64_t k = 0; k < t->K; k++) {
        open = open || eq[k] == PX_INF;
        double logp = t->source && vanished == 1 && t->logp[k] < -708.0 ? -PX_INF : t->logp[k];
        if (logp == -PX_INF && q[k] < 0x1p-120 && q[k] + eq[k] > 0) open = true; /* 0 times infinity, or not */
        l -= q[k] * logp;
        e += (q[k] + eq[k]) * t->el[k] + eq[k] * fabs(t->beyond && px_finite(logp) ? logp - centre : logp) + running(t, t->K) * fabs(q[k] * logp);
        ds[k] += vanished == 1 ? PX_NAN : mass * t->p[k] - q[k];
        eds[k] += vanished < 0 ? PX_INF : mass * t->ep[k] + emass * t->p[k] + eq[k] + 4 * EPS * (mass * t->p[k] + q[k]);
    }
    *loss += l;
    *eloss += open ? PX_INF : px_finite(l) ? e : 0;
}

static void losses(step *t)
{
    double V1 = (double)(t->V - 1), factor = 1.0 / ((double)(t->A * (t->V - 1) * t->bs) * t->in->cfg.temperature);
    for (int64_t r = 0; r < t->rows; r++) {
        int64_t rank = r / (t->V * t->bs), v = r / t->bs % t->V, n = r % t->bs;
        int vanished = softmax(t, t->s + r * t->K, t->es + r * t->K);
        for (int64_t i = 0; i < t->A; i++)
            if (t->in->cfg.crops_for_assign[i] != v) add_target(t, r, (rank * t->A + i) * t->bs + n, vanished, t->loss + rank, t->eloss + rank);
        for (int64_t k = 0; k < t->K; k++) {
            double *d = t->ds + r * t->K + k, *e = t->eds + r * t->K + k;
            bool open = *e == PX_INF;
            *d *= factor;
            *e = pfc_bound_settle(*d, open, *e * fabs(factor) + 4 * EPS * fabs(*d) + 0x1p-125 * fabs(factor));
        }
    }
    for (int64_t r = 0; r < t->P; r++) {
        double share = 1.0 / ((double)t->bs * V1 * (double)t->A);
        bool open = t->eloss[r] == PX_INF;
        t->loss[r] *= share;
        t->eloss[r] = pfc_bound_settle(t->loss[r], open, t->eloss[r] * share + 16 * EPS * (1 + fabs(t->loss[r])));
    }
}

/* ---- gradients ---- */

/* 48 roundings of a term; -sound: as many more as terms. */
static double term_growth(const step *t, int64_t n) { return 48 * EPS + (t->precision->sound ? running(t, n) : 0); }

/* What operands in T, and the result stored in T, cost a product sum. */
static double operands(const step *t, const double *a, int64_t sa, const double *b, int64_t sb, int64_t n, double value)
{
    const pfc_precision *p = t->precision;
    return p->u > 0 ? pfc_round_product(p, a, sa, b, sb, n) + pfc_round_common(p, value) + pfc_round_number(p, value) : 0;
}

/* ef of f_d = sum_k g_k c_kd, through the length. */
static void embedding_row(step *t, int64_t r)
{
    const double *g = t->ds + r * t->K, *eg = t->eds + r * t->K, *z = t->z + r * t->D;
    double *ef = t->eh + r * t->D, *f = t->f, along = 0, ealong = 0, length = t->length[r], largest = 0;
    double growth = term_growth(t, t->K), wide = 1 + 2 * t->precision->u; /* g is rounded where the port has it, at most eg away */
    bool tiny = length < 1e-12, open = at_clamp(length);
    for (int64_t k = 0; k < t->K; k++) largest = fabs(g[k]) > largest ? fabs(g[k]) : largest; /* |c| <= 1 */
    for (int64_t d = 0; d < t->D; d++) {
        f[d] = 0;
        ef[d] = pfc_bound_grid(t->K, largest);
        for (int64_t k = 0; k < t->K; k++) {
            double c = t->c[k * t->D + d];
            f[d] += g[k] * c;
            if (eg[k] == PX_INF) open = true;
            ef[d] += (eg[k] * wide + growth * fabs(g[k])) * fabs(c) + fabs(g[k]) * t->ec[k * t->D + d];
        }
        ef[d] += operands(t, g, 1, t->c + d, t->D, t->K, f[d]);
        along += f[d] * z[d];
        ealong += fabs(z[d]) * ef[d];
    }
    double turn = running(t, t->D); /* of the direction z itself */
    for (int64_t d = 0; d < t->D; d++) {
        double v = (tiny ? f[d] : f[d] - z[d] * along) / (tiny ? 1e-12 : length);
        double e = (ef[d] + (tiny ? 0 : fabs(z[d]) * (ealong + 2 * turn * fabs(along)))) / (tiny ? 1e-12 : length);
        ef[d] = pfc_bound_settle(v, open, e + 4 * EPS * fabs(v));
    }
}

static void prototypes(step *t)
{
    double growth = term_growth(t, t->rows) + running(t, t->D), wide = 1 + 2 * t->precision->u;
    int64_t own = t->V * t->bs; /* rows of a rank: products of their own */
    for (int64_t k = 0; !t->in->frozen && k < t->K; k++)
        for (int64_t d = 0; d < t->D; d++) {
            double f = 0, e = 0, largest = 0, part = 0;
            bool open = false;
            for (int64_t r = 0; r < t->rows; r++) {
                double g = t->ds[r * t->K + k], eg = t->eds[r * t->K + k], z = t->z[r * t->D + d];
                open = open || eg == PX_INF || at_clamp(t->length[r]);
                f += g * z;
                e += (eg * wide + growth * fabs(g)) * fabs(z);
                largest = fabs(g) > largest ? fabs(g) : largest; /* |z| <= 1 */
                part += g * z;
                if ((r + 1) % own) continue;
                int64_t first = r + 1 - own;
                e += operands(t, t->ds + first * t->K + k, t->K, t->z + first * t->D + d, t->D, own, part);
                part = 0;
            }
            e += pfc_bound_grid(t->rows, largest);
            t->edc[k * t->D + d] = pfc_bound_settle(f, open, (e + 4 * EPS * fabs(f)) / (double)t->P);
        }
}

/* ---- memory and the case ---- */

typedef struct slot {
    double **array;
    int64_t size;
} slot;

enum { SLOTS = 30 };

static void slots(step *t, slot all[SLOTS])
{
    int64_t kd = t->K * t->D, rk = t->rows * t->K, q = t->P * t->A * t->bs * t->K, queue = t->P * t->A * t->L * t->D, o = t->P * (t->L + t->bs) * t->K;
    const slot list[SLOTS] = { { &t->c, kd },
                               { &t->ec, kd },
                               { &t->z, t->rows * t->D },
                               { &t->length, t->rows },
                               { &t->s, rk },
                               { &t->es, rk },
                               { &t->ds, rk },
                               { &t->eds, rk },
                               { &t->q, q },
                               { &t->eq, q },
                               { &t->equeue, queue },
                               { &t->queue, queue },
                               { &t->eh, t->rows * t->D },
                               { &t->edc, kd },
                               { &t->loss, t->P },
                               { &t->eloss, t->P },
                               { &t->o, o },
                               { &t->eo, o },
                               { &t->oq, o },
                               { &t->eoq, o },
                               { &t->p, t->K },
                               { &t->ep, t->K },
                               { &t->logp, t->K },
                               { &t->el, t->K },
                               { &t->elog, t->K },
                               { &t->tc, kd },
                               { &t->tz, t->rows * t->D },
                               { &t->tqueue, queue },
                               { &t->f, t->D },
                               { &t->ef, t->D } };
    for (int k = 0; k < SLOTS; k++) all[k] = list[k];
}

static bool run(step *t)
{
    if (t->L) memcpy(t->queue, t->in->queue, (size_t)(t->P * t->A * t->L * t->D) * sizeof(double));
    forward(t);
    for (int64_t i = 0; i < t->A; i++)
        if (!assign(t, i)) return false;
    losses(t);
    for (int64_t r = 0; r < t->rows; r++) embedding_row(t, r);
    prototypes(t);
    return true;
}

static void put_all(const step *t, pfc_case *c)
{
    pfc_bound_put(&c->bound_out, "loss", t->eloss, 0, t->P);
    pfc_bound_put(&c->bound_out, "assignment", t->eq, 0, t->P * t->A * t->bs * t->K);
    pfc_bound_put(&c->bound_out, "embedding_grad", t->eh, 0, t->rows * t->D);
    pfc_bound_put(&c->bound_out, "prototypes", t->ec, 0, t->K * t->D);
    pfc_bound_put(&c->bound_out, "prototypes_grad", t->edc, 0, t->K * t->D);
    if (t->L) pfc_bound_put(&c->bound_out, "queue", t->equeue, 0, t->P * t->A * t->L * t->D);
    pfc_bound_put(&c->bound_step, "scores", t->es, 0, t->rows * t->K);
    pfc_bound_put(&c->bound_step, "dscores", t->eds, 0, t->rows * t->K);
}

static void compute(const pfc_swav_inputs *in, const pfc_precision *precision, pfc_case *c, pfc_diag *diag)
{
    step t = { .precision = precision,
               .beyond = !pfc_precision_is_f32(precision),
               .in = in,
               .P = in->ranks,
               .bs = in->bs,
               .V = in->cfg.crops,
               .A = in->cfg.num_assign,
               .K = in->cfg.num_prototypes,
               .D = in->cfg.embedding_size,
               .L = in->L,
               .use = in->use_the_queue != 0 };
    slot all[SLOTS];
    bool ok = true;
    t.rows = t.P * t.V * t.bs;
    t.source = in->cfg.log_softmax == PFC_LOG_SOFTMAX_SOURCE && in->cfg.sinkhorn.version == PFC_SINKHORN_V1;
    slots(&t, all);
    for (int k = 0; k < SLOTS; k++) ok = (*all[k].array = calloc((size_t)all[k].size + 1, sizeof(double))) && ok;
    if (ok && run(&t))
        put_all(&t, c);
    else
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "bounds: out of memory");
    for (int k = 0; k < SLOTS; k++) free(*all[k].array);
}

int pfc_swav_case_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag)
{
    MPI_Comm comm = ctx->comm.mpi;
    pfc_swav_inputs in;
    if (pfc_bounds_begin(comm, c, diag)) return diag->exit_status;
    if (pfc_swav_inputs_gather(comm, c, &in, diag)) return diag->exit_status;
    if (pfc_ctx_rank(ctx) == 0) compute(&in, precision, c, diag);
    pfc_swav_inputs_free(&in);
    return pfc_bounds_share(comm, c, diag);
}
