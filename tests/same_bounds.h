/* same_bounds.h: the bounds of one case, made over different ranks. */
#ifndef SAME_BOUNDS_H
#define SAME_BOUNDS_H

#include "case/case.h"

/* Bit for bit, and none is NaN; both are whole on this rank. */
bool same_bounds(const pfc_case *a, const pfc_case *b);

#endif
