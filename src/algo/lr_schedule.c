/* lr_schedule.c: the learning rate of every iteration (semantics.md 5.7; swav main_swav.py). Bits: doc/exact-v1.md section 5, "lr_schedule".
 *
 *   1  warm-up         rise = warmup_epochs steps_per_epoch: linear from start_warmup to base_lr, both included
 *   2  half a cosine   of the `fall` steps after it: from base_lr towards final_lr
 *
 * Every caller computes all of it, nothing is moved. */
#include "core/px.h"

#include <pfc/swav.h>

pfc_status pfc_lr_schedule(const pfc_lr_config *cfg, double *lr)
{
    if (cfg->epochs < 1 || cfg->steps_per_epoch < 1 || cfg->warmup_epochs < 0 || cfg->warmup_epochs > cfg->epochs) return PFC_ERR_ARG;
    if (cfg->epochs > INT64_MAX / cfg->steps_per_epoch) return PFC_ERR_ARG; /* nobody has room for them either */
    int64_t rise = cfg->warmup_epochs * cfg->steps_per_epoch, total = cfg->epochs * cfg->steps_per_epoch, fall = total - rise;

    /* 1: numpy's linspace, both ends included. */
    double step = rise > 1 ? (cfg->base_lr - cfg->start_warmup) / (double)(rise - 1) : 0.0;
    for (int64_t i = 0; i < rise; i++) lr[i] = (double)i * step + cfg->start_warmup;
    if (rise > 1) lr[rise - 1] = cfg->base_lr;

    /* 2: final_lr is never reached. */
    for (int64_t t = 0; t < fall; t++) {
        double sine, cosine;
        px_sincos(0x1.921fb54442d18p+1 * (double)t / (double)fall, &sine, &cosine);
        lr[rise + t] = cfg->final_lr + (0.5 * (cfg->base_lr - cfg->final_lr)) * (1.0 + cosine);
    }
    return PFC_OK;
}
