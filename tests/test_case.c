/* test_case.c: cases in memory: parameters, tensors cut over the ranks, digests, checks, comparisons. */
#include "case_toy.h"
#include "pfc_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WORLD MPI_COMM_WORLD

/* ---- parameters ---- */

START_TEST(parameters_from_text)
{
    pfc_case *c = pfc_case_new(&case_toy);
    pfc_diag d = { 0 };
    ck_assert_int_eq(pfc_case_set_param(c, "head", "cos", &d), 0);
    ck_assert_int_eq(pfc_case_set_param(c, "scale", "1e2", &d), 0);
    ck_assert_int_eq(pfc_case_set_param(c, "count", "-3", &d), 0);
    ck_assert_int_eq(pfc_case_set_param(c, "nesterov", "1.0", &d), 0);
    ck_assert_int_eq(pfc_case_set_param(c, "world", "4", &d), 0);
    ck_assert_str_eq(pfc_param_word(c, "head"), "cos");
    ck_assert_int_eq(pfc_param_choice(c, "head"), 1);
    ck_assert_int_eq(pfc_param_choice(c, "nesterov"), 1);
    ck_assert(pfc_param_real(c, "scale") == 100.0);
    ck_assert_int_eq(pfc_param_int(c, "count"), -3);
    ck_assert_int_eq(c->world, 4);
    pfc_case_free(c);
}
END_TEST

START_TEST(parameters_refused)
{
    static const struct {
        const char *name, *text, *found;
    } bad[] = { { "head", "tanh", "linear, cos or arc" },
                { "scale", "much", "a number" },
                { "count", "1.5", "an integer" },
                { "count", "9223372036854775808", "an integer" },
                { "nesterov", "2", "0 or 1" },
                { "lrate", "1", "unknown parameter" },
                { "world", "0", "at least 1" },
                { "allow_nonfinite", "2", "0 or 1" } };
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        pfc_case *c = pfc_case_new(&case_toy);
        pfc_diag d = { 0 };
        ck_assert_int_eq(pfc_case_set_param(c, bad[k].name, bad[k].text, &d), PFC_EXIT_FILE);
        ck_assert_msg(strstr(d.text, bad[k].found) && strstr(d.text, bad[k].name), "%s", d.text);
        pfc_case_free(c);
    }
}
END_TEST

START_TEST(defaults)
{
    pfc_case *c = pfc_case_new(&case_toy);
    pfc_diag d = { 0 };
    ck_assert_int_eq(pfc_case_apply_defaults(c, &d), PFC_EXIT_FILE);
    ck_assert_ptr_nonnull(strstr(d.text, "/param/head"));
    d = (pfc_diag){ 0 };
    pfc_case_set_param(c, "head", "arc", &d);
    ck_assert_int_eq(pfc_case_apply_defaults(c, &d), 0);
    ck_assert(pfc_param_real(c, "scale") == 64.0 && !c->param[pfc_param_index(&case_toy, "scale")].given);
    ck_assert(!pfc_param_present(c, "count"));
    pfc_param_resolve_int(c, "count", 5);
    ck_assert(pfc_param_present(c, "count") && pfc_param_int(c, "count") == 5);
    pfc_case_free(c);
}
END_TEST

/* ---- messages ---- */

START_TEST(lowest_rank_speaks)
{
    pfc_diag d = { 0 };
    PFC_AGREE(WORLD, pfc_diag_agree(WORLD, &d) == 0);
    int last = pfc_test_ranks() - 1;
    if (pfc_test_rank() >= last / 2) pfc_diag_fail(&d, PFC_EXIT_FILE, "rank %d\nsays", pfc_test_rank());
    pfc_diag_fail(&d, PFC_EXIT_RUNTIME, "later"); /* the first failure of a rank stays; the others fail here */
    d = pfc_test_rank() >= last / 2 ? d : (pfc_diag){ 0 };
    char text[64];
    snprintf(text, sizeof text, "rank %d?says", last / 2);
    PFC_AGREE(WORLD, pfc_diag_agree(WORLD, &d) == PFC_EXIT_FILE);
    PFC_AGREE(WORLD, strcmp(d.text, text) == 0);
}
END_TEST

/* ---- tensors ---- */

/* A tensor whose elements are f(global index). */
static pfc_tensor *indexed(pfc_tensor_list *list, const char *name, pfc_dtype dtype, int ndim, const int64_t *dims, pfc_dist dist, int axis,
                           double (*f)(int64_t))
{
    pfc_tensor *t = pfc_tensor_add(WORLD, list, name, dtype, ndim, dims, dist, axis);
    for (int64_t i = 0; t && i < pfc_tensor_local(t); i++) {
        int64_t g = pfc_tensor_global_index(t, i);
        if (dtype == PFC_F32) ((float *)t->data)[i] = (float)f(g);
        if (dtype == PFC_F64) ((double *)t->data)[i] = f(g);
        if (dtype == PFC_I64) ((int64_t *)t->data)[i] = (int64_t)f(g);
    }
    return t;
}

static double count_up(int64_t i) { return (double)i; }
static double shrink(int64_t i) { return 1.0 / (double)(1 + i); }

typedef struct layout {
    pfc_dtype dtype;
    int ndim;
    int64_t dims[3];
    pfc_dist dist;
    int axis;
    double (*f)(int64_t);
    const char *sha256; /* from Python's hashlib */
} layout;

static const layout LAYOUTS[] = {
    { PFC_I64, 1, { 10 }, PFC_DIST_CLASS, 0, count_up, "23c379d6c0f22ef64cdef873fd530df1f1419b4a3935e9323d5f1d82ca697b6a" },
    { PFC_F64, 2, { 3, 7 }, PFC_DIST_CLASS, 1, shrink, "3b4cb1220fbca173d2b8e2cffbdbf217101d325ffff6efe30ee863bd2603db6b" },
    { PFC_F64, 2, { 3, 7 }, PFC_DIST_NONE, 0, shrink, "3b4cb1220fbca173d2b8e2cffbdbf217101d325ffff6efe30ee863bd2603db6b" },
    { PFC_F32, 1, { 2 }, PFC_DIST_CLASS, 0, count_up, "22b6f43bd8d27738d3213f29e96b62d01d9d6c0ab4f9732aaae803186f51eab7" }, /* C < P at three ranks and more */
    { PFC_F64, 3, { 2, 3, 4 }, PFC_DIST_CLASS, 1, count_up, "83e13c83f17cec9f8ab1cf1146ae28520e65812acb66b4e41c6945d196fc04fe" },
    { PFC_F64, 3, { 2, 3, 4 }, PFC_DIST_CLASS, 2, count_up, "83e13c83f17cec9f8ab1cf1146ae28520e65812acb66b4e41c6945d196fc04fe" },
    { PFC_F64, 3, { 2, 3, 4 }, PFC_DIST_BATCH, 0, count_up, "83e13c83f17cec9f8ab1cf1146ae28520e65812acb66b4e41c6945d196fc04fe" },
};
enum { N_LAYOUTS = sizeof LAYOUTS / sizeof LAYOUTS[0] };

START_TEST(digest_of_any_cut)
{
    const layout *l = &LAYOUTS[_i];
    pfc_tensor_list list = { 0 };
    pfc_diag d = { 0 };
    pfc_tensor *t = indexed(&list, "t", l->dtype, l->ndim, l->dims, l->dist, l->axis, l->f);
    PFC_AGREE(WORLD, t && pfc_tensor_digest(WORLD, t, &d) == 0);
    PFC_AGREE(WORLD, strcmp(t->sha256, l->sha256) == 0);
    pfc_tensor_list_free(&list);
}
END_TEST

START_TEST(gather_any_cut)
{
    const layout *l = &LAYOUTS[_i];
    pfc_tensor_list list = { 0 };
    pfc_diag d = { 0 };
    pfc_tensor *t = indexed(&list, "t", l->dtype, l->ndim, l->dims, l->dist, l->axis, l->f);
    void *whole = NULL;
    PFC_AGREE(WORLD, t && pfc_tensor_gather(WORLD, t, &whole, &d) == 0);
    PFC_AGREE(WORLD, (whole != NULL) == (pfc_test_rank() == 0));
    bool ok = true;
    for (int64_t i = 0; whole && i < pfc_tensor_elements(t); i++) {
        double x = l->dtype == PFC_F64 ? ((double *)whole)[i] : l->dtype == PFC_F32 ? (double)((float *)whole)[i] : (double)((int64_t *)whole)[i];
        ok = ok && x == l->f(i);
    }
    int64_t mine = pfc_tensor_local(t), all = 0;
    MPI_Allreduce(&mine, &all, 1, MPI_INT64_T, MPI_SUM, WORLD);
    PFC_AGREE(WORLD, ok);
    PFC_AGREE(WORLD, all == (l->dist == PFC_DIST_NONE ? pfc_test_ranks() : 1) * pfc_tensor_elements(t));
    free(whole);
    pfc_tensor_list_free(&list);
}
END_TEST

START_TEST(canonical_bits)
{
    pfc_tensor_list list = { 0 };
    int64_t three = 3;
    uint64_t wide[3] = { 0xfff8000000000001u, 0x8000000000000000u, 0xbff0000000000000u };
    uint32_t narrow[3] = { 0xffc00001u, 0x80000000u, 0xbf800000u };
    pfc_tensor *a = pfc_tensor_add(WORLD, &list, "a", PFC_F64, 1, &three, PFC_DIST_NONE, 0);
    pfc_tensor *b = pfc_tensor_add(WORLD, &list, "b", PFC_F32, 1, &three, PFC_DIST_NONE, 0);
    memcpy(a->data, wide, sizeof wide);
    memcpy(b->data, narrow, sizeof narrow);
    pfc_tensor_canonical(a);
    pfc_tensor_canonical(b);
    memcpy(wide, a->data, sizeof wide);
    memcpy(narrow, b->data, sizeof narrow);
    ck_assert(wide[0] == 0x7ff8000000000000u && wide[1] == 0 && wide[2] == 0xbff0000000000000u);
    ck_assert(narrow[0] == 0x7fc00000u && narrow[1] == 0 && narrow[2] == 0xbf800000u);
    pfc_tensor_list_free(&list);
}
END_TEST

START_TEST(overflowing_dims)
{
    pfc_tensor_list list = { 0 };
    int64_t dims[2] = { (int64_t)1 << 40, (int64_t)1 << 40 }, n;
    ck_assert(!pfc_dims_elements(2, dims, &n));
    ck_assert_ptr_null(pfc_tensor_add(WORLD, &list, "t", PFC_F64, 2, dims, PFC_DIST_NONE, 0));
    dims[1] = 0;
    ck_assert(pfc_dims_elements(2, dims, &n) && n == 0);
    pfc_tensor_list_free(&list);
}
END_TEST

/* ---- the generic checks ---- */

static int check(pfc_case *c, pfc_diag *d)
{
    *d = (pfc_diag){ 0 };
    return pfc_case_check(WORLD, c, d);
}

START_TEST(a_good_case)
{
    pfc_diag d;
    pfc_case *c = case_toy_make(WORLD, 6 * pfc_test_ranks(), 2); /* two classes: ranks without any */
    PFC_AGREE(WORLD, check(c, &d) == 0);
    PFC_AGREE(WORLD, check(c, &d) == 0); /* again, with everything bound */
    ck_assert_int_eq(c->size['N' - 'A'], 6 * pfc_test_ranks());
    ck_assert_int_eq(c->size['D' - 'A'], 3);
    ck_assert_int_eq(c->size['C' - 'A'], 2);
    pfc_case_free(c);
}
END_TEST

START_TEST(a_wrong_world)
{
    pfc_diag d;
    pfc_case *c = case_toy_make(WORLD, 6 * pfc_test_ranks(), 4);
    c->world = pfc_test_ranks() + 1;
    PFC_AGREE(WORLD, check(c, &d) == PFC_EXIT_FILE && strstr(d.text, "/param/world"));
    c->world = pfc_test_ranks();
    PFC_AGREE(WORLD, check(c, &d) == 0);
    pfc_case_free(c);
}
END_TEST

START_TEST(nan_on_one_rank)
{
    pfc_diag d;
    pfc_case *c = case_toy_make(WORLD, 6 * pfc_test_ranks(), 4);
    pfc_tensor *x = pfc_tensor_find(&c->in, "features");
    if (pfc_test_rank() == pfc_test_ranks() - 1) ((float *)x->data)[4] = NAN;
    char place[64];
    snprintf(place, sizeof place, "made: /in/features: found nan at (%d,1), expected", 6 * (pfc_test_ranks() - 1) + 1);
    PFC_AGREE(WORLD, check(c, &d) == PFC_EXIT_FILE);
    PFC_AGREE(WORLD, strstr(d.text, place) == d.text);
    c->allow_nonfinite = 1;
    PFC_AGREE(WORLD, check(c, &d) == 0);
    pfc_case_free(c);
}
END_TEST

/* ---- comparing ---- */

typedef struct pair {
    pfc_tensor_list list;
    pfc_tensor *got, *want, *bound;
} pair;

/* got = want = 1/(1+i) of shape (4,5) cut on `axis`, bound 1e-3 everywhere. */
static pair pair_make(pfc_dtype got, int axis)
{
    static const int64_t dims[2] = { 4, 5 };
    pair p = { 0 };
    p.got = indexed(&p.list, "got", got, 2, dims, PFC_DIST_CLASS, axis, shrink);
    p.want = indexed(&p.list, "want", PFC_F64, 2, dims, PFC_DIST_CLASS, axis, shrink);
    p.bound = indexed(&p.list, "bound", PFC_F64, 2, dims, PFC_DIST_CLASS, axis, count_up);
    for (int64_t i = 0; i < pfc_tensor_local(p.bound); i++) ((double *)p.bound->data)[i] = 1e-3;
    return p;
}

/* Sets the element with this global index on the rank that has it. */
static void put(pfc_tensor *t, int64_t global, double value)
{
    for (int64_t i = 0; i < pfc_tensor_local(t); i++)
        if (pfc_tensor_global_index(t, i) == global) ((double *)t->data)[i] = value;
}

static pfc_comparison compare(const pair *p, const pfc_tensor *bound)
{
    pfc_comparison r;
    pfc_diag d = { 0 };
    if (pfc_compare(WORLD, p->got, p->want, bound, &r, &d)) r.verdict = (pfc_verdict)99;
    return r;
}

START_TEST(equal_tensors)
{
    pair p = pair_make(PFC_F64, _i);
    pfc_comparison r = compare(&p, NULL);
    PFC_AGREE(WORLD, r.verdict == PFC_PASS && r.digest_match && r.elements == 20 && r.bad == 0 && r.worst_index == -1);
    put(p.got, 3, NAN);
    put(p.want, 3, NAN);
    put(p.got, 4, -INFINITY);
    put(p.want, 4, -INFINITY);
    r = compare(&p, p.bound);
    PFC_AGREE(WORLD, r.verdict == PFC_PASS && r.bad == 0);
    pfc_tensor_list_free(&p.list);
}
END_TEST

START_TEST(worst_element)
{
    pair p = pair_make(PFC_F64, _i);
    put(p.got, 13, 1.0 / 14 + 4e-3);
    put(p.got, 17, 1.0 / 18 - 2e-3);
    put(p.got, 2, 1.0 / 3 + 5e-4);
    pfc_comparison r = compare(&p, p.bound);
    PFC_AGREE(WORLD, r.verdict == PFC_FAIL && r.bad == 2 && r.worst_index == 13 && !r.digest_match);
    PFC_AGREE(WORLD, fabs(r.worst_ratio - 4.0) < 1e-9 && fabs(r.worst_abs - 4e-3) < 1e-12 && r.want == 1.0 / 14 && r.bound == 1e-3);
    put(p.got, 13, 1.0 / 14);
    put(p.got, 17, 1.0 / 18);
    r = compare(&p, p.bound);
    PFC_AGREE(WORLD, r.verdict == PFC_PASS && r.bad == 0 && r.worst_index == 2 && fabs(r.worst_ratio - 0.5) < 1e-9);
    r = compare(&p, NULL);
    PFC_AGREE(WORLD, r.verdict == PFC_FAIL && r.bad == 1);
    pfc_tensor_list_free(&p.list);
}
END_TEST

START_TEST(nonfinite_elements)
{
    pair p = pair_make(PFC_F64, _i);
    put(p.got, 7, NAN);
    pfc_comparison r = compare(&p, p.bound);
    PFC_AGREE(WORLD, r.verdict == PFC_NONFINITE && r.bad == 1 && r.worst_index == 7 && isnan(r.got));
    put(p.bound, 7, INFINITY); /* undecidable there */
    r = compare(&p, p.bound);
    PFC_AGREE(WORLD, r.verdict == PFC_PASS);
    put(p.got, 7, INFINITY);
    put(p.want, 7, -INFINITY);
    put(p.bound, 7, 1e300);
    r = compare(&p, p.bound);
    PFC_AGREE(WORLD, r.verdict == PFC_NONFINITE);
    pfc_tensor_list_free(&p.list);
}
END_TEST

START_TEST(nothing_decided)
{
    pair p = pair_make(PFC_F64, _i);
    for (int64_t i = 0; i < 20; i++) put(p.bound, i, INFINITY);
    PFC_AGREE(WORLD, compare(&p, p.bound).verdict == PFC_PASS); /* the same bits need no bound */
    put(p.got, 0, 2.0);
    PFC_AGREE(WORLD, compare(&p, p.bound).verdict == PFC_VACUOUS);
    pfc_tensor_list_free(&p.list);
}
END_TEST

START_TEST(bounds_are_broadcast)
{
    static const int64_t row[2] = { 1, 5 }, column[2] = { 4, 1 };
    pair p = pair_make(PFC_F64, _i);
    put(p.got, 11, 1.0 / 12 + 1.5); /* row 2, column 1 */
    pfc_tensor *r = indexed(&p.list, "row", PFC_F64, 2, row, PFC_DIST_NONE, 0, count_up);
    pfc_tensor *c = indexed(&p.list, "column", PFC_F64, 2, column, _i == 0 ? PFC_DIST_CLASS : PFC_DIST_NONE, 0, count_up);
    pfc_tensor *s = indexed(&p.list, "scalar", PFC_F64, 0, NULL, PFC_DIST_NONE, 0, count_up);
    pfc_comparison by_row = compare(&p, r), by_column = compare(&p, c), by_scalar = compare(&p, s);
    PFC_AGREE(WORLD, by_row.verdict == PFC_FAIL && by_row.bound == 1.0 && by_row.worst_index == 11);
    PFC_AGREE(WORLD, by_column.verdict == PFC_PASS && by_column.bound == 2.0);
    PFC_AGREE(WORLD, by_scalar.verdict == PFC_FAIL && by_scalar.bound == 0.0 && isinf(by_scalar.worst_ratio));
    pfc_tensor_list_free(&p.list);
}
END_TEST

START_TEST(other_types_and_shapes)
{
    static const int64_t dims[2] = { 5, 4 };
    pair p = pair_make(PFC_F32, _i);
    PFC_AGREE(WORLD, compare(&p, p.bound).verdict == PFC_PASS); /* float32 within its bound */
    PFC_AGREE(WORLD, compare(&p, NULL).verdict == PFC_BAD_DTYPE);
    pair q = { .got = indexed(&p.list, "other", PFC_F64, 2, dims, PFC_DIST_CLASS, 0, shrink), .want = p.want };
    PFC_AGREE(WORLD, compare(&q, p.bound).verdict == PFC_BAD_SHAPE);
    q.got = indexed(&p.list, "integers", PFC_I64, 2, p.want->dims, PFC_DIST_CLASS, _i, count_up);
    PFC_AGREE(WORLD, compare(&q, p.bound).verdict == PFC_BAD_DTYPE);
    q.want = q.got;
    PFC_AGREE(WORLD, compare(&q, NULL).verdict == PFC_PASS);
    q.got = indexed(&p.list, "one_off", PFC_I64, 2, p.want->dims, PFC_DIST_CLASS, _i, count_up);
    for (int64_t i = 0; i < pfc_tensor_local(q.got); i++)
        ((int64_t *)q.got->data)[i] += (int64_t)1 << 60, ((int64_t *)q.want->data)[i] += ((int64_t)1 << 60) + 1;
    PFC_AGREE(WORLD, compare(&q, NULL).verdict == PFC_FAIL); /* beyond 2^53 too */
    q.got = NULL;
    PFC_AGREE(WORLD, compare(&q, NULL).verdict == PFC_MISSING);
    for (int64_t n = 1; n <= 3; n += 2) { /* one number, and a vector of one or of three */
        q.want = indexed(&p.list, "number", PFC_F64, 0, NULL, PFC_DIST_NONE, 0, shrink);
        q.got = indexed(&p.list, n == 1 ? "one" : "three", PFC_F64, 1, &n, PFC_DIST_NONE, 0, shrink);
        PFC_AGREE(WORLD, compare(&q, NULL).verdict == (n == 1 ? PFC_PASS : PFC_BAD_SHAPE));
    }
    pfc_tensor_list_free(&p.list);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(parameters_from_text),
        PFC_ONCE(parameters_refused),
        PFC_ONCE(defaults),
        PFC_ONCE(lowest_rank_speaks),
        PFC_LOOP(digest_of_any_cut, N_LAYOUTS),
        PFC_LOOP(gather_any_cut, N_LAYOUTS),
        PFC_ONCE(canonical_bits),
        PFC_ONCE(overflowing_dims),
        PFC_ONCE(a_good_case),
        PFC_ONCE(a_wrong_world),
        PFC_ONCE(nan_on_one_rank),
        PFC_LOOP(equal_tensors, 2),
        PFC_LOOP(worst_element, 2),
        PFC_LOOP(nonfinite_elements, 2),
        PFC_LOOP(nothing_decided, 2),
        PFC_LOOP(bounds_are_broadcast, 2),
        PFC_LOOP(other_types_and_shapes, 2),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
