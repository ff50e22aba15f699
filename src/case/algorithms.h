/* algorithms.h: the tables of the families; registry.c lists them. */
#ifndef PFC_CASE_ALGORITHMS_H
#define PFC_CASE_ALGORITHMS_H

#include "case/case.h"

extern const pfc_algorithm pfc_algorithm_partial_fc;
extern const pfc_algorithm pfc_algorithm_sinkhorn, pfc_algorithm_swav, pfc_algorithm_lr_schedule;

#endif
