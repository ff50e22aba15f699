/* algorithms.h: the tables of the families; registry.c lists them. */
#ifndef PFC_CASE_ALGORITHMS_H
#define PFC_CASE_ALGORITHMS_H

#include "case/case.h"

extern const pfc_algorithm pfc_algorithm_partial_fc;
extern const pfc_algorithm pfc_algorithm_batch_norm, pfc_algorithm_group_gather;
extern const pfc_algorithm pfc_algorithm_arcface_head;
extern const pfc_algorithm pfc_algorithm_adaptive_margins;
extern const pfc_algorithm pfc_algorithm_moco_shuffle, pfc_algorithm_moco;
extern const pfc_algorithm pfc_algorithm_sinkhorn, pfc_algorithm_swav, pfc_algorithm_lr_schedule;

#endif
