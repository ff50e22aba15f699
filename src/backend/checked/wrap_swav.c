/* wrap_swav.c: sinkhorn and swav. A plan keeps scores and q from sinkhorn_create on, so they stay where they are and are not looked at. */
#include "backend/checked/checked.h"

/* Operations on a plan alone. */
#define PLAN(op, parameters, ...)             \
    static pfc_status checked_##op parameters \
    {                                         \
        BEGIN(op);                            \
        END(op, __VA_ARGS__);                 \
    }

static pfc_status checked_sinkhorn_create(pfc_backend *be, const pfc_sinkhorn_config *cfg, double total, pfc_view scores, pfc_view q, double extremes[2],
                                          pfc_sinkhorn_plan **out)
{
    BEGIN(sinkhorn_create);
    INOUT(scores), INOUT(q), HOST_OUT(extremes, PFC_F64, 2);
    END(sinkhorn_create, cfg, total, scores, q, extremes, out);
}

static void checked_sinkhorn_destroy(pfc_backend *be, pfc_sinkhorn_plan *plan)
{
    pfc_backend *inner = checked_of(be)->inner;
    inner->ops->sinkhorn_destroy(inner, plan);
}

static pfc_status checked_sinkhorn_exp(pfc_backend *be, pfc_sinkhorn_plan *plan, const double extremes[2])
{
    BEGIN(sinkhorn_exp);
    HOST_IN(extremes);
    END(sinkhorn_exp, plan, extremes);
}

PLAN(sinkhorn_expo, (pfc_backend * be, pfc_sinkhorn_plan *plan, pfc_acc *acc), plan, acc)
PLAN(sinkhorn_sums, (pfc_backend * be, pfc_sinkhorn_plan *plan, pfc_acc *acc), plan, acc)
PLAN(sinkhorn_divide, (pfc_backend * be, pfc_sinkhorn_plan *plan, double t), plan, t)
PLAN(sinkhorn_add, (pfc_backend * be, pfc_sinkhorn_plan *plan, double x), plan, x)
PLAN(sinkhorn_finish, (pfc_backend * be, pfc_sinkhorn_plan *plan), plan)

static pfc_status checked_sinkhorn_total(pfc_backend *be, const pfc_acc *acc, double *sums, double *total)
{
    BEGIN(sinkhorn_total);
    HOST_OUT(sums, PFC_F64, acc->rows), HOST_OUT(total, PFC_F64, 1);
    END(sinkhorn_total, acc, sums, total);
}

static pfc_status checked_sinkhorn_own_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, double *sums)
{
    BEGIN(sinkhorn_own_sums);
    END(sinkhorn_own_sums, plan, sums);
}

static pfc_status checked_sinkhorn_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, const double *sums)
{
    BEGIN(sinkhorn_scale);
    HOST_IN(sums);
    END(sinkhorn_scale, plan, sums);
}

static pfc_status checked_sinkhorn_log_max(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max)
{
    BEGIN(sinkhorn_log_max);
    OUT(max);
    END(sinkhorn_log_max, plan, max);
}

static pfc_status checked_sinkhorn_log_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, pfc_acc *acc)
{
    BEGIN(sinkhorn_log_sums);
    IN(max);
    END(sinkhorn_log_sums, plan, max, acc);
}

static pfc_status checked_sinkhorn_log_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, const pfc_acc *acc, double *log_sums)
{
    BEGIN(sinkhorn_log_scale);
    IN(max), HOST_OUT(log_sums, PFC_F64, max.rows);
    END(sinkhorn_log_scale, plan, max, acc, log_sums);
}

static pfc_status checked_copy_rows(pfc_backend *be, pfc_view from, pfc_view to)
{
    BEGIN(copy_rows);
    MOVE(from, to);
    END(copy_rows, from, to);
}

static pfc_status checked_zero(pfc_backend *be, pfc_view to)
{
    BEGIN(zero);
    OUT(to);
    END(zero, to);
}

static pfc_status checked_divide(pfc_backend *be, pfc_view a, double d)
{
    BEGIN(divide);
    INOUT(a);
    END(divide, a, d);
}

static pfc_status checked_swav_row_loss(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, double *row)
{
    BEGIN(swav_row_loss);
    IN(a), IN(max), IN(sum), IN(q), HOST_OUT(row, PFC_F64, a.rows);
    END(swav_row_loss, a, t, max, sum, q, source, row);
}

static pfc_status checked_swav_dlogits(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, int first, pfc_view out)
{
    BEGIN(swav_dlogits);
    IN(a), IN(max), IN(sum), IN(q), VIEW(first ? CHECKED_OUT : CHECKED_INOUT, out);
    END(swav_dlogits, a, t, max, sum, q, source, first, out);
}

static pfc_status checked_scale(pfc_backend *be, pfc_view out, double factor)
{
    BEGIN(scale);
    INOUT(out);
    END(scale, out, factor);
}

static pfc_status checked_decay_scale(pfc_backend *be, pfc_view g, pfc_view w, double decay, double factor)
{
    BEGIN(decay_scale);
    INOUT(g), IN(w);
    END(decay_scale, g, w, decay, factor);
}

void pfc_checked_wrap_swav(pfc_ops *table)
{
    SET(sinkhorn_create);
    SET(sinkhorn_destroy);
    SET(sinkhorn_exp);
    SET(sinkhorn_expo);
    SET(sinkhorn_sums);
    SET(sinkhorn_own_sums);
    SET(sinkhorn_total);
    SET(sinkhorn_divide);
    SET(sinkhorn_add);
    SET(sinkhorn_scale);
    SET(sinkhorn_finish);
    SET(sinkhorn_log_max);
    SET(sinkhorn_log_sums);
    SET(sinkhorn_log_scale);
    SET(copy_rows);
    SET(zero);
    SET(divide);
    SET(swav_row_loss);
    SET(swav_dlogits);
    SET(scale);
    SET(decay_scale);
}
