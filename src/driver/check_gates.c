/* check_gates.c: is a tensor right as a whole? Every element within its bound is gate G1 (case/compare.c). Errors that all point the same way hide there, as
 * long as each is small. doc/numerics.md, section 16, says why no correct port fails:
 *
 *   G2  rms(got - want) <= 3 rms_T + rms(bound f32) + rms(storing)       rms_T: of the oracle's own emulation of type T, attribute rms
 *   G3  |sum (got - want) want| / sum want^2 <= sum b' |want| / sum want^2     b' = half the bound, more where there are few elements, + storing
 *       |mean(got - want)| <= mean b'
 *   G4  rows of a gradient are orthogonal to what was normalised, rows of probabilities sum to 1, ... to half of what the bounds allow */
#include "driver/check.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_DECIDED = 64, LEAST_EVEN = 16, SAMPLE = 4096 };

static double want_at(const pfc_check_row *r, int64_t i) { return pfc_tensor_get(r->want, i); }
static double error_at(const pfc_check_row *r, int64_t i) { return pfc_tensor_get(r->got, i) - pfc_tensor_get(r->want, i); }
static double storing_at(const pfc_check_row *r, int64_t i) { return r->storing ? r->storing[i] : 0.0; }
static bool decided(const pfc_check_row *r, int64_t i) { return isfinite(r->bound[i]) && isfinite(error_at(r, i)); }

/* Bounds that assume the worst (sound), or that a bias fills (rz), leave no room below what G1 allows. */
static bool statistical(const pfc_check *k) { return !k->precision->sound && !k->precision->truncates; }

/* ---- G2 ---- */

static int gate_rms(const pfc_check *k, pfc_check_row *r)
{
    const pfc_tensor *own = pfc_tensor_find(r->step ? &k->golden.bound_step : &k->golden.bound_out, r->want->name);
    const pfc_tensor *bound = pfc_tensor_find(r->step ? &k->golden.f32_step : &k->golden.f32_out, r->want->name);
    int64_t n = pfc_tensor_elements(r->want), count = 0;
    /* with float32 G1 implies it; of one rank's part the attribute says nothing */
    if (!own || isnan(own->rms) || !bound || k->precision->u == 0 || !statistical(k) || k->cli->shard_rank >= 0) return 0;
    double *f32 = malloc((size_t)n * sizeof *f32 + 1), error = 0, floor = 0, storing = 0, squares = 0, fourth = 0;
    if (!f32) return pfc_diag_fail(k->diag, PFC_EXIT_RUNTIME, "%s: out of memory", r->c.name);
    bool fits = pfc_bound_spread(r->want, bound, f32);
    for (int64_t i = 0; i < n && fits; i++) {
        if (!decided(r, i) || !isfinite(f32[i])) continue;
        count++;
        error += error_at(r, i) * error_at(r, i);
        floor += f32[i] * f32[i];
        storing += storing_at(r, i) * storing_at(r, i);
        squares += r->bound[i] * r->bound[i];
        fourth += r->bound[i] * r->bound[i] * r->bound[i] * r->bound[i];
    }
    free(f32);
    if (count < LEAST_DECIDED || squares * squares < LEAST_EVEN * fourth) return 0; /* a few large elements: their luck, not a mean */
    r->rms = sqrt(error / (double)count);
    r->rms_limit = 3 * own->rms + sqrt(floor / (double)count) + sqrt(storing / (double)count);
    r->gate[1] = r->rms <= r->rms_limit ? PFC_GATE_PASS : PFC_GATE_FAIL;
    return 0;
}

/* ---- G3 ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Equal numbers have equal roundings: sums over a few distinct values do not average. Looks at up to SAMPLE elements. */
static bool many_values(const pfc_check_row *r, int64_t n)
{
    static double sample[SAMPLE];
    int64_t step = (n + SAMPLE - 1) / SAMPLE;
    size_t count = 0;
    int distinct = 1;
    for (int64_t i = 0; i < n && count < SAMPLE; i += step)
        if (decided(r, i)) sample[count++] = fabs(want_at(r, i));
    qsort(sample, count, sizeof *sample, by_size);
    for (size_t i = 1; i < count; i++)
        if (sample[i] > sample[i - 1]) distinct++;
    return distinct >= LEAST_DECIDED;
}

/* What the bounds leave for a sum of errors: sum t, sum t^2 over the terms t of largest size, and of sum t the part of what is stored. */
typedef struct allowance {
    double all, squares, storing;
} allowance;

static void add_room(allowance *m, double bound, double storing)
{
    m->all += bound;
    m->squares += bound * bound;
    m->storing += storing;
}

/* As many terms as sum^2 / squares if they were all of one size. */
static bool many_terms(const allowance *m) { return m->squares > 0 && m->all * m->all >= LEAST_DECIDED * m->squares; }

/* The share of the bounds that errors may use in one direction: half, more where few terms average. The rounding of what is stored may use all of its own. */
static double limit(const allowance *m)
{
    double share = 0.5 + 3 * sqrt(m->squares) / m->all;
    return (share < 1 ? share : 1) * (m->all - m->storing) + m->storing;
}

static void gate_slope(const pfc_check *k, pfc_check_row *r)
{
    int64_t n = pfc_tensor_elements(r->want), count = 0;
    double cross = 0, square = 0, error = 0;
    allowance slope = { 0 }, mean = { 0 };
    if (!statistical(k) || n < LEAST_DECIDED || !many_values(r, n)) return;
    for (int64_t i = 0; i < n; i++) {
        if (!decided(r, i)) continue;
        double w = want_at(r, i), e = error_at(r, i);
        count++;
        cross += e * w;
        square += w * w;
        error += e;
        add_room(&slope, r->bound[i] * fabs(w), storing_at(r, i) * fabs(w));
        add_room(&mean, r->bound[i], storing_at(r, i));
    }
    if (count < LEAST_DECIDED || (!many_terms(&slope) && !many_terms(&mean))) return;
    r->slope = square > 0 ? cross / square : 0;
    r->slope_limit = square > 0 && many_terms(&slope) ? limit(&slope) / square : INFINITY;
    r->mean = error / (double)count;
    r->mean_limit = many_terms(&mean) ? limit(&mean) / (double)count : INFINITY;
    r->gate[2] = fabs(r->slope) <= r->slope_limit && fabs(r->mean) <= r->mean_limit ? PFC_GATE_PASS : PFC_GATE_FAIL;
}

/* ---- G4 ---- */

typedef enum kind { SUM, SUM_OF_PROBABILITIES, ORTHOGONAL, LENGTH } kind;

/* A sum over the last axis that the algorithm makes `target`. Whether it does so in this case the golden's own numbers say. */
typedef struct invariant {
    const char *result, *says;
    kind kind;
    double target;
    const char *input; /* ORTHOGONAL: to its rows */
} invariant;

static const invariant invariants[] = {
    { "dlogits", "sum of dlogits over the classes is 0", SUM_OF_PROBABILITIES, 0, NULL },
    { "prob", "sum of probabilities over the classes is 1", SUM_OF_PROBABILITIES, 1, NULL },
    { "assignment", "sum of an assignment is 1", SUM, 1, NULL },
    { "x_grad", "gradient is orthogonal to its features", ORTHOGONAL, 0, "features" },
    { "weight_grad", "gradient is orthogonal to its weight", ORTHOGONAL, 0, "weight" },
    { "query_grad", "gradient is orthogonal to its query", ORTHOGONAL, 0, "query" },
    { "embedding_grad", "gradient is orthogonal to its embedding", ORTHOGONAL, 0, "embedding" },
    { "key", "normalised keys have length 1", LENGTH, 1, NULL },
    { "prototypes", "projected prototypes have length 1", LENGTH, 1, NULL },
};

/* The largest logit: exp(logit - log of the sum) has its rounding as a relative error. */
static double largest_logit(const pfc_check *k)
{
    const pfc_tensor *t = pfc_tensor_find(&k->golden.step, "logits");
    double largest = 0;
    if (!t) t = pfc_tensor_find(&k->golden.out, "logits");
    for (int64_t i = 0, n = t ? pfc_tensor_elements(t) : 0; i < n; i++) {
        double l = fabs(pfc_tensor_get(t, i));
        if (isfinite(l) && l > largest) largest = l;
    }
    return largest;
}

typedef struct row_sum {
    double own, off, size, room, rounding; /* of want, of got - want, sum of |terms|, half the bounds, of type T */
    bool whole;                            /* every element is decided */
} row_sum;

static row_sum sum_row(const pfc_check *k, const pfc_check_row *r, const invariant *v, const pfc_tensor *x, int64_t first, int64_t length)
{
    row_sum s = { .whole = true };
    double share = length >= 16 && statistical(k) ? 0.5 : 1.0;
    for (int64_t i = first; i < first + length; i++) {
        double w = want_at(r, i), e = error_at(r, i);
        if (v->kind == SUM_OF_PROBABILITIES && isnan(w)) continue; /* not sampled */
        if (!decided(r, i)) s.whole = false;
        double a = v->kind == ORTHOGONAL ? pfc_tensor_get(x, i) : v->kind == LENGTH ? 2 * w + e : 1; /* got^2 - want^2 = (2 want + e) e */
        double term = v->kind == LENGTH ? w * w : a * w;
        s.own += term;
        s.size += fabs(term);
        s.off += a * e;
        s.room += fabs(a) * (share * (r->bound[i] - storing_at(r, i)) + storing_at(r, i));
        s.rounding += 2 * pfc_round_number(k->precision, w) + storing_at(r, i);
    }
    return s;
}

/* Whatever the logits are, probabilities are divided by their own sum: what is left are roundings of float32, and of T where p or dlogits are held in it.
 * unit: what p = 1 is in this tensor. */
static double probability_room(const pfc_check *k, const row_sum *s, double classes, double logit, double unit)
{
    double relative = pfc_round_sum(k->precision, classes) + PFC_BOUND_EPS * (1 + logit) + 2 * k->precision->u;
    return (strcmp(k->dtype, "f64") == 0 ? 0x1p-29 : 1.0) * relative * (unit + s->size) + s->rounding;
}

static bool same_dims(const pfc_tensor *a, const pfc_tensor *b)
{
    return a->ndim == b->ndim && memcmp(a->dims, b->dims, (size_t)a->ndim * sizeof a->dims[0]) == 0;
}

static void gate_rows(const pfc_check *k, pfc_check_row *r, const invariant *v)
{
    const pfc_tensor *t = r->want, *x = v->input ? pfc_tensor_find(&k->golden.in, v->input) : NULL;
    if (t->ndim < 2 || (v->input && (!x || x->dtype == PFC_I64 || !same_dims(x, t)))) return;
    int64_t length = t->dims[t->ndim - 1], rows = pfc_tensor_elements(t) / length;
    double logit = v->kind == SUM_OF_PROBABILITIES ? largest_logit(k) : 0, unit = v->target > 0 ? 1.0 : 1.0 / (double)rows, worst = -1;
    for (int64_t row = 0; row < rows; row++) {
        row_sum s = sum_row(k, r, v, x, row * length, length);
        if (!s.whole || s.size == 0 || fabs(s.own - v->target) > 1e-10 * s.size) continue; /* not so in this case */
        double room = v->kind == SUM_OF_PROBABILITIES ? probability_room(k, &s, (double)length, logit, unit) : s.room;
        double ratio = s.off == 0 ? 0 : fabs(s.off) / room;
        if (ratio <= worst) continue;
        worst = ratio;
        r->invariant = v->says;
        r->orthogonal_to = x;
        r->probabilities = v->kind == SUM_OF_PROBABILITIES;
        r->invariant_row = row;
        r->invariant_value = fabs(s.off);
        r->invariant_limit = room;
    }
    if (worst >= 0) r->gate[3] = worst <= 1 ? PFC_GATE_PASS : PFC_GATE_FAIL;
}

int pfc_check_gates(const pfc_check *k, pfc_check_row *r)
{
    gate_slope(k, r);
    for (size_t i = 0; i < sizeof invariants / sizeof invariants[0]; i++)
        if (strcmp(invariants[i].result, r->want->name) == 0) gate_rows(k, r, &invariants[i]);
    return gate_rms(k, r);
}
