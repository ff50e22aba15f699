/* moco_fill.c: generated inputs of moco_shuffle and moco, for `golden --size ... --fill ...`, verify and bench.
 *
 * Every element is a pure function of (seed, tensor, global index), see fill.h. "u" is uniform, "g" normal. All are rounded to float32.
 *
 * moco_shuffle: sizes N and any of C, H, W, D, the axes after it in this order (none: one number a row). x: g; lattice: integers -8..8; hard: g 2^(48 u - 24),
 * every fifth element -0.
 * moco: sizes N, K, D and M, the number n of parameters (default 1000).
 *   normal   params_q g, params_k g; query g; key = query + g/2; queue rows g, length 1
 *   lattice  params multiples of 1/8; query, key, queue rows with 4^k entries +-1 (queue: +-2^-k) and zeros, the largest 4^k <= D: products are exact
 *   hard     params g 2^(48 u - 24). query by row mod 4: normal; wide, g 2^(48 u - 24); all elements +-(2 - 2^-23); zero. key: 3 query + query's
 *            length g/64, so the positive is nearly certain; of a zero query: wide. queue by row j mod 6: normal; zero; the direction of query
 *            row j mod N; its opposite; the direction of key row j mod N; equal to row j - 5 */
#include "case/fill.h"
#include "case/moco_case.h"

#include <math.h>
#include <unistd.h>

enum { X = 0, QUERY = 1, KEY = 2, QUEUE = 3, PARAMS_Q = 4, PARAMS_K = 5 };

typedef struct fill {
    int kind;
    int64_t seed, n, k, d, params;
} fill;

static double uniform(const fill *f, int tensor, int64_t index) { return pfc_fill_uniform(f->seed, tensor, index); }
static double normal(const fill *f, int tensor, int64_t index) { return pfc_fill_normal(f->seed, tensor, index); }
static double wide(const fill *f, int tensor, int64_t index) { return pfc_fill_wide(f->seed, tensor, index); }

static int no_memory(pfc_diag *diag) { return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for the generated inputs"); }

static int check_rows(MPI_Comm comm, const pfc_case *c, int64_t n, double numbers, pfc_diag *diag)
{
    int ranks = 1;
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    MPI_Comm_size(comm, &ranks);
    if (!diag->exit_status && n % ranks)
        pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found N = %lld, expected a multiple of the number of ranks, %d", c->name, (long long)n, ranks);
    if (!diag->exit_status && 8.0 * numbers > memory) pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: the case is larger than the memory of this machine", c->name);
    return pfc_diag_agree(comm, diag);
}

/* ---- moco_shuffle ---- */

static double shuffle_element(const fill *f, int64_t i)
{
    if (f->kind == PFC_FILL_LATTICE) return floor(uniform(f, X, i) * 17.0) - 8.0;
    if (f->kind == PFC_FILL_HARD) return i % 5 == 0 ? -0.0 : wide(f, X, i);
    return normal(f, X, i);
}

int pfc_moco_shuffle_fill(MPI_Comm comm, pfc_case *c, const char *name, int64_t seed, pfc_diag *diag)
{
    static const char letters[] = "CHWD";
    fill f = { .kind = pfc_fill_kind(name, diag), .seed = seed, .n = c->size['N' - 'A'] };
    int64_t dims[5] = { f.n };
    int ndim = 1;
    double numbers = 3.0 * (double)f.n;
    for (int i = 0; letters[i]; i++)
        if (c->size[letters[i] - 'A'] > 0) numbers *= (double)(dims[ndim++] = c->size[letters[i] - 'A']);
    if (f.n < 1) pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: moco_shuffle needs N, 1 or more");
    if (check_rows(comm, c, f.n, numbers, diag)) return diag->exit_status;
    pfc_tensor *x = pfc_tensor_add(comm, &c->in, "x", PFC_F32, ndim, dims, PFC_DIST_BATCH, 0);
    if (!x) no_memory(diag);
    int64_t mine = x ? pfc_tensor_local(x) : 0, first = mine ? x->start * (mine / x->count) : 0;
    for (int64_t i = 0; i < mine; i++) ((float *)x->data)[i] = (float)shuffle_element(&f, first + i);
    return pfc_diag_agree(comm, diag);
}

/* ---- moco ---- */

static void query_row(const fill *f, int64_t row, float *out)
{
    int64_t variant = f->kind == PFC_FILL_HARD ? row % 4 : 0;
    if (f->kind == PFC_FILL_LATTICE) {
        pfc_fill_lattice_row(f->seed, QUERY, row, f->d, out);
        return;
    }
    for (int64_t j = 0; j < f->d; j++) {
        int64_t i = row * f->d + j;
        out[j] = (float)(variant == 0   ? normal(f, QUERY, i)
                         : variant == 1 ? wide(f, QUERY, i)
                         : variant == 2 ? pfc_fill_sign(f->seed, QUERY, i) * PFC_FILL_LARGEST
                                        : 0.0);
    }
}

static void key_row(const fill *f, int64_t row, float *out)
{
    if (f->kind == PFC_FILL_LATTICE) {
        pfc_fill_lattice_row(f->seed, KEY, row, f->d, out);
        return;
    }
    query_row(f, row, out);
    double length = pfc_fill_length(out, f->d) / sqrt((double)f->d);
    for (int64_t j = 0; j < f->d; j++) {
        int64_t i = row * f->d + j;
        double noise = normal(f, KEY, i);
        if (f->kind == PFC_FILL_NORMAL) out[j] = (float)((double)out[j] + 0.5 * noise);
        if (f->kind == PFC_FILL_HARD) out[j] = (float)(length > 0.0 ? 3.0 * (double)out[j] + length * noise / 64.0 : wide(f, KEY, i));
    }
}

static void queue_row(const fill *f, int64_t row, float *out)
{
    int64_t variant = f->kind == PFC_FILL_HARD ? row % 6 : 0, from = variant == 5 ? row - 5 : row;
    double length = 0.0;
    if (f->kind == PFC_FILL_LATTICE)
        length = pfc_fill_lattice_row(f->seed, QUEUE, row, f->d, out);
    else if (variant == 2 || variant == 3)
        query_row(f, row % f->n, out);
    else if (variant == 4)
        key_row(f, row % f->n, out);
    else
        for (int64_t j = 0; j < f->d; j++) out[j] = variant == 1 ? 0.0f : (float)normal(f, QUEUE, from * f->d + j);
    if (f->kind != PFC_FILL_LATTICE) length = pfc_fill_length(out, f->d);
    for (int64_t j = 0; j < f->d; j++) out[j] = length > 0.0 ? (float)((variant == 3 ? -1.0 : 1.0) * (double)out[j] / length) : 0.0f;
}

static double param_of(const fill *f, int tensor, int64_t i)
{
    if (f->kind == PFC_FILL_LATTICE) return (floor(uniform(f, tensor, i) * 129.0) - 64.0) / 8.0;
    return f->kind == PFC_FILL_HARD ? wide(f, tensor, i) : normal(f, tensor, i);
}

static void fill_rows(MPI_Comm comm, pfc_case *c, const fill *f, const char *name, void (*row)(const fill *, int64_t, float *), int64_t rows, pfc_dist dist,
                      pfc_diag *diag)
{
    int64_t dims[2] = { rows, f->d };
    pfc_tensor *t = pfc_tensor_add(comm, &c->in, name, PFC_F32, 2, dims, dist, 0);
    if (!t) no_memory(diag);
    for (int64_t i = 0; t && i < t->count; i++) row(f, t->start + i, (float *)t->data + i * f->d);
}

static void fill_params(MPI_Comm comm, pfc_case *c, const fill *f, const char *name, int tensor, pfc_diag *diag)
{
    pfc_tensor *t = pfc_tensor_add(comm, &c->in, name, PFC_F32, 1, &f->params, PFC_DIST_NONE, 0);
    if (!t) no_memory(diag);
    for (int64_t i = 0; t && i < f->params; i++) ((float *)t->data)[i] = (float)param_of(f, tensor, i);
}

int pfc_moco_fill(MPI_Comm comm, pfc_case *c, const char *name, int64_t seed, pfc_diag *diag)
{
    fill f = { pfc_fill_kind(name, diag), seed, c->size['N' - 'A'], c->size['K' - 'A'], c->size['D' - 'A'], c->size['M' - 'A'] };
    if (f.params < 1) f.params = 1000;
    if (f.n < 1 || f.k < 1 || f.d < 1) pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: moco needs N, K and D, each 1 or more");
    if (check_rows(comm, c, f.n, 3.0 * (double)f.params + 3.0 * (double)f.k * (double)f.d + 6.0 * (double)f.n * (double)f.d, diag)) return diag->exit_status;
    fill_params(comm, c, &f, "params_q", PARAMS_Q, diag);
    fill_params(comm, c, &f, "params_k", PARAMS_K, diag);
    fill_rows(comm, c, &f, "query", query_row, f.n, PFC_DIST_BATCH, diag);
    fill_rows(comm, c, &f, "key", key_row, f.n, PFC_DIST_BATCH, diag);
    fill_rows(comm, c, &f, "queue", queue_row, f.k, PFC_DIST_NONE, diag);
    return pfc_diag_agree(comm, diag);
}
