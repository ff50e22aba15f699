/* engine_amx.h (internal): memory of panels, for the amx engine and its start-up test. */
#ifndef PFC_ENGINE_AMX_H
#define PFC_ENGINE_AMX_H

#include "backend/cpu/exact.h"
#include "backend/cpu/exact_amx.h"

/* Bytes (a multiple of 64) of `count` panels with K = k, and the panels in 64-byte aligned memory of that size. */
int64_t pfc_amx_panels_bytes(int64_t count, int64_t k);
pfc_amx_panel *pfc_amx_panels_place(void *memory, int64_t count, int64_t k);

#endif
