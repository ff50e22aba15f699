/* skeleton_backend.h: where a backend for a new device begins (doc/backend.md). Exact mode, some groups of pfc_ops filled; not in the registry. */
#ifndef PFC_TEST_SKELETON_BACKEND_H
#define PFC_TEST_SKELETON_BACKEND_H

#include "backend/backend.h"

/* Fills a zeroed be: table, state, close. */
pfc_status skeleton_open(pfc_backend *be, pfc_mode mode);

#endif
