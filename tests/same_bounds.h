/* same_bounds.h: the bounds of one case, made over different ranks. */
#ifndef SAME_BOUNDS_H
#define SAME_BOUNDS_H

#include "case/case.h"

/* As many, one at least, bit for bit, and none is NaN; both are whole on this rank. */
bool same_bounds(const pfc_case *a, const pfc_case *b);

#endif
