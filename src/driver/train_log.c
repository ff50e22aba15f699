/* train_log.c: what a run says while it goes on: a progress line on a terminal, else a line now and then as the SwAV source logs, and a tab-separated file. */
#include "case/internal.h"
#include "driver/train_task.h"
#include "file/new_file.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BAR = 24 };

static const char title[] = "step\tepoch\titeration\ttime\tdata_time\tloss\tloss_average\tlr\theld_out\taccuracy\n";

static void add(pfc_meter *m, double value)
{
    m->value = value;
    m->sum += value;
    m->count++;
}

double pfc_meter_average(const pfc_meter *m) { return m->count ? m->sum / (double)m->count : 0.0; }

/* ---- the file ---- */

/* The old log without what lies behind the step that the run goes on from. */
static bool keep_lines(const char *path, FILE *to, int64_t step)
{
    char *line = NULL;
    size_t size = 0;
    FILE *from = fopen(path, "r");
    if (!from) return errno == ENOENT;
    bool first = true;
    while (getline(&line, &size, from) > 0) {
        if (!first && strchr(line, '\n') && strtoll(line, NULL, 10) <= step) fputs(line, to);
        first = false;
    }
    bool good = !ferror(from);
    fclose(from);
    free(line);
    return good;
}

/* A new file with the old lines, under the name of the old one. */
static bool replace_file(pfc_train_log *log, const char *path, int64_t step, char *why, size_t size)
{
    char temporary[1200];
    if (!pfc_new_file_make(path, temporary, sizeof temporary, why, size)) return false;
    pfc_temporary_add(temporary);
    log->file = fopen(temporary, "w+"); /* a plot reads it */
    bool good = log->file && fputs(title, log->file) >= 0 && (step == 0 || keep_lines(path, log->file, step));
    good = good && fflush(log->file) == 0 && rename(temporary, path) == 0;
    if (!good) {
        snprintf(why, size, "%s", strerror(errno));
        unlink(temporary);
    }
    pfc_temporary_drop(temporary);
    return good;
}

/* Without --log a plot is drawn from a file that nobody else sees. */
static bool open_file(const pfc_cli *cli, pfc_train_log *log, int64_t step, char *why, size_t size)
{
    char place[1100];
    if (cli->log && pfc_new_file_place(cli->log, place, sizeof place)) return replace_file(log, place, step, why, size);
    if (cli->log && cli->plot) {
        snprintf(why, size, "--plot would read it, and it is no plain file");
        return false;
    }
    log->file = cli->log ? fopen(cli->log, "w") : tmpfile();
    if (log->file && fputs(title, log->file) >= 0) return true;
    snprintf(why, size, "%s", strerror(errno));
    return false;
}

int pfc_train_log_open(const pfc_cli *cli, int64_t step, pfc_train_log *log, pfc_diag *diag)
{
    char why[160];
    log->path = cli->log ? cli->log : "the log for --plot";
    log->quiet = cli->quiet || cli->rank != 0;
    log->first_step = step;
    log->start = MPI_Wtime();
    /* Open MPI makes stdout a terminal of its own, stderr never: only both tell that a person looks. */
    log->terminal = !log->quiet && isatty(1) && isatty(2);
    if (cli->rank == 0 && (cli->log || cli->plot) && !open_file(cli, log, step, why, sizeof why))
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: cannot be written: %s", log->path, why);
    return pfc_diag_agree(cli->comm, diag);
}

int pfc_train_log_close(const pfc_cli *cli, pfc_train_log *log, pfc_diag *diag)
{
    pfc_train_log_pause(log);
    if (log->file && (ferror(log->file) | fclose(log->file))) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: cannot be written: %s", log->path, strerror(errno));
    log->file = NULL;
    return pfc_diag_agree(cli->comm, diag);
}

/* ---- the lines ---- */

static void progress(const pfc_train_log *log, int64_t step, double lr)
{
    char bar[BAR + 1];
    int64_t done = step + 1;
    double seconds = (MPI_Wtime() - log->start) / (double)(done - log->first_step) * (double)(log->total_steps - done);
    for (int k = 0; k < BAR; k++) bar[k] = k * log->total_steps < BAR * done ? '#' : '.';
    bar[BAR] = 0;
    printf("\r[%s] %lld/%lld  loss %.4f (%.4f)  lr %.5g  %.1f ms/step  %.0f s left \x1b[K", bar, (long long)done, (long long)log->total_steps, log->loss.value,
           pfc_meter_average(&log->loss), lr, 1e3 * pfc_meter_average(&log->time), seconds);
    fflush(stdout);
}

static void plain(const pfc_train_log *log, int64_t step, double lr)
{
    printf("Epoch: [%lld][%lld/%lld]\tTime %.4f (%.4f)\tData %.4f (%.4f)\tLoss %.4f (%.4f)", (long long)(step / log->epoch_steps),
           (long long)(step % log->epoch_steps), (long long)log->epoch_steps, log->time.value, pfc_meter_average(&log->time), log->data.value,
           pfc_meter_average(&log->data), log->loss.value, pfc_meter_average(&log->loss));
    if (log->accuracy.count) printf("\tAcc %.4f (%.4f)", log->accuracy.value, pfc_meter_average(&log->accuracy));
    printf("\tLr: %.6g\n", lr);
    fflush(stdout);
}

static void write_line(const pfc_train_log *log, const pfc_train_step *s, double time)
{
    fprintf(log->file, "%lld\t%lld\t%lld\t%.6f\t%.6f\t%.17g\t%.17g\t%.17g\t\t", (long long)s->number + 1, (long long)(s->number / log->epoch_steps),
            (long long)(s->number % log->epoch_steps), time, s->data_time, s->loss, pfc_meter_average(&log->loss), s->lr);
    if (!isnan(s->accuracy)) fprintf(log->file, "%.17g", s->accuracy);
    fputc('\n', log->file);
}

void pfc_train_log_step(pfc_train_log *log, const pfc_train_step *s, double time)
{
    int64_t at = s->number % log->epoch_steps;
    if (at == 0) log->time = log->data = log->loss = log->accuracy = (pfc_meter){ 0, 0, 0 };
    add(&log->time, time);
    add(&log->data, s->data_time);
    add(&log->loss, s->loss);
    if (!isnan(s->accuracy)) add(&log->accuracy, s->accuracy);
    add(&log->all_time, time);
    add(&log->all_data, s->data_time);
    if (!isnan(s->head_time)) add(&log->all_head, s->head_time);
    if (log->file) write_line(log, s, time);
    if (log->terminal)
        progress(log, s->number, s->lr);
    else if (!log->quiet && (at % log->every == 0 || at == log->epoch_steps - 1))
        plain(log, s->number, s->lr);
}

void pfc_train_log_pause(pfc_train_log *log)
{
    if (log->terminal && log->time.count) printf("\n");
    if (log->file) fflush(log->file);
}

void pfc_train_log_accuracy(pfc_train_log *log, int64_t steps, const char *what, const char *name, int64_t right, int64_t count)
{
    double share = count ? (double)right / (double)count : 0.0;
    int64_t epoch = (steps - 1) / log->epoch_steps;
    if (!log->quiet) printf("Epoch: [%lld]\t%s%s %.4f (%lld of %lld)\n", (long long)epoch, what, name, share, (long long)right, (long long)count);
    if (log->file) fprintf(log->file, "%lld\t%lld\t\t\t\t\t\t\t%s\t%.17g\n", (long long)steps, (long long)epoch, name, share);
}
