/* partial_fc_check.c: conditions of the partial_fc family that the tables cannot say, and the resolved defaults. */
#include "case/internal.h"
#include "case/partial_fc_case.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

bool pfc_partial_fc_case_samples(const pfc_case *c)
{
    double rate = pfc_param_real(c, "sample_rate");
    return pfc_param_present(c, "num_sample") || !(rate >= 1.0 && rate < 2.0);
}

static int bad(pfc_diag *diag, const pfc_case *c, const char *item, const char *found, const char *expected)
{
    char path[PFC_MAX_NAME + 16];
    snprintf(path, sizeof path, "/param/%s", item);
    return pfc_case_fail(c, diag, path, "found %s, expected %s", found, expected);
}

static int check_finite(const pfc_case *c, pfc_diag *diag)
{
    for (const pfc_param_spec *spec = c->algorithm->params; spec->name; spec++) {
        if (spec->type != PFC_PARAM_REAL || !pfc_param_present(c, spec->name)) continue;
        double value = pfc_param_real(c, spec->name);
        if (isnan(value)) return bad(diag, c, spec->name, "NaN", "a number");
        if (isinf(value)) return bad(diag, c, spec->name, "an infinity", "a finite number");
        bool factor = strcmp(spec->name, "scale") == 0 || strcmp(spec->name, "margin") == 0;
        if (factor && fabs(value) > 1e100) return bad(diag, c, spec->name, "a number beyond 1e100", "a number up to 1e100 in magnitude");
    }
    return 0;
}

static int check_sampling(const pfc_case *c, pfc_diag *diag)
{
    bool count_given = pfc_param_present(c, "num_sample");
    char found[64];
    if (count_given && pfc_param_int(c, "num_sample") < 0) {
        snprintf(found, sizeof found, "%lld", (long long)pfc_param_int(c, "num_sample"));
        return bad(diag, c, "num_sample", found, "0 or more");
    }
    if (!count_given && pfc_param_real(c, "sample_rate") >= 2.0) {
        snprintf(found, sizeof found, "%g", pfc_param_real(c, "sample_rate"));
        return bad(diag, c, "sample_rate", found, "below 2, or num_sample");
    }
    return 0;
}

static int check_params(const pfc_case *c, pfc_diag *diag)
{
    const char *head = pfc_param_word(c, "head");
    bool linear = strcmp(head, "linear") == 0, angular = strcmp(head, "cos") == 0 || strcmp(head, "arc") == 0;
    int64_t steps = pfc_param_int(c, "steps"), first = pfc_param_int(c, "first_step");
    double threshold = pfc_param_real(c, "interclass_threshold");
    char found[64];
    if (!linear && !pfc_param_present(c, "margin"))
        return pfc_case_fail(c, diag, "/param/margin", "found nothing, expected a number (required with head=%s)", head);
    if (check_sampling(c, diag)) return diag->exit_status;
    if (steps < 1) {
        snprintf(found, sizeof found, "%lld", (long long)steps);
        return bad(diag, c, "steps", found, "1 or more");
    }
    if (steps > (int64_t)UINT32_MAX + 1) { /* a step's number is a 32-bit word of the counter */
        snprintf(found, sizeof found, "%lld", (long long)steps);
        return bad(diag, c, "steps", found, "at most 2^32");
    }
    if (first < 0 || first > UINT32_MAX - (steps - 1)) {
        snprintf(found, sizeof found, "%lld", (long long)first);
        return bad(diag, c, "first_step", found, "0 or more, and first_step + steps at most 2^32");
    }
    if (pfc_param_int(c, "nesterov") && pfc_param_real(c, "momentum") == 0.0) return bad(diag, c, "nesterov", "1 with momentum 0", "a momentum other than 0");
    if (threshold < 0.0) {
        snprintf(found, sizeof found, "%g", threshold);
        return bad(diag, c, "interclass_threshold", found, "0 or more");
    }
    if (threshold > 0.0 && !angular)
        return pfc_case_fail(c, diag, "/param/interclass_threshold", "found %g with head=%s, expected head cos or arc", threshold, head);
    return 0;
}

/* Labels no rank owns, where the case refuses them. Every rank sees its own rows; the caller agrees. */
static int check_labels(const pfc_case *c, pfc_diag *diag)
{
    bool refuse = strcmp(pfc_param_word(c, "unowned_label"), "error") == 0;
    bool lse = strcmp(pfc_param_word(c, "loss"), "lse") == 0 && strcmp(pfc_param_word(c, "unowned_label"), "source") == 0;
    const pfc_tensor *labels = pfc_tensor_find(&c->in, "labels");
    if (!labels || (!refuse && !lse)) return 0;
    int64_t classes = c->size['C' - 'A'], n = pfc_tensor_local(labels);
    const int64_t *y = labels->data;
    for (int64_t i = 0; i < n; i++) {
        if (y[i] >= 0 && y[i] < classes) continue;
        char place[160];
        return pfc_case_fail(c, diag, "/in/labels", "found %lld at %s, expected 0 to %lld with %s", (long long)y[i],
                             pfc_tensor_place_text(labels, i, place, sizeof place), (long long)classes - 1,
                             refuse ? "unowned_label=error" : "loss=lse and unowned_label=source");
    }
    return 0;
}

static int check_keys(const pfc_case *c, pfc_diag *diag)
{
    const pfc_tensor *keys = pfc_tensor_find(&c->in, "sample_keys");
    int64_t n = keys ? pfc_tensor_local(keys) : 0;
    for (int64_t i = 0; i < n; i++) {
        double u = pfc_tensor_get(keys, i);
        char place[160];
        if (!(u >= 0.0 && u < 1.0))
            return pfc_case_fail(c, diag, "/in/sample_keys", "found %.17g at %s, expected 0 <= key < 1", u,
                                 pfc_tensor_place_text(keys, i, place, sizeof place));
    }
    return 0;
}

/* x_grad (steps,N,D) is the one result that steps make larger than the inputs: it has to fit into the machine. */
static int check_result_size(const pfc_case *c, pfc_diag *diag)
{
    double elements = (double)pfc_param_int(c, "steps") * (double)c->size['N' - 'A'] * (double)c->size['D' - 'A'];
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (8.0 * elements <= memory) return 0;
    return pfc_case_fail(c, diag, "/param/steps", "found %lld: x_grad would take %.3g bytes, expected at most this machine's %.3g",
                         (long long)pfc_param_int(c, "steps"), 8.0 * elements, memory);
}

int pfc_partial_fc_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    int ranks = 1;
    MPI_Comm_size(comm, &ranks);
    if (!check_finite(c, diag) && !check_params(c, diag) && !check_result_size(c, diag) && !check_labels(c, diag)) check_keys(c, diag);
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;

    if (!pfc_param_present(c, "xgrad_scale")) { /* the source's factor of data-parallel averaging, 2.7 */
        pfc_param_resolve_real(c, "xgrad_scale", ranks);
        c->depends_on_world = true;
    }
    if (pfc_partial_fc_case_samples(c) && strcmp(pfc_param_word(c, "sample_rule"), "shard") == 0) c->depends_on_world = true;
    return 0;
}
