/* wrap_partial_fc.c: rows, products, softmax, gradients and update of partial_fc. Comments only where an argument is not what it looks like. */
#include "backend/checked/checked.h"

/* Exponents exist in exact mode; a fast table leaves the array alone. */
static checked_kind exact_out(const pfc_backend *be) { return be->ops->mode == PFC_EXACT ? CHECKED_OUT : CHECKED_IN; }

/* ---- rows ---- */

static pfc_status checked_row_norms(pfc_backend *be, pfc_rowset a, pfc_view norm, int32_t *expo)
{
    BEGIN(row_norms);
    ROWSET(CHECKED_IN, a), OUT(norm), OPTIONAL_ARRAY(exact_out(be), expo, PFC_I32, a.count);
    END(row_norms, a, norm, expo);
}

static pfc_status checked_round_state(pfc_backend *be, pfc_view state)
{
    BEGIN(round_state);
    INOUT(state);
    END(round_state, state);
}

/* ---- products ---- */

static pfc_status checked_operand_create(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out)
{
    BEGIN(operand_create);
    IN(x), IN(norm), OPTIONAL_ARRAY(CHECKED_IN, expo, PFC_I32, x.rows);
    END(operand_create, x, norm, expo, out);
}

static void checked_operand_destroy(pfc_backend *be, pfc_operand *x)
{
    pfc_backend *inner = checked_of(be)->inner;
    inner->ops->operand_destroy(inner, x);
}

static void checked_rows_ahead(pfc_backend *be, int lane, pfc_rowset w) { (void)be, (void)lane, (void)w; /* a hint: the inner backend does without */ }

static pfc_status checked_cosines(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised,
                                  pfc_view z)
{
    BEGIN(cosines);
    ROWSET(CHECKED_IN, w), IN(wnorm), OPTIONAL_ARRAY(CHECKED_IN, wexpo, PFC_I32, w.count), OUT(z);
    END(cosines, lane, x, w, wnorm, wexpo, normalised, z);
}

/* ---- logits and softmax ---- */

static pfc_status checked_row_max(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum)
{
    BEGIN(row_max);
    IN(z), ROWS_INFO(rows, CHECKED_INOUT); /* the targets of this block only; other lanes write theirs */
    END(row_max, lane, head, z, c0, rows, sum);
}

static pfc_status checked_row_max_fold(pfc_backend *be, pfc_acc *sum, pfc_view max)
{
    BEGIN(row_max_fold);
    OUT(max);
    END(row_max_fold, sum, max);
}

static pfc_status checked_row_sum(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum)
{
    BEGIN(row_sum);
    IN(z), ROWS_INFO(rows, CHECKED_IN);
    END(row_sum, lane, head, z, c0, rows, sum);
}

static pfc_status checked_target_prob(pfc_backend *be, const pfc_rows_info *rows, int64_t n_rows, double *prob)
{
    BEGIN(target_prob);
    ROWS_INFO(rows, CHECKED_IN), HOST_OUT(prob, PFC_F64, n_rows);
    END(target_prob, rows, n_rows, prob);
}

/* ---- taps ---- */

static pfc_status checked_logits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view l)
{
    BEGIN(logits);
    IN(z), ROWS_INFO(rows, CHECKED_IN), OUT(l);
    END(logits, lane, head, z, c0, rows, l);
}

static pfc_status checked_dlogits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view g)
{
    BEGIN(dlogits);
    IN(z), ROWS_INFO(rows, CHECKED_IN), OUT(g);
    END(dlogits, lane, head, z, c0, rows, g);
}

/* ---- gradients ---- */

static pfc_status checked_grad_expo(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view wnorm,
                                    const int32_t *wexpo, pfc_acc *feature, pfc_acc *dot)
{
    BEGIN(grad_expo);
    IN(z), ROWS_INFO(rows, CHECKED_IN), IN(wnorm), ARRAY_IN(wexpo, PFC_I32, z.rows);
    END(grad_expo, lane, head, z, c0, rows, wnorm, wexpo, feature, dot);
}

static pfc_status checked_logit_grad(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view h,
                                     pfc_acc *dot, pfc_view wdot)
{
    BEGIN(logit_grad);
    IN(z), ROWS_INFO(rows, CHECKED_IN), OUT(h);
    if (head->normalised)
        OUT(wdot);
    else
        OPTIONAL_IN(wdot);
    END(logit_grad, lane, head, z, c0, rows, h, dot, wdot);
}

static pfc_status checked_feature_grad(pfc_backend *be, int lane, pfc_view h, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised,
                                       pfc_acc *feature)
{
    BEGIN(feature_grad);
    IN(h), ROWSET(CHECKED_IN, w), IN(wnorm), OPTIONAL_ARRAY(CHECKED_IN, wexpo, PFC_I32, w.count);
    END(feature_grad, lane, h, w, wnorm, wexpo, normalised, feature);
}

static pfc_status checked_weight_grad(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                      pfc_view dw)
{
    BEGIN(weight_grad);
    IN(h), OUT(dw);
    if (normalised)
        ROWSET(CHECKED_IN, w), IN(wnorm), IN(wdot);
    else
        OPTIONAL_ROWSET(CHECKED_IN, w), OPTIONAL_IN(wnorm), OPTIONAL_IN(wdot); /* not read */
    END(weight_grad, lane, x, h, w, wnorm, wdot, normalised, dw);
}

static pfc_status checked_feature_grad_finish(pfc_backend *be, pfc_view feature, pfc_view dot, pfc_view x, pfc_view norm, int normalised, double scale,
                                              pfc_view x_grad)
{
    BEGIN(feature_grad_finish);
    IN(feature), IN(dot), IN(x), IN(norm), OUT(x_grad);
    END(feature_grad_finish, feature, dot, x, norm, normalised, scale, x_grad);
}

/* ---- update ---- */

static pfc_status checked_sgd_rows(pfc_backend *be, pfc_view dw, pfc_rowset weight, pfc_view momentum, const pfc_sgd *sgd)
{
    BEGIN(sgd_rows);
    OPTIONAL_IN(dw), ROWSET(CHECKED_INOUT, weight), INOUT(momentum);
    END(sgd_rows, dw, weight, momentum, sgd);
}

static pfc_status checked_weight_update(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot,
                                        int normalised, pfc_view momentum, const pfc_sgd *sgd)
{
    BEGIN(weight_update);
    IN(h), ROWSET(CHECKED_INOUT, w), INOUT(momentum);
    if (normalised)
        IN(wnorm), IN(wdot);
    else
        OPTIONAL_IN(wnorm), OPTIONAL_IN(wdot); /* not read */
    END(weight_update, lane, x, h, w, wnorm, wdot, normalised, momentum, sgd);
}

void pfc_checked_wrap_partial_fc(pfc_ops *table)
{
    SET(row_norms);
    SET(round_state);
    SET(operand_create);
    SET(operand_destroy);
    SET(rows_ahead);
    SET(cosines);
    SET(row_max);
    SET(row_max_fold);
    SET(row_sum);
    SET(target_prob);
    SET(logits);
    SET(dlogits);
    SET(grad_expo);
    SET(logit_grad);
    SET(feature_grad);
    SET(weight_grad);
    SET(feature_grad_finish);
    SET(sgd_rows);
    SET(weight_update);
}
