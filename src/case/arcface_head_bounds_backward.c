/* arcface_head_bounds_backward.c: gradients with their bounds (doc/numerics.md section 13), and the memory of the bounds. */
#include "case/arcface_head_bounds.h"

#include <math.h>
#include <stdlib.h>

#define EPS PFC_BOUND_EPS

/* ---- gradients ---- */

/* f += h * hat with its bound: of h, and 48 roundings' worth of every term for the running sum. doubt: another sub-center may have won, so that the whole
 * term may be missing or be here. *largest: of all |h hat_k|. */
static void add(int64_t d, double h, double eh, bool mine, bool doubt, const double *hat, double *f, double *ef, double *largest)
{
    double e = eh + 48 * EPS * fabs(h) + (doubt ? fabs(h) : 0);
    for (int64_t k = 0; k < d; k++) {
        if (mine) f[k] += h * hat[k];
        if (px_finite(h * hat[k]) && fabs(h * hat[k]) > *largest) *largest = fabs(h * hat[k]);
        if (eh == PX_INF)
            ef[k] = PX_INF;
        else if (px_finite(h))
            ef[k] += e * fabs(hat[k]);
    }
}

/* Through the normalisation: out = (f - hat <hat, f>)/norm, in place. */
static void project(int64_t d, const double *hat, double norm, bool wanted, double *f, double *ef)
{
    bool tiny = norm < 1e-12, open = wanted && fabs(norm - 1e-12) < 1e-17; /* which side of the clamp a float32 norm falls on */
    double along = 0, ealong = 0, length = !wanted ? 1 : tiny ? 1e-12 : norm;
    for (int64_t k = 0; k < d; k++) {
        open = open || (wanted && ef[k] == PX_INF);
        along += f[k] * hat[k];
        ealong += fabs(hat[k]) * ef[k];
    }
    if (!wanted || tiny) along = ealong = 0;
    for (int64_t k = 0; k < d; k++) {
        bool lost = open || ef[k] == PX_INF;
        double e = (ef[k] + fabs(hat[k]) * ealong) / length;
        f[k] = wanted && !tiny ? (f[k] - hat[k] * along) / length : f[k] / length;
        ef[k] = pfc_arcface_settle(f[k], lost, e + 4 * EPS * fabs(f[k]));
    }
}

/* The golden's own grid under a sum of `count` terms. */
static void widen(int64_t d, int64_t count, double largest, double *ef)
{
    for (int64_t k = 0; k < d; k++) ef[k] += pfc_bound_grid(count, largest);
}

static void clear(double *f, double *ef, int64_t d)
{
    for (int64_t k = 0; k < d; k++) f[k] = ef[k] = 0;
}

static void feature_gradient(pfc_arcface_bound *s, int64_t i)
{
    double *f = s->xg.v + i * s->d, *ef = s->xg.e + i * s->d, largest = 0;
    clear(f, ef, s->d);
    for (int64_t c = 0; c < s->c; c++) {
        int64_t at = i * s->c + c;
        bool doubt = s->subcenter.e[at] == PX_INF;
        for (int64_t j = 0; j < s->k; j++)
            if (pfc_arcface_bound_may_win(s, i, c, j))
                add(s->d, s->h.v[at], s->h.e[at], j == s->winner[at], doubt, s->what + (c * s->k + j) * s->d, f, ef, &largest);
    }
    widen(s->d, s->c * s->k, largest, ef);
    project(s->d, s->xhat + i * s->d, s->xnorm[i], s->in->cfg.feature_norm, f, ef);
}

static void weight_gradient(pfc_arcface_bound *s, int64_t c, int64_t j)
{
    static const double one = 1;
    int64_t row = c * s->k + j;
    double *f = s->wg.v + row * s->d, *ef = s->wg.e + row * s->d, largest = 0, unused = 0;
    clear(f, ef, s->d);
    clear(s->bg.v + row, s->bg.e + row, 1);
    for (int64_t i = 0; i < s->n; i++) {
        int64_t at = i * s->c + c;
        bool doubt = s->subcenter.e[at] == PX_INF;
        if (!pfc_arcface_bound_may_win(s, i, c, j)) continue;
        add(s->d, s->h.v[at], s->h.e[at], j == s->winner[at], doubt, s->xhat + i * s->d, f, ef, &largest);
        add(1, s->h.v[at], s->h.e[at], j == s->winner[at], doubt, &one, s->bg.v + row, s->bg.e + row, &unused);
    }
    widen(s->d, s->n, largest, ef);
    project(s->d, s->what + row * s->d, s->wnorm[row], s->in->cfg.weight_norm, f, ef);
    s->bg.e[row] = pfc_arcface_settle(s->bg.v[row], s->bg.e[row] == PX_INF, s->bg.e[row]);
}

/* ---- the same sums with operands in T, or sound ---- */

/* <xhat, what> without the bias. */
static double along(const pfc_arcface_bound *s, int64_t i, int64_t row) { return s->z.v[i * s->c * s->k + row] - (s->in->bias ? s->in->bias[row] : 0); }

static void settle_row(const pfc_gradient_sum *g)
{
    for (int64_t k = 0; k < g->d; k++) g->e[k] = pfc_arcface_settle(g->f[k], g->e[k] == PX_INF, g->e[k]);
}

static void feature_gradient_row(pfc_arcface_bound *s, int64_t i)
{
    pfc_gradient_sum *g = &s->gradient;
    int64_t d = s->d;
    pfc_gradient_sum_begin(g, s->c, s->in->cfg.feature_norm ? s->xhat + i * d : NULL, s->xnorm[i], 1, s->xg.v + i * d, s->xg.e + i * d);
    for (int64_t c = 0; c < s->c; c++) {
        int64_t at = i * s->c + c, won = c * s->k + s->winner[at];
        double h = s->h.v[at], eh = s->h.e[at];
        pfc_gradient_sum_add(g, h, eh, &s->of_w, won, NULL, along(s, i, won));
        for (int64_t row = c * s->k; s->subcenter.e[at] > 0 && row < (c + 1) * s->k; row++)
            if (row != won && pfc_arcface_bound_may_win(s, i, c, row - c * s->k) && px_finite(h) && eh < PX_INF)
                pfc_gradient_sum_swap(g, fabs(h) + eh, s->what + won * d, along(s, i, won), s->what + row * d, along(s, i, row));
    }
    pfc_loss_error_row(&s->by_gradient, &s->of_x, i, g->f);
    pfc_gradient_sum_end(g, NULL);
    settle_row(g);
}

static void weight_gradient_row(pfc_arcface_bound *s, int64_t c, int64_t j)
{
    static const double one = 1;
    static char exact = PFC_OPERANDS_EXACT;
    const pfc_operands of_one = { .v = &one, .rows = 1, .d = 1, .kind = &exact };
    pfc_gradient_sum *g = &s->gradient, *b = &s->bias_gradient;
    int64_t d = s->d, row = c * s->k + j;
    pfc_gradient_sum_begin(g, s->n, s->in->cfg.weight_norm ? s->what + row * d : NULL, s->wnorm[row], 0, s->wg.v + row * d, s->wg.e + row * d);
    pfc_gradient_sum_begin(b, s->n, NULL, 1, 0, s->bg.v + row, s->bg.e + row);
    for (int64_t i = 0; i < s->n; i++) {
        int64_t at = i * s->c + c;
        if (!pfc_arcface_bound_may_win(s, i, c, j)) continue;
        double h = j == s->winner[at] ? s->h.v[at] : 0, eh = s->h.e[at];
        if (s->subcenter.e[at] == PX_INF && px_finite(s->h.v[at])) eh += fabs(s->h.v[at]); /* all of it may be elsewhere, or here */
        pfc_gradient_sum_add(g, h, eh, &s->of_x, i, NULL, along(s, i, row));
        pfc_gradient_sum_add(b, h, eh, &of_one, 0, NULL, 0);
    }
    pfc_loss_error_row(&s->by_gradient, &s->of_w, row, g->f);
    pfc_gradient_sum_end(g, NULL);
    pfc_gradient_sum_end(b, NULL);
    settle_row(g);
    settle_row(b);
}

void pfc_arcface_bound_backward(pfc_arcface_bound *s)
{
    bool plain = pfc_precision_is_f32(s->precision);
    for (int64_t i = 0; i < s->n; i++) (plain ? feature_gradient : feature_gradient_row)(s, i);
    for (int64_t c = 0; c < s->c; c++)
        for (int64_t j = 0; j < s->k; j++) (plain ? weight_gradient : weight_gradient_row)(s, c, j);
}

/* ---- memory ---- */

typedef struct slot {
    double **array;
    int64_t size;
} slot;

enum { SLOTS = 25 };

static void slots(pfc_arcface_bound *s, slot all[SLOTS])
{
    int64_t n = s->n, c = s->c, rows = c * s->k, d = s->d;
    slot list[SLOTS] = { { &s->xhat, n * d },    { &s->what, rows * d },     { &s->xnorm, n },        { &s->wnorm, rows },      { &s->z.v, n * rows },
                         { &s->z.e, n * rows },  { &s->subcenter.e, n * c }, { &s->cosine.v, n * c }, { &s->cosine.e, n * c },  { &s->l.v, n * c },
                         { &s->l.e, n * c },     { &s->slope.v, n * c },     { &s->slope.e, n * c },  { &s->p.v, n * c },       { &s->p.e, n * c },
                         { &s->h.v, n * c },     { &s->h.e, n * c },         { &s->xg.v, n * d },     { &s->xg.e, n * d },      { &s->wg.v, rows * d },
                         { &s->wg.e, rows * d }, { &s->bg.v, rows },         { &s->bg.e, rows },      { &s->random, n * rows }, { &s->rest, n * c } };
    for (int i = 0; i < SLOTS; i++) all[i] = list[i];
}

bool pfc_arcface_bound_new(pfc_arcface_bound *s, const pfc_dense_arcface *in, const pfc_precision *p)
{
    *s = (pfc_arcface_bound){ .precision = p, .in = in, .n = in->n, .d = in->cfg.embedding_size, .c = in->cfg.num_classes, .k = in->cfg.num_subcenters };
    slot all[SLOTS];
    slots(s, all);
    bool ok = (s->winner = calloc((size_t)(s->n * s->c) + 1, sizeof *s->winner)) != NULL;
    for (int i = 0; i < SLOTS; i++) ok = (*all[i].array = calloc((size_t)all[i].size + 1, sizeof(double))) && ok;
    if (!ok) return false;
    bool x = pfc_operands_new(&s->of_x, p, s->xhat, s->n, s->d), w = pfc_operands_new(&s->of_w, p, s->what, s->c * s->k, s->d);
    bool g = pfc_gradient_sum_new(&s->gradient, p, s->d), b = pfc_gradient_sum_new(&s->bias_gradient, p, 1);
    return x && w && g && b;
}

void pfc_arcface_bound_free(pfc_arcface_bound *s)
{
    slot all[SLOTS];
    slots(s, all);
    for (int i = 0; i < SLOTS; i++) free(*all[i].array);
    pfc_operands_free(&s->of_x);
    pfc_operands_free(&s->of_w);
    pfc_gradient_sum_free(&s->gradient);
    pfc_gradient_sum_free(&s->bias_gradient);
    free(s->winner);
    *s = (pfc_arcface_bound){ 0 };
}
