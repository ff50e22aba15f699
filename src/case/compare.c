/* compare.c: a candidate against a golden, element by element, with a bound for each. */
#include "case/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct tally { /* of one rank; combined on all */
    int64_t bad, decided, nonfinite, undecided, ties;
    int64_t same; /* 1: every byte equal */
    double worst_abs, worst_rel;
    double ratio, got, want, bound; /* the worst element; index -1: none */
    int64_t index;
} tally;

/* Where the bound of a local element lies: strides over the tensor's axes, 0 along a broadcast one. */
typedef struct bound_map {
    const pfc_tensor *bound;
    bool direct; /* cut and shaped like the tensor */
    int64_t stride[PFC_MAX_DIMS];
    int64_t start; /* of the tensor's cut axis, where the bound is cut there too */
} bound_map;

/* () and (1,) are both a scalar. */
static bool same_shape(const pfc_tensor *a, const pfc_tensor *b)
{
    if (a->ndim + b->ndim == 1) return pfc_tensor_elements(a) == 1 && pfc_tensor_elements(b) == 1;
    return a->ndim == b->ndim && memcmp(a->dims, b->dims, (size_t)a->ndim * sizeof a->dims[0]) == 0;
}

static bool same_block(const pfc_tensor *a, const pfc_tensor *b)
{
    return same_shape(a, b) && a->axis == b->axis && a->start == b->start && a->count == b->count;
}

/* Like numpy: axes are matched from the last; each is equal or 1. */
static bool map_bound(const pfc_tensor *t, const pfc_tensor *bound, bound_map *m)
{
    memset(m, 0, sizeof *m);
    m->bound = bound;
    if (!bound) return true;
    m->direct = same_block(t, bound);
    if (m->direct) return true;
    int lead = t->ndim - bound->ndim;
    int64_t stride = 1;
    bool cut = bound->dist != PFC_DIST_NONE;
    if (lead < 0 || (cut && (bound->axis + lead != t->axis || bound->start != t->start || bound->count != t->count))) return false;
    m->start = cut ? t->start : 0;
    for (int k = bound->ndim - 1; k >= 0; k--) {
        if (bound->dims[k] != 1 && bound->dims[k] != t->dims[lead + k]) return false;
        m->stride[lead + k] = bound->dims[k] == 1 ? 0 : stride;
        stride *= cut && k == bound->axis ? bound->count : bound->dims[k];
    }
    return true;
}

static double bound_at(const bound_map *m, const pfc_tensor *t, int64_t local)
{
    if (m->direct) return pfc_tensor_get(m->bound, local);
    int64_t index = pfc_tensor_global_index(t, local), at = 0;
    for (int k = t->ndim - 1; k >= 0; k--) {
        at += (index % t->dims[k] - (k == t->axis ? m->start : 0)) * m->stride[k];
        index /= t->dims[k];
    }
    return pfc_tensor_get(m->bound, at);
}

bool pfc_bound_spread(const pfc_tensor *t, const pfc_tensor *bound, double *all)
{
    bound_map m;
    int64_t n = pfc_tensor_local(t);
    if (!map_bound(t, bound, &m)) return false;
    for (int64_t i = 0; i < n; i++) all[i] = bound_at(&m, t, i);
    return true;
}

static bool same_bits(const pfc_tensor *got, const pfc_tensor *want, int64_t i)
{
    size_t es = pfc_dtype_size(got->dtype);
    return got->dtype == want->dtype && memcmp((const char *)got->data + (size_t)i * es, (const char *)want->data + (size_t)i * es, es) == 0;
}

/* |got - want|; 0 for equal infinities and for two NaN; NaN where only one is finite, or the signs of infinities differ. */
static double distance(double got, double want)
{
    if ((isnan(got) && isnan(want)) || got == want) return 0.0;
    return isfinite(got) && isfinite(want) ? fabs(got - want) : NAN;
}

/* Integers beyond 2^53 are told apart in integer arithmetic. */
static double distance_at(const pfc_tensor *got, const pfc_tensor *want, int64_t i)
{
    if (got->dtype != PFC_I64) return distance(pfc_tensor_get(got, i), pfc_tensor_get(want, i));
    int64_t a = ((const int64_t *)got->data)[i], b = ((const int64_t *)want->data)[i];
    return a > b ? (double)((uint64_t)a - (uint64_t)b) : (double)((uint64_t)b - (uint64_t)a);
}

static void add_element(tally *s, const pfc_tensor *got, const pfc_tensor *want, const bound_map *m, int64_t i)
{
    bool exact = !m->bound || got->dtype == PFC_I64;
    double bound = m->bound ? bound_at(m, want, i) : 0.0;
    if (exact && bound != INFINITY) bound = 0.0; /* an integer is right, wrong or undecidable */
    double d = distance_at(got, want, i);
    bool equal = exact && got->dtype != PFC_I64 ? same_bits(got, want, i) || (d == 0.0 && isnan(pfc_tensor_get(want, i))) : d == 0.0;
    if (bound == INFINITY) {
        s->undecided++;
        if (!equal && got->dtype == PFC_I64) s->ties++;
        if (!equal) return; /* undecidable: whatever was found passes */
    } else
        s->decided++;
    if (equal) return;
    bool pass = d <= bound && !exact;
    double ratio = pass ? (bound > 0.0 ? d / bound : 0.0) : bound > 0.0 && !isnan(d) ? d / bound : INFINITY;
    if (isnan(d)) s->nonfinite++;
    if (!pass) s->bad++;
    if (d > s->worst_abs) s->worst_abs = d;
    double w = pfc_tensor_get(want, i), rel = w == 0.0 ? INFINITY : d / fabs(w);
    if (d > 0.0 && rel > s->worst_rel) s->worst_rel = rel;
    if (s->index >= 0 && ratio <= s->ratio) return;
    s->ratio = ratio;
    s->got = pfc_tensor_get(got, i);
    s->want = w;
    s->bound = bound;
    s->index = pfc_tensor_global_index(want, i);
}

static tally tally_local(const pfc_tensor *got, const pfc_tensor *want, const bound_map *m)
{
    tally s = { .same = 1, .index = -1 };
    int64_t n = pfc_tensor_local(want);
    for (int64_t i = 0; i < n; i++) {
        if (!same_bits(got, want, i)) s.same = 0;
        add_element(&s, got, want, m, i);
    }
    return s;
}

/* The worst element is that of the largest ratio, the lowest index among equals: the same on any number of ranks. */
static void combine(tally *a, const tally *b)
{
    bool worse = b->index >= 0 && (a->index < 0 || b->ratio > a->ratio || (b->ratio == a->ratio && b->index < a->index));
    tally sum = worse ? *b : *a;
    sum.bad = a->bad + b->bad;
    sum.decided = a->decided + b->decided;
    sum.nonfinite = a->nonfinite + b->nonfinite;
    sum.undecided = a->undecided + b->undecided;
    sum.ties = a->ties + b->ties;
    sum.same = a->same && b->same;
    sum.worst_abs = a->worst_abs > b->worst_abs ? a->worst_abs : b->worst_abs;
    sum.worst_rel = a->worst_rel > b->worst_rel ? a->worst_rel : b->worst_rel;
    *a = sum;
}

static int tally_all(MPI_Comm comm, const tally *mine, bool once, tally *all, pfc_diag *diag)
{
    int ranks;
    MPI_Comm_size(comm, &ranks);
    tally *each = malloc((size_t)ranks * sizeof *each);
    if (!each) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory while comparing");
    if (!pfc_diag_agree(comm, diag)) {
        MPI_Allgather(mine, (int)sizeof *mine, MPI_BYTE, each, (int)sizeof *each, MPI_BYTE, comm);
        *all = each[0];
        for (int r = 1; r < ranks && !once; r++) combine(all, &each[r]);
    }
    free(each);
    return diag->exit_status;
}

static bool is_real(pfc_dtype d) { return d == PFC_F32 || d == PFC_F64; }

/* What can be said without looking at the numbers; PFC_PASS: nothing. */
static pfc_verdict look(const pfc_tensor *got, const pfc_tensor *want, const pfc_tensor *bound)
{
    if (!got) return PFC_MISSING;
    if (got->dtype != want->dtype && !(bound && is_real(got->dtype) && is_real(want->dtype))) return PFC_BAD_DTYPE;
    if (!same_shape(got, want)) return PFC_BAD_SHAPE;
    return pfc_tensor_elements(want) == 0 ? PFC_VACUOUS : PFC_PASS;
}

int pfc_compare(MPI_Comm comm, const pfc_tensor *got, const pfc_tensor *want, const pfc_tensor *bound, pfc_comparison *result, pfc_diag *diag)
{
    memset(result, 0, sizeof *result);
    snprintf(result->name, sizeof result->name, "%s", want->name);
    result->worst_index = -1;
    result->elements = pfc_tensor_elements(want);
    result->verdict = look(got, want, bound);
    if (result->verdict != PFC_PASS) return 0; /* the same on all ranks */
    bound_map map;
    if (!same_block(got, want)) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: the two tensors are not cut alike", want->name);
    if (!map_bound(want, bound, &map)) pfc_diag_fail(diag, PFC_EXIT_FILE, "/bound of %s: its shape cannot be broadcast to the tensor's", want->name);
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    tally mine = tally_local(got, want, &map), all = { 0 };
    if (tally_all(comm, &mine, want->dist == PFC_DIST_NONE, &all, diag)) return diag->exit_status;
    result->digest_match = all.same;
    result->bad = all.bad;
    result->undecided = all.undecided;
    result->ties = all.ties;
    result->worst_abs = all.worst_abs;
    result->worst_rel = all.worst_rel;
    result->worst_index = all.index;
    result->worst_ratio = all.ratio;
    result->got = all.got;
    result->want = all.want;
    result->bound = all.bound;
    if (all.nonfinite)
        result->verdict = PFC_NONFINITE;
    else if (all.bad)
        result->verdict = PFC_FAIL;
    else if (all.decided == 0 && !all.same)
        result->verdict = PFC_VACUOUS;
    return 0;
}

const char *pfc_verdict_string(pfc_verdict v)
{
    static const char *const words[] = { "PASS", "FAIL", "VACUOUS", "MISSING", "SHAPE", "DTYPE", "NONFINITE" };
    return words[v];
}
