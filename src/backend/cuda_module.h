/* cuda_module.h (internal): the CUDA backend is a module of its own, loaded when it is asked for, so that a program starts where there is neither driver
 * nor GPU. */
#ifndef PFC_CUDA_MODULE_H
#define PFC_CUDA_MODULE_H

#include "backend/backend.h"

/* Loads pfc_cuda.so from PFC_MODULE_DIR, or else from where the library was installed to, or from .libs beside the program (a build tree), and lets it
 * fill be. PFC_ERR_UNSUPPORTED and the reason in be->error if there is none, or no device. */
pfc_status pfc_cuda_load(pfc_backend *be, pfc_mode mode, const char *engine);

/* The exact and the fast table of the module, device or not; else PFC_ERR_UNSUPPORTED and why. */
pfc_status pfc_cuda_module_tables(const pfc_ops *out[2], char *why, size_t size);

#endif
