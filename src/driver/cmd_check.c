/* cmd_check.c: is a port right, and where does it first go wrong? Compares a candidate's /out (and /step) with a golden's.
 *
 * Rank 0 works alone on whole tensors; other ranks wait for the status. The type a candidate was computed in decides the bound:
 *   exact           bit for bit
 *   f32             /bound/f32 of the golden
 *   f64             /bound/f32 times 2^-29, the ratio of the two unit roundoffs
 *   tf32 bf16 f16   /bound/<type> of the golden, if it has any
 * Without --dtype it is the type the candidate's largest real tensor is stored in; f64 then means exact if the golden has no bounds. */
#include "driver/driver.h"
#include <math.h>
#include <string.h>

enum { MAX_ROWS = 128 };

typedef struct check {
    const pfc_cli *cli;
    pfc_diag *diag;
    pfc_result_file golden, mine;
    const char *dtype; /* what is compared */
    pfc_comparison out[MAX_ROWS], step[MAX_ROWS];
    int out_count, step_count;
    int compared, different, lacking; /* tensors of /out */
    const pfc_comparison *first;      /* first step that differs */
} check;

static bool known_dtype(const char *dtype)
{
    static const char *const types[] = { "exact", "f64", "f32", "tf32", "bf16", "f16", NULL };
    for (int i = 0; types[i]; i++)
        if (strcmp(types[i], dtype) == 0) return true;
    return false;
}

/* Group of bounds a type needs; NULL: none. */
static const char *bound_group(const char *dtype)
{
    if (strcmp(dtype, "exact") == 0) return NULL;
    return strcmp(dtype, "f64") == 0 ? "f32" : dtype;
}

static const char *stored_dtype(const pfc_result_file *file)
{
    const pfc_tensor *largest = NULL;
    for (int i = 0; i < file->out.count; i++) {
        const pfc_tensor *t = &file->out.items[i];
        if (t->dtype != PFC_I64 && (!largest || pfc_tensor_elements(t) > pfc_tensor_elements(largest))) largest = t;
    }
    return largest ? largest->stored : "exact"; /* only integers: they are compared exactly anyway */
}

/* The golden's data must be what it was when it was written. */
static int verify_digests(check *k, const char *folder, pfc_tensor_list *list)
{
    for (int i = 0; i < list->count; i++) {
        pfc_tensor *t = &list->items[i];
        char written[65];
        if (!t->sha256[0]) continue;
        memcpy(written, t->sha256, sizeof written);
        if (pfc_tensor_digest(MPI_COMM_SELF, t, k->diag)) return k->diag->exit_status;
        if (strcmp(written, t->sha256))
            return pfc_diag_fail(k->diag, PFC_EXIT_FILE, "%s: %s/%s: found data of digest %s, expected %s (attribute sha256)", k->golden.path, folder, t->name,
                                 t->sha256, written);
    }
    return 0;
}

static void scale_bounds(pfc_tensor_list *list, double factor)
{
    for (int i = 0; i < list->count; i++) {
        int64_t n = pfc_tensor_local(&list->items[i]);
        for (int64_t e = 0; e < n; e++) ((double *)list->items[i].data)[e] *= factor;
    }
}

static int read_files(check *k)
{
    const pfc_cli *cli = k->cli;
    if (pfc_results_read(cli->files[1], false, NULL, &k->mine, k->diag)) return k->diag->exit_status;
    k->dtype = cli->dtype ? cli->dtype : stored_dtype(&k->mine);
    const char *bounds = bound_group(k->dtype);
    if (pfc_results_read(cli->files[0], true, bounds, &k->golden, k->diag)) return k->diag->exit_status;
    if (k->mine.algorithm[0] && strcmp(k->mine.algorithm, k->golden.algorithm))
        return pfc_diag_fail(k->diag, PFC_EXIT_FILE, "%s: attribute algorithm: found \"%s\", expected \"%s\" as in the golden", k->mine.path, k->mine.algorithm,
                             k->golden.algorithm);
    if (verify_digests(k, "/out", &k->golden.out) || verify_digests(k, "/step", &k->golden.step)) return k->diag->exit_status;
    if (bounds && k->golden.bound_out.count == 0) {
        if (!cli->dtype && strcmp(k->dtype, "f64") == 0)
            k->dtype = "exact";
        else
            return pfc_diag_fail(k->diag, PFC_EXIT_FILE,
                                 "%s: /bound/%s: found nothing, expected bounds for --dtype %s (pfc_ref golden writes them; exact needs none)", k->golden.path,
                                 bounds, k->dtype);
    }
    if (strcmp(k->dtype, "f64") == 0) {
        scale_bounds(&k->golden.bound_out, 0x1p-29);
        scale_bounds(&k->golden.bound_step, 0x1p-29);
    }
    if (cli->shard_rank < 0) return 0;
    return pfc_cut_results(&k->golden, cli->shard_rank, cli->shard_of, k->diag);
}

/* One tensor. A real tensor without a bound of its own cannot be judged and is MISSING its bound. */
static int compare_one(check *k, const char *folder, const pfc_tensor *want, const pfc_tensor_list *mine, const pfc_tensor_list *bounds, pfc_comparison *result)
{
    const pfc_tensor *got = pfc_tensor_find(mine, want->name);
    bool needs = want->dtype != PFC_I64 && bound_group(k->dtype);
    const pfc_tensor *bound = bound_group(k->dtype) ? pfc_tensor_find(bounds, want->name) : NULL;
    if (needs && !bound)
        return pfc_diag_fail(k->diag, PFC_EXIT_FILE, "%s: /bound/%s%s/%s: found nothing, expected the bound of this tensor", k->golden.path,
                             bound_group(k->dtype), folder, want->name);
    if (pfc_compare(MPI_COMM_SELF, got, want, bound, result, k->diag)) return k->diag->exit_status;
    snprintf(result->name, sizeof result->name, "%s/%s", folder, want->name);
    return 0;
}

/* A rank may hold nothing of a tensor: right, and nothing to count. */
static bool empty_part(const check *k, const pfc_comparison *r) { return k->cli->shard_rank >= 0 && r->verdict == PFC_VACUOUS && r->elements == 0; }

static bool differs(const pfc_comparison *r) { return r->verdict == PFC_FAIL || r->verdict == PFC_NONFINITE; }

static int compare_all(check *k)
{
    const pfc_tensor_list *out = &k->golden.out, *step = &k->golden.step;
    for (int i = 0; i < out->count && k->out_count < MAX_ROWS; i++) {
        pfc_comparison *r = &k->out[k->out_count++];
        if (compare_one(k, "/out", &out->items[i], &k->mine.out, &k->golden.bound_out, r)) return k->diag->exit_status;
        if (r->verdict == PFC_PASS)
            k->compared++;
        else if (differs(r))
            k->compared++, k->different++;
        else if (!empty_part(k, r))
            k->lacking++;
    }
    for (int i = 0; i < step->count && k->mine.step.count && k->step_count < MAX_ROWS; i++) {
        if (!pfc_tensor_find(&k->mine.step, step->items[i].name)) continue; /* a port writes the steps it has */
        pfc_comparison *r = &k->step[k->step_count++];
        if (compare_one(k, "/step", &step->items[i], &k->mine.step, &k->golden.bound_step, r)) return k->diag->exit_status;
        if (r->verdict != PFC_PASS && r->verdict != PFC_VACUOUS && !k->first) k->first = r;
    }
    return 0;
}

static int status_of(const check *k)
{
    if (k->different || (k->first && differs(k->first))) return PFC_EXIT_DIFFERENT;
    if (k->lacking || k->compared == 0 || k->first) return PFC_EXIT_FILE;
    return PFC_EXIT_OK;
}

/* ---- telling ---- */

static const pfc_tensor *tensor_of(const check *k, const pfc_comparison *r)
{
    const char *name = strrchr(r->name, '/') + 1;
    return pfc_tensor_find(strncmp(r->name, "/step", 5) == 0 ? &k->golden.step : &k->golden.out, name);
}

static void add_row(pfc_table *table, const check *k, const pfc_comparison *r)
{
    char where[160] = "";
    bool numbers = r->worst_index >= 0 && (r->verdict == PFC_PASS || differs(r));
    pfc_table_cell(table, "%s", r->name);
    pfc_table_cell(table, "%s", pfc_verdict_string(r->verdict));
    pfc_table_cell(table, "%lld", (long long)r->elements);
    pfc_table_cell(table, "%lld", (long long)r->bad);
    if (r->digest_match || !numbers) {
        for (int i = 0; i < 6; i++) pfc_table_cell(table, "%s", i == 0 && r->digest_match ? "same bits" : "");
        return;
    }
    pfc_table_cell(table, "%.3g", r->worst_ratio);
    pfc_table_cell(table, "%.3g", r->worst_abs);
    pfc_table_cell(table, "%.3g", r->worst_rel);
    pfc_table_cell(table, "%s", pfc_index_text(tensor_of(k, r), r->worst_index, where, sizeof where));
    pfc_table_cell(table, "%.9g", r->got);
    pfc_table_cell(table, "%.9g", r->want);
}

static void print(const check *k, int status)
{
    static const char *const titles[] = { "tensor", "verdict", "elements", "bad", "error/bound", "abs", "rel", "worst at", "got", "want" };
    const pfc_cli *cli = k->cli;
    if (cli->quiet) return;
    pfc_table *table = pfc_table_new("llrrrrrlrr", titles);
    for (int i = 0; i < k->out_count; i++) add_row(table, k, &k->out[i]);
    for (int i = 0; i < k->step_count; i++) add_row(table, k, &k->step[i]);
    pfc_table_print(table, stdout);
    pfc_table_free(table);
    if (k->first) printf("first divergence in data-flow order: %s; what follows from it may differ too\n", k->first->name);
    printf("%s: %d of %d results compared as %s, %d different, %d not comparable\n",
           status == PFC_EXIT_OK          ? "match"
           : status == PFC_EXIT_DIFFERENT ? "DIFFERENT"
                                          : "INCOMPLETE",
           k->compared, k->out_count, k->dtype, k->different, k->lacking);
    printf("repeat: pfc_ref check %s %s --dtype %s", cli->files[0], cli->files[1], k->dtype);
    if (cli->shard_rank >= 0) printf(" --rank %d --of %d", cli->shard_rank, cli->shard_of);
    putchar('\n');
}

static void json_row(pfc_json *j, const check *k, const pfc_comparison *r)
{
    char where[160];
    pfc_json_begin(j, NULL, '{');
    pfc_json_text(j, "tensor", r->name);
    pfc_json_text(j, "verdict", pfc_verdict_string(r->verdict));
    pfc_json_bool(j, "digest_match", r->digest_match);
    pfc_json_int(j, "elements", r->elements);
    pfc_json_int(j, "bad", r->bad);
    pfc_json_real(j, "worst_ratio", r->worst_ratio);
    pfc_json_real(j, "worst_abs", r->worst_abs);
    pfc_json_real(j, "worst_rel", r->worst_rel);
    if (r->worst_index >= 0) {
        pfc_json_text(j, "worst_at", pfc_index_text(tensor_of(k, r), r->worst_index, where, sizeof where));
        pfc_json_int(j, "worst_index", r->worst_index);
        pfc_json_real(j, "got", r->got);
        pfc_json_real(j, "want", r->want);
        pfc_json_real(j, "bound", r->bound);
    }
    pfc_json_end(j);
}

static void write_json(const check *k, pfc_json *j, int status)
{
    pfc_json_text(j, "golden", k->golden.path);
    pfc_json_text(j, "candidate", k->mine.path);
    pfc_json_text(j, "algorithm", k->golden.algorithm);
    pfc_json_text(j, "dtype", k->dtype);
    pfc_json_text(j, "verdict", status == PFC_EXIT_OK ? "match" : status == PFC_EXIT_DIFFERENT ? "different" : "incomplete");
    pfc_json_int(j, "exit_status", status);
    pfc_json_int(j, "compared", k->compared);
    pfc_json_int(j, "different", k->different);
    pfc_json_int(j, "not_comparable", k->lacking);
    if (k->first) pfc_json_text(j, "first_divergence", k->first->name);
    pfc_json_begin(j, "tensors", '[');
    for (int i = 0; i < k->out_count; i++) json_row(j, k, &k->out[i]);
    for (int i = 0; i < k->step_count; i++) json_row(j, k, &k->step[i]);
    pfc_json_end(j);
}

/* Why a tensor cannot be compared, as the one line on stderr. False: it can. */
static bool explain_one(const check *k, const pfc_comparison *r, const pfc_tensor_list *mine)
{
    char found[160] = "nothing", expected[160];
    if (r->verdict == PFC_PASS || differs(r) || (empty_part(k, r) && k->compared)) return false;
    const pfc_tensor *want = tensor_of(k, r), *got = pfc_tensor_find(mine, want->name);
    if (got) pfc_shape_text(got, found, sizeof found);
    pfc_shape_text(want, expected, sizeof expected);
    if (r->verdict == PFC_VACUOUS)
        pfc_diag_fail(k->diag, PFC_EXIT_FILE, "%s: %s: VACUOUS: %s for %s, nothing was compared", k->mine.path, r->name,
                      r->elements ? "its bounds allow anything" : "it has no elements", k->dtype);
    else
        pfc_diag_fail(k->diag, PFC_EXIT_FILE, "%s: %s: %s: found %s%s%s, expected %s %s", k->mine.path, r->name, pfc_verdict_string(r->verdict), found,
                      got ? " " : "", got ? got->stored : "", expected, want->stored);
    return true;
}

static void explain(const check *k)
{
    for (int i = 0; i < k->out_count; i++)
        if (explain_one(k, &k->out[i], &k->mine.out)) return;
    for (int i = 0; i < k->step_count; i++)
        if (explain_one(k, &k->step[i], &k->mine.step)) return;
}

static int check_alone(check *k, pfc_json *j)
{
    int status = PFC_EXIT_FILE;
    if (!read_files(k) && !compare_all(k)) {
        status = status_of(k);
        print(k, status);
        write_json(k, j, status);
        if (status == PFC_EXIT_FILE) explain(k);
    }
    pfc_results_free(&k->golden);
    pfc_results_free(&k->mine);
    return status;
}

int pfc_cmd_check(pfc_cli *cli)
{
    static check k; /* large */
    pfc_diag diag = { 0 };
    int status = PFC_EXIT_OK;
    if (cli->dtype && !known_dtype(cli->dtype)) {
        pfc_diag_fail(&diag, PFC_EXIT_USAGE, "--dtype %s: expected exact, f64, f32, tf32, bf16 or f16", cli->dtype);
        return pfc_report(cli, &diag);
    }
    pfc_json *j = pfc_json_open(cli, &diag);
    k.cli = cli;
    k.diag = &diag;
    if (cli->rank == 0 && !diag.exit_status) status = check_alone(&k, j);
    MPI_Bcast(&status, 1, MPI_INT, 0, cli->comm);
    pfc_json_close(&j, cli, &diag); /* also tells the others what rank 0 found */
    return diag.exit_status ? pfc_report(cli, &diag) : status;
}
