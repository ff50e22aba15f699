/* checked.c: opening and closing the checked backend, and its table. */
#include "backend/checked/checked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*entry)(void); /* any operation */

enum { FIRST = offsetof(pfc_ops, alloc), ENTRIES = (sizeof(pfc_ops) - FIRST) / sizeof(entry) };
_Static_assert(FIRST + ENTRIES * sizeof(entry) == sizeof(pfc_ops), "pfc_ops ends with operations, and nothing else is between them");

static entry entry_of(const pfc_ops *ops, int i)
{
    entry e;
    memcpy(&e, (const char *)ops + FIRST + (size_t)i * sizeof e, sizeof e);
    return e;
}

/* An operation of the inner table that has no wrapper is an error; an optional one that it does not have is not offered either. */
static pfc_status make_table(pfc_backend *be, pfc_checked *s)
{
    pfc_ops *t = &s->table;
    const pfc_ops *in = s->inner->ops;
    const entry none = NULL;
    pfc_checked_wrap_core(t);
    pfc_checked_wrap_partial_fc(t);
    pfc_checked_wrap_matrix(t);
    pfc_checked_wrap_arcface(t);
    pfc_checked_wrap_swav(t);
    pfc_checked_wrap_moco(t);
    pfc_checked_wrap_batch_norm(t);
    t->mean_loss = in->mean_loss; /* host memory in and out, no backend */
    const char *missing = pfc_ops_missing(t);
    for (int i = 0, last = 0; i < ENTRIES; i++) {
        if (entry_of(t, i)) last = i;
        if (entry_of(in, i) && !entry_of(t, i)) {
            snprintf(be->error, sizeof be->error, "backend checked has no wrapper for operation %s (entry %d of pfc_ops, %d after the last it has)",
                     missing ? missing : "", i + 1, i - last);
            return PFC_ERR_UNSUPPORTED;
        }
        if (!entry_of(in, i)) memcpy((char *)t + FIRST + (size_t)i * sizeof none, &none, sizeof none);
    }
    t->name = "checked";
    t->isa = in->isa;
    t->mode = in->mode;
    t->real = in->real;
    t->place = PFC_DEVICE;
    t->lanes = in->lanes;
    t->block_classes = in->block_classes;
    return PFC_OK;
}

static void close_checked(pfc_backend *be)
{
    pfc_checked *s = checked_of(be);
    be->error[0] = 0;
    pfc_checked_memory_close(s, be->error, sizeof be->error);
    pfc_backend_close(s->inner);
    free(s);
}

pfc_status pfc_checked_open(pfc_backend *be, pfc_backend *inner)
{
    pfc_checked *s = calloc(1, sizeof *s);
    if (!s) {
        pfc_backend_close(inner);
        snprintf(be->error, sizeof be->error, "out of memory");
        return PFC_ERR_NOMEM;
    }
    s->inner = inner;
    be->state = s;
    be->ops = &s->table;
    be->close = close_checked;
    be->threads = inner->threads;
    be->lanes = inner->lanes;
    be->self_check = inner->self_check;
    be->engine = inner->engine;
    pfc_status st = pfc_checked_memory_open(s);
    if (st != PFC_OK) snprintf(be->error, sizeof be->error, "checked: no address space");
    return st == PFC_OK ? make_table(be, s) : st;
}
