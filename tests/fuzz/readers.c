/* readers.c: see readers.h. */
#include "fuzz/readers.h"
#include "case/internal.h"
#include "driver/stored_file.h"
#include "train/glyphs.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void give_up(const char *what, const char *text)
{
    fprintf(stderr, "readers: %s: %s\n", what, text);
    abort();
}

static void put_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "w");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) give_up(path, "cannot be written");
}

/* Here a fork instead of the driver's new program, for speed: nothing is in flight on MPI. In /proc a fuzzer cannot write what it takes for its finding. */
static bool survives(const char *path)
{
    static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGILL, SIGXCPU, SIGALRM };
    char text[160];
    int status = 0;
    pid_t child = fork(), ended;
    if (child == 0) {
        for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) signal(signals[i], SIG_DFL);
        setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
        if (!freopen("/dev/null", "w", stderr) || chdir("/proc")) _exit(99);
        _exit(pfc_probe_limited(path, NULL));
    }
    do ended = waitpid(child, &status, 0);
    while (ended < 0 && errno == EINTR);
    if (child < 0 || ended != child) give_up("fork", "failed");
    return pfc_probe_verdict(status, text, sizeof text) == NULL;
}

/* True if the reader was content. */
static bool judge(const char *reader, const pfc_diag *diag)
{
    if (diag->exit_status == 0) return true;
    if (diag->exit_status != PFC_EXIT_FILE) give_up(reader, diag->text);
    if (!diag->text[0] || strchr(diag->text, '\n')) give_up(reader, "its message is not one line");
    return false;
}

static bool read_as_case(const char *path)
{
    pfc_case *c = NULL;
    pfc_diag diag = { 0 };
    pfc_case_read(MPI_COMM_SELF, path, PFC_READ_INPUTS | PFC_READ_RESULTS | PFC_READ_BOUNDS, &c, &diag);
    pfc_case_free(c);
    return judge("case", &diag);
}

static bool read_as_results(const char *path)
{
    static pfc_result_file golden, candidate; /* large */
    static const pfc_cli cli = { .ranks = 1 };
    pfc_diag first = { 0 }, second = { 0 };
    pfc_peek peek;
    pfc_cli here = cli;
    here.comm = MPI_COMM_SELF;
    pfc_peek_file(&here, path, &peek);
    if (pfc_results_read(path, true, "f32", &golden, &first) == 0) pfc_cut_results(&golden, 1, 3, &first);
    pfc_results_free(&golden);
    pfc_results_read(path, false, NULL, &candidate, &second);
    pfc_results_free(&candidate);
    bool one = judge("golden", &first), other = judge("candidate", &second);
    return one || other;
}

/* What inspect lists: also of checkpoints. */
static bool read_as_stored(const char *path)
{
    pfc_stored_file file;
    pfc_diag diag = { 0 };
    pfc_stored_read(path, &file, &diag);
    pfc_stored_free(&file);
    return judge("stored", &diag);
}

static bool read_as_text(const char *path)
{
    char argument[1100];
    const char *inputs[] = { argument };
    pfc_cli cli = { .comm = MPI_COMM_SELF, .ranks = 1, .inputs = inputs, .input_count = 1 };
    pfc_tensor_list given = { 0 };
    pfc_diag diag = { 0 };
    snprintf(argument, sizeof argument, "labels=%s", path);
    pfc_cli_inputs(&cli, &given, &diag);
    pfc_tensor_list_free(&given);
    return judge("text", &diag);
}

static bool read_as_npy(const char *path)
{
    pfc_tensor_list list = { 0 };
    pfc_diag diag = { 0 };
    pfc_npy_read(path, "loss", &list, &diag);
    pfc_tensor_list_free(&list);
    return judge("npy", &diag);
}

/* On a copy without a byte to spare, and what was let through is looked at. */
static bool read_as_glyphs(const void *bytes, size_t size)
{
    pfc_glyphs g;
    pfc_diag diag = { 0 };
    unsigned char *copy = malloc(size + !size);
    if (!copy) give_up("glyphs", "out of memory");
    memcpy(copy, bytes, size);
    if (!pfc_glyphs_check(copy, (int64_t)size, &g, diag.text, sizeof diag.text)) diag.exit_status = PFC_EXIT_FILE;
    for (int64_t f = 0; !diag.exit_status && f < g.faces; f++)
        if (!memchr(pfc_glyph_key(&g, f), 0, PFC_GLYPH_KEY)) give_up("glyphs", "a key without an end");
    free(copy);
    return judge("glyphs", &diag);
}

pfc_outcome pfc_try_bytes(const char *path, const void *bytes, size_t size)
{
    put_file(path, bytes, size);
    if (size >= 6 && memcmp(bytes, "\223NUMPY", 6) == 0) return read_as_npy(path) ? PFC_READABLE : PFC_REFUSED;
    if (size >= 8 && memcmp(bytes, "hanglyph", 8) == 0) return read_as_glyphs(bytes, size) ? PFC_READABLE : PFC_REFUSED;
    if (size < 4 || memcmp(bytes, "\211HDF", 4)) {
        bool numbers = read_as_text(path);
        if (numbers) return PFC_READABLE;
    }
    if (!survives(path)) return PFC_REFUSED_FIRST;
    bool is_case = read_as_case(path), is_result = read_as_results(path), is_stored = read_as_stored(path);
    return is_case || is_result || is_stored ? PFC_READABLE : PFC_REFUSED;
}
