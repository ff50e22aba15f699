/* wrap_arcface.c: sub-centers, margins and what the rows aim at. */
#include "backend/checked/checked.h"

/* Structs in host memory that hold views of the backend's: a copy with what the inner backend gets. */
static const pfc_angular *angular(checked_call *c, const pfc_angular *head, pfc_angular *copy)
{
    *copy = *head;
    checked_view(c, CHECKED_IN, "head->constant", &copy->constant, !head->margins);
    return copy;
}

static const pfc_aims *aimed(checked_call *c, const pfc_aims *aims, checked_kind total, pfc_aims *copy)
{
    *copy = *aims;
    checked_view(c, CHECKED_IN, "aims->soft", &copy->soft, true);
    checked_view(c, CHECKED_IN, "aims->class_weight", &copy->class_weight, true);
    checked_view(c, total, "aims->total", &copy->total, false);
    return copy;
}

static pfc_status checked_subcenter_max(pfc_backend *be, int lane, pfc_view z, pfc_view bias, int64_t k, pfc_view cosine, pfc_view winner)
{
    BEGIN(subcenter_max);
    IN(z), OPTIONAL_IN(bias), OUT(cosine), OUT(winner);
    END(subcenter_max, lane, z, bias, k, cosine, winner);
}

static pfc_status checked_angular_logits(pfc_backend *be, int lane, const pfc_angular *head, pfc_view cosine, int64_t c0, const pfc_rows_info *rows, pfc_view l)
{
    pfc_angular h;
    BEGIN(angular_logits);
    head = angular(&call, head, &h), IN(cosine), ROWS_INFO(rows, CHECKED_IN), OUT(l);
    END(angular_logits, lane, head, cosine, c0, rows, l);
}

static pfc_status checked_softmax_prob(pfc_backend *be, int lane, pfc_view l, const pfc_rows_info *rows, pfc_view p)
{
    BEGIN(softmax_prob);
    IN_PLACE(l, p), ROWS_INFO(rows, CHECKED_IN);
    END(softmax_prob, lane, l, rows, p);
}

static pfc_status checked_aims_expo(pfc_backend *be, int lane, pfc_view l, int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_acc *total,
                                    pfc_acc *loss)
{
    pfc_aims a;
    BEGIN(aims_expo);
    IN(l), ROWS_INFO(rows, CHECKED_IN), aims = aimed(&call, aims, CHECKED_IN, &a);
    END(aims_expo, lane, l, c0, rows, aims, total, loss);
}

static pfc_status checked_aims_sum(pfc_backend *be, int lane, pfc_view l, int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_acc *total,
                                   pfc_acc *loss)
{
    pfc_aims a;
    BEGIN(aims_sum);
    IN(l), ROWS_INFO(rows, CHECKED_IN), aims = aimed(&call, aims, CHECKED_IN, &a);
    END(aims_sum, lane, l, c0, rows, aims, total, loss);
}

static pfc_status checked_subcenter_grad(pfc_backend *be, int lane, const pfc_angular *head, pfc_view cosine, pfc_view l, pfc_view winner, int64_t k,
                                         int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_view h, pfc_view bias_grad)
{
    pfc_angular angle;
    pfc_aims a;
    BEGIN(subcenter_grad);
    head = angular(&call, head, &angle), IN(cosine), IN(l), IN(winner), ROWS_INFO(rows, CHECKED_IN), aims = aimed(&call, aims, CHECKED_IN, &a);
    OUT(h), OPTIONAL_OUT(bias_grad);
    END(subcenter_grad, lane, head, cosine, l, winner, k, c0, rows, aims, h, bias_grad);
}

void pfc_checked_wrap_arcface(pfc_ops *table)
{
    SET(subcenter_max);
    SET(angular_logits);
    SET(softmax_prob);
    SET(aims_expo);
    SET(aims_sum);
    SET(subcenter_grad);
}
