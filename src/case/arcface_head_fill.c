/* arcface_head_fill.c: generated inputs of an arcface_head case, for `golden arcface_head --size N=..,C=..,D=.. --fill ...`, verify and bench.
 *
 * Every element is a pure function of (seed, tensor, global index) as in partial_fc_fill.c. "u" is pfc_uniform, "g" pfc_normal.
 *
 *   normal   features g; weight g; labels floor(u C); margins 0.1 + 0.4 u rounded to float32
 *   lattice  rows of features and weight have 4^k entries +-1 (the largest 4^k <= D) and zeros: length 2^k, cosines multiples of 4^-k; no margins
 *   hard     as normal, and besides: features of row mod 4: 1 wide (g 2^(48 u - 24)), 2 all elements +-(2 - 2^-23), 3 the first sub-center of the label
 *            times 3, plus g/64 of its length; sub-centers of class c: with c mod 3 = 1 the last equals the first, with c mod 3 = 2 the last is wide;
 *            soft targets u/C; class weights 0.5 + u. Row 0 has class 0, row 1 class C-1
 *
 * All are rounded to float32. */
#include "case/arcface_head_case.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { FEATURES, LABELS, WEIGHT, MARGINS, SOFT, CLASS_WEIGHT, SIGN = 16, WIDE = 32 };
enum { NORMAL, LATTICE, HARD };

#define LARGEST 0x1.fffffep0

typedef struct fill {
    int kind;
    int64_t seed, n, c, d, k;
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

static void weight_row(const fill *f, int64_t row, float *out)
{
    int64_t class = row / f->k, sub = row % f->k;
    bool last = f->kind == HARD && f->k > 1 && sub == f->k - 1;
    int64_t like = last && class % 3 == 1 ? class * f->k : row;
    if (f->kind == LATTICE) lattice_row(f, WEIGHT, row, out);
    for (int64_t j = 0; f->kind != LATTICE && j < f->d; j++)
        out[j] = (float)(last && class % 3 == 2 ? wide(f, WEIGHT, like * f->d + j) : normal(f, WEIGHT, like * f->d + j));
}

static int64_t label(const fill *f, int64_t row)
{
    if (f->kind == HARD && row < 2) return row == 0 ? 0 : f->c - 1;
    int64_t y = (int64_t)(uniform(f, LABELS, row) * (double)f->c);
    return y < f->c ? y : f->c - 1;
}

static void feature_row(const fill *f, int64_t row, float *out)
{
    int64_t variant = f->kind == HARD ? row % 4 : 0;
    double length = 0.0;
    if (f->kind == LATTICE) lattice_row(f, FEATURES, row, out);
    if (variant == 3) weight_row(f, label(f, row) * f->k, out);
    for (int64_t j = 0; variant == 3 && j < f->d; j++) length += (double)out[j] * out[j];
    for (int64_t j = 0; f->kind != LATTICE && j < f->d; j++) {
        int64_t i = row * f->d + j;
        if (variant == 0) out[j] = (float)normal(f, FEATURES, i);
        if (variant == 1) out[j] = (float)wide(f, FEATURES, i);
        if (variant == 2) out[j] = (float)(sign(f, FEATURES, i) * LARGEST);
        if (variant == 3) out[j] = (float)(3.0 * out[j] + normal(f, FEATURES, i) * sqrt(length) / (64.0 * sqrt((double)f->d)));
    }
}

static int no_memory(pfc_diag *diag) { return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for the generated inputs"); }

static int fill_batch(MPI_Comm comm, pfc_case *c, const fill *f, pfc_diag *diag)
{
    int64_t dims[2] = { f->n, f->d };
    pfc_tensor *x = pfc_tensor_add(comm, &c->in, "features", PFC_F32, 2, dims, PFC_DIST_BATCH, 0);
    pfc_tensor *y = pfc_tensor_add(comm, &c->in, "labels", PFC_I64, 1, dims, PFC_DIST_BATCH, 0);
    if (!x || !y) return no_memory(diag);
    for (int64_t i = 0; i < x->count; i++) {
        feature_row(f, x->start + i, (float *)x->data + i * f->d);
        ((int64_t *)y->data)[i] = label(f, x->start + i);
    }
    return 0;
}

static int fill_classes(MPI_Comm comm, pfc_case *c, const fill *f, pfc_diag *diag)
{
    int64_t dims[2] = { f->c * f->k, f->d }, nc[2] = { f->n, f->c };
    pfc_tensor *w = pfc_tensor_add_units(comm, &c->in, "weight", PFC_F32, 2, dims, PFC_DIST_CLASS, 0, f->k);
    if (!w) return no_memory(diag);
    for (int64_t i = 0; i < w->count; i++) weight_row(f, w->start + i, (float *)w->data + i * f->d);
    if (f->kind == LATTICE) return 0;
    pfc_tensor *m = pfc_tensor_add(comm, &c->in, "margins", PFC_F64, 1, nc + 1, PFC_DIST_CLASS, 0);
    if (!m) return no_memory(diag);
    for (int64_t i = 0; i < m->count; i++) ((double *)m->data)[i] = (double)(float)(0.1 + 0.4 * uniform(f, MARGINS, m->start + i));
    if (f->kind == NORMAL) return 0;
    pfc_tensor *s = pfc_tensor_add(comm, &c->in, "soft_targets", PFC_F32, 2, nc, PFC_DIST_CLASS, 1);
    pfc_tensor *weight = pfc_tensor_add(comm, &c->in, "class_weight", PFC_F32, 1, nc + 1, PFC_DIST_CLASS, 0);
    if (!s || !weight) return no_memory(diag);
    int64_t local = pfc_tensor_local(s);
    for (int64_t i = 0; i < local; i++) ((float *)s->data)[i] = (float)(uniform(f, SOFT, pfc_tensor_global_index(s, i)) / (double)f->c);
    for (int64_t i = 0; i < weight->count; i++) ((float *)weight->data)[i] = (float)(0.5 + uniform(f, CLASS_WEIGHT, weight->start + i));
    return 0;
}

/* Inputs in float32 and results in float64, of all ranks, which may share this machine. */
static bool fits_memory(const fill *f)
{
    double state = (double)f->c * (double)f->k * (double)f->d, rows = (double)f->n * (double)f->d, matrix = (double)f->n * (double)f->c;
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    return 12.0 * (state + rows) + 20.0 * matrix <= memory;
}

int pfc_arcface_fill(MPI_Comm comm, pfc_case *c, const char *name, int64_t seed, pfc_diag *diag)
{
    static const char *const kinds[] = { "normal", "lattice", "hard", NULL };
    fill f = { .seed = seed, .n = c->size['N' - 'A'], .c = c->size['C' - 'A'], .d = c->size['D' - 'A'], .k = 1 };
    int ranks = 1, k = pfc_param_index(c->algorithm, "num_subcenters");
    if (c->param[k].present) f.k = c->param[k].i; /* defaults come after the fill */
    MPI_Comm_size(comm, &ranks);
    while (kinds[f.kind] && strcmp(kinds[f.kind], name)) f.kind++;
    if (!kinds[f.kind]) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--fill %s: unknown, expected normal, lattice or hard", name);
    if (f.n < 1 || f.c < 1 || f.d < 1) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: arcface_head needs N, C and D, each 1 or more");
    if (f.k < 1) return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: /param/num_subcenters: found %lld, expected 1 or more", c->name, (long long)f.k);
    if (f.n % ranks) return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: N = %lld is not divisible by %d ranks", c->name, (long long)f.n, ranks);
    if (!fits_memory(&f)) pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: the case is larger than the memory of this machine", c->name);
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    if (!fill_batch(comm, c, &f, diag)) fill_classes(comm, c, &f, diag);
    return pfc_diag_agree(comm, diag);
}
