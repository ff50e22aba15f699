/* hints.h: what the two files of hints share: a tensor that differs, as finite numbers with a tolerance each. */
#ifndef PFC_HINTS_H
#define PFC_HINTS_H

#include "case/internal.h"
#include "driver/check.h"

typedef struct pfc_hinter {
    const pfc_check *k;
    pfc_check_row *r;
    const char *name; /* of the tensor */
    const pfc_tensor *got, *want;
    const pfc_tensor *before; /* the input of that name and shape: a state that is updated; NULL: none */
    int64_t n;
} pfc_hinter;

void pfc_hint(const pfc_hinter *h, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* How far an element may be off without saying anything. */
double pfc_hint_tolerance(const pfc_hinter *h, int64_t i);

/* A factor that turns the golden, or the golden's update of a state, into what was found (hints_factor.c). True: told. */
bool pfc_hint_factor(const pfc_hinter *h);
bool pfc_hint_update(const pfc_hinter *h);
bool pfc_hint_variance(const pfc_hinter *h);

#endif
