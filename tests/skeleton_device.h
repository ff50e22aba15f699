/* skeleton_device.h: the device of the skeleton of a backend, and what its two source files share. Your runtime's calls go here.
 *
 * Everything in the skeleton asks for no more than memory, copies both ways, and a loop whose iterations may run at the same time. Nothing outside such a
 * loop looks into device memory. Here the device is the host, and the loop is one. */
#ifndef PFC_TEST_SKELETON_DEVICE_H
#define PFC_TEST_SKELETON_DEVICE_H

#include "backend/backend.h"

#include <stdlib.h>
#include <string.h>

static inline void *device_malloc(size_t bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }
static inline void device_free(void *p) { free(p); }
static inline void to_device(void *to, const void *host, size_t bytes) { memcpy(to, host, bytes); }
static inline void to_host(void *host, const void *from, size_t bytes) { memcpy(host, from, bytes); }

typedef void (*device_body)(void *arg, int64_t i);
/* body(arg, 0..n-1), in any order or at once: a kernel launch. arg is copied to the device. */
static inline void device_run(int64_t n, device_body body, void *arg)
{
    for (int64_t i = 0; i < n; i++) body(arg, i);
}

/* PFC_ERR_NOMEM and its text. */
pfc_status skeleton_no_memory(pfc_backend *be, size_t bytes);

/* Products (skeleton_products.c). */
pfc_status skeleton_operand_create(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out);
void skeleton_operand_destroy(pfc_backend *be, pfc_operand *x);
pfc_status skeleton_cosines(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_view z);
pfc_status skeleton_weight_grad(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                pfc_view dw);

#endif
