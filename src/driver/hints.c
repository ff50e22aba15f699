/* hints.c: what a difference looks like, in one sentence each. Patterns that mistakes are known to leave, tested against the bounds; where the bounds allow
 * another reading, or where there are too few elements, nothing is said. A hint never changes a verdict. */
#include "driver/hints.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void pfc_hint(const pfc_hinter *h, const char *format, ...)
{
    va_list args;
    pfc_check_row *r = h->r;
    if (r->hint_count == PFC_MAX_HINTS) return;
    va_start(args, format);
    vsnprintf(r->hint[r->hint_count++], PFC_HINT_TEXT, format, args);
    va_end(args);
}

double pfc_hint_tolerance(const pfc_hinter *h, int64_t i)
{
    if (h->want->dtype == PFC_I64) return 0;
    if (h->r->bound) return h->r->bound[i];
    return 0x1p-22 * fabs(pfc_tensor_get(h->want, i)); /* compared bit for bit */
}

/* a is what was found where the golden has b. */
static bool near(const pfc_hinter *h, double a, double b, int64_t i) { return (isnan(a) && isnan(b)) || a == b || fabs(a - b) <= pfc_hint_tolerance(h, i); }

static bool same_dims(const pfc_tensor *a, const pfc_tensor *b)
{
    return a->ndim == b->ndim && memcmp(a->dims, b->dims, (size_t)a->ndim * sizeof a->dims[0]) == 0;
}

/* ---- what can be said without numbers ---- */

/* Ranks of which one would hold `part` of `length` rows: all ranks hold length/P rows or one more. 0: none. */
static int64_t ranks_of_part(int64_t part, int64_t length)
{
    for (int64_t p = part > 0 && part < length ? length / part : 0, end = p + 1; p >= 1 && p <= end; p++)
        if (p > 1 && (part == length / p || part == (length + p - 1) / p)) return p;
    return 0;
}

static void hint_shape(const pfc_hinter *h)
{
    const pfc_tensor *g = h->got, *w = h->want;
    int different = 0, axis = 0;
    int64_t ranks = h->k->ranks;
    bool reversed = g->ndim == w->ndim && g->ndim > 1;
    for (int i = 0; i < w->ndim && i < g->ndim; i++) {
        if (g->dims[i] != w->dims[w->ndim - 1 - i]) reversed = false;
        if (g->dims[i] != w->dims[i]) different++, axis = i;
    }
    if (ranks < 1 && different == 1 && g->ndim == w->ndim) ranks = ranks_of_part(g->dims[axis], w->dims[axis]);
    if (reversed)
        pfc_hint(h, "the axes are in reverse order: transposed?");
    else if (pfc_tensor_elements(g) == pfc_tensor_elements(w))
        pfc_hint(h, "as many elements in another shape");
    else if (g->ndim == w->ndim && different == 1 && ranks > 1 && h->k->cli->shard_rank < 0 && g->dims[axis] <= (w->dims[axis] + ranks - 1) / ranks)
        pfc_hint(h, "as long as the part of one of %lld ranks: --rank R --of %lld compares that", (long long)ranks, (long long)ranks);
}

static void hint_type(const pfc_hinter *h)
{
    if (h->want->dtype != PFC_I64 && (strcmp(h->got->stored, "u16") == 0 || strcmp(h->got->stored, "i16") == 0))
        pfc_hint(h, "bits of bfloat16? Store them as bfloat16 (.npy: descr '<V2') or float32");
}

/* ---- NaN, zeros ---- */

static void hint_nonfinite(const pfc_hinter *h)
{
    int64_t count = 0, first = -1, last = -1, length = h->want->ndim ? h->want->dims[h->want->ndim - 1] : 1, rows = 0, here = 0;
    for (int64_t i = 0; i < h->n; i++) {
        if (i % length == 0) here = 0;
        if (isfinite(pfc_tensor_get(h->got, i)) || !isfinite(pfc_tensor_get(h->want, i))) continue;
        count++;
        last = i;
        if (first < 0) first = i;
        if (++here == length) rows++;
    }
    if (count == 0)
        pfc_hint(h, "finite where the golden is NaN or infinite, as the source is there");
    else if (count == h->n)
        pfc_hint(h, "no element is finite");
    else if (length > 1 && rows * length == count)
        pfc_hint(h, "%lld whole rows of the last axis are not finite, rows %lld to %lld", (long long)rows, (long long)(first / length),
                 (long long)(last / length));
    else
        pfc_hint(h, "%lld of %lld elements are not finite", (long long)count, (long long)h->n);
}

static bool hint_zero(const pfc_hinter *h)
{
    for (int64_t i = 0; i < h->n; i++)
        if (pfc_tensor_get(h->got, i) != 0) return false;
    pfc_hint(h, "all zero: not computed, or not written");
    return true;
}

/* ---- equals something else ---- */

static bool equals(const pfc_hinter *h, const pfc_tensor *other, bool to_the_bit)
{
    for (int64_t i = 0; i < h->n; i++) {
        double g = pfc_tensor_get(h->got, i), o = pfc_tensor_get(other, i);
        if (to_the_bit ? fabs(g - o) > 0x1p-23 * fabs(o) + (h->r->storing ? h->r->storing[i] : 0.0) : !near(h, g, o, i)) return false;
    }
    return true;
}

static bool hint_not_updated(const pfc_hinter *h)
{
    if (!h->before || !equals(h, h->before, true)) return false;
    pfc_hint(h, "equals the input /in/%s: the new state was not written back", h->name);
    return true;
}

/* Another tensor of the golden. Most of it must differ from what is wanted, or it would say little. */
static bool hint_other(const pfc_hinter *h)
{
    const pfc_result_file *g = &h->k->golden;
    const pfc_tensor_list *lists[] = { &g->out, &g->step, &g->in };
    static const char *const folders[] = { "/out", "/step", "/in" };
    if (h->n < 8 || 4 * h->r->c.bad < h->n) return false;
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < lists[l]->count; i++) {
            const pfc_tensor *t = &lists[l]->items[i];
            bool real = t->dtype != PFC_I64;
            if (t == h->want || real != (h->want->dtype != PFC_I64) || !same_dims(t, h->want) || !equals(h, t, false)) continue;
            pfc_hint(h, "equals the golden's %s/%s", folders[l], t->name);
            return true;
        }
    return false;
}

/* ---- losses ---- */

/* What the softmax goes over; 0: unknown. */
static int64_t classes(const pfc_hinter *h, int64_t *with_positive)
{
    const pfc_result_file *g = &h->k->golden;
    static const char *const names[] = { "logits", "queue", "prototypes", "weight" };
    *with_positive = 0;
    if (strcmp(g->algorithm, "moco") == 0) {
        const pfc_tensor *queue = pfc_tensor_find(&g->in, names[1]);
        return queue ? (*with_positive = queue->dims[0] + 1) : 0;
    }
    const pfc_tensor *logits = pfc_tensor_find(&g->out, names[0]), *rows = pfc_tensor_find(&g->in, names[2]);
    if (!rows && strcmp(g->algorithm, "partial_fc") == 0) rows = pfc_tensor_find(&g->in, names[3]);
    return logits && logits->ndim == 2 ? logits->dims[1] : rows && rows->ndim == 2 ? rows->dims[0] : 0;
}

static bool hint_loss(const pfc_hinter *h)
{
    const double unowned = 69.07755278982137; /* -log(1e-30) */
    int64_t with_positive, count = classes(h, &with_positive);
    double uniform = count > 1 ? log((double)count) : 0;
    if (strcmp(h->name, "loss")) return false;
    for (int64_t i = 0; i < h->n; i++) {
        double g = pfc_tensor_get(h->got, i), w = pfc_tensor_get(h->want, i);
        if (fabs(g - unowned) < 0.01 && fabs(w - unowned) > 1) {
            pfc_hint(h, "69.0776 = -log(1e-30): the labels' classes belong to no rank: shard offsets, or labels not made local");
            return true;
        }
        if (uniform > 0 && fabs(g - uniform) < 1e-3 * uniform && fabs(w - uniform) > 1e-2 * uniform) {
            pfc_hint(h, "log %lld, the loss of equal logits: are they zero, or not filled?", (long long)count);
            return true;
        }
    }
    return false;
}

/* ---- other places ---- */

static bool same_row(const pfc_hinter *h, int64_t row, int64_t from, int64_t length)
{
    for (int64_t i = 0; i < length; i++)
        if (!near(h, pfc_tensor_get(h->got, row * length + i), pfc_tensor_get(h->want, from * length + i), row * length + i)) return false;
    return true;
}

/* Rows of the first axis: got[i] = want[i - shift], cyclic or not. */
static bool is_shifted(const pfc_hinter *h, int64_t shift)
{
    int64_t rows = h->want->dims[0], length = h->n / rows, match = 0, still = 0;
    for (int64_t i = 0; i < rows; i++) {
        if (same_row(h, i, (i + rows - shift) % rows, length)) match++;
        if (same_row(h, i, i, length)) still++;
    }
    int64_t inner = rows - (shift < 0 ? -shift : shift); /* those that do not wrap around */
    return inner > 0 && 10 * match >= 9 * inner && 2 * still <= rows;
}

static bool hint_shift(const pfc_hinter *h)
{
    int64_t rows = h->want->ndim ? h->want->dims[0] : 0, ranks = h->k->ranks;
    if (rows < 4 || h->n < 16) return false;
    const int64_t shifts[] = { 1, -1, ranks > 1 && rows % ranks == 0 ? rows / ranks : 0, ranks > 1 && rows % ranks == 0 ? -rows / ranks : 0 };
    for (int i = 0; i < 4; i++) {
        if (shifts[i] == 0 || !is_shifted(h, shifts[i])) continue;
        pfc_hint(h, "rows of the golden, moved by %+lld: %s", (long long)shifts[i], i < 2 ? "off by one" : "the part of the next rank");
        return true;
    }
    return false;
}

/* Every row found is one of the golden's, most of them elsewhere. */
static bool hint_permuted(const pfc_hinter *h)
{
    int64_t rows = h->want->ndim > 1 ? h->want->dims[0] : 0, length = rows ? h->n / rows : 0, moved = 0;
    if (rows < 4 || rows > 4096 || length < 2) return false;
    for (int64_t i = 0; i < rows; i++) {
        if (same_row(h, i, i, length)) continue;
        int64_t from = 0;
        while (from < rows && !same_row(h, i, from, length)) from++;
        if (from == rows) return false;
        moved++;
    }
    if (4 * moved < rows) return false;
    pfc_hint(h, "rows of the golden in another order: a shuffle or unshuffle is missing, or ranks are in another order");
    return true;
}

/* The numbers in the order of the other axis. */
static bool hint_transposed(const pfc_hinter *h)
{
    if (h->want->ndim != 2 || h->want->dims[0] < 2 || h->want->dims[1] < 2 || h->n < 9) return false;
    int64_t a = h->want->dims[0], b = h->want->dims[1];
    for (int64_t i = 0; i < a; i++)
        for (int64_t j = 0; j < b; j++)
            if (!near(h, pfc_tensor_get(h->got, j * a + i), pfc_tensor_get(h->want, i * b + j), i * b + j)) return false;
    pfc_hint(h, "the golden's numbers in the order of the other axis: transposed, or Fortran order read as C order");
    return true;
}

/* ---- parts of ranks ---- */

/* Bad elements of every rank's part and all of them. False: the tensor is not cut. */
static bool count_by_rank(const pfc_hinter *h, int64_t *bad, int64_t *all)
{
    const pfc_result_file *g = &h->k->golden;
    const pfc_algorithm *a = g->settings->algorithm;
    const pfc_tensor_spec *spec = pfc_spec_find(h->r->step ? a->step : a->out, h->name);
    int axis = spec ? pfc_shape_axis(spec, h->want->ndim) : -1;
    if (axis < 0 || h->want->dims[axis] > 1 << 20) return false;
    int64_t inner = 1, length = h->want->dims[axis];
    for (int i = axis + 1; i < h->want->ndim; i++) inner *= h->want->dims[i];
    for (int64_t at = 0; at < length; at++) {
        pfc_owned place;
        pfc_find_place(g, h->r->step, h->name, at * inner, -1, h->k->ranks, &place);
        if (place.rank < 0) return false;
        for (int64_t o = 0; o < h->n / (length * inner); o++)
            for (int64_t i = 0; i < inner; i++) {
                int64_t e = (o * length + at) * inner + i;
                all[place.rank]++;
                if (!near(h, pfc_tensor_get(h->got, e), pfc_tensor_get(h->want, e), e)) bad[place.rank]++;
            }
    }
    return true;
}

static bool hint_ranks(const pfc_hinter *h)
{
    int ranks = h->k->ranks, right = 0, wrong = 0, lone_right = -1, lone_wrong = -1, held = 0, mostly = 0;
    if (ranks < 2 || ranks > 4096 || h->k->cli->shard_rank >= 0) return false;
    int64_t *bad = calloc((size_t)ranks * 2, sizeof *bad), *all = bad ? bad + ranks : NULL;
    bool cut = bad && count_by_rank(h, bad, all);
    for (int r = 0; r < ranks && cut; r++) {
        if (all[r] == 0) continue;
        held++;
        if (bad[r] == 0) right++, lone_right = r;
        if (bad[r] > 0) wrong++, lone_wrong = r;
        if (2 * bad[r] > all[r]) mostly++;
    }
    free(bad);
    if (!cut || held < 2) return false;
    if (wrong == 1 && right >= 2)
        pfc_hint(h, "only the part of rank %d is wrong", lone_wrong);
    else if (right == 1 && mostly == held - 1 && mostly >= 2)
        pfc_hint(h, "only the part of rank %d is right: is a reduction, broadcast or gather missing, or an offset of the others wrong?", lone_right);
    else
        return false;
    return true;
}

/* ---- invariants ---- */

/* got - want = a x in one row, whatever a is. */
static bool row_along(const pfc_hinter *h, const pfc_tensor *x, int64_t first, int64_t length)
{
    double cross = 0, square = 0;
    for (int64_t i = first; i < first + length; i++) {
        cross += (pfc_tensor_get(h->got, i) - pfc_tensor_get(h->want, i)) * pfc_tensor_get(x, i);
        square += pfc_tensor_get(x, i) * pfc_tensor_get(x, i);
    }
    double a = square > 0 ? cross / square : 0;
    for (int64_t i = first; i < first + length; i++)
        if (!near(h, pfc_tensor_get(h->got, i) - a * pfc_tensor_get(x, i), pfc_tensor_get(h->want, i), i)) return false;
    return true;
}

/* got = c want in one row where want is above 0: probabilities but for the target, whose gradient is below. */
static bool row_scaled(const pfc_hinter *h, int64_t first, int64_t length)
{
    double cross = 0, square = 0;
    for (int64_t i = first; i < first + length; i++) {
        double w = pfc_tensor_get(h->want, i);
        if (!(w > 0)) continue;
        cross += pfc_tensor_get(h->got, i) * w;
        square += w * w;
    }
    double c = square > 0 ? cross / square : 1, size = c > 1 ? c : 1;
    for (int64_t i = first; i < first + length; i++) {
        double w = pfc_tensor_get(h->want, i);
        if (w > 0 && !(fabs(pfc_tensor_get(h->got, i) - c * w) <= 2 * size * pfc_hint_tolerance(h, i))) return false;
    }
    return true;
}

static void hint_invariant(const pfc_hinter *h)
{
    const pfc_check_row *r = h->r;
    if (r->gate[3] != PFC_GATE_FAIL) return;
    const pfc_tensor *x = r->orthogonal_to;
    int64_t length = h->want->dims[h->want->ndim - 1], rows = h->n / length;
    bool along = x != NULL, scaled = r->probabilities;
    for (int64_t i = 0; i < rows && (along || scaled); i++) {
        along = along && row_along(h, x, i * length, length);
        scaled = scaled && row_scaled(h, i * length, length);
    }
    if (along)
        pfc_hint(h, "the gradient has a part along its %s: the projection in the backward of the normalisation is missing", x->name);
    else if (scaled)
        pfc_hint(h, "probabilities of a row do not add up: the denominator lacks classes, or a reduction over the ranks");
}

void pfc_check_hints(const pfc_check *k, pfc_check_row *r)
{
    const pfc_tensor *before = r->step || r->want->dtype == PFC_I64 ? NULL : pfc_tensor_find(&k->golden.in, r->want->name);
    if (before && !same_dims(before, r->want)) before = NULL;
    const pfc_hinter h = { k, r, r->want->name, r->got, r->want, before, pfc_tensor_elements(r->want) };
    if (r->c.verdict == PFC_BAD_SHAPE) hint_shape(&h);
    if (r->c.verdict == PFC_BAD_DTYPE) hint_type(&h);
    if (r->c.verdict == PFC_NONFINITE) hint_nonfinite(&h);
    if (!pfc_row_differs(r) || r->c.bad == 0) return hint_invariant(&h);
    if (r->c.verdict == PFC_FAIL) {
        bool told = hint_zero(&h) || hint_not_updated(&h) || hint_other(&h) || hint_loss(&h) || hint_shift(&h) || hint_transposed(&h) || hint_permuted(&h);
        bool real = r->want->dtype != PFC_I64;
        if (!told && real) told = pfc_hint_variance(&h) || pfc_hint_update(&h) || pfc_hint_factor(&h);
    }
    hint_ranks(&h);
    if (r->hint_count == 0) hint_invariant(&h);
}
