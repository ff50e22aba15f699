/* cmd_train.c: the loop of a training run, around whatever its task trains. */
#include "case/internal.h"
#include "driver/train_task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *spec(const pfc_train *t) { return pfc_ctx_mode(t->ctx) == PFC_EXACT ? PFC_SPEC_EXACT : "fast"; }

static int64_t total_steps(const pfc_train *t) { return t->settings.config.total_steps; }

static void print_facts(const pfc_train *t, const char *task)
{
    const pfc_train_config *c = &t->settings.config;
    if (t->log.quiet) return;
    printf("train: %s, %lld examples, batch %lld, %lld steps of %lld an epoch, %s %s %s, %d rank%s\n", task, (long long)c->examples, (long long)c->batch,
           (long long)total_steps(t), (long long)pfc_plan_epoch_steps(t->plan), spec(t), pfc_ctx_backend_name(t->ctx), pfc_ctx_isa(t->ctx), t->cli->ranks,
           t->cli->ranks == 1 ? "" : "s");
    if (t->cli->resume) printf("resumed from %s after step %lld\n", t->path, (long long)t->plan->steps);
    fflush(stdout);
}

/* ---- the loop ---- */

static int one_step(pfc_train *t)
{
    pfc_train_step s = { .number = t->plan->steps, .examples = t->examples, .loss = NAN, .accuracy = NAN, .head_time = NAN };
    double start = MPI_Wtime();
    pfc_status st = pfc_plan_rate(t->plan, &s.lr);
    if (st == PFC_OK) st = pfc_plan_batch(t->plan, t->examples);
    if (st != PFC_OK) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "%s", pfc_ctx_error(t->ctx));
    if (pfc_diag_agree(t->cli->comm, t->diag) || t->task->step(t, &s)) return t->diag->exit_status;
    t->loss = s.loss;
    pfc_train_log_step(&t->log, &s, MPI_Wtime() - start);
    if (!isfinite(s.loss))
        pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "step %lld: the run has diverged: loss %g; no checkpoint of it is written", (long long)t->plan->steps, s.loss);
    return t->diag->exit_status;
}

static int end_epoch(pfc_train *t)
{
    if (!t->task->evaluate) return 0;
    pfc_train_log_pause(&t->log);
    return t->task->evaluate(t);
}

static int loop(pfc_train *t, int *signal_seen)
{
    int64_t end = t->settings.stop_at > 0 && t->settings.stop_at < total_steps(t) ? t->settings.stop_at : total_steps(t);
    while (t->plan->steps < end && !(*signal_seen = pfc_train_stopped(t->cli))) {
        if (one_step(t)) return t->diag->exit_status;
        int64_t steps = t->plan->steps;
        if ((steps % pfc_plan_epoch_steps(t->plan) == 0 || steps == total_steps(t)) && end_epoch(t)) return t->diag->exit_status;
        if (t->cli->every && steps % t->cli->every == 0 && pfc_train_save(t)) return t->diag->exit_status;
    }
    return pfc_train_save(t);
}

/* ---- the end ---- */

static int write_json(pfc_train *t, int sig, double seconds)
{
    pfc_json *j = pfc_json_open(t->cli, t->diag);
    if (!t->cli->json || t->diag->exit_status) return t->diag->exit_status;
    pfc_json_text(j, "spec", spec(t));
    pfc_json_context(j, t->ctx);
    pfc_json_int(j, "ranks", t->cli->ranks);
    pfc_json_text(j, "task", t->task->name);
    if (t->settings.config.num_classes > 0) pfc_json_int(j, "num_classes", t->settings.config.num_classes);
    pfc_json_int(j, "steps", t->plan->steps);
    pfc_json_int(j, "total_steps", total_steps(t));
    pfc_json_bool(j, "stopped", sig != 0);
    pfc_json_real(j, "loss", t->loss);
    pfc_json_real(j, "seconds", seconds);
    pfc_json_real(j, "ms_per_step", 1e3 * pfc_meter_average(&t->log.all_time));
    pfc_json_real(j, "ms_data", 1e3 * pfc_meter_average(&t->log.all_data));
    if (t->log.all_head.count) pfc_json_real(j, "ms_head", 1e3 * pfc_meter_average(&t->log.all_head));
    if (t->saved >= 0) pfc_json_text(j, "checkpoint", t->path);
    pfc_json_begin(j, "accuracy", '{');
    for (int i = 0; i < t->accuracy_count; i++) pfc_json_real(j, t->accuracies[i].name, t->accuracies[i].value);
    pfc_json_end(j);
    return pfc_json_close(&j, t->cli, t->diag);
}

static void print_end(const pfc_train *t, int sig)
{
    const pfc_train_log *log = &t->log;
    if (log->quiet) return;
    if (log->all_time.count) {
        printf("time per step: %.3f ms, data %.3f ms", 1e3 * pfc_meter_average(&log->all_time), 1e3 * pfc_meter_average(&log->all_data));
        if (log->all_head.count) printf(", head %.3f ms", 1e3 * pfc_meter_average(&log->all_head));
        printf("\n");
    }
    printf("%s after step %lld of %lld%s%s\n", sig ? strsignal(sig) : "ended", (long long)t->plan->steps, (long long)total_steps(t),
           t->saved >= 0 ? "; checkpoint " : "", t->saved >= 0 ? t->path : "");
}

static int train(pfc_train *t)
{
    int sig = 0;
    char facts[400];
    t->log.every = t->settings.log_every;
    t->log.epoch_steps = pfc_plan_epoch_steps(t->plan);
    t->log.total_steps = total_steps(t);
    if (pfc_train_log_open(t->cli, t->plan->steps, &t->log, t->diag)) return t->diag->exit_status;
    t->task->facts(t, facts, sizeof facts);
    print_facts(t, facts);
    pfc_train_catch_signals();
    loop(t, &sig);
    pfc_train_release_signals();
    double seconds = MPI_Wtime() - t->log.start;
    if (!t->diag->exit_status) pfc_train_plot(t->cli, &t->log, facts, t->diag);
    if (!pfc_train_log_close(t->cli, &t->log, t->diag) && !write_json(t, sig, seconds)) print_end(t, sig);
    return t->diag->exit_status;
}

static int open_task(pfc_train *t)
{
    t->task = t->settings.task;
    t->ctx = pfc_cli_context(t->cli, t->cli->mode_given ? t->cli->mode : PFC_FAST, t->diag);
    if (!t->ctx || t->task->open(t)) return t->diag->exit_status;
    t->examples = malloc((size_t)pfc_plan_rows(t->plan) * sizeof *t->examples);
    if (!t->examples) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    return pfc_diag_agree(t->cli->comm, t->diag);
}

int pfc_cmd_train(pfc_cli *cli)
{
    pfc_diag diag = { 0 };
    pfc_train t = { .cli = cli, .diag = &diag, .saved = -1, .loss = NAN };
    if (!pfc_plot_check(cli, &diag) && !pfc_settings_read(cli, &t.settings, &diag) && !open_task(&t) && !pfc_train_resume(&t) && !pfc_train_check_folder(&t))
        train(&t);
    if (t.task) t.task->close(&t);
    free(t.examples);
    free(t.accuracies);
    pfc_settings_free(&t.settings);
    pfc_cli_context_close(&t.ctx, &diag);
    return pfc_report(cli, &diag);
}
