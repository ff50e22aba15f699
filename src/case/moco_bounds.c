/* moco_bounds.c: the bounds of a moco case's results and intermediate results (doc/numerics.md sections 11 and 14.3).
 *
 * Rank 0 goes through the step again with an error beside every number, in plain double and a fixed order, elementary functions of px.h only, so the bounds
 * have the same bits everywhere; the other ranks get them from it. Letters as in numerics.md, section 11; E in front: the bound of the letter; E alone: U of
 * numerics.md, 2^-22. */
#include "case/moco_case.h"
#include "case/round.h"
#include "core/ctx.h"

#include <stdlib.h>
#include <string.h>

#define E PFC_BOUND_EPS
#define LARGEST 0x1p127 /* beyond it float32 may overflow where float64 does not */
#define TINY 0x1p-125   /* what underflow can hide */

typedef struct bound {
    const pfc_precision *t;     /* type of what enters a product */
    int64_t n, k, d, params, b; /* N, K, D, parameters, rows of a rank */
    double s, mu;               /* 1/tau, momentum */
    bool first_call;
    double *params_q, *params_k, *query, *key, *queue;
    double *unit_q, *unit_k, *ek;   /* (D) of one row: directions, error of the key's */
    double *tq, *tk, *tqueue;       /* (D) (D) (K,D) query's and key's direction and the queue in T */
    double *l, *el, *p, *ep, *elog; /* (1+K) of one row */
    double *et, *change;            /* (1+K) T's part of a cosine's error; how much it changes by the operands' roundings */
    double *grad, *egrad;           /* (D) */
    double *dqueue;                 /* (K,D) gradient of a rank's loss by the queue */
    double squares, shift, rest;    /* of a rank's loss: squares of T's independent errors; common ones; what is not of first order in them */
    double stored;                  /* its slope by the cosines' common factor: stored, they may all be truncated */
    double ql, eloss, norm;         /* of one row */
    double top;                     /* largest term of its gradient's sum */
} bound;

static double larger(double a, double b) { return a > b ? a : b; }
static double smaller(double a, double b) { return a < b ? a : b; }
static double size(double x) { return x < 0 ? -x : x; }

/* ---- the parameters ---- */

static double param_bound(const bound *v, int64_t i)
{
    double k = v->params_k[i] * v->mu, q = v->params_q[i] * (1.0 - v->mu), sum = k + q;
    if (v->first_call) return 0;
    bool open = size(k) > LARGEST || size(q) > LARGEST || size(sum) > LARGEST || size(v->mu) > LARGEST;
    return pfc_bound_settle(sum, open && px_finite(v->params_k[i]) && px_finite(v->params_q[i]), E * (size(k) + size(q)) + TINY);
}

/* ---- one row ---- */

/* v / max(|v|, 1e-12): the direction, the error of each of its numbers over their size, and the length. A length that float32 cannot hold is open. */
static double direction(const pfc_precision *t, const double *v, int64_t d, double *unit, double *norm)
{
    double sum = 0;
    for (int64_t j = 0; j < d; j++) sum += v[j] * v[j];
    *norm = PX_SQRT(sum);
    double c = *norm < 1e-12 ? 1e-12 : *norm;
    for (int64_t j = 0; j < d; j++) unit[j] = v[j] / c;
    if (*norm > LARGEST && px_finite(*norm)) return PX_INF;
    if (t->sound) return E + pfc_round_sum(t, (double)d) / 2;
    return E * (1.0 + 1.5 * PX_SQRT((double)d / 6.0));
}

/* l = s <a, b> and its bound: operands rounded, products and running sum, lengths, scale; ta, tb: operands in T. */
static void logit(const bound *v, const double *a, const double *ta, const double *b, const double *tb, double eta, int64_t at)
{
    double *l = &v->l[at], *el = &v->el[at];
    double z = 0, squares = 0, d = (double)v->d, amax = 0, bmax = 0, sizes = 0;
    for (int64_t j = 0; j < v->d; j++) {
        double t = a[j] * b[j];
        z += t;
        squares += t * t;
        sizes += size(t);
        amax = larger(size(a[j]), amax);
        bmax = larger(size(b[j]), bmax);
    }
    double ez =
        6.0 * E * (PX_SQRT(2.0 * squares / 3.0) + PX_SQRT(d * squares) + size(z)) + 1.5 * E * PX_SQRT(d / 6.0) * size(z) + pfc_bound_grid(v->d, amax * bmax);
    if (v->t->sound) ez = pfc_round_sum(v->t, d) * (sizes + size(z)) + pfc_bound_grid(v->d, amax * bmax);
    v->change[at] = v->et[at] = 0;
    if (v->t->u > 0) {
        v->change[at] = pfc_round_change(v->t, a, ta, b, tb, v->d);
        v->et[at] = pfc_round_product(v->t, a, 1, b, 1, v->d) + size(v->change[at]) + pfc_round_number(v->t, z);
        ez += v->et[at];
    }
    *l = v->s * z;
    bool open = eta == PX_INF || size(*l) > LARGEST || size(z) > LARGEST || squares > LARGEST * LARGEST || size(v->s) > LARGEST;
    *el = pfc_bound_settle(*l, open && (px_finite(*l) || eta == PX_INF), size(v->s) * ez + 2.0 * E * size(*l) + size(v->s) * TINY * PX_SQRT(d) + TINY);
}

/* Largest logit, NaN wins; its place in *at, the largest bound in *most. */
static double largest_logit(const bound *v, int64_t *at, double *most)
{
    double top = -PX_INF;
    *at = 0;
    *most = 0;
    for (int64_t j = 0; j < 1 + v->k; j++) {
        if (px_nan(v->l[j]) || v->l[j] > top) top = v->l[ *at = j];
        *most = larger(v->el[j], *most);
    }
    return top;
}

/* Error of p = 1 - rest where the log of p/rest is within `reach`: p rest (e^reach - 1), whatever the reach. */
static double odds_error(double p, double rest, double reach)
{
    if (reach > 700.0) return larger(p, rest);
    return p * rest * (px_exp(reach) - 1.0);
}

/* p_j and its bound (numerics 4 and 11), and the row loss -log p_0 with its own (5). */
static void softmax(bound *v)
{
    int64_t c = 1 + v->k, at;
    double most, top = largest_logit(v, &at, &most), sum = 0, rest = 0, up = 0, down = 0, r = pfc_round_sum(v->t, (double)c);
    for (int64_t j = 0; j < c; j++) {
        sum += v->p[j] = px_exp(v->l[j] - top);
        if (j != at) rest += v->p[j];
    }
    for (int64_t j = 0; j < c; j++) {
        v->p[j] /= sum;
        up += v->p[j] * (px_exp(v->el[j]) - 1.0);
        down += v->p[j] * (1.0 - px_exp(-v->el[j]));
    }
    double es = smaller(larger(px_log(1.0 + up), down < 1.0 ? -px_log(1.0 - down) : PX_INF), most) + r;
    bool beyond = !pfc_precision_is_f32(v->t);
    if (beyond) pfc_softmax_errors(c, v->p, v->el, v->ep, v->elog);
    for (int64_t j = 0; j < c; j++) {
        double el = v->el[j], p = v->p[j], others = j == at ? rest / sum : 1.0 - p, rho = 1.06 * ((1.0 - p) * el + larger(es - p * el, 0));
        double e = el + es <= 0.05 ? p * rho : odds_error(p, others, el + most) + r * p;
        if (beyond) e = v->ep[j] + r * p;
        v->ep[j] = pfc_bound_settle(p, most == PX_INF, smaller(e + 4.0 * E * p + TINY, larger(p, 1.0 - p)));
        if (j == 0) {
            v->ql = px_log(sum) - (v->l[0] - top);
            /* far from the maximum p says nothing of the loss: there the logits' own errors do */
            double loss_rho = beyond ? v->elog[0] + r : el + es <= 0.05 ? rho : el + es;
            v->eloss = pfc_bound_settle(v->ql, most == PX_INF, loss_rho + 16.0 * E * (1.0 + size(v->ql)) + 2.0 * E * size(top));
        }
    }
}

/* F += h u with the bound of h and, for the key, of u. */
static void add_row(bound *v, double h, double eh, const double *u, const double *eu, double growth)
{
    for (int64_t j = 0; j < v->d; j++) {
        v->top = larger(size(h * u[j]), v->top);
        v->grad[j] += h * u[j];
        v->egrad[j] += (eh + growth * size(h)) * size(u[j]) + (eu ? size(h) * eu[j] : 0);
    }
}

/* F = sum_j h_j u_j with operands in T; stored in T: the positive's part and the negatives', which are products of their own, and their sum. */
static void gradient_operands(bound *v, double c)
{
    double *h = v->elog, first = (v->p[0] - 1.0) * c, wide = 1.0 + 2.0 * v->t->u; /* h is rounded where the port has it, at most Eh away */
    for (int64_t j = 0; j < v->k; j++) h[j] = v->p[1 + j] * c;
    for (int64_t d = 0; d < v->d; d++) {
        double e = pfc_round_product(v->t, &first, 1, v->unit_k + d, 1, 1) + pfc_round_product(v->t, h, 1, v->queue + d, v->d, v->k);
        double positive = first * v->unit_k[d], negative = v->grad[d] - positive;
        e += pfc_round_common(v->t, positive) + pfc_round_common(v->t, negative);
        e += pfc_round_number(v->t, positive) + pfc_round_number(v->t, negative) + pfc_round_number(v->t, v->grad[d]);
        v->egrad[d] = v->egrad[d] * wide + e;
    }
}

/* dL/dq, then through the length (numerics 6). */
static void gradient(bound *v, double eta, double *out)
{
    double c = v->s / (double)v->b, growth = (48.0 + PX_SQRT((double)v->k)) * E, along = 0, spread = 0, turned = 0;
    if (v->t->sound) growth = 48.0 * E + pfc_round_sum(v->t, (double)v->k);
    v->top = 0;
    memset(v->grad, 0, (size_t)v->d * sizeof(double));
    memset(v->egrad, 0, (size_t)v->d * sizeof(double));
    add_row(v, (v->p[0] - 1.0) * c, (v->ep[0] + 4.0 * E * size(v->p[0] - 1.0)) * size(c), v->unit_k, v->ek, growth);
    for (int64_t j = 0; j < v->k; j++) add_row(v, v->p[1 + j] * c, (v->ep[1 + j] + 4.0 * E * v->p[1 + j]) * size(c), v->queue + j * v->d, NULL, growth);
    if (v->t->u > 0) gradient_operands(v, c);
    for (int64_t j = 0; j < v->d; j++) {
        v->egrad[j] += pfc_bound_grid(v->k, v->top);
        along += v->unit_q[j] * v->grad[j];
        spread += size(v->unit_q[j]) * v->egrad[j];
        turned += eta * size(v->unit_q[j] * v->grad[j]);
    }
    bool project = !(v->norm < 1e-12), near = v->norm > 1e-12 * (1.0 - 1e-5) && v->norm < 1e-12 * (1.0 + 1e-5);
    for (int64_t j = 0; j < v->d; j++) {
        double q = size(v->unit_q[j]), g = v->grad[j], length = project ? v->norm : 1e-12;
        double dx = (project ? g - v->unit_q[j] * along : g) / length, e = v->egrad[j];
        if (project) e += q * (spread + turned + eta * size(along)) + E * (size(g) + q * size(along));
        bool open = near || eta == PX_INF || size(dx) > LARGEST || size(g) > LARGEST || size(along) > LARGEST || v->egrad[j] == PX_INF;
        out[j] = pfc_bound_settle(dx, open && px_finite(along), e / length + (4.0 * E + eta) * size(dx) + TINY / length);
    }
}

/* ---- the loss ---- */

/* Operands are rounded independently of each other: to first order the loss of a rank, which all its rows share, is wrong by the root of the sum of
 * (dL/da times a's rounding)^2 over all of them. Here: the part of one row, after its gradient. */
static void loss_row(bound *v)
{
    double c = v->s / (double)v->b, most = 0, plain = 0;
    for (int64_t j = 0; j < v->d; j++) {
        double q = v->grad[j] * pfc_round_number(v->t, v->unit_q[j]), k = (v->p[0] - 1.0) * c * v->unit_q[j] * pfc_round_number(v->t, v->unit_k[j]);
        v->squares += q * q + k * k;
    }
    for (int64_t j = 0; j < 1 + v->k; j++) {
        double slope = v->p[j] - (j == 0 ? 1.0 : 0.0), h = slope * c, store = h * pfc_round_number(v->t, v->l[j] / v->s);
        v->squares += store * store;
        v->shift += h * v->change[j];
        v->stored += h * v->l[j] / v->s;
        plain += size(slope) * larger(v->el[j] - size(v->s) * v->et[j], 0); /* float32's part */
        most = larger(v->el[j], most);
        for (int64_t d = 0; j > 0 && d < v->d; d++) v->dqueue[(j - 1) * v->d + d] += h * v->unit_q[d];
    }
    double curved = most < 300.0 ? most * most * px_exp(2.0 * most) / 2.0 : PX_INF; /* second order: half the variance of the logits' errors */
    v->rest += plain + curved + 16.0 * E * (1.0 + size(v->ql)) + 2.0 * E * size(v->l[0] + v->ql) + pfc_round_sum(v->t, (double)(1 + v->k));
}

/* The bound of the loss of a rank from that. */
static double loss_of_rank(bound *v)
{
    for (int64_t i = 0; i < v->k * v->d; i++) {
        double e = v->dqueue[i] * pfc_round_number(v->t, v->queue[i]);
        v->squares += e * e;
    }
    return (v->t->truncates ? 3.0 : 6.0) * PX_SQRT(v->squares / 3.0) + size(v->shift) + (v->t->truncates ? 2.0 * v->t->u * size(v->stored) : 0) +
           v->rest / (double)v->b;
}

/* ---- all rows ---- */

static void row_bounds(bound *v, pfc_case *c, int64_t n, double *sums)
{
    double norm_k, eta_k = direction(v->t, v->key + n * v->d, v->d, v->unit_k, &norm_k), eta = direction(v->t, v->query + n * v->d, v->d, v->unit_q, &v->norm);
    int64_t place = (pfc_param_int(c, "queue_ptr") + n) % v->k;
    for (int64_t j = 0; j < v->d; j++) v->ek[j] = pfc_bound_settle(v->unit_k[j], eta_k == PX_INF, eta_k * size(v->unit_k[j]) + TINY);
    pfc_bound_put(&c->bound_out, "key", v->ek, n * v->d, v->d);
    if (n >= v->n - v->k) pfc_bound_put(&c->bound_out, "queue", v->ek, place * v->d, v->d);

    for (int64_t j = 0; j < v->d; j++) {
        v->tq[j] = pfc_round_as(v->t, v->unit_q[j]);
        v->tk[j] = pfc_round_as(v->t, v->unit_k[j]);
    }
    logit(v, v->unit_q, v->tq, v->unit_k, v->tk, larger(eta, eta_k), 0);
    for (int64_t j = 0; j < v->k; j++) logit(v, v->unit_q, v->tq, v->queue + j * v->d, v->tqueue + j * v->d, eta, 1 + j);
    pfc_bound_put(&c->bound_step, "logits", v->el, n * (1 + v->k), 1 + v->k);
    softmax(v);
    sums[0] += v->ql;
    sums[1] += v->eloss;
    gradient(v, eta, v->egrad + v->d);
    if (v->t->u > 0 && !v->t->sound) loss_row(v);
    pfc_bound_put(&c->bound_out, "query_grad", v->egrad + v->d, n * v->d, v->d);
}

static void compute(bound *v, pfc_case *c, int ranks)
{
    for (int64_t i = 0; i < v->params; i++) {
        double e = param_bound(v, i);
        pfc_bound_put(&c->bound_out, "params_k", &e, i, 1);
    }
    for (int64_t i = 0; i < v->k * v->d; i++) v->tqueue[i] = pfc_round_as(v->t, v->queue[i]);
    for (int r = 0; r < ranks; r++) {
        double sums[2] = { 0, 0 };
        v->squares = v->shift = v->stored = v->rest = 0;
        memset(v->dqueue, 0, (size_t)(v->k * v->d) * sizeof(double));
        for (int64_t i = 0; i < v->b; i++) row_bounds(v, c, r * v->b + i, sums);
        double loss = sums[0] / (double)v->b, e = pfc_bound_settle(loss, sums[1] == PX_INF, sums[1] / (double)v->b + E * size(loss));
        if (v->t->u > 0 && !v->t->sound && px_finite(e)) e = smaller(e, loss_of_rank(v) + E * size(loss));
        pfc_bound_put(&c->bound_out, "loss", &e, r, 1);
    }
}

/* Work memory of one row; false: none left. */
static bool make_room(bound *v)
{
    double *p = calloc((size_t)(8 * v->d + 7 * (1 + v->k) + 2 * v->k * v->d), sizeof *p);
    if (!p) return false;
    v->unit_q = p;
    v->unit_k = p + v->d;
    v->ek = p + 2 * v->d;
    v->grad = p + 3 * v->d;
    v->egrad = p + 4 * v->d; /* and D more for the result */
    v->l = p + 6 * v->d;
    v->el = v->l + 1 + v->k;
    v->p = v->el + 1 + v->k;
    v->ep = v->p + 1 + v->k;
    v->elog = v->ep + 1 + v->k;
    v->tq = v->elog + 1 + v->k;
    v->tk = v->tq + v->d;
    v->tqueue = v->tk + v->d;
    v->dqueue = v->tqueue + v->k * v->d;
    v->et = v->dqueue + v->k * v->d;
    v->change = v->et + 1 + v->k;
    return true;
}

int pfc_moco_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag)
{
    MPI_Comm comm = ctx->comm.mpi;
    int ranks = pfc_ctx_ranks(ctx);
    bound v = { .t = precision, .n = c->size['N' - 'A'], .k = c->size['K' - 'A'], .d = c->size['D' - 'A'], .mu = pfc_param_real(c, "momentum") };
    static const char *const names[] = { "params_q", "params_k", "query", "key", "queue" };
    double **slot[] = { &v.params_q, &v.params_k, &v.query, &v.key, &v.queue };
    v.params = pfc_tensor_find(&c->in, "params_q")->dims[0];
    v.b = v.n / ranks;
    v.s = 1.0 / pfc_param_real(c, "temperature");
    v.first_call = pfc_param_int(c, "first_call") == 1;
    if (pfc_bounds_begin(comm, c, diag)) return diag->exit_status;
    for (int i = 0; i < 5 && !diag->exit_status; i++) pfc_case_gather_reals(comm, c, names[i], slot[i], diag);
    if (!diag->exit_status && pfc_ctx_rank(ctx) == 0) {
        if (make_room(&v))
            compute(&v, c, ranks);
        else
            pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "bounds of moco: out of memory");
    }
    for (int i = 0; i < 5; i++) free(*slot[i]);
    free(v.unit_q);
    return pfc_bounds_share(comm, c, diag);
}
