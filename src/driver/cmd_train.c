/* cmd_train.c: trains a layer on the user's features. */
#include "case/internal.h"
#include "driver/train.h"
#include "file/new_file.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct run {
    pfc_cli *cli;
    pfc_diag *diag;
    pfc_settings settings;
    pfc_data data, *held_out;
    pfc_ctx *ctx;
    pfc_trainer *trainer;
    int64_t total, saved; /* steps of the schedule; step of the last checkpoint of this process, -1: none */
    int64_t b;
    float *features;           /* (b, D) */
    int64_t *labels, *numbers; /* (b) */
    pfc_item more[2];          /* what the checkpoint says about the data */
    char path[1100];           /* of the checkpoint */
    pfc_train_log log;
    double loss;      /* of the last step; NaN: none */
    double *accuracy; /* last ones, by held-out set; NaN: not measured */
} run;

static int failed(run *r, pfc_status st, const char *what)
{
    if (st == PFC_OK) return r->diag->exit_status;
    if (st == PFC_ERR_ARG || st == PFC_ERR_SHAPE) return pfc_diag_fail(r->diag, PFC_EXIT_USAGE, "%s: %s", what, pfc_ctx_error(r->ctx));
    if (st == PFC_ERR_DATA || st == PFC_ERR_IO) /* the text names the file */
        return pfc_diag_fail(r->diag, st == PFC_ERR_DATA ? PFC_EXIT_FILE : PFC_EXIT_RUNTIME, "%s", pfc_ctx_error(r->ctx));
    return pfc_diag_fail(r->diag, st == PFC_ERR_UNSUPPORTED ? PFC_EXIT_BACKEND : PFC_EXIT_RUNTIME, "%s: %s", what, pfc_ctx_error(r->ctx));
}

/* ---- the signals that stop a run after its step ---- */

static volatile sig_atomic_t stop_signal;
static const int signals[] = { SIGINT, SIGTERM, SIGUSR1 }; /* mpirun hands SIGUSR1 on as it is */
enum { SIGNALS = sizeof signals / sizeof signals[0] };
static struct sigaction old[SIGNALS];

/* The second one ends the program as it would without us: main's handler takes unfinished files away. */
static void note_signal(int sig)
{
    for (int i = 0; i < SIGNALS && stop_signal; i++)
        if (signals[i] == sig) {
            sigaction(sig, &old[i], NULL);
            raise(sig);
        }
    stop_signal = sig;
}

static void catch_signals(void)
{
    struct sigaction act = { .sa_handler = note_signal, .sa_flags = SA_RESTART };
    sigemptyset(&act.sa_mask);
    stop_signal = 0;
    for (int i = 0; i < SIGNALS; i++) {
        sigaction(signals[i], &act, &old[i]);
        if (old[i].sa_handler == SIG_IGN && signals[i] != SIGUSR1) sigaction(signals[i], &old[i], NULL);
    }
}

static void release_signals(void)
{
    for (int i = 0; i < SIGNALS; i++) sigaction(signals[i], &old[i], NULL);
}

/* Of any rank. Collective. */
static int stopped(const run *r)
{
    int sig = (int)stop_signal;
    MPI_Allreduce(MPI_IN_PLACE, &sig, 1, MPI_INT, MPI_MAX, r->cli->comm);
    return sig;
}

/* ---- before the first step ---- */

static int read_data(run *r)
{
    const pfc_cli *cli = r->cli;
    pfc_train_config *c = &r->settings.config;
    if (pfc_data_read(cli, cli->features, cli->labels, r->settings.num_classes, &r->data, r->diag)) return r->diag->exit_status;
    c->num_classes = r->settings.num_classes > 0 ? r->settings.num_classes : r->data.classes;
    c->embedding_size = r->data.width;
    c->examples = r->data.examples.count;
    r->held_out = calloc((size_t)cli->held_out_count + 1, sizeof *r->held_out);
    r->accuracy = malloc(((size_t)cli->held_out_count + 1) * sizeof *r->accuracy);
    if (!r->held_out || !r->accuracy) pfc_diag_fail(r->diag, PFC_EXIT_RUNTIME, "out of memory");
    for (int i = 0; r->accuracy && i < cli->held_out_count; i++) r->accuracy[i] = NAN;
    for (int i = 0; i < cli->held_out_count && !pfc_diag_agree(cli->comm, r->diag); i++) {
        pfc_data *h = &r->held_out[i];
        if (!pfc_data_read(cli, cli->held_out[i], cli->held_out_labels[i], c->num_classes, h, r->diag) && h->width != r->data.width)
            pfc_diag_fail(r->diag, PFC_EXIT_FILE, "%s: found width %lld, expected %lld, that of %.200s", cli->held_out[i], (long long)h->width,
                          (long long)r->data.width, cli->features);
    }
    return pfc_diag_agree(cli->comm, r->diag);
}

static int plan_length(run *r)
{
    pfc_settings *s = &r->settings;
    int64_t epoch = s->config.examples / s->config.batch, epochs = s->epochs > 0 ? s->epochs : 1;
    if (epoch > 0 && epochs > INT64_MAX / 16 / epoch) return pfc_diag_fail(r->diag, PFC_EXIT_USAGE, "epochs: found %lld, which is too many", (long long)epochs);
    s->config.total_steps = r->total = s->steps > 0 ? s->steps : epoch > 0 ? epochs * epoch : 1; /* a batch beyond the data: the trainer says so */
    return 0;
}

static int open_trainer(run *r)
{
    const pfc_cli *cli = r->cli;
    r->ctx = pfc_cli_context(cli, cli->mode_given ? cli->mode : PFC_FAST, r->diag);
    if (!r->ctx || plan_length(r) || failed(r, pfc_trainer_create(r->ctx, &r->settings.config, &r->trainer), "train")) return r->diag->exit_status;
    if (pfc_data_digest(r->ctx, &r->data, r->diag)) return r->diag->exit_status;
    r->more[0] = pfc_item_text("features_sha256", r->data.features_sha256, 1);
    r->more[1] = pfc_item_text("labels_sha256", r->data.labels_sha256, 1);
    r->b = r->settings.config.batch / cli->ranks;
    r->features = malloc((size_t)(r->b * r->data.width) * sizeof *r->features);
    r->labels = malloc((size_t)r->b * sizeof *r->labels);
    r->numbers = malloc((size_t)r->b * sizeof *r->numbers);
    if (!r->features || !r->labels || !r->numbers) pfc_diag_fail(r->diag, PFC_EXIT_RUNTIME, "out of memory");
    return pfc_diag_agree(cli->comm, r->diag);
}

static bool is_folder(const pfc_cli *cli, const char *path)
{
    struct stat s;
    int folder = cli->rank == 0 && stat(path, &s) == 0 && S_ISDIR(s.st_mode);
    MPI_Bcast(&folder, 1, MPI_INT, 0, cli->comm);
    return folder != 0;
}

/* A disposable process reads it first (probe.c). Collective. */
static int probe(run *r, const char *path)
{
    char text[160], label[PFC_LABEL];
    const char *fault = r->cli->rank == 0 ? pfc_probe(path, text, sizeof text) : NULL;
    if (fault) pfc_diag_fail(r->diag, PFC_EXIT_FILE, "%s: found a damaged file (%s), expected a checkpoint", pfc_label(path, label), fault);
    return pfc_diag_agree(r->cli->comm, r->diag);
}

static int resume(run *r)
{
    const char *from = r->cli->resume;
    if (!from) return 0;
    if (!from[0]) from = r->cli->checkpoint;
    snprintf(r->path, sizeof r->path, "%s", from);
    if ((!r->cli->resume[0] || is_folder(r->cli, from)) && failed(r, pfc_checkpoint_latest(r->ctx, from, r->path, sizeof r->path, NULL), from))
        return r->diag->exit_status;
    if (probe(r, r->path)) return r->diag->exit_status;
    if (failed(r, pfc_trainer_load(r->trainer, r->path, r->more, 2), r->path)) return r->diag->exit_status;
    size_t n = r->cli->checkpoint ? strlen(r->cli->checkpoint) : 0;
    if (n && strncmp(r->path, r->cli->checkpoint, n) == 0 && r->path[n] == '/') r->saved = pfc_trainer_steps(r->trainer); /* it is there already */
    return 0;
}

/* A folder that cannot be written is better known now than after the last step. Collective. */
static int make_folder(run *r)
{
    const char *folder = r->cli->checkpoint;
    if (r->cli->rank == 0) {
        char why[160];
        bool made = pfc_new_folder(folder, why, sizeof why);
        if (!made || access(folder, W_OK | X_OK))
            pfc_diag_fail(r->diag, PFC_EXIT_RUNTIME, "%s: no checkpoint can be written there: %s", folder, made ? strerror(errno) : why);
    }
    return pfc_diag_agree(r->cli->comm, r->diag);
}

/* Newer checkpoints in the folder are another run's, or of a branch that this run leaves: "the newest" would not be this run's. */
static int check_folder(run *r)
{
    int64_t newest = -1, begins = pfc_trainer_steps(r->trainer);
    char path[1100];
    if (!r->cli->checkpoint) return 0;
    if (pfc_checkpoint_latest(r->ctx, r->cli->checkpoint, path, sizeof path, &newest) != PFC_OK || newest <= begins) return make_folder(r);
    return pfc_diag_fail(
        r->diag, PFC_EXIT_USAGE,
        "%s: found the checkpoint of step %lld, expected none after step %lld, where this run begins: go on with --resume, or choose another folder",
        r->cli->checkpoint, (long long)newest, (long long)begins);
}

static void print_facts(const run *r)
{
    const pfc_train_config *c = &r->settings.config;
    static const char *const heads[] = { "linear", "cos", "arc", "circle" };
    if (r->log.quiet) return;
    printf("train: head %s, C = %lld, D = %lld, %lld examples, batch %lld, %lld steps of %lld an epoch, %s %s %s, %d rank%s\n",
           c->layer == PFC_TRAIN_ARCFACE ? "arcface_head" : heads[c->partial_fc.head], (long long)c->num_classes, (long long)c->embedding_size,
           (long long)c->examples, (long long)c->batch, (long long)r->total, (long long)pfc_trainer_epoch_steps(r->trainer),
           pfc_ctx_mode(r->ctx) == PFC_EXACT ? PFC_SPEC_EXACT : "fast", pfc_ctx_backend_name(r->ctx), pfc_ctx_isa(r->ctx), r->cli->ranks,
           r->cli->ranks == 1 ? "" : "s");
    if (r->cli->resume) printf("resumed from %s after step %lld\n", r->path, (long long)pfc_trainer_steps(r->trainer));
    fflush(stdout);
}

/* ---- the loop ---- */

static int one_step(run *r)
{
    int64_t step = pfc_trainer_steps(r->trainer), D = r->data.width;
    double start = MPI_Wtime(), fetched;
    pfc_train_result result = { .x_grad = { 0 } };
    if (pfc_trainer_batch(r->trainer, r->numbers) != PFC_OK) pfc_diag_fail(r->diag, PFC_EXIT_RUNTIME, "%s", pfc_ctx_error(r->ctx));
    if (pfc_diag_agree(r->cli->comm, r->diag)) return r->diag->exit_status;
    if (failed(r, pfc_examples_fetch(r->ctx, &r->data.examples, r->numbers, r->b, r->features, r->labels), "examples")) return r->diag->exit_status;
    fetched = MPI_Wtime();
    pfc_status st = pfc_trainer_step(r->trainer, pfc_view_make(r->features, PFC_F32, r->b, D), pfc_view_make(r->labels, PFC_I64, r->b, 1), &result);
    if (failed(r, st, "step")) return r->diag->exit_status;
    r->loss = result.loss;
    pfc_train_log_step(&r->log, step, MPI_Wtime() - start, fetched - start, result.loss, result.lr);
    return 0;
}

static int measure(run *r, int set)
{
    const pfc_data *h = &r->held_out[set];
    pfc_shard mine = pfc_shard_of(h->examples.count, r->cli->ranks, r->cli->rank);
    int64_t *classes = malloc((size_t)mine.count * sizeof *classes + 1), right = 0;
    if (!classes) pfc_diag_fail(r->diag, PFC_EXIT_RUNTIME, "out of memory");
    if (!pfc_diag_agree(r->cli->comm, r->diag) &&
        !failed(r, pfc_trainer_nearest(r->trainer, pfc_view_make(h->examples.rows, PFC_F32, mine.count, h->width), classes), "accuracy")) {
        for (int64_t i = 0; i < mine.count; i++) right += classes[i] == h->examples.labels[i];
        MPI_Allreduce(MPI_IN_PLACE, &right, 1, MPI_INT64_T, MPI_SUM, r->cli->comm);
        r->accuracy[set] = h->examples.count ? (double)right / (double)h->examples.count : NAN;
        pfc_train_log_accuracy(&r->log, pfc_trainer_steps(r->trainer), h->name, right, h->examples.count);
    }
    free(classes);
    return r->diag->exit_status;
}

static int end_epoch(run *r)
{
    if (r->cli->held_out_count) pfc_train_log_pause(&r->log);
    for (int i = 0; i < r->cli->held_out_count; i++)
        if (measure(r, i)) break;
    return r->diag->exit_status;
}

static int save(run *r)
{
    int64_t step = pfc_trainer_steps(r->trainer);
    if (!r->cli->checkpoint || r->saved == step) return 0;
    if (r->log.file) fflush(r->log.file); /* a run that goes on from here finds the lines up to here */
    if (failed(r, pfc_trainer_save(r->trainer, r->cli->checkpoint, r->cli->keep ? r->cli->keep : 3, r->more, 2, r->path, sizeof r->path), r->cli->checkpoint))
        return r->diag->exit_status;
    r->saved = step;
    return 0;
}

static int loop(run *r, int *signal_seen)
{
    int64_t end = r->settings.stop_at > 0 && r->settings.stop_at < r->total ? r->settings.stop_at : r->total;
    while (pfc_trainer_steps(r->trainer) < end && !(*signal_seen = stopped(r))) {
        if (one_step(r)) return r->diag->exit_status;
        int64_t steps = pfc_trainer_steps(r->trainer);
        if ((steps % pfc_trainer_epoch_steps(r->trainer) == 0 || steps == r->total) && end_epoch(r)) return r->diag->exit_status;
        if (r->cli->every && steps % r->cli->every == 0 && save(r)) return r->diag->exit_status;
    }
    return save(r);
}

static int write_json(run *r, int sig, double seconds)
{
    pfc_json *j = pfc_json_open(r->cli, r->diag);
    if (!r->cli->json || r->diag->exit_status) return r->diag->exit_status;
    pfc_json_text(j, "spec", pfc_ctx_mode(r->ctx) == PFC_EXACT ? PFC_SPEC_EXACT : "fast");
    pfc_json_context(j, r->ctx);
    pfc_json_int(j, "ranks", r->cli->ranks);
    pfc_json_int(j, "num_classes", r->settings.config.num_classes);
    pfc_json_int(j, "steps", pfc_trainer_steps(r->trainer));
    pfc_json_int(j, "total_steps", r->total);
    pfc_json_bool(j, "stopped", sig != 0);
    pfc_json_real(j, "loss", r->loss);
    pfc_json_real(j, "seconds", seconds);
    if (r->saved >= 0) pfc_json_text(j, "checkpoint", r->path);
    pfc_json_begin(j, "accuracy", '{');
    for (int i = 0; i < r->cli->held_out_count; i++) pfc_json_real(j, r->held_out[i].name, r->accuracy[i]);
    pfc_json_end(j);
    return pfc_json_close(&j, r->cli, r->diag);
}

static int train(run *r)
{
    int sig = 0;
    r->log.every = r->settings.log_every;
    r->log.epoch_steps = pfc_trainer_epoch_steps(r->trainer);
    r->log.total_steps = r->total;
    if (pfc_train_log_open(r->cli, pfc_trainer_steps(r->trainer), &r->log, r->diag)) return r->diag->exit_status;
    print_facts(r);
    catch_signals();
    loop(r, &sig);
    release_signals();
    double seconds = MPI_Wtime() - r->log.start;
    if (pfc_train_log_close(r->cli, &r->log, r->diag) || write_json(r, sig, seconds) || r->log.quiet) return r->diag->exit_status;
    printf("%s after step %lld of %lld%s%s\n", sig ? strsignal(sig) : "ended", (long long)pfc_trainer_steps(r->trainer), (long long)r->total,
           r->saved >= 0 ? "; checkpoint " : "", r->saved >= 0 ? r->path : "");
    return 0;
}

int pfc_cmd_train(pfc_cli *cli)
{
    pfc_diag diag = { 0 };
    run r = { .cli = cli, .diag = &diag, .saved = -1, .loss = NAN };
    if (!pfc_settings_read(cli, &r.settings, &diag) && !read_data(&r) && !open_trainer(&r) && !resume(&r) && !check_folder(&r)) train(&r);
    for (int i = 0; r.held_out && i < cli->held_out_count; i++) pfc_data_free(&r.held_out[i]);
    free(r.held_out);
    free(r.accuracy);
    free(r.features);
    free(r.labels);
    free(r.numbers);
    pfc_trainer_destroy(&r.trainer);
    pfc_data_free(&r.data);
    pfc_cli_context_close(&r.ctx, &diag);
    return pfc_report(cli, &diag);
}
