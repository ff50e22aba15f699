/* schedule.c: the learning rate of every step, and the order of the examples. */
#include "core/px.h"
#include "core/rng_order.h"

#include <pfc/rng.h>
#include <pfc/swav.h>
#include <pfc/train.h>
#include <math.h>

pfc_status pfc_train_rates(const pfc_train_config *cfg, double *lr)
{
    const double reals[] = { cfg->base_lr, cfg->final_lr, cfg->start_lr, cfg->power };
    for (int i = 0; i < 4; i++)
        if (!isfinite(reals[i])) return PFC_ERR_ARG;
    if (cfg->schedule == PFC_SCHEDULE_POLYNOMIAL && cfg->power < 0.0) return PFC_ERR_ARG;
    /* Warm-up and cosine are SwAV's (semantics.md 5.7), with epochs of one step. */
    pfc_lr_config c = { .base_lr = cfg->base_lr, .final_lr = cfg->final_lr, .start_warmup = cfg->start_lr };
    c.warmup_epochs = cfg->warmup_steps;
    c.epochs = cfg->total_steps;
    c.steps_per_epoch = 1;
    PFC_TRY(pfc_lr_schedule(&c, lr));
    int64_t rise = cfg->warmup_steps, fall = cfg->total_steps - rise;
    for (int64_t t = 0; t < fall && cfg->schedule == PFC_SCHEDULE_CONSTANT; t++) lr[rise + t] = cfg->base_lr;
    for (int64_t t = 0; t < fall && cfg->schedule == PFC_SCHEDULE_POLYNOMIAL; t++) {
        double left = (double)(fall - t) / (double)fall;
        lr[rise + t] = cfg->final_lr + (cfg->base_lr - cfg->final_lr) * (cfg->power == 1.0 ? left : px_pow(left, cfg->power));
    }
    return PFC_OK;
}

pfc_status pfc_train_order(int64_t seed, int64_t epoch, int64_t count, int64_t *order)
{
    if (epoch < 0 || epoch > UINT32_MAX || count < 0 || count > INT64_MAX / 64) return PFC_ERR_ARG;
    return pfc_random_order(seed, (uint32_t)epoch, PFC_STREAM_EXAMPLE, count, order) ? PFC_OK : PFC_ERR_NOMEM;
}
