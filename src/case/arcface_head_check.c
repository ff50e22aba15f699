/* arcface_head_check.c: conditions of the arcface_head family that the tables cannot say. */
#include "case/arcface_head_case.h"
#include "case/internal.h"

#include <math.h>

static const double MAX_FACTOR = 1e100, MAX_ANGLE = 1048576.0; /* as the library */

static int check_params(const pfc_case *c, pfc_diag *diag)
{
    static const char *const reals[] = { "scale", "loss_weight", "margin" };
    int64_t k = pfc_param_int(c, "num_subcenters");
    if (k < 1 || k > INT32_MAX) return pfc_case_fail(c, diag, "/param/num_subcenters", "found %lld, expected 1 to 2147483647", (long long)k);
    for (int i = 0; i < 3; i++) {
        double value = pfc_param_real(c, reals[i]), most = i < 2 ? MAX_FACTOR : MAX_ANGLE;
        char item[PFC_MAX_NAME];
        snprintf(item, sizeof item, "/param/%s", reals[i]);
        if (!(fabs(value) <= most)) return pfc_case_fail(c, diag, item, "found %g, expected a number up to %g in magnitude", value, most);
    }
    return 0;
}

static int check_labels(const pfc_case *c, pfc_diag *diag)
{
    const pfc_tensor *labels = pfc_tensor_find(&c->in, "labels");
    int64_t classes = c->size['C' - 'A'], n = labels ? pfc_tensor_local(labels) : 0;
    if (!labels && !pfc_param_int(c, "eval"))
        return pfc_case_fail(c, diag, "/in/labels", "found nothing, expected a dataset of shape (N) (required with eval=0)");
    for (int64_t i = 0; i < n; i++) {
        int64_t y = ((const int64_t *)labels->data)[i];
        char place[160];
        if (y < 0 || y >= classes)
            return pfc_case_fail(c, diag, "/in/labels", "found %lld at %s, expected 0 to %lld", (long long)y,
                                 pfc_tensor_place_text(labels, i, place, sizeof place), (long long)classes - 1);
    }
    return 0;
}

static int check_margins(const pfc_case *c, pfc_diag *diag)
{
    const pfc_tensor *margins = pfc_tensor_find(&c->in, "margins");
    int64_t n = margins ? pfc_tensor_local(margins) : 0;
    for (int64_t i = 0; i < n; i++) {
        double m = pfc_tensor_get(margins, i);
        char place[160];
        if (isfinite(m) && fabs(m) > MAX_ANGLE)
            return pfc_case_fail(c, diag, "/in/margins", "found %g at %s, expected a number up to %g in magnitude", m,
                                 pfc_tensor_place_text(margins, i, place, sizeof place), MAX_ANGLE);
    }
    return 0;
}

int pfc_arcface_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    if (!check_params(c, diag) && !check_labels(c, diag)) check_margins(c, diag);
    return pfc_diag_agree(comm, diag);
}
