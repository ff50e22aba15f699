/* swav_fill.c: generated inputs of sinkhorn and swav cases, for `golden --size` and bench.
 *
 * Every element is a pure function of (seed, tensor, global index), see fill.h. "u" is uniform, "g" normal.
 *
 *   sinkhorn (--size N=,K=)
 *     normal   scores 2u - 1, as cosines are
 *     lattice  multiples of 1/8 in [-1,1]
 *     hard     by row mod 4: 0 normal; 1 all elements equal; 2 wide (3 g); 3 one prototype at 1, the others at -1. The last prototype is
 *              20 lower everywhere: at epsilon 0.05 its mass is e^-400 of the others': only version log can be checked in float32
 *   swav (--size B=,K=,D=[,A=][,L=], B samples of a rank; crops is a parameter)
 *     normal   embedding g, prototypes g, queue (if L is given) g/sqrt(D)
 *     lattice  entries +-1 for embedding and prototypes, +-1/4 for the queue
 *     hard     embedding by row mod 4: 0 normal; 1 zeros; 2 wide (g 2^(48u - 24)); 3 three times a prototype. Prototype 0 is zero, the last
 *              of three or more equals prototype 1
 *     crops_for_assign 0 to A-1 (A: 2, or the number of crops if smaller)
 *
 * All are rounded to float32. */
#include "case/fill.h"
#include "case/swav_case.h"

#include <math.h>
#include <unistd.h>

enum { SCORES = 0, EMBEDDING = 1, PROTOTYPES = 2, QUEUE = 3 };

typedef struct fill {
    int kind;
    int64_t seed;
} fill;

static double uniform(const fill *f, int tensor, int64_t i) { return pfc_fill_uniform(f->seed, tensor, i); }
static double normal(const fill *f, int tensor, int64_t i) { return pfc_fill_normal(f->seed, tensor, i); }

static int start(MPI_Comm comm, const pfc_case *c, const char *name, int64_t seed, double elements, fill *f, pfc_diag *diag)
{
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    *f = (fill){ .kind = pfc_fill_kind(name, diag), .seed = seed };
    if (!diag->exit_status && 32.0 * elements > memory) pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: the case is larger than the memory of this machine", c->name);
    return pfc_diag_agree(comm, diag);
}

static int no_memory(pfc_diag *diag) { return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for the generated inputs"); }

static double score(const fill *f, int64_t row, int64_t k, int64_t K)
{
    int64_t i = row * K + k, variant = f->kind == PFC_FILL_HARD ? row % 4 : 0;
    double u = uniform(f, SCORES, i), low = f->kind == PFC_FILL_HARD && K > 1 && k == K - 1 ? 20.0 : 0.0;
    if (f->kind == PFC_FILL_LATTICE) return floor(17.0 * u) / 8.0 - 1.0;
    if (variant == 1) return 0.5 - low;
    if (variant == 2) return 3.0 * normal(f, SCORES, i) - low;
    if (variant == 3) return (k == row % K ? 1.0 : -1.0) - low;
    return 2.0 * u - 1.0 - low;
}

int pfc_sinkhorn_case_fill(MPI_Comm comm, pfc_case *c, const char *name, int64_t seed, pfc_diag *diag)
{
    int64_t dims[2] = { c->size['N' - 'A'], c->size['K' - 'A'] };
    int ranks;
    fill f;
    MPI_Comm_size(comm, &ranks);
    if (dims[0] < 1 || dims[1] < 1) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: sinkhorn needs N and K, each 1 or more");
    if (dims[0] % ranks)
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found N = %lld, expected a multiple of the number of ranks, %d", c->name, (long long)dims[0], ranks);
    if (start(comm, c, name, seed, (double)dims[0] * (double)dims[1], &f, diag)) return diag->exit_status;
    pfc_tensor *scores = pfc_tensor_add(comm, &c->in, "scores", PFC_F32, 2, dims, PFC_DIST_BATCH, 0);
    if (!scores) no_memory(diag);
    for (int64_t i = 0; scores && i < scores->count * dims[1]; i++)
        ((float *)scores->data)[i] = (float)score(&f, scores->start + i / dims[1], i % dims[1], dims[1]);
    return pfc_diag_agree(comm, diag);
}

/* ---- swav ---- */

static double sign(const fill *f, int tensor, int64_t i) { return uniform(f, tensor, i) < 0.5 ? -1.0 : 1.0; }

static double prototype(const fill *f, int64_t k, int64_t d, int64_t D, int64_t K)
{
    if (f->kind == PFC_FILL_HARD && K > 2 && k == K - 1) k = 1;
    if (f->kind == PFC_FILL_LATTICE) return sign(f, PROTOTYPES, k * D + d);
    return f->kind == PFC_FILL_HARD && k == 0 ? 0.0 : (double)(float)normal(f, PROTOTYPES, k * D + d);
}

static double embedding(const fill *f, int64_t row, int64_t d, int64_t D, int64_t K)
{
    int64_t i = row * D + d, variant = f->kind == PFC_FILL_HARD ? row % 4 : 0;
    if (f->kind == PFC_FILL_LATTICE) return sign(f, EMBEDDING, i);
    if (variant == 1) return 0.0;
    if (variant == 2) return pfc_fill_wide(f->seed, EMBEDDING, i);
    if (variant == 3) return 3.0 * prototype(f, row % K, d, D, K);
    return normal(f, EMBEDDING, i);
}

static double queued(const fill *f, int64_t i, int64_t D)
{
    return f->kind == PFC_FILL_LATTICE ? 0.25 * sign(f, QUEUE, i) : normal(f, QUEUE, i) / sqrt((double)D);
}

static void fill_tensors(MPI_Comm comm, pfc_case *c, const fill *f, const int64_t size[5], int64_t V, pfc_diag *diag)
{
    int64_t bs = size[0], K = size[1], D = size[2], A = size[3], L = size[4];
    int ranks;
    MPI_Comm_size(comm, &ranks);
    int64_t edims[3] = { ranks, V * bs, D }, pdims[2] = { K, D }, qdims[4] = { ranks, A, L, D };
    pfc_tensor *t = pfc_tensor_add(comm, &c->in, "embedding", PFC_F32, 3, edims, PFC_DIST_RANK, 0);
    if (!t) no_memory(diag);
    for (int64_t i = 0; t && i < pfc_tensor_local(t); i++) ((float *)t->data)[i] = (float)embedding(f, t->start * V * bs + i / D, i % D, D, K);
    t = pfc_tensor_add(comm, &c->in, "prototypes", PFC_F32, 2, pdims, PFC_DIST_NONE, 0);
    if (!t) no_memory(diag);
    for (int64_t i = 0; t && i < K * D; i++) ((float *)t->data)[i] = (float)prototype(f, i / D, i % D, D, K);
    t = pfc_tensor_add(comm, &c->in, "crops_for_assign", PFC_I64, 1, &A, PFC_DIST_NONE, 0);
    if (!t) no_memory(diag);
    for (int64_t i = 0; t && i < A; i++) ((int64_t *)t->data)[i] = i;
    if (L < 1) return;
    t = pfc_tensor_add(comm, &c->in, "queue", PFC_F32, 4, qdims, PFC_DIST_RANK, 0);
    if (!t) no_memory(diag);
    for (int64_t i = 0; t && i < pfc_tensor_local(t); i++) ((float *)t->data)[i] = (float)queued(f, t->start * A * L * D + i, D);
}

int pfc_swav_case_fill(MPI_Comm comm, pfc_case *c, const char *name, int64_t seed, pfc_diag *diag)
{
    int64_t crops = c->param[pfc_param_index(c->algorithm, "crops")].present ? pfc_param_int(c, "crops") : 0;
    int64_t size[5] = { c->size['B' - 'A'], c->size['K' - 'A'], c->size['D' - 'A'], c->size['A' - 'A'], c->size['L' - 'A'] };
    int ranks;
    fill f;
    MPI_Comm_size(comm, &ranks);
    if (size[0] < 1 || size[1] < 1 || size[2] < 1) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: swav needs B, K and D, each 1 or more");
    if (crops < 1) return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: /param/crops: found %lld, expected 1 or more", c->name, (long long)crops);
    if (size[3] < 1) size[3] = crops < 2 ? crops : 2;
    double rows = (double)ranks * ((double)crops * (double)size[0] + (double)size[3] * (double)(size[4] > 0 ? size[4] : 0));
    if (start(comm, c, name, seed, rows * ((double)size[1] + (double)size[2]), &f, diag)) return diag->exit_status;
    fill_tensors(comm, c, &f, size, crops, diag);
    return pfc_diag_agree(comm, diag);
}
