/* cmd_check.c: is a port right, and where does it first go wrong? Compares a candidate's /out (and /step) with a golden's.
 *
 * Rank 0 works alone on whole tensors; other ranks wait for the status. The type a candidate was computed in decides the bound:
 *   exact           bit for bit
 *   f32             /bound/f32 of the golden
 *   f64             /bound/f32 times 2^-29, the ratio of the two unit roundoffs
 *   tf32 bf16 f16   /bound/<type> of the golden
 * --sound and --operand-rounding rz take /bound/<type>-sound and /bound/<type>-rz. Without --dtype it is the type the candidate's largest real tensor is
 * stored in; f64 then means exact if the golden has no bounds. A tensor that is stored in bf16 or f16 may be off by the rounding of its elements, too. */
#include "driver/check.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- types ---- */

static bool known_dtype(const char *dtype)
{
    static const char *const types[] = { "exact", "f64", "f32", "tf32", "bf16", "f16", NULL };
    for (int i = 0; types[i]; i++)
        if (strcmp(types[i], dtype) == 0) return true;
    return false;
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

/* Whose bounds: k->precision, NULL with exact. */
static int choose_precision(pfc_check *k)
{
    const pfc_cli *cli = k->cli;
    bool rz = cli->operand_rounding && strcmp(cli->operand_rounding, "rz") == 0, f64 = strcmp(k->dtype, "f64") == 0;
    char name[32];
    if (strcmp(k->dtype, "exact") == 0) return 0;
    snprintf(name, sizeof name, "%s%s%s", f64 ? "f32" : k->dtype, rz ? "-rz" : "", cli->sound ? "-sound" : "");
    k->precision = pfc_precision_find(name);
    if (k->precision) return 0;
    return pfc_diag_fail(k->diag, PFC_EXIT_USAGE, "--dtype %s%s%s: there are no such bounds; rz is for tf32, bf16 and f16, without --sound", k->dtype,
                         rz ? " --operand-rounding rz" : "", cli->sound ? " --sound" : "");
}

/* ---- files ---- */

/* The golden's data must be what it was when it was written. */
static int verify_digests(pfc_check *k, const char *folder, pfc_tensor_list *list)
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

static int read_candidate(pfc_check *k)
{
    const char *path = k->cli->files[1];
    struct stat s;
    if (stat(path, &s) == 0 && S_ISDIR(s.st_mode)) return pfc_npy_folder_read(path, &k->golden, &k->mine, k->diag);
    if (pfc_results_read(path, false, NULL, &k->mine, k->diag)) return k->diag->exit_status;
    if (k->mine.algorithm[0] && strcmp(k->mine.algorithm, k->golden.algorithm))
        return pfc_diag_fail(k->diag, PFC_EXIT_FILE, "%s: attribute algorithm: found \"%s\", expected \"%s\" as in the golden", k->mine.path, k->mine.algorithm,
                             k->golden.algorithm);
    return 0;
}

static int read_bounds(pfc_check *k)
{
    if (choose_precision(k) || pfc_results_more(&k->golden, k->precision, k->diag)) return k->diag->exit_status;
    if (!k->precision || k->golden.bound_out.count) return 0;
    if (!k->cli->dtype && strcmp(k->dtype, "f64") == 0) {
        k->dtype = "exact";
        k->precision = NULL;
        return 0;
    }
    char has[160];
    pfc_results_bounds(k->golden.path, has, sizeof has);
    return pfc_diag_fail(
        k->diag, PFC_EXIT_FILE, "%s: /bound/%s: found %s%s%s, expected bounds for --dtype %s; pfc_ref golden --dtype %s writes them (exact needs none)",
        k->golden.path, k->precision->name, has[0] ? "only those for " : "nothing", has, has[0] ? " (give one as --dtype)" : "", k->dtype, k->precision->name);
}

static int read_files(pfc_check *k)
{
    const pfc_cli *cli = k->cli;
    if (pfc_results_read(cli->files[0], true, NULL, &k->golden, k->diag)) return k->diag->exit_status;
    if (verify_digests(k, "/out", &k->golden.out) || verify_digests(k, "/step", &k->golden.step)) return k->diag->exit_status;
    if (read_candidate(k)) return k->diag->exit_status;
    k->dtype = cli->dtype ? cli->dtype : stored_dtype(&k->mine);
    if (read_bounds(k)) return k->diag->exit_status;
    k->ranks = cli->shard_of > 0 ? cli->shard_of : k->golden.world > 0 && k->golden.world <= 1 << 20 ? (int)k->golden.world : -1;
    if (cli->shard_rank < 0) return 0;
    return pfc_cut_results(&k->golden, cli->shard_rank, cli->shard_of, k->diag);
}

/* ---- one tensor ---- */

/* r->bound and r->storing: how far each element may be off. */
static int set_bounds(const pfc_check *k, pfc_check_row *r, const pfc_tensor *bound)
{
    const pfc_tensor *want = r->want;
    const pfc_precision *stored = r->got ? pfc_precision_find(r->got->stored) : NULL;
    int64_t n = pfc_tensor_elements(want);
    double scale = strcmp(k->dtype, "f64") == 0 ? 0x1p-29 : 1.0;
    r->bound = malloc((size_t)n * sizeof *r->bound + 1);
    if (stored && stored->u > 0 && want->dtype != PFC_I64) r->storing = calloc((size_t)n + 1, sizeof *r->storing);
    if (!r->bound || (!r->storing && stored && stored->u > 0 && want->dtype != PFC_I64))
        return pfc_diag_fail(k->diag, PFC_EXIT_RUNTIME, "%s: out of memory", r->c.name);
    if (!pfc_bound_spread(want, bound, r->bound))
        return pfc_diag_fail(k->diag, PFC_EXIT_FILE, "%s: /bound/%s%s: its shape cannot be broadcast to the tensor's", k->golden.path, k->precision->name,
                             r->c.name);
    for (int64_t i = 0; i < n; i++) {
        double w = pfc_tensor_get(want, i);
        r->bound[i] *= scale;
        if (r->storing && isfinite(w)) r->storing[i] = pfc_round_number(stored, w);
        if (r->storing) r->bound[i] += r->storing[i];
    }
    return 0;
}

/* The error of the worst element in units of the last place of the coarser of the type it is stored in and the one compared. */
static void set_ulp(const pfc_check *k, pfc_check_row *r)
{
    static const struct {
        const char *type;
        int digits, least; /* bits of the significand, smallest exponent */
    } types[] = { { "f64", 53, -1022 }, { "f32", 24, -126 }, { "tf32", 11, -126 }, { "f16", 11, -14 }, { "bf16", 8, -126 } };
    int t = 0;
    for (int i = 0; i < 5; i++)
        if (strcmp(types[i].type, r->got->stored) == 0 || strcmp(types[i].type, k->dtype) == 0) t = i;
    double w = fabs(r->c.want);
    int exponent = w > 0 && isfinite(w) ? ilogb(w) : types[t].least;
    if (exponent < types[t].least) exponent = types[t].least;
    r->ulp = ldexp(fabs(r->c.got - r->c.want), types[t].digits - 1 - exponent);
    r->ulp_type = types[t].type;
}

/* Once it is known how the tensor compares: gates, and for one that differs where and how. */
static int look_closer(const pfc_check *k, pfc_check_row *r)
{
    bool counted = r->c.verdict == PFC_PASS || pfc_row_differs(r);
    if (!counted) return 0;
    r->gate[0] = r->c.bad ? PFC_GATE_FAIL : PFC_GATE_PASS;
    if (r->bound && r->want->dtype != PFC_I64 && pfc_check_gates(k, r)) return k->diag->exit_status;
    if (r->c.verdict == PFC_PASS && pfc_row_gate(r)) r->c.verdict = PFC_FAIL;
    if (r->c.worst_index >= 0) {
        pfc_find_place(&k->golden, r->step, r->want->name, r->c.worst_index, k->cli->shard_rank, k->ranks, &r->place);
        if (r->want->dtype != PFC_I64) set_ulp(k, r);
    }
    return 0;
}

/* A real tensor without a bound of its own cannot be judged and is MISSING its bound. */
static int compare_one(pfc_check *k, bool step, const pfc_tensor *want, pfc_check_row *r)
{
    const pfc_tensor *bound = k->precision ? pfc_tensor_find(step ? &k->golden.bound_step : &k->golden.bound_out, want->name) : NULL;
    char name[sizeof r->c.name];
    snprintf(name, sizeof name, "%s/%s", step ? "/step" : "/out", want->name);
    *r = (pfc_check_row){ .step = step, .want = want, .got = pfc_tensor_find(step ? &k->mine.step : &k->mine.out, want->name), .place.rank = -1 };
    memcpy(r->c.name, name, sizeof name);
    if (want->dtype != PFC_I64 && k->precision && !bound)
        return pfc_diag_fail(k->diag, PFC_EXIT_FILE, "%s: /bound/%s%s: found nothing, expected the bound of this tensor", k->golden.path, k->precision->name,
                             name);
    if (bound && set_bounds(k, r, bound)) return k->diag->exit_status;
    pfc_tensor all = *want;
    all.dtype = PFC_F64;
    all.data = r->bound;
    if (pfc_compare(MPI_COMM_SELF, r->got, want, bound ? &all : NULL, &r->c, k->diag)) return k->diag->exit_status;
    memcpy(r->c.name, name, sizeof name);
    if (look_closer(k, r)) return k->diag->exit_status;
    if (r->c.verdict != PFC_PASS) pfc_check_hints(k, r);
    return 0;
}

static int compare_row(pfc_check *k, bool step, const pfc_tensor *want, pfc_check_row *r)
{
    int status = compare_one(k, step, want, r);
    free(r->bound);
    free(r->storing);
    r->bound = r->storing = NULL;
    return status;
}

/* ---- all tensors ---- */

/* A rank may hold nothing of a tensor: right, and nothing to count. */
static bool empty_part(const pfc_check *k, const pfc_check_row *r) { return k->cli->shard_rank >= 0 && r->c.verdict == PFC_VACUOUS && r->c.elements == 0; }

/* The algorithm's table lists its results in the order in which they come about. */
static void find_first_out(pfc_check *k)
{
    const pfc_algorithm *a = pfc_algorithm_find(k->golden.algorithm);
    for (const pfc_tensor_spec *s = a->out; s && s->name; s++)
        for (int i = 0; i < k->out_count && !k->first_out; i++)
            if (strcmp(s->name, k->out[i].want->name) == 0 && pfc_row_differs(&k->out[i])) k->first_out = &k->out[i];
    for (int i = 0; i < k->out_count && !k->first_out; i++)
        if (pfc_row_differs(&k->out[i])) k->first_out = &k->out[i];
}

static int compare_all(pfc_check *k)
{
    const pfc_tensor_list *out = &k->golden.out, *step = &k->golden.step;
    for (int i = 0; i < out->count && k->out_count < PFC_MAX_ROWS; i++) {
        pfc_check_row *r = &k->out[k->out_count++];
        if (compare_row(k, false, &out->items[i], r)) return k->diag->exit_status;
        if (r->c.verdict == PFC_PASS)
            k->compared++;
        else if (pfc_row_differs(r))
            k->compared++, k->different++;
        else if (!empty_part(k, r))
            k->lacking++;
    }
    for (int i = 0; i < step->count && k->mine.step.count && k->step_count < PFC_MAX_ROWS; i++) {
        if (!pfc_tensor_find(&k->mine.step, step->items[i].name)) continue; /* a port writes the steps it has */
        pfc_check_row *r = &k->step[k->step_count++];
        if (compare_row(k, true, &step->items[i], r)) return k->diag->exit_status;
        if (pfc_row_differs(r) && !k->first_step) k->first_step = r;
        if ((r->c.verdict == PFC_BAD_SHAPE || r->c.verdict == PFC_BAD_DTYPE) && !k->lacking_step) k->lacking_step = r;
    }
    find_first_out(k);
    return 0;
}

static int status_of(const pfc_check *k)
{
    if (k->different || k->first_step) return PFC_EXIT_DIFFERENT;
    if (k->lacking || k->compared == 0 || k->lacking_step) return PFC_EXIT_FILE;
    return PFC_EXIT_OK;
}

/* ---- the command ---- */

/* Why a tensor cannot be compared, as the one line on stderr. False: it can. */
static bool explain_one(const pfc_check *k, const pfc_check_row *r)
{
    char found[160] = "nothing", expected[160];
    if (r->c.verdict == PFC_PASS || pfc_row_differs(r) || (empty_part(k, r) && k->compared)) return false;
    if (r->got) pfc_shape_text(r->got, found, sizeof found);
    pfc_shape_text(r->want, expected, sizeof expected);
    if (r->c.verdict == PFC_VACUOUS)
        pfc_diag_fail(k->diag, PFC_EXIT_FILE, "%s: %s: VACUOUS: %s for %s, nothing was compared", k->mine.path, r->c.name,
                      r->c.elements ? "its bounds allow anything" : "it has no elements", k->dtype);
    else
        pfc_diag_fail(k->diag, PFC_EXIT_FILE, "%s: %s: %s: found %s%s%s, expected %s %s%s%s", k->mine.path, r->c.name, pfc_verdict_string(r->c.verdict), found,
                      r->got ? " " : "", r->got ? r->got->stored : "", expected, r->want->stored, r->hint_count ? "; " : "", r->hint_count ? r->hint[0] : "");
    return true;
}

static void explain(const pfc_check *k)
{
    for (int i = 0; i < k->out_count; i++)
        if (explain_one(k, &k->out[i])) return;
    for (int i = 0; i < k->step_count; i++)
        if (explain_one(k, &k->step[i])) return;
}

/* A port that multiplies in a coarser type than it stores is often compared as what it stores: the first type, the finest first, as which all would match. */
static const char *type_that_fits(const pfc_check *k)
{
    static const char *const types[] = { "f32", "tf32", "f16", "bf16", NULL };
    static pfc_check trial; /* large */
    for (int i = 0; types[i]; i++) {
        pfc_cli cli = *k->cli;
        pfc_diag ignored = { 0 };
        memset(&trial, 0, sizeof trial);
        trial.cli = &cli;
        trial.diag = &ignored;
        cli.dtype = types[i];
        bool fits = strcmp(types[i], k->dtype) != 0 && !read_files(&trial) && !compare_all(&trial) && status_of(&trial) == PFC_EXIT_OK;
        pfc_results_free(&trial.golden);
        pfc_results_free(&trial.mine);
        if (fits) return types[i];
    }
    return NULL;
}

static int check_alone(pfc_check *k, pfc_json *j)
{
    int status = PFC_EXIT_FILE;
    if (!read_files(k) && !compare_all(k)) {
        status = status_of(k);
        if (status == PFC_EXIT_DIFFERENT && !k->cli->dtype) k->fits = type_that_fits(k);
        pfc_check_print(k, status);
        pfc_check_json(k, j, status);
        if (status == PFC_EXIT_FILE) explain(k);
    }
    pfc_results_free(&k->golden);
    pfc_results_free(&k->mine);
    return status;
}

int pfc_cmd_check(pfc_cli *cli)
{
    static pfc_check k; /* large */
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
