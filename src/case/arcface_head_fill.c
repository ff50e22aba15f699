/* arcface_head_fill.c: generated inputs of an arcface_head case, for `golden arcface_head --size N=..,C=..,D=.. --fill ...`, verify and bench.
 *
 * Every element is a pure function of (seed, tensor, global index), see fill.h. "u" is uniform, "g" normal.
 *
 *   normal   features g; weight g; labels floor(u C); margins 0.1 + 0.4 u rounded to float32
 *   lattice  rows of features and weight have 4^k entries +-1 (the largest 4^k <= D) and zeros: length 2^k, cosines multiples of 4^-k; no margins
 *   hard     as normal, and besides: features by row mod 8, with w the first sub-center of the label and m the label's margin: 1 wide (g 2^(48 u - 24)),
 *            2 all elements +-(2 - 2^-23), 3 near 3 w, 4 near -3 w, 5 at an angle near pi - m from w, where the head branches, 6 zero, 7 near 3 w, and nearer with
 *            cos_clamp=1, where the cosine 1 is no pole;
 *            sub-centers of class c: with c mod 3 = 1 the last equals the first, with c mod 3 = 2 the last is wide; with c mod 5 = 4 all are those of class
 *            c - 1, with c mod 5 = 2 all are 2^-50 times as long, shorter than the clamp of the norm; soft targets u/C; class weights 0.5 + u. Row 0 has
 *            class 0, row 1 class C-1
 *
 * All are rounded to float32. */
#include "case/arcface_head_case.h"
#include "case/fill.h"

#include <math.h>
#include <unistd.h>

enum { FEATURES, LABELS, WEIGHT, MARGINS, SOFT, CLASS_WEIGHT, ANGLE };

#define PI 0x1.921fb54442d18p+1

typedef struct fill {
    int kind;
    int64_t seed, n, c, d, k;
    double part; /* how near the nearest rows are, see pfc_fill_near */
} fill;

static double uniform(const fill *f, int tensor, int64_t index) { return pfc_fill_uniform(f->seed, tensor, index); }
static double normal(const fill *f, int tensor, int64_t index) { return pfc_fill_normal(f->seed, tensor, index); }
static double wide(const fill *f, int tensor, int64_t index) { return pfc_fill_wide(f->seed, tensor, index); }

static void weight_row(const fill *f, int64_t row, float *out)
{
    int64_t class = row / f->k, sub = row % f->k;
    bool hard = f->kind == PFC_FILL_HARD;
    if (f->kind == PFC_FILL_LATTICE) {
        pfc_fill_lattice_row(f->seed, WEIGHT, row, f->d, out);
        return;
    }
    if (hard && class % 5 == 4) class -= 1;
    bool last = hard && f->k > 1 && sub == f->k - 1;
    double factor = hard && class % 5 == 2 ? 0x1p-50 : 1.0;
    int64_t first = (class * f->k + (last && class % 3 == 1 ? 0 : sub)) * f->d;
    for (int64_t j = 0; j < f->d; j++) out[j] = (float)(factor * (last && class % 3 == 2 ? wide(f, WEIGHT, first + j) : normal(f, WEIGHT, first + j)));
}

static double margin_of(const fill *f, int64_t class) { return (double)(float)(0.1 + 0.4 * uniform(f, MARGINS, class)); }

static int64_t label(const fill *f, int64_t row)
{
    if (f->kind == PFC_FILL_HARD && row < 2) return row == 0 ? 0 : f->c - 1;
    int64_t y = (int64_t)(uniform(f, LABELS, row) * (double)f->c);
    return y < f->c ? y : f->c - 1;
}

static void feature_row(const fill *f, int64_t row, float *out)
{
    int64_t variant = f->kind == PFC_FILL_HARD ? row % 8 : 0, first = row * f->d, y = label(f, row);
    if (f->kind == PFC_FILL_LATTICE) {
        pfc_fill_lattice_row(f->seed, FEATURES, row, f->d, out);
        return;
    }
    if (variant == 3 || variant == 4 || variant == 5 || variant == 7) weight_row(f, y * f->k, out);
    if (variant == 3) pfc_fill_near(f->seed, FEATURES, row, f->d, 3.0, 64.0, out);
    if (variant == 4) pfc_fill_near(f->seed, FEATURES, row, f->d, -3.0, 64.0, out);
    if (variant == 5) pfc_fill_at_angle(f->seed, FEATURES, row, f->d, PI - margin_of(f, y) + normal(f, ANGLE, row) / 256.0, out);
    if (variant == 7) pfc_fill_near(f->seed, FEATURES, row, f->d, 3.0, f->part, out);
    for (int64_t j = 0; j < f->d; j++) {
        if (variant == 0) out[j] = (float)normal(f, FEATURES, first + j);
        if (variant == 1) out[j] = (float)wide(f, FEATURES, first + j);
        if (variant == 2) out[j] = (float)(pfc_fill_sign(f->seed, FEATURES, first + j) * PFC_FILL_LARGEST);
        if (variant == 6) out[j] = 0.0f;
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
    if (f->kind == PFC_FILL_LATTICE) return 0;
    pfc_tensor *m = pfc_tensor_add(comm, &c->in, "margins", PFC_F64, 1, nc + 1, PFC_DIST_CLASS, 0);
    if (!m) return no_memory(diag);
    for (int64_t i = 0; i < m->count; i++) ((double *)m->data)[i] = margin_of(f, m->start + i);
    if (f->kind == PFC_FILL_NORMAL) return 0;
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
    fill f = { .kind = pfc_fill_kind(name, diag), .seed = seed, .n = c->size['N' - 'A'], .c = c->size['C' - 'A'], .d = c->size['D' - 'A'], .k = 1 };
    int ranks = 1, k = pfc_param_index(c->algorithm, "num_subcenters");
    if (c->param[k].present) f.k = c->param[k].i; /* defaults come after the fill */
    f.part = c->param[pfc_param_index(c->algorithm, "cos_clamp")].i == 1 ? 1024.0 : 64.0;
    MPI_Comm_size(comm, &ranks);
    if (diag->exit_status) return diag->exit_status;
    if (f.n < 1 || f.c < 1 || f.d < 1) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: arcface_head needs N, C and D, each 1 or more");
    if (f.k < 1) return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: /param/num_subcenters: found %lld, expected 1 or more", c->name, (long long)f.k);
    if (f.n % ranks)
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found N = %lld, expected a multiple of the number of ranks, %d", c->name, (long long)f.n, ranks);
    if (!fits_memory(&f)) pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: the case is larger than the memory of this machine", c->name);
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    if (!fill_batch(comm, c, &f, diag)) fill_classes(comm, c, &f, diag);
    return pfc_diag_agree(comm, diag);
}
