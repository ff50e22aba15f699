/* partial_fc_fill.c: generated inputs of a partial_fc case, for `golden partial_fc --size N=..,C=..,D=.. --fill ...` and bench.
 *
 * Every element is a pure function of (seed, tensor, global index): Philox4x32-10 with the stream PFC_STREAM_FILL and the tensor's number
 * below as the step word, so any rank, thread or device can make any slice. "u" is pfc_uniform, "g" pfc_normal.
 *
 *   normal   features g; weight 0.01 g; weight_momentum 0.01 g; labels floor(u C)
 *   lattice  rows of features and weight have 4^k entries +-1 (the largest 4^k <= D) and zeros: length 2^k, cosines multiples of 4^-k, exact
 *            in every format and order. Chosen by selection sampling along the row; signs from the tensor's number + 16
 *   hard     features, by row mod 4: 0 normal; 1 wide (g 2^(48 u - 24)); 2 all elements +-(2 - 2^-23), the largest integers of exact-v1;
 *            3 the weight row of its label times 3, plus g/64 of its length: cosine near 1. weight, by class mod 3: 0.01 g, wide, all largest.
 *            Labels crowd at low classes (floor(u u C)); row 0 has class 0, row 1 class C-1
 *
 * All are rounded to float32. steps > 1 gives features (steps,N,D) and labels (steps,N). The momentum of lattice is zero (absent). */
#include "case/partial_fc_case.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { FEATURES = 0, LABELS = 1, WEIGHT = 2, MOMENTUM = 3, SIGN = 16, WIDE = 32 };
enum { NORMAL, LATTICE, HARD };

#define LARGEST 0x1.fffffep0

typedef struct fill {
    int kind;
    int64_t seed, n, c, d;
} fill;

static double uniform(const fill *f, int tensor, int64_t index) { return pfc_uniform(f->seed, index, (uint32_t)tensor, PFC_STREAM_FILL); }
static double normal(const fill *f, int tensor, int64_t index) { return pfc_normal(f->seed, index, (uint32_t)tensor, PFC_STREAM_FILL); }
static double sign(const fill *f, int tensor, int64_t index) { return uniform(f, tensor + SIGN, index) < 0.5 ? -1.0 : 1.0; }

static double wide(const fill *f, int tensor, int64_t index)
{
    int power = (int)(uniform(f, tensor + WIDE, index) * 48.0) - 24;
    return ldexp(normal(f, tensor, index), power);
}

/* One row of 4^k entries +-1: every position is taken with the probability still needed over still left. */
static void lattice_row(const fill *f, int tensor, int64_t row, float *out)
{
    int64_t need = 1;
    while (need * 4 <= f->d) need *= 4;
    for (int64_t j = 0; j < f->d; j++) {
        int64_t index = row * f->d + j;
        bool take = uniform(f, tensor, index) * (double)(f->d - j) < (double)need;
        out[j] = take ? (float)sign(f, tensor, index) : 0.0f;
        need -= take;
    }
}

static void weight_row(const fill *f, int64_t class, float *out)
{
    if (f->kind == LATTICE) {
        lattice_row(f, WEIGHT, class, out);
        return;
    }
    int64_t variant = f->kind == HARD ? class % 3 : 0;
    for (int64_t j = 0; j < f->d; j++) {
        int64_t i = class * f->d + j;
        out[j] = (float)(variant == 0 ? 0.01 * normal(f, WEIGHT, i) : variant == 1 ? wide(f, WEIGHT, i) : sign(f, WEIGHT, i) * LARGEST);
    }
}

/* row counts on through the steps: row s*N + i is row i of step s. */
static int64_t label(const fill *f, int64_t row)
{
    double u = uniform(f, LABELS, row);
    if (f->kind == HARD && row % f->n == 0) return 0;
    if (f->kind == HARD && row % f->n == 1) return f->c - 1;
    int64_t y = (int64_t)((f->kind == HARD ? u * u : u) * (double)f->c);
    return y < f->c ? y : f->c - 1;
}

static void feature_row(const fill *f, int64_t row, float *out)
{
    if (f->kind == LATTICE) {
        lattice_row(f, FEATURES, row, out);
        return;
    }
    int64_t variant = f->kind == HARD ? row % 4 : 0;
    double length = 0.0;
    if (variant == 3) {
        weight_row(f, label(f, row), out);
        for (int64_t j = 0; j < f->d; j++) length += (double)out[j] * out[j];
        length = sqrt(length);
    }
    for (int64_t j = 0; j < f->d; j++) {
        int64_t i = row * f->d + j;
        if (variant == 0) out[j] = (float)normal(f, FEATURES, i);
        if (variant == 1) out[j] = (float)wide(f, FEATURES, i);
        if (variant == 2) out[j] = (float)(sign(f, FEATURES, i) * LARGEST);
        if (variant == 3) out[j] = (float)(3.0 * out[j] + normal(f, FEATURES, i) * length / (64.0 * sqrt((double)f->d)));
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
    if (f->kind == LATTICE) return 0;

    pfc_tensor *m = pfc_tensor_add(comm, &c->in, "weight_momentum", PFC_F32, 2, dims, PFC_DIST_CLASS, 0);
    if (!m) return no_memory(diag);
    for (int64_t i = 0; i < count * f->d; i++) ((float *)m->data)[i] = (float)(0.01 * normal(f, MOMENTUM, start * f->d + i));
    return 0;
}

/* Inputs in float32 and results in float64, of all ranks, which may share this machine. */
static bool fits_memory(const fill *f, int64_t steps)
{
    double state = (double)f->c * (double)f->d, rows = (double)steps * (double)f->n * (double)f->d;
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    return 4.0 * (2.0 * state + rows) + 8.0 * (3.0 * state + rows) <= memory;
}

int pfc_partial_fc_fill(MPI_Comm comm, pfc_case *c, const char *name, int64_t seed, pfc_diag *diag)
{
    static const char *const kinds[] = { "normal", "lattice", "hard", NULL };
    fill f = { .seed = seed, .n = c->size['N' - 'A'], .c = c->size['C' - 'A'], .d = c->size['D' - 'A'] };
    int ranks = 1, steps_index = pfc_param_index(c->algorithm, "steps");
    int64_t steps = c->param[steps_index].present ? c->param[steps_index].i : 1; /* defaults come after the fill */
    MPI_Comm_size(comm, &ranks);
    while (kinds[f.kind] && strcmp(kinds[f.kind], name)) f.kind++;
    if (!kinds[f.kind]) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--fill %s: unknown, expected normal, lattice or hard", name);
    if (f.n < 1 || f.c < 1 || f.d < 1) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: partial_fc needs N, C and D, each 1 or more");
    if (steps < 1) return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: /param/steps: found %lld, expected 1 or more", c->name, (long long)steps);
    if (f.n % ranks) return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: N = %lld is not divisible by %d ranks", c->name, (long long)f.n, ranks);
    if (!fits_memory(&f, steps)) pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: the case is larger than the memory of this machine", c->name);
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    if (!fill_rows(comm, c, &f, steps, diag)) fill_state(comm, c, &f, diag);
    return pfc_diag_agree(comm, diag);
}
