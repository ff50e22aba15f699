/* exact_swav.h (internal): entries of the exact cpu tables for sinkhorn and swav (exact_sinkhorn.c, exact_swav.c; backend.h has their meaning). */
#ifndef PFC_CPU_EXACT_SWAV_H
#define PFC_CPU_EXACT_SWAV_H

#include "backend/backend.h"

pfc_status pfc_exact_sinkhorn_create(pfc_backend *be, const pfc_sinkhorn_config *cfg, double total, pfc_view scores, pfc_view q, double extremes[2],
                                     pfc_sinkhorn_plan **out);
void pfc_exact_sinkhorn_destroy(pfc_backend *be, pfc_sinkhorn_plan *plan);
pfc_status pfc_exact_sinkhorn_exp(pfc_backend *be, pfc_sinkhorn_plan *plan, const double extremes[2]);
pfc_status pfc_exact_sinkhorn_expo(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_acc *acc);
pfc_status pfc_exact_sinkhorn_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_acc *acc);
pfc_status pfc_exact_sinkhorn_total(pfc_backend *be, const pfc_acc *acc, double *sums, double *total);
pfc_status pfc_exact_sinkhorn_divide(pfc_backend *be, pfc_sinkhorn_plan *plan, double t);
pfc_status pfc_exact_sinkhorn_add(pfc_backend *be, pfc_sinkhorn_plan *plan, double x);
pfc_status pfc_exact_sinkhorn_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, const double *sums);
pfc_status pfc_exact_sinkhorn_finish(pfc_backend *be, pfc_sinkhorn_plan *plan);
pfc_status pfc_exact_sinkhorn_log_max(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max);
pfc_status pfc_exact_sinkhorn_log_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, pfc_acc *acc);
pfc_status pfc_exact_sinkhorn_log_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, const pfc_acc *acc, double *log_sums);
pfc_status pfc_exact_copy_rows(pfc_backend *be, pfc_view from, pfc_view to);
pfc_status pfc_exact_zero(pfc_backend *be, pfc_view to);
pfc_status pfc_exact_divide(pfc_backend *be, pfc_view a, double d);
pfc_status pfc_exact_scale(pfc_backend *be, pfc_view out, double factor);
pfc_status pfc_exact_swav_row_loss(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, double *row);
pfc_status pfc_exact_swav_dlogits(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, int first, pfc_view out);
pfc_status pfc_exact_decay_scale(pfc_backend *be, pfc_view g, pfc_view w, double decay, double factor);

#endif
