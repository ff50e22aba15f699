/* plan.c: the course of a run: settings that hold for whatever trains, the examples and the rate of a step, their facts in a checkpoint. */
#include "train/plan.h"

#include "core/words.h"
#include "train/checkpoint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pfc_status check(pfc_ctx *ctx, const pfc_train_config *c)
{
    const int64_t most = INT64_MAX / 64; /* no size in bytes overflows */
    int ranks = pfc_ctx_ranks(ctx);
    if (c->schedule < PFC_SCHEDULE_CONSTANT || c->schedule > PFC_SCHEDULE_POLYNOMIAL)
        return pfc_fail(ctx, PFC_ERR_ARG, "schedule: found %d, which is none", (int)c->schedule);
    if (c->batch < 1) return pfc_fail(ctx, PFC_ERR_ARG, "batch: found %lld, expected 1 or more", (long long)c->batch);
    if (c->batch % ranks) return pfc_fail(ctx, PFC_ERR_SHAPE, "batch: found %lld, expected a multiple of the %d ranks", (long long)c->batch, ranks);
    if (c->examples < c->batch)
        return pfc_fail(ctx, PFC_ERR_ARG, "examples: found %lld, expected at least one batch of %lld", (long long)c->examples, (long long)c->batch);
    if (c->examples > most) return pfc_fail(ctx, PFC_ERR_ARG, "examples: found %lld, expected up to %lld", (long long)c->examples, (long long)most);
    if (c->total_steps < 1 || c->total_steps > most)
        return pfc_fail(ctx, PFC_ERR_ARG, "total_steps: found %lld, expected 1 to %lld", (long long)c->total_steps, (long long)most);
    if (c->warmup_steps < 0 || c->warmup_steps > c->total_steps)
        return pfc_fail(ctx, PFC_ERR_ARG, "warmup_steps: found %lld, expected 0 to %lld", (long long)c->warmup_steps, (long long)c->total_steps);
    if (!isfinite(c->momentum)) return pfc_fail(ctx, PFC_ERR_ARG, "momentum: found %g, expected a finite number", c->momentum);
    if (!isfinite(c->weight_decay)) return pfc_fail(ctx, PFC_ERR_ARG, "weight_decay: found %g, expected a finite number", c->weight_decay);
    if (c->nesterov && c->momentum == 0.0) return pfc_fail(ctx, PFC_ERR_ARG, "nesterov: needs a momentum that is not 0");
    return PFC_OK;
}

static pfc_status make_rates(pfc_plan *p)
{
    p->lr = malloc((size_t)p->cfg.total_steps * sizeof *p->lr);
    if (!p->lr) return pfc_fail(p->ctx, PFC_ERR_NOMEM, "out of memory");
    if (pfc_train_rates(&p->cfg, p->lr) == PFC_OK) return PFC_OK;
    return pfc_fail(p->ctx, PFC_ERR_ARG, "learning rate: found base %g, final %g, start %g, power %g, expected finite numbers and power 0 or more",
                    p->cfg.base_lr, p->cfg.final_lr, p->cfg.start_lr, p->cfg.power);
}

pfc_status pfc_plan_open(pfc_plan *p, pfc_ctx *ctx, const pfc_train_config *cfg)
{
    PFC_TRY(pfc_agree(ctx, check(ctx, cfg)));
    *p = (pfc_plan){ .ctx = ctx, .cfg = *cfg, .epoch = -1 };
    pfc_status st = pfc_agree(ctx, make_rates(p));
    if (st != PFC_OK) pfc_plan_close(p);
    return st;
}

void pfc_plan_close(pfc_plan *p)
{
    free(p->order);
    free(p->lr);
    p->order = NULL;
    p->lr = NULL;
}

int64_t pfc_plan_epoch_steps(const pfc_plan *p) { return p->cfg.examples / p->cfg.batch; }
int64_t pfc_plan_rows(const pfc_plan *p) { return p->cfg.batch / pfc_ctx_ranks(p->ctx); }
int64_t pfc_plan_epoch(const pfc_plan *p) { return p->steps / pfc_plan_epoch_steps(p); }

pfc_status pfc_plan_rate(const pfc_plan *p, double *lr)
{
    if (p->steps >= p->cfg.total_steps) return pfc_fail(p->ctx, PFC_ERR_ARG, "all %lld steps are done", (long long)p->cfg.total_steps);
    *lr = p->lr[p->steps];
    return PFC_OK;
}

pfc_status pfc_plan_batch(pfc_plan *p, int64_t *numbers)
{
    int64_t epoch = pfc_plan_epoch(p), at = p->steps % pfc_plan_epoch_steps(p), b = pfc_plan_rows(p);
    if (!p->order) p->order = malloc((size_t)p->cfg.examples * sizeof *p->order);
    if (!p->order) return pfc_fail(p->ctx, PFC_ERR_NOMEM, "out of memory");
    if (p->epoch != epoch) {
        pfc_status st = pfc_train_order(p->cfg.seed, epoch, p->cfg.examples, p->order);
        if (st != PFC_OK) return pfc_fail(p->ctx, st, "order of epoch %lld: %s", (long long)epoch, pfc_status_string(st));
        p->epoch = epoch;
    }
    memcpy(numbers, p->order + at * p->cfg.batch + pfc_ctx_rank(p->ctx) * b, (size_t)b * sizeof *numbers);
    return PFC_OK;
}

/* ---- checkpoints ---- */

static void schedule_items(const pfc_train_config *c, pfc_items *items)
{
    pfc_items_word(items, "schedule", PFC_WORDS_SCHEDULE, (int)c->schedule);
    pfc_items_real(items, "base_lr", c->base_lr);
    pfc_items_int(items, "warmup_steps", c->warmup_steps);
    if (c->warmup_steps) pfc_items_real(items, "start_lr", c->start_lr);
    if (c->schedule == PFC_SCHEDULE_CONSTANT) return;
    pfc_items_int(items, "total_steps", c->total_steps);
    pfc_items_real(items, "final_lr", c->final_lr);
    if (c->schedule == PFC_SCHEDULE_POLYNOMIAL) pfc_items_real(items, "power", c->power);
}

void pfc_plan_items(const pfc_plan *p, pfc_items *items)
{
    const pfc_train_config *c = &p->cfg;
    pfc_items_text(items, "mode", pfc_ctx_mode(p->ctx) == PFC_EXACT ? "exact" : "fast");
    pfc_items_int(items, "batch", c->batch);
    pfc_items_int(items, "examples", c->examples);
    pfc_items_int(items, "seed", c->seed);
    schedule_items(c, items);
    pfc_items_real(items, "momentum", c->momentum);
    pfc_items_real(items, "weight_decay", c->weight_decay);
    pfc_items_int(items, "nesterov", c->nesterov != 0);
    int64_t *step = pfc_items_memory(items, sizeof *step);
    if (!step) return;
    *step = p->steps;
    pfc_items_add(items, pfc_item_int("step", step, 0));
}

pfc_status pfc_plan_take(pfc_plan *p, const char *path, const pfc_items *items)
{
    int64_t step = *(const int64_t *)pfc_items_data(items, "step", false);
    if (step < 0 || step > p->cfg.total_steps)
        return pfc_checkpoint_fail(p->ctx, PFC_ERR_DATA, path, "/fact/step", "found %lld, expected 0 to %lld, the steps of this run", (long long)step,
                                   (long long)p->cfg.total_steps);
    p->steps = step;
    return PFC_OK;
}
