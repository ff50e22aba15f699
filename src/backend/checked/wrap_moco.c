/* wrap_moco.c: what only moco uses. */
#include "backend/checked/checked.h"

static pfc_status checked_momentum_update(pfc_backend *be, pfc_view k, pfc_view q, double mu)
{
    BEGIN(momentum_update);
    INOUT(k), IN(q);
    END(momentum_update, k, q, mu);
}

static pfc_status checked_positive_logits(pfc_backend *be, pfc_view q, pfc_view k, double s, pfc_view l)
{
    BEGIN(positive_logits);
    IN(q), IN(k), OUT(l);
    END(positive_logits, q, k, s, l);
}

static pfc_status checked_positive_max(pfc_backend *be, pfc_view l, pfc_view max)
{
    BEGIN(positive_max);
    IN(l), INOUT(max);
    END(positive_max, l, max);
}

static pfc_status checked_positive_sum(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum)
{
    BEGIN(positive_sum);
    IN(l), IN(max), INOUT(sum);
    END(positive_sum, l, max, sum);
}

static pfc_status checked_positive_grad(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum, double count, double s, pfc_view k, pfc_view g)
{
    BEGIN(positive_grad);
    IN(l), IN(max), IN(sum), IN(k), INOUT(g);
    END(positive_grad, l, max, sum, count, s, k, g);
}

void pfc_checked_wrap_moco(pfc_ops *table)
{
    SET(momentum_update);
    SET(positive_logits);
    SET(positive_max);
    SET(positive_sum);
    SET(positive_grad);
}
