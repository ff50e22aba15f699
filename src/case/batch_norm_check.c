/* batch_norm_check.c: conditions of the batch_norm family that the tables cannot say, and the resolved defaults. */
#include "case/batch_norm_case.h"
#include "case/internal.h"
#include "core/ctx.h"

#include <math.h>

pfc_batch_norm_config pfc_batch_norm_case_config(const pfc_case *c)
{
    pfc_batch_norm_config cfg = pfc_batch_norm_defaults();
    cfg.kind = (pfc_bn_kind)pfc_param_choice(c, "kind");
    cfg.channels = c->size['C' - 'A'];
    cfg.num_splits = cfg.kind == PFC_BN_SUB ? pfc_param_int(c, "num_splits") : 1;
    cfg.num_sync_devices = pfc_param_int(c, "num_sync_devices");
    cfg.local_size = pfc_param_int(c, "local_size");
    cfg.eps = pfc_param_real(c, "eps");
    cfg.momentum = pfc_param_real(c, "momentum");
    cfg.track_running_stats = (int)pfc_param_int(c, "track_running_stats");
    cfg.running_var = (pfc_bn_running)pfc_param_choice(c, "running_var");
    cfg.weighting = (pfc_bn_weighting)pfc_param_choice(c, "weighting");
    cfg.variance = (pfc_bn_variance)pfc_param_choice(c, "variance");
    return cfg;
}

int64_t pfc_batch_norm_case_inner(const pfc_case *c)
{
    int64_t inner = 1;
    for (const char *axis = "THW"; *axis; axis++)
        if (c->size[*axis - 'A'] > 0) inner *= c->size[*axis - 'A'];
    return inner;
}

int64_t pfc_batch_norm_case_rows(const pfc_case *c, int ranks, int r)
{
    const pfc_tensor *rows = pfc_tensor_find(&c->in, "rows");
    return rows ? ((const int64_t *)rows->data)[r] : c->size['N' - 'A'] / ranks;
}

static int wrong_int(pfc_diag *diag, const pfc_case *c, const char *name, const char *expected)
{
    char item[PFC_MAX_NAME + 8];
    snprintf(item, sizeof item, "/param/%.60s", name);
    return pfc_case_fail(c, diag, item, "found %lld, expected %s", (long long)pfc_param_int(c, name), expected);
}

static int check_params(pfc_case *c, int ranks, pfc_diag *diag)
{
    char text[96];
    int64_t local = pfc_param_int(c, "local_size"), devices = pfc_param_int(c, "num_sync_devices");
    if (!isfinite(pfc_param_real(c, "eps"))) return pfc_case_fail(c, diag, "/param/eps", "found %g, expected a finite number", pfc_param_real(c, "eps"));
    if (isinf(pfc_param_real(c, "momentum")))
        return pfc_case_fail(c, diag, "/param/momentum", "found an infinity, expected a finite number, or NaN for the cumulative average");
    snprintf(text, sizeof text, "1 to %d", PFC_MAX_TERMS);
    if (pfc_param_int(c, "num_splits") < 1 || pfc_param_int(c, "num_splits") > PFC_MAX_TERMS) return wrong_int(diag, c, "num_splits", text);
    if (pfc_param_int(c, "num_batches_tracked") < 0) return wrong_int(diag, c, "num_batches_tracked", "0 or more");
    snprintf(text, sizeof text, "a divisor of the number of ranks, %d", ranks);
    if (local < 1 || ranks % local != 0) return wrong_int(diag, c, "local_size", text);
    snprintf(text, sizeof text, "a divisor of local_size, %lld, or 0 for all of it", (long long)local);
    if (pfc_param_choice(c, "kind") == PFC_BN_SYNC && devices > 0 && local % devices != 0) return wrong_int(diag, c, "num_sync_devices", text);
    return 0;
}

static int check_shapes(const pfc_case *c, int ranks, pfc_diag *diag)
{
    static const char *const split[] = { "split_running_mean", "split_running_var" };
    const pfc_tensor *x = pfc_tensor_find(&c->in, "x"), *g = pfc_tensor_find(&c->in, "grad_y");
    char found[160], item[PFC_MAX_NAME + 8];
    int64_t units = c->size['C' - 'A'] * pfc_param_int(c, "num_splits");
    if (g && g->ndim != x->ndim)
        return pfc_case_fail(c, diag, "/in/grad_y", "found shape %s, expected that of x", pfc_dims_text(g->ndim, g->dims, found, sizeof found));
    for (int i = 0; i < 2; i++) {
        const pfc_tensor *t = pfc_tensor_find(&c->in, split[i]);
        snprintf(item, sizeof item, "/in/%s", split[i]);
        if (t && pfc_param_choice(c, "kind") != PFC_BN_SUB)
            return pfc_case_fail(c, diag, item, "found it with kind=%s, expected kind=sub", pfc_param_word(c, "kind"));
        if (t && t->dims[1] != units)
            return pfc_case_fail(c, diag, item, "found shape %s, expected (%d,%lld), num_splits times C = %lld",
                                 pfc_dims_text(t->ndim, t->dims, found, sizeof found), ranks, (long long)units, (long long)units);
    }
    return 0;
}

static int check_rows(const pfc_case *c, int ranks, pfc_diag *diag)
{
    const pfc_tensor *rows = pfc_tensor_find(&c->in, "rows");
    int64_t n = c->size['N' - 'A'], left = n;
    if (!rows && n % ranks != 0)
        return pfc_case_fail(c, diag, "/in/x", "found N = %lld, expected a multiple of the number of ranks, %d, or rows", (long long)n, ranks);
    for (int r = 0; rows && r < ranks; r++) {
        int64_t k = ((const int64_t *)rows->data)[r];
        if (k < 0 || k > left)
            return pfc_case_fail(c, diag, "/in/rows", "found %lld at (%d), expected 0 or more, in all N = %lld", (long long)k, r, (long long)n);
        left -= k;
    }
    if (rows && left != 0) return pfc_case_fail(c, diag, "/in/rows", "found a sum of %lld, expected N = %lld", (long long)(n - left), (long long)n);
    return 0;
}

/* What the batch of a rank must be like where its statistics are taken. */
static int check_batches(const pfc_case *c, int ranks, pfc_diag *diag)
{
    bool training = pfc_param_int(c, "training") != 0, batch = training || !pfc_param_int(c, "track_running_stats");
    pfc_batch_norm_config cfg = pfc_batch_norm_case_config(c);
    bool grouped = training && cfg.kind == PFC_BN_SYNC && cfg.local_size > 1;
    int64_t splits = training ? cfg.num_splits : 1;
    for (int r = 0; r < ranks && batch; r++) {
        long long rows = (long long)pfc_batch_norm_case_rows(c, ranks, r);
        if (rows % splits != 0)
            return pfc_case_fail(c, diag, "/in/x", "found %lld samples on rank %d, expected a multiple of num_splits, %lld", rows, r, (long long)splits);
        if (grouped && cfg.weighting == PFC_BN_EQUAL && rows == 0)
            return pfc_case_fail(c, diag, "/in/rows", "found 0 at (%d), expected 1 or more with weighting=equal", r);
        if (!grouped && rows / splits * pfc_batch_norm_case_inner(c) <= 1)
            return pfc_case_fail(c, diag, "/in/x", "found %lld value%s per channel on rank %d, expected more than 1 for statistics of the batch",
                                 rows / splits * (long long)pfc_batch_norm_case_inner(c), rows / splits == 1 ? "" : "s", r);
    }
    return 0;
}

int pfc_batch_norm_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    int ranks = 1;
    MPI_Comm_size(comm, &ranks);
    if (!pfc_param_present(c, "local_size")) pfc_param_resolve_int(c, "local_size", ranks);
    if (!check_params(c, ranks, diag) && !check_shapes(c, ranks, diag) && !check_rows(c, ranks, diag)) check_batches(c, ranks, diag);
    c->depends_on_world = true; /* running statistics and weight gradients are per rank */
    return pfc_diag_agree(comm, diag);
}
