/* pfc.h: the whole library. */
#ifndef PFC_PFC_H
#define PFC_PFC_H
#include <pfc/arcface_head.h>
#include <pfc/batch_norm.h>
#include <pfc/checkpoint.h>
#include <pfc/ctx.h>
#include <pfc/encoder.h>
#include <pfc/moco.h>
#include <pfc/partial_fc.h>
#include <pfc/rng.h>
#include <pfc/shard.h>
#include <pfc/sinkhorn.h>
#include <pfc/status.h>
#include <pfc/swav.h>
#include <pfc/train.h>
#include <pfc/view.h>

#ifdef __cplusplus
extern "C" {
#endif
#define PFC_SPEC_EXACT "exact-v1" /* the numerical specification of exact mode */
const char *pfc_version(void);    /* of the library, as configure knows it. Local */
#ifdef __cplusplus
}
#endif
#endif
