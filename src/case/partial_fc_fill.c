/* partial_fc_fill.c: generated inputs of a partial_fc case, for `golden partial_fc --size N=..,C=..,D=.. --fill ...` and bench.
 *
 * Every element is a pure function of (seed, tensor, global index), see fill.h. "u" is uniform, "g" normal.
 *
 *   normal   features g; weight 0.01 g; weight_momentum 0.01 g; labels floor(u C)
 *   lattice  rows of features and weight have 4^k entries +-1 (the largest 4^k <= D) and zeros: length 2^k, cosines multiples of 4^-k, exact
 *            in every format and order. Chosen by selection sampling along the row; signs from the tensor's number + 16
 *   hard     features, by row mod 8: 0 normal; 1 wide (g 2^(48 u - 24)); 2 all elements +-(2 - 2^-23), the largest integers of exact-v1;
 *            with w the weight row of the label: 3 near 3 w; 4 near -3 w; 5 at an angle near pi - m from w, where heads branch; 6 zero; 7 near 3 w, and
 *            nearer unless the cosine 1 is a pole (head arc without cos_clamp=1).
 *            weight, by class mod 6: 0 0.01 g; 1 wide; 2 all largest; 3 equal to class - 3; 4 minus class - 4; 5 g 2^-50, shorter than the clamp of
 *            the norm. Labels crowd at low classes (floor(u u C)); row 0 has class 0, row 1 class C-1; with unowned_label=ignore or source (and no lse)
 *            rows 9 and 11 mod 16 have -1 and C+3. Where classes are sampled: sample_keys floor(4 u)/4, which tie
 *
 * All are rounded to float32. steps > 1 gives features (steps,N,D) and labels (steps,N). The momentum of lattice is zero (absent). */
#include "case/fill.h"
#include "case/partial_fc_case.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { FEATURES = 0, LABELS = 1, WEIGHT = 2, MOMENTUM = 3, ANGLE = 4, KEYS = 5 };

#define PI 0x1.921fb54442d18p+1

typedef struct fill {
    int kind;
    int64_t seed, n, c, d;
    double margin, part;   /* part: how near the nearest rows are, see pfc_fill_near */
    bool sampled, unowned; /* hard: sample_keys; labels that no rank owns */
} fill;

static double normal(const fill *f, int tensor, int64_t index) { return pfc_fill_normal(f->seed, tensor, index); }
static double wide(const fill *f, int tensor, int64_t index) { return pfc_fill_wide(f->seed, tensor, index); }
static double largest(const fill *f, int tensor, int64_t index) { return pfc_fill_sign(f->seed, tensor, index) * PFC_FILL_LARGEST; }

static void weight_row(const fill *f, int64_t class, float *out)
{
    if (f->kind == PFC_FILL_LATTICE) {
        pfc_fill_lattice_row(f->seed, WEIGHT, class, f->d, out);
        return;
    }
    int64_t variant = f->kind == PFC_FILL_HARD ? class % 6 : 0;
    double factor = variant == 4 ? -0.01 : variant == 5 ? 0x1p-50 : 0.01;
    if (variant == 3 || variant == 4) class -= variant;
    for (int64_t j = 0; j < f->d; j++) {
        int64_t i = class * f->d + j;
        out[j] = (float)(variant == 1 ? wide(f, WEIGHT, i) : variant == 2 ? largest(f, WEIGHT, i) : factor * normal(f, WEIGHT, i));
    }
}

/* A class of the case. row counts on through the steps: row s*N + i is row i of step s. */
static int64_t owned_label(const fill *f, int64_t row)
{
    double u = pfc_fill_uniform(f->seed, LABELS, row);
    if (f->kind == PFC_FILL_HARD && row % f->n == 0) return 0;
    if (f->kind == PFC_FILL_HARD && row % f->n == 1) return f->c - 1;
    int64_t y = (int64_t)((f->kind == PFC_FILL_HARD ? u * u : u) * (double)f->c);
    return y < f->c ? y : f->c - 1;
}

static int64_t label(const fill *f, int64_t row)
{
    if (f->unowned && row % 16 == 9) return -1;
    if (f->unowned && row % 16 == 11) return f->c + 3;
    return owned_label(f, row);
}

static void feature_row(const fill *f, int64_t row, float *out)
{
    int64_t variant = f->kind == PFC_FILL_HARD ? row % 8 : 0, first = row * f->d;
    if (f->kind == PFC_FILL_LATTICE) {
        pfc_fill_lattice_row(f->seed, FEATURES, row, f->d, out);
        return;
    }
    if (variant == 3 || variant == 4 || variant == 5 || variant == 7) weight_row(f, owned_label(f, row), out);
    if (variant == 3) pfc_fill_near(f->seed, FEATURES, row, f->d, 3.0, 64.0, out);
    if (variant == 4) pfc_fill_near(f->seed, FEATURES, row, f->d, -3.0, 64.0, out);
    if (variant == 5) pfc_fill_at_angle(f->seed, FEATURES, row, f->d, PI - f->margin + normal(f, ANGLE, row) / 256.0, out);
    if (variant == 7) pfc_fill_near(f->seed, FEATURES, row, f->d, 3.0, f->part, out);
    for (int64_t j = 0; j < f->d; j++) {
        if (variant == 0) out[j] = (float)normal(f, FEATURES, first + j);
        if (variant == 1) out[j] = (float)wide(f, FEATURES, first + j);
        if (variant == 2) out[j] = (float)largest(f, FEATURES, first + j);
        if (variant == 6) out[j] = 0.0f;
    }
}

static int no_memory(pfc_diag *diag) { return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for the generated inputs"); }

static int fill_rows(MPI_Comm comm, pfc_case *c, const fill *f, int64_t steps, pfc_diag *diag)
{
    int64_t dims[3] = { steps, f->n, f->d };
    int tail = steps > 1 ? 0 : 1; /* one step has no steps axis */
    pfc_tensor *x = pfc_tensor_add(comm, &c->in, "features", PFC_F32, 3 - tail, dims + tail, PFC_DIST_BATCH, 1 - tail);
    if (!x) return no_memory(diag);
    int64_t start = x->start, count = x->count;
    for (int64_t s = 0; s < steps; s++)
        for (int64_t i = 0; i < count; i++) feature_row(f, s * f->n + start + i, (float *)x->data + (s * count + i) * f->d);

    pfc_tensor *y = pfc_tensor_add(comm, &c->in, "labels", PFC_I64, 2 - tail, dims + tail, PFC_DIST_BATCH, 1 - tail);
    if (!y) return no_memory(diag);
    for (int64_t s = 0; s < steps; s++)
        for (int64_t i = 0; i < count; i++) ((int64_t *)y->data)[s * count + i] = label(f, s * f->n + start + i);
    return 0;
}

static int fill_state(MPI_Comm comm, pfc_case *c, const fill *f, pfc_diag *diag)
{
    int64_t dims[2] = { f->c, f->d };
    pfc_tensor *w = pfc_tensor_add(comm, &c->in, "weight", PFC_F32, 2, dims, PFC_DIST_CLASS, 0);
    if (!w) return no_memory(diag);
    int64_t start = w->start, count = w->count;
    for (int64_t i = 0; i < count; i++) weight_row(f, start + i, (float *)w->data + i * f->d);
    if (f->kind == PFC_FILL_LATTICE) return 0;

    pfc_tensor *m = pfc_tensor_add(comm, &c->in, "weight_momentum", PFC_F32, 2, dims, PFC_DIST_CLASS, 0);
    if (!m) return no_memory(diag);
    for (int64_t i = 0; i < count * f->d; i++) ((float *)m->data)[i] = (float)(0.01 * normal(f, MOMENTUM, start * f->d + i));
    return 0;
}

/* Four different keys: many classes tie at the edge of the sample. */
static int fill_keys(MPI_Comm comm, pfc_case *c, const fill *f, int64_t steps, pfc_diag *diag)
{
    int64_t dims[2] = { steps, f->c };
    int tail = steps > 1 ? 0 : 1;
    pfc_tensor *t = pfc_tensor_add(comm, &c->in, "sample_keys", PFC_F64, 2 - tail, dims + tail, PFC_DIST_CLASS, 1 - tail);
    if (!t) return no_memory(diag);
    for (int64_t i = 0; i < pfc_tensor_local(t); i++)
        ((double *)t->data)[i] = floor(4.0 * pfc_fill_uniform(f->seed, KEYS, pfc_tensor_global_index(t, i))) / 4.0;
    return 0;
}

/* Inputs in float32 and results in float64, of all ranks, which may share this machine. */
static bool fits_memory(const fill *f, int64_t steps)
{
    double state = (double)f->c * (double)f->d, rows = (double)steps * (double)f->n * (double)f->d;
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    return 4.0 * (2.0 * state + rows) + 8.0 * (3.0 * state + rows) <= memory;
}

static bool word_is(const pfc_case *c, const char *name, const char *word)
{
    const pfc_param *p = &c->param[pfc_param_index(c->algorithm, name)];
    return p->present && strcmp(p->word, word) == 0;
}

/* What the fill takes from the parameters; defaults come after it. */
static void look_at_params(const pfc_case *c, fill *f)
{
    const pfc_param *margin = &c->param[pfc_param_index(c->algorithm, "margin")], *rate = &c->param[pfc_param_index(c->algorithm, "sample_rate")];
    bool hard = f->kind == PFC_FILL_HARD;
    f->margin = margin->present ? margin->r : 0.0;
    f->part = word_is(c, "head", "arc") && c->param[pfc_param_index(c->algorithm, "cos_clamp")].i != 1 ? 64.0 : 1024.0;
    f->sampled = hard && (c->param[pfc_param_index(c->algorithm, "num_sample")].present || (rate->present && rate->r < 1.0));
    f->unowned = hard && (word_is(c, "unowned_label", "ignore") || (word_is(c, "unowned_label", "source") && !word_is(c, "loss", "lse")));
}

int pfc_partial_fc_fill(MPI_Comm comm, pfc_case *c, const char *name, int64_t seed, pfc_diag *diag)
{
    fill f = { .kind = pfc_fill_kind(name, diag), .seed = seed, .n = c->size['N' - 'A'], .c = c->size['C' - 'A'], .d = c->size['D' - 'A'] };
    int ranks = 1, steps_index = pfc_param_index(c->algorithm, "steps");
    int64_t steps = c->param[steps_index].present ? c->param[steps_index].i : 1; /* defaults come after the fill */
    MPI_Comm_size(comm, &ranks);
    if (diag->exit_status) return diag->exit_status;
    if (f.n < 1 || f.c < 1 || f.d < 1) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: partial_fc needs N, C and D, each 1 or more");
    if (steps < 1) return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: /param/steps: found %lld, expected 1 or more", c->name, (long long)steps);
    if (f.n % ranks)
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found N = %lld, expected a multiple of the number of ranks, %d", c->name, (long long)f.n, ranks);
    if (!fits_memory(&f, steps)) pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: the case is larger than the memory of this machine", c->name);
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    look_at_params(c, &f);
    if (!fill_rows(comm, c, &f, steps, diag) && !fill_state(comm, c, &f, diag) && f.sampled) fill_keys(comm, c, &f, steps, diag);
    return pfc_diag_agree(comm, diag);
}
