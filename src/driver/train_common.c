/* train_common.c: what tasks and the loop share. */
#include "driver/train_task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

int pfc_train_failed(pfc_train *t, pfc_status st, const char *what)
{
    if (st == PFC_OK) return t->diag->exit_status;
    if (st == PFC_ERR_ARG || st == PFC_ERR_SHAPE) return pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "%s: %s", what, pfc_ctx_error(t->ctx));
    if (st == PFC_ERR_DATA || st == PFC_ERR_IO) /* the text names the file */
        return pfc_diag_fail(t->diag, st == PFC_ERR_DATA ? PFC_EXIT_FILE : PFC_EXIT_RUNTIME, "%s", pfc_ctx_error(t->ctx));
    return pfc_diag_fail(t->diag, st == PFC_ERR_UNSUPPORTED ? PFC_EXIT_BACKEND : PFC_EXIT_RUNTIME, "%s: %s", what, pfc_ctx_error(t->ctx));
}

int pfc_train_length(pfc_train *t)
{
    pfc_settings *s = &t->settings;
    int64_t epoch = s->config.examples / s->config.batch, epochs = s->epochs > 0 ? s->epochs : 1;
    if (epoch > 0 && epochs > INT64_MAX / 16 / epoch) return pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "epochs: found %lld, which is too many", (long long)epochs);
    s->config.total_steps = s->steps > 0 ? s->steps : epoch > 0 ? epochs * epoch : 1; /* a batch beyond the data: the plan says so */
    return 0;
}

static pfc_train_accuracy *accuracy_of(pfc_train *t, const char *name)
{
    for (int i = 0; i < t->accuracy_count; i++)
        if (strcmp(t->accuracies[i].name, name) == 0) return &t->accuracies[i];
    pfc_train_accuracy *longer = realloc(t->accuracies, ((size_t)t->accuracy_count + 1) * sizeof *longer);
    if (!longer) return NULL;
    t->accuracies = longer;
    snprintf(longer[t->accuracy_count].name, sizeof longer->name, "%s", name);
    return &longer[t->accuracy_count++];
}

static void tell(pfc_train *t, const char *what, const char *name, int64_t right, int64_t count)
{
    pfc_train_accuracy *a = accuracy_of(t, name);
    if (a)
        a->value = count ? (double)right / (double)count : NAN;
    else
        pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    pfc_train_log_accuracy(&t->log, t->plan->steps, what, name, right, count);
}

void pfc_train_tell(pfc_train *t, const char *name, int64_t right, int64_t count) { tell(t, "Held out ", name, right, count); }
void pfc_train_tell_share(pfc_train *t, const char *name, int64_t some, int64_t count) { tell(t, "", name, some, count); }
