/* exact_moco.h (internal): the entries of the exact cpu tables that only moco uses (backend.h has their meaning). */
#ifndef PFC_CPU_EXACT_MOCO_H
#define PFC_CPU_EXACT_MOCO_H

#include "backend/backend.h"

pfc_status pfc_exact_momentum_update(pfc_backend *be, pfc_view k, pfc_view q, double mu);
pfc_status pfc_exact_positive_logits(pfc_backend *be, pfc_view q, pfc_view k, double s, pfc_view l);
pfc_status pfc_exact_positive_max(pfc_backend *be, pfc_view l, pfc_view max);
pfc_status pfc_exact_positive_sum(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum);
pfc_status pfc_exact_positive_grad(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum, double count, double s, pfc_view k, pfc_view g);

#endif
