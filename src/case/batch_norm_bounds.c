/* batch_norm_bounds.c: the bounds of a batch_norm case (doc/numerics.md sections 12 and 14.4): rank 0 goes through the dense results with an error beside
 * every number, in a fixed serial order. */
#include "case/batch_norm_case.h"
#include "case/family.h"
#include "case/round.h"
#include "core/ctx.h"

#include <stdlib.h>
#include <string.h>

#define E PFC_BOUND_EPS

/* What is known of a unit: values, their errors, and magnitudes of what is summed. */
typedef struct unit {
    double m, terms;           /* elements over all that share it; terms of the longest sum of one rank or of all */
    double mean, var, inv;     /* values */
    double emean, evar, einv;  /* errors */
    double square;             /* mean of x^2 */
    double sg, sgx, esg, esgx; /* sums of g and of g x^ over what shares the unit */
    double g2, t2, r2, gx2;    /* sums of the squares of g, g x^, the rounding of g x^, g x */
    double own_sg, own_sgx, own_esg, own_esgx, own_m;
    bool open; /* the variance may vanish: undecidable */
} unit;

typedef struct bounds {
    pfc_dense_batch_norm *p;
    const pfc_precision *precision;
    bool rounded;                        /* inputs are in T: what they change is added to the bounds */
    pfc_tensor_list want_out, want_step; /* results of inputs as given, as the bounds are */
    unit *u;                             /* (P,U) */
    double *ey, *ex;                     /* (N,C,L) */
    double *old_mean, *old_var;          /* (P,C), sub (P,S*C): running statistics before the step */
    int64_t units, splits;
} bounds;

static double absolute(double x) { return x < 0 ? -x : x; }
static double root(double x) { return PX_SQRT(x); }

/* Error of a float32 sum of n terms with this sum of squares and this value: independent roundings of terms and of running sums. */
static double sum_error(const bounds *b, double n, double squares, double value)
{
    if (b->precision->sound) return pfc_round_sum(b->precision, n) * root(n * squares); /* at least the sum of sizes */
    return 6 * E * (root(squares) + root(n * squares) / 2) + 1.5 * E * root(n / 3) * absolute(value);
}

/* Calls visit for every element of rank r, as the dense equations number them. */
typedef void (*visit_fn)(bounds *b, unit *u, int64_t e, int64_t c);
static void visit_rank(bounds *b, int r, int to, visit_fn visit)
{
    const pfc_dense_batch_norm *p = b->p;
    int64_t start = 0, channels = p->cfg.channels;
    for (int q = 0; q < r; q++) start += p->rows[q];
    for (int64_t i = 0; i < p->rows[r]; i++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t k = 0; k < p->l; k++) visit(b, b->u + to * b->units + i % b->splits * channels + c, ((start + i) * channels + c) * p->l + k, c);
}

/* ---- statistics ---- */

static void add_x(bounds *b, unit *u, int64_t e, int64_t c)
{
    double x = b->p->x[e];
    (void)c;
    u->square += x * x;
}

/* Mean, variance and 1/sqrt(var + eps) with their errors. e2: the source's difference of means, which cancels. */
static void statistics(const bounds *b, unit *u, bool batch, bool e2)
{
    double sigma = root(u->var);
    u->square = u->m > 0 ? u->square / u->m : 0;
    if (batch && u->m > 0) {
        u->emean = (sum_error(b, u->m, u->square * u->m, u->mean * u->m)) / u->m + E * absolute(u->mean);
        double growth = b->precision->sound ? 6 * E + pfc_round_sum(b->precision, u->m) : 6 * E + 1.5 * E * root(u->m / 3);
        double direct = u->var * growth + 2 * E * absolute(u->mean) * sigma + u->emean * u->emean;
        double difference = u->square * growth + 2 * absolute(u->mean) * u->emean + E * (u->square + u->mean * u->mean);
        u->evar = e2 ? difference : direct;
    }
    double v = u->var + b->p->cfg.eps, low = v - u->evar;
    u->inv = 1 / root(v);
    u->open = batch && !(low > 0) && !(v + u->evar < 0) && !px_nan(v); /* 1/sqrt may be anything, or NaN */
    u->einv = low > 0 ? 1 / root(low) - u->inv + 2 * E * u->inv : 0;
}

/* Error of x^ = (x - mean) inv, as that or as x inv - mean inv: its own roundings, and with those of mean and inv, which all elements share. */
static double xhat_rounding(const unit *u, double x) { return E * u->inv * (absolute(x) + absolute(u->mean)) + 2 * E * absolute(x - u->mean) * u->inv; }

static double xhat_error(const unit *u, double x) { return absolute(x - u->mean) * u->einv + u->inv * u->emean + xhat_rounding(u, x); }

static void put_y(bounds *b, unit *u, int64_t e, int64_t c)
{
    const pfc_dense_batch_norm *p = b->p;
    double w = absolute(p->weight[c]), d = absolute(p->x[e] - u->mean) * u->inv;
    double error = w * xhat_error(u, p->x[e]) + 2 * E * (w * d + absolute(p->bias[c])) + 0x1p-125 * (1 + absolute(p->x[e]));
    b->ey[e] = pfc_bound_settle(p->y[e], u->open || absolute(p->y[e]) > 0x1.fffffep127, error);
}

/* ---- gradients ---- */

static void add_g(bounds *b, unit *u, int64_t e, int64_t c)
{
    double g = b->p->g[e], x = b->p->x[e], t = g * ((x - u->mean) * u->inv), r = absolute(g) * xhat_rounding(u, x);
    (void)c;
    u->g2 += g * g;
    u->t2 += t * t;
    u->r2 += r * r;
    u->gx2 += g * x * (g * x);
    u->sg += g;
    u->sgx += t;
}

/* Errors of the sums. The sources of sync sum g x and g and subtract; a common error of mean or inv hits all terms alike. */
static void sum_errors(const bounds *b, const unit *u, double m, double *esg, double *esgx)
{
    *esg = sum_error(b, m, u->g2, u->sg);
    *esgx = sum_error(b, m, u->t2, u->sgx) + (b->precision->sound ? root(m * u->r2) : 6 * root(u->r2));
    *esgx += absolute(u->sg) * u->inv * (u->emean + 2 * E * absolute(u->mean)) + absolute(u->sgx) * u->einv / u->inv;
    if (b->p->cfg.kind == PFC_BN_SYNC) *esgx += u->inv * (sum_error(b, m, u->gx2, u->mean * u->sg) + absolute(u->mean) * *esg);
}

static void put_x_grad(bounds *b, unit *u, int64_t e, int64_t c)
{
    const pfc_dense_batch_norm *p = b->p;
    double a = absolute(p->weight[c]) * u->inv, g = p->g[e], d = (p->x[e] - u->mean) * u->inv;
    double ea = absolute(p->weight[c]) * u->einv + 2 * E * a;
    double mg = 0, mgx = 0, emg = 0, emgx = 0;
    if (u->terms > 0) mg = u->sg / u->terms, mgx = u->sgx / u->terms, emg = u->esg / u->terms, emgx = u->esgx / u->terms;
    double inner = absolute(g) + absolute(mg) + absolute(d * mgx);
    double error = ea * absolute(g - mg - d * mgx) + a * (emg + absolute(mgx) * xhat_error(u, p->x[e]) + absolute(d) * emgx + 3 * E * inner);
    error += 0x1p-125 * (1 + absolute(p->x[e]) + absolute(g));
    b->ex[e] = pfc_bound_settle(p->x_grad[e], u->open || absolute(p->x_grad[e]) > 0x1.fffffep127, error);
}

/* ---- all ranks ---- */

static void prepare(bounds *b, int r)
{
    pfc_dense_batch_norm *p = b->p;
    int first, end;
    bool batch = p->training || !p->cfg.track_running_stats;
    pfc_dense_batch_norm_group(p, r, &first, &end);
    bool grouped = p->cfg.kind == PFC_BN_SYNC && p->training && p->cfg.local_size > 1;
    for (int64_t i = 0; i < b->units; i++) {
        unit *u = &b->u[r * b->units + i];
        *u = (unit){ .m = p->count[r], .terms = p->divisor[r], .mean = p->mean[r * b->units + i], .var = p->var[r * b->units + i] };
        u->own_m = (double)(p->rows[r] / b->splits * p->l);
    }
    for (int q = first; q < end; q++) visit_rank(b, q, r, add_x);
    for (int64_t i = 0; i < b->units; i++) statistics(b, &b->u[r * b->units + i], batch, grouped && p->cfg.variance == PFC_BN_E2);
}

static void gradient_sums(bounds *b, int r)
{
    int first, end;
    pfc_dense_batch_norm_group(b->p, r, &first, &end);
    visit_rank(b, r, r, add_g);
    for (int64_t i = 0; i < b->units; i++) {
        unit *u = &b->u[r * b->units + i];
        u->own_sg = u->sg, u->own_sgx = u->sgx;
        sum_errors(b, u, u->own_m, &u->own_esg, &u->own_esgx);
    }
    for (int q = first; q < end; q++)
        if (q != r) visit_rank(b, q, r, add_g);
    for (int64_t i = 0; i < b->units; i++) {
        unit *u = &b->u[r * b->units + i];
        sum_errors(b, u, u->m, &u->esg, &u->esgx);
    }
}

/* Results with their errors: bounds, or what rounded inputs add to them. */
static void put_many(const bounds *b, pfc_case *c, bool step, const char *name, int64_t at, const double *value, const double *error, int64_t count)
{
    pfc_tensor *bound = pfc_tensor_find(step ? &c->bound_step : &c->bound_out, name), *want = pfc_tensor_find(step ? &b->want_step : &b->want_out, name);
    if (!bound) return;
    if (b->rounded) {
        pfc_round_widen((double *)bound->data + at, (const double *)want->data + at, value, error, count);
        return;
    }
    memcpy((double *)want->data + at, value, (size_t)count * sizeof *value);
    memcpy((double *)bound->data + at, error, (size_t)count * sizeof *error);
}

static void put(const bounds *b, pfc_case *c, bool step, const char *name, int64_t at, double value, bool open, double error)
{
    double e = pfc_bound_settle(value, open || absolute(value) > 0x1.fffffep127, error + 0x1p-125);
    put_many(b, c, step, name, at, &value, &e, 1);
}

static void put_steps(const bounds *b, pfc_case *c, int r)
{
    for (int64_t i = 0; i < b->units; i++) {
        const unit *u = &b->u[r * b->units + i];
        int64_t at = r * b->units + i;
        put(b, c, true, "mean", at, u->mean, false, u->emean + E * absolute(u->mean));
        put(b, c, true, "var", at, u->var, false, u->evar + E * absolute(u->var));
        put(b, c, true, "sum_g", at, u->sg, false, u->esg);
        put(b, c, true, "sum_gx", at, u->sgx, u->open, u->esgx);
    }
}

static void put_affine(const bounds *b, pfc_case *c, int r)
{
    const pfc_dense_batch_norm *p = b->p;
    for (int64_t j = 0; j < p->cfg.channels; j++) {
        double eg = 0, egx = 0;
        bool open = false;
        for (int64_t i = j; i < b->units; i += p->cfg.channels) {
            const unit *u = &b->u[r * b->units + i];
            eg += u->own_esg, egx += u->own_esgx;
            open = open || u->open;
        }
        int64_t at = r * p->cfg.channels + j;
        put(b, c, false, "bias_grad", at, p->bias_grad[at], false, eg);
        put(b, c, false, "weight_grad", at, p->weight_grad[at], open, egx);
    }
}

/* The running statistics: after the step in p, moved by a of (new - old). */
static void put_running(const bounds *b, pfc_case *c, int r, double *esplit)
{
    const pfc_dense_batch_norm *p = b->p;
    int64_t channels = p->cfg.channels, splits = p->cfg.num_splits;
    bool sub = p->cfg.kind == PFC_BN_SUB, moved = p->training && p->cfg.track_running_stats;
    double a = p->cfg.momentum == p->cfg.momentum ? absolute(p->cfg.momentum) : 1.0 / (double)(p->batches + 1);
    const double *rm = sub ? p->split_mean : p->running_mean, *rv = sub ? p->split_var : p->running_var;
    for (int64_t i = 0; i < channels * splits; i++) {
        int64_t at = r * channels * splits + i;
        double *em = &esplit[2 * i], *ev = &esplit[2 * i + 1];
        *em = *ev = 0;
        if (moved) {
            const unit *u = &b->u[at];
            double factor = u->m > 1 ? u->m / (u->m - 1) : 1;
            /* r += a (new - r) rounds at the size of the old value as well */
            *em = a * (u->emean + 3 * E * absolute(u->mean)) + 3 * E * absolute(rm[at]) + 2 * E * absolute(b->old_mean[at]);
            *ev = a * factor * (u->evar + 3 * E * absolute(u->var)) + 3 * E * absolute(rv[at]) + 2 * E * absolute(b->old_var[at]);
        }
        put(b, c, false, sub ? "split_running_mean" : "running_mean", at, rm[at], false, *em);
        put(b, c, false, sub ? "split_running_var" : "running_var", at, rv[at], false, *ev);
    }
    if (!sub) return;
    bool aggregated = p->cfg.track_running_stats && (p->training || p->aggregate);
    for (int64_t j = 0; j < channels; j++) {
        int64_t at = r * channels + j;
        double em = 0, ev = 0, mean = p->running_mean[at], size = 0;
        for (int64_t s = 0; s < splits && aggregated; s++) size += absolute(rm[(r * splits + s) * channels + j]) / (double)splits;
        for (int64_t s = 0; s < splits && aggregated; s++) em += (esplit[2 * (s * channels + j)]) / (double)splits;
        em += aggregated ? (double)(splits + 2) * E * size : 0;
        for (int64_t s = 0; s < splits && aggregated; s++) {
            double d = rm[(r * splits + s) * channels + j] - mean, ed = esplit[2 * (s * channels + j)] + em;
            ev += (esplit[2 * (s * channels + j) + 1] + 2 * absolute(d) * ed + ed * ed) / (double)splits;
        }
        ev += aggregated ? (double)(splits + 4) * E * absolute(p->running_var[at]) : 0;
        put(b, c, false, "running_mean", at, mean, false, em);
        put(b, c, false, "running_var", at, p->running_var[at], false, ev);
    }
}

/* ---- all roundings ---- */

enum { STATE = 4 };

/* One pass over inputs as p has them. */
static void pass(bounds *b, pfc_case *c, double *esplit)
{
    pfc_dense_batch_norm *p = b->p;
    int64_t elements = c->size['N' - 'A'] * p->cfg.channels * p->l;
    memset(b->u, 0, (size_t)(p->ranks * b->units) * sizeof *b->u);
    pfc_dense_batch_norm_run(p);
    for (int r = 0; r < p->ranks; r++) {
        prepare(b, r);
        visit_rank(b, r, r, put_y);
        if (p->g) gradient_sums(b, r);
        if (p->g) visit_rank(b, r, r, put_x_grad);
        if (p->g) put_affine(b, c, r);
        put_steps(b, c, r);
        put_running(b, c, r, esplit);
    }
    put_many(b, c, false, "y", 0, p->y, b->ey, elements);
    if (p->g) put_many(b, c, false, "x_grad", 0, p->x_grad, b->ex, elements);
}

/* x, g or both in T, in every way that a port may round: known numbers, so is what they change. (Ties, which are few: both only.) state: the running
 * statistics before the step. */
static void all_roundings(bounds *b, pfc_case *c, double *room, double *const state[STATE], const size_t sizes[STATE])
{
    pfc_dense_batch_norm *p = b->p;
    const double *x = p->x, *g = p->g;
    int64_t elements = c->size['N' - 'A'] * p->cfg.channels * p->l;
    double *tx = room, *tg = room + elements, *esplit = room + 2 * elements, *into[STATE] = { p->running_mean, p->running_var, p->split_mean, p->split_var };
    pass(b, c, esplit);
    b->rounded = true;
    for (pfc_rounding how = 0; how < PFC_ROUNDINGS; how++) {
        bool rounds_x = pfc_round_inputs(b->precision, how, x, elements, tx), rounds_g = g && pfc_round_inputs(b->precision, how, g, elements, tg);
        for (int which = how == PFC_ROUND_AWAY && g ? 3 : 1; which < 4 && (rounds_x || rounds_g); which++) {
            if (which > 1 && !g) break;
            for (int k = 0; k < STATE; k++) memcpy(into[k], state[k], sizes[k] * sizeof(double));
            p->x = which & 1 ? tx : x;
            p->g = which & 2 ? tg : g;
            pass(b, c, esplit);
        }
    }
    p->x = x;
    p->g = g;
}

static bool keep_wants(bounds *b, const pfc_case *c, pfc_diag *diag)
{
    bool ok = true;
    for (int k = 0; k < c->bound_out.count; k++) ok = pfc_case_add_like(MPI_COMM_SELF, &c->bound_out, &b->want_out, c->bound_out.items[k].name, diag) && ok;
    for (int k = 0; k < c->bound_step.count; k++) ok = pfc_case_add_like(MPI_COMM_SELF, &c->bound_step, &b->want_step, c->bound_step.items[k].name, diag) && ok;
    return ok;
}

static bool compute(bounds *b, pfc_case *c, pfc_diag *diag)
{
    pfc_dense_batch_norm *p = b->p;
    bool sub = p->cfg.kind == PFC_BN_SUB;
    size_t elements = (size_t)(c->size['N' - 'A'] * p->cfg.channels * p->l), own = (size_t)(p->ranks * p->cfg.channels);
    size_t splits = own * (size_t)p->cfg.num_splits, sizes[STATE] = { own, own, splits, splits };
    const double *from[STATE] = { p->running_mean, p->running_var, p->split_mean, p->split_var };
    double *room = calloc(4 * elements + 2 * own + 4 * splits + 1, sizeof *room), *state[STATE] = { NULL };
    b->units = pfc_dense_batch_norm_units(p);
    b->splits = b->units / p->cfg.channels;
    b->u = calloc((size_t)(p->ranks * b->units + 1), sizeof *b->u);
    bool ok = room && b->u && keep_wants(b, c, diag);
    for (size_t k = 0, at = 4 * elements + 2 * splits; ok && k < STATE; at += sizes[k++]) {
        state[k] = room + at;
        memcpy(state[k], from[k], sizes[k] * sizeof *room);
    }
    b->ey = room;
    b->ex = room + elements;
    b->old_mean = state[sub ? 2 : 0];
    b->old_var = state[sub ? 3 : 1];
    if (ok) all_roundings(b, c, room + 2 * elements, state, sizes);
    free(room);
    free(b->u);
    pfc_tensor_list_free(&b->want_out);
    pfc_tensor_list_free(&b->want_step);
    return ok;
}

int pfc_batch_norm_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag)
{
    MPI_Comm comm = ctx->comm.mpi;
    pfc_dense_batch_norm p;
    bounds b = { .p = &p, .precision = precision };
    if (pfc_bounds_begin(comm, c, diag) || pfc_batch_norm_case_problem(comm, c, &p, diag)) return diag->exit_status;
    if (ctx->comm.rank == 0 && !compute(&b, c, diag)) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory for the bounds", c->name);
    pfc_batch_norm_case_problem_free(&p);
    return pfc_bounds_share(comm, c, diag);
}
