/* wrap_matrix.c: whole matrices. */
#include "backend/checked/checked.h"

static pfc_status checked_normalise(pfc_backend *be, pfc_view a, pfc_view norm, pfc_view out)
{
    BEGIN(normalise);
    IN(norm), IN_PLACE(a, out);
    END(normalise, a, norm, out);
}

static pfc_status checked_normalise_backward(pfc_backend *be, pfc_view g, pfc_view unit, pfc_view norm, pfc_view out)
{
    BEGIN(normalise_backward);
    IN(unit), IN(norm), IN_PLACE(g, out);
    END(normalise_backward, g, unit, norm, out);
}

static pfc_status checked_softmax_rows(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum)
{
    BEGIN(softmax_rows);
    IN(a), OUT(max), OUT(sum);
    END(softmax_rows, a, t, max, sum);
}

static pfc_status checked_column_expo(pfc_backend *be, int lane, pfc_view a, const int32_t *expo, pfc_acc *acc)
{
    BEGIN(column_expo);
    IN(a), ARRAY_IN(expo, PFC_I32, a.rows);
    END(column_expo, lane, a, expo, acc);
}

void pfc_checked_wrap_matrix(pfc_ops *table)
{
    SET(normalise);
    SET(normalise_backward);
    SET(softmax_rows);
    SET(column_expo);
}
