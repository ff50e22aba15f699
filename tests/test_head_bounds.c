/* test_head_bounds.c: the bounds of partial_fc and arcface_head for tf32, bf16 and f16 (doc/numerics.md section 14.1): an emulated port passes, wrong ones
 * do not, and the bits are the same on any split of the ranks.
 *
 * The port is float32 with sums one after the other; what enters a matrix product is rounded to the type, and so is the product's result. */
#include "case/algorithms.h"
#include "case/arcface_head_case.h"
#include "case/partial_fc_inputs.h"
#include "pfc_test.h"
#include "same_bounds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum fault { NONE, NO_MEAN, LABEL_OFF, NO_MARGIN, NO_PROJECTION, PART_MISSING, CLASS_DROPPED, MARGIN_OFF } fault;

typedef struct problem {
    int64_t n, c, k, d; /* k: sub-centers */
    const double *x, *w, *margins;
    const int64_t *labels;
    double scale, margin;
    bool arc;
} problem;

typedef struct port {
    problem q;
    const pfc_precision *type;
    fault wrong;
    float *xhat, *what, *z, *h, *x_grad, *weight_grad; /* (N,D) (C k,D) (N,C k) (N,C k) (N,D) (C k,D) */
    float loss;
} port;

/* ---- the port ---- */

static float round_to(const pfc_precision *p, float x)
{
    int low = strcmp(p->type, "bf16") == 0 ? 16 : strcmp(p->type, "f32") == 0 ? 0 : 13;
    uint32_t bits;
    if (p->tiny > 0 && fabsf(x) < 0x1p-14F) return (p->truncates ? truncf(x * 0x1p24F) : rintf(x * 0x1p24F)) * 0x1p-24F;
    memcpy(&bits, &x, sizeof bits);
    if (low > 0 && !p->truncates) bits += (1U << (low - 1)) - 1 + (bits >> low & 1);
    bits = bits >> low << low;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* out (rows,cols) = sum over `count` of a b, with strides of the summed index and of the row or column. */
static void product(const pfc_precision *p, int64_t rows, int64_t cols, int64_t count, const float *a, int64_t a_row, int64_t a_sum, const float *b,
                    int64_t b_col, int64_t b_sum, float *out)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            float sum = 0;
            for (int64_t k = 0; k < count; k++) sum += round_to(p, a[i * a_row + k * a_sum]) * round_to(p, b[j * b_col + k * b_sum]);
            out[i * cols + j] = round_to(p, sum);
        }
}

static float length(const double *v, int64_t d)
{
    float sum = 0;
    for (int64_t k = 0; k < d; k++) sum += (float)v[k] * (float)v[k];
    return sqrtf(sum);
}

static void normalise(const double *v, int64_t rows, int64_t d, float *out)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < d; k++) out[i * d + k] = (float)v[i * d + k] / length(v + i * d, d);
}

static void project(const double *v, int64_t rows, int64_t d, const float *hat, bool wanted, float *f)
{
    for (int64_t i = 0; i < rows; i++) {
        float along = 0, norm = length(v + i * d, d);
        for (int64_t k = 0; k < d; k++) along += hat[i * d + k] * f[i * d + k];
        for (int64_t k = 0; k < d; k++) f[i * d + k] = (f[i * d + k] - (wanted ? hat[i * d + k] * along : 0)) / norm;
    }
}

/* The class that is nobody's label and likest to row 0. */
static int64_t rival(const port *r)
{
    const problem *q = &r->q;
    int64_t best = -1;
    for (int64_t c = 0; c < q->c; c++) {
        bool label = false;
        for (int64_t i = 0; i < q->n; i++) label = label || q->labels[i] == c;
        if (!label && (best < 0 || r->z[c * q->k] > r->z[best * q->k])) best = c;
    }
    return best;
}

/* h of row i, and its loss. */
static float softmax_row(port *r, int64_t i)
{
    const problem *q = &r->q;
    int64_t target = r->wrong == LABEL_OFF ? (q->labels[i] + 1) % q->c : q->labels[i], dropped = r->wrong == CLASS_DROPPED ? rival(r) : -1;
    float *l = malloc((size_t)q->c * sizeof *l), slope = 1, top = -INFINITY, sum = 0, loss, *h = r->h + i * q->c * q->k;
    int64_t *won = malloc((size_t)q->c * sizeof *won);
    for (int64_t c = 0; c < q->c; c++) {
        const float *z = r->z + (i * q->c + c) * q->k;
        float m = (float)(q->margins ? q->margins[c] : q->margin) - (r->wrong == MARGIN_OFF ? 0.01F : 0), phi;
        won[c] = 0;
        for (int64_t j = 1; j < q->k; j++) won[c] = z[j] > z[won[c]] ? j : won[c];
        phi = z[won[c]];
        if (c == target && r->wrong != NO_MARGIN && q->arc) {
            slope = cosf(m) + phi * sinf(m) / sqrtf((1 - phi) * (1 + phi));
            phi = cosf(acosf(phi) + m);
        } else if (c == target && r->wrong != NO_MARGIN)
            phi -= m;
        l[c] = c == dropped ? -INFINITY : (float)q->scale * phi;
        top = fmaxf(top, l[c]);
    }
    for (int64_t c = 0; c < q->c; c++) sum += expf(l[c] - top);
    for (int64_t c = 0; c < q->c; c++) {
        float g = (expf(l[c] - top) / sum - (c == target ? 1 : 0)) / (float)(r->wrong == NO_MEAN ? 1 : q->n);
        for (int64_t j = 0; j < q->k; j++) h[c * q->k + j] = j == won[c] ? g * (float)q->scale * (c == target ? slope : 1) : 0;
    }
    loss = logf(sum) + top - l[target];
    free(won);
    free(l);
    return loss;
}

static void run_port(port *r)
{
    const problem *q = &r->q;
    int64_t rows = q->c * q->k, skip = r->wrong == PART_MISSING ? rows / 8 : 0;
    normalise(q->x, q->n, q->d, r->xhat);
    normalise(q->w, rows, q->d, r->what);
    product(r->type, q->n, rows, q->d, r->xhat, q->d, 1, r->what, q->d, 1, r->z);
    r->loss = 0;
    for (int64_t i = 0; i < q->n; i++) r->loss += softmax_row(r, i) / (float)q->n;
    product(r->type, q->n, q->d, rows - skip, r->h + skip, rows, 1, r->what + skip * q->d, 1, q->d, r->x_grad);
    product(r->type, rows, q->d, q->n, r->h, 1, rows, r->xhat, 1, q->d, r->weight_grad);
    project(q->x, q->n, q->d, r->xhat, r->wrong != NO_PROJECTION, r->x_grad);
    project(q->w, rows, q->d, r->what, r->wrong != NO_PROJECTION, r->weight_grad);
}

static port new_port(const problem *q)
{
    size_t x = (size_t)(q->n * q->d), w = (size_t)(q->c * q->k * q->d), z = (size_t)(q->n * q->c * q->k);
    port r = { .q = *q };
    float *room = calloc(2 * (x + w + z), sizeof *room);
    ck_assert_ptr_nonnull(room);
    r.xhat = room;
    r.what = room + x;
    r.z = r.what + w;
    r.h = r.z + z;
    r.x_grad = r.h + z;
    r.weight_grad = r.x_grad + x;
    return r;
}

/* ---- cases ---- */

typedef struct setting {
    const pfc_algorithm *algorithm;
    int64_t n, c, d;
    const char *params[8][2]; /* name, text; ends with NULL */
} setting;

static const setting SETTINGS[] = {
    { &pfc_algorithm_partial_fc, 12, 120, 64, { { "head", "cos" }, { "scale", "64" }, { "margin", "0.4" }, { "xgrad_scale", "1" }, { NULL, NULL } } },
    { &pfc_algorithm_partial_fc, 12, 120, 64, { { "head", "arc" }, { "scale", "30" }, { "margin", "0.5" }, { "xgrad_scale", "1" }, { NULL, NULL } } },
    { &pfc_algorithm_arcface_head, 12, 120, 64, { { "scale", "64" }, { NULL, NULL } } },
    { &pfc_algorithm_arcface_head, 12, 60, 64, { { "scale", "30" }, { "num_subcenters", "2" }, { NULL, NULL } } },
};
enum { COUNT = sizeof SETTINGS / sizeof SETTINGS[0] };

static pfc_ctx *context(MPI_Comm comm) { return pfc_test_ctx(comm, (pfc_options){ .mode = PFC_EXACT, .threads = 1 }); }

/* The case with its results. Collective. */
static pfc_case *make_case(pfc_ctx *ctx, MPI_Comm comm, const setting *s)
{
    pfc_diag diag = { 0 };
    pfc_case *c = pfc_case_new(s->algorithm);
    ck_assert_ptr_nonnull(c);
    for (int k = 0; s->params[k][0]; k++) pfc_case_set_param(c, s->params[k][0], s->params[k][1], &diag);
    c->size['N' - 'A'] = s->n;
    c->size['C' - 'A'] = s->c;
    c->size['D' - 'A'] = s->d;
    if (!diag.exit_status) s->algorithm->fill(comm, c, "normal", 3, &diag);
    if (!diag.exit_status) pfc_case_check(comm, c, &diag);
    if (!diag.exit_status) s->algorithm->run(ctx, c, true, &diag);
    ck_assert_msg(!diag.exit_status, "%s", diag.text);
    return c;
}

static void make_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *p)
{
    pfc_diag diag = { 0 };
    c->algorithm->bounds(ctx, c, p, &diag);
    ck_assert_msg(!diag.exit_status, "%s", diag.text);
}

/* Largest |got - want| / bound of one result; `want` is whole here. */
static double worst_of(const pfc_case *c, const char *name, const float *got, double worst)
{
    const pfc_tensor *e = pfc_tensor_find(&c->bound_out, name), *want = pfc_tensor_find(&c->out, name);
    for (int64_t i = 0; i < pfc_tensor_elements(e); i++) {
        double bound = ((const double *)e->data)[i], gap = fabs((double)got[i] - ((const double *)want->data)[i]);
        if (isinf(bound) || gap == 0) continue;
        worst = isfinite(gap) ? fmax(worst, gap / bound) : INFINITY;
    }
    return worst;
}

static double ratio_of(port *r, const pfc_case *c, const pfc_precision *p, fault wrong)
{
    r->type = p;
    r->wrong = wrong;
    run_port(r);
    return worst_of(c, "weight_grad", r->weight_grad, worst_of(c, "x_grad", r->x_grad, worst_of(c, "loss", &r->loss, 0)));
}

/* ---- tests ---- */

/* All on one rank: the port is. */
static void try_port(const problem *q, pfc_ctx *ctx, pfc_case *c, int number)
{
    port r = new_port(q);
    for (const pfc_precision *p = pfc_precisions; p->name; p++) {
        make_bounds(ctx, c, p);
        double ratio = ratio_of(&r, c, p, NONE);
        ck_assert_msg(ratio <= 1 && ratio > 1e-3, "setting %d, %s: the right port is %g times its bound", number, p->name, ratio);
        bool sharp = !p->sound && !p->truncates; /* the wide kinds of bf16 do not see the two smallest faults */
        for (int f = NO_MEAN; f <= (sharp ? MARGIN_OFF : PART_MISSING); f++) {
            ratio = ratio_of(&r, c, p, (fault)f);
            ck_assert_msg(ratio > 1.5, "setting %d, %s, fault %d: only %g times the bound", number, p->name, f, ratio);
        }
    }
    free(r.xhat);
}

START_TEST(emulated_ports)
{
    pfc_ctx *ctx = context(MPI_COMM_SELF);
    for (int s = 0; s < COUNT && pfc_test_rank() == 0; s++) {
        pfc_case *c = make_case(ctx, MPI_COMM_SELF, &SETTINGS[s]);
        pfc_diag diag = { 0 };
        problem q = { .n = SETTINGS[s].n, .c = SETTINGS[s].c, .k = 1, .d = SETTINGS[s].d, .arc = true };
        if (SETTINGS[s].algorithm == &pfc_algorithm_partial_fc) {
            pfc_partial_fc_inputs in;
            ck_assert_int_eq(pfc_partial_fc_inputs_gather(MPI_COMM_SELF, c, &in, &diag), 0);
            q.x = in.x, q.w = in.weight, q.labels = in.labels, q.scale = in.cfg.scale, q.margin = in.cfg.margin, q.arc = in.cfg.head == PFC_HEAD_ARC;
            try_port(&q, ctx, c, s);
            pfc_partial_fc_inputs_free(&in);
        } else {
            pfc_dense_arcface *in;
            ck_assert_int_eq(pfc_arcface_case_dense(MPI_COMM_SELF, c, &in, &diag), 0);
            q.x = in->x, q.w = in->weight, q.labels = in->labels, q.scale = in->cfg.scale, q.margin = in->cfg.margin, q.margins = in->margins;
            q.k = in->cfg.num_subcenters;
            try_port(&q, ctx, c, s);
            pfc_arcface_case_dense_free(in);
        }
        pfc_case_free(c);
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(same_bits_on_any_split)
{
    setting many = SETTINGS[_i];
    many.n = 4 * pfc_test_ranks(); /* rows are dealt out evenly */
    pfc_ctx *world = context(MPI_COMM_WORLD), *self = context(MPI_COMM_SELF);
    pfc_case *a = make_case(world, MPI_COMM_WORLD, &many), *b = make_case(self, MPI_COMM_SELF, &many);
    for (const pfc_precision *p = pfc_precisions; p->name; p++) {
        make_bounds(world, a, p);
        make_bounds(self, b, p);
        PFC_AGREE(MPI_COMM_WORLD, a->bound_out.count > 3 && a->bound_step.count > 1 && same_bounds(a, b));
    }
    pfc_case_free(a);
    pfc_case_free(b);
    pfc_ctx_destroy(&world);
    pfc_ctx_destroy(&self);
}
END_TEST

/* What float16 does not hold cannot be compared: products beyond 65504, and nothing else of the row's gradient. Other types do. */
START_TEST(overflow_is_undecided)
{
    static const setting linear = {
        &pfc_algorithm_partial_fc, 8, 10, 8, { { "head", "linear" }, { "scale", "1e-4" }, { "xgrad_scale", "1" }, { NULL, NULL } }
    };
    pfc_ctx *ctx = context(MPI_COMM_SELF);
    pfc_diag diag = { 0 };
    pfc_case *c = make_case(ctx, MPI_COMM_SELF, &linear);
    for (int k = 0; k < 8; k++) ((float *)pfc_tensor_find(&c->in, "features")->data)[k] = ((float *)pfc_tensor_find(&c->in, "weight")->data)[k] = 200;
    linear.algorithm->run(ctx, c, true, &diag);
    ck_assert_msg(!diag.exit_status, "%s", diag.text);
    for (const pfc_precision *p = pfc_precisions; p->name; p++) {
        make_bounds(ctx, c, p);
        const double *z = pfc_tensor_find(&c->bound_step, "cosine")->data, *dx = pfc_tensor_find(&c->bound_out, "x_grad")->data;
        ck_assert(isinf(z[0]) == (p->tiny > 0));
        ck_assert(isinf(dx[0]) == (p->tiny > 0));
        ck_assert(isfinite(z[10]) && isfinite(dx[8]));
    }
    pfc_case_free(c);
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(emulated_ports),
        PFC_LOOP(same_bits_on_any_split, COUNT),
        PFC_ONCE(overflow_is_undecided),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
