/* same_bounds.c: see same_bounds.h. */
#include "same_bounds.h"

#include <string.h>

static bool same_list(const pfc_tensor_list *a, const pfc_tensor_list *b)
{
    bool same = a->count == b->count;
    for (int j = 0; j < a->count; j++) {
        const pfc_tensor *x = &a->items[j], *y = pfc_tensor_find(b, x->name);
        same = same && y && memcmp(x->data, y->data, (size_t)pfc_tensor_elements(x) * sizeof(double)) == 0;
        for (int64_t i = 0; i < pfc_tensor_elements(x); i++) same = same && ((const double *)x->data)[i] >= 0;
    }
    return same;
}

bool same_bounds(const pfc_case *a, const pfc_case *b)
{
    return a->bound_out.count > 0 && same_list(&a->bound_out, &b->bound_out) && same_list(&a->bound_step, &b->bound_step);
}
