/* train_signals.c: the signals that stop a run after its step. */
#include "driver/train_task.h"
#include <signal.h>

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

void pfc_train_catch_signals(void)
{
    struct sigaction act = { .sa_handler = note_signal, .sa_flags = SA_RESTART };
    sigemptyset(&act.sa_mask);
    stop_signal = 0;
    for (int i = 0; i < SIGNALS; i++) {
        sigaction(signals[i], &act, &old[i]);
        if (old[i].sa_handler == SIG_IGN && signals[i] != SIGUSR1) sigaction(signals[i], &old[i], NULL);
    }
}

void pfc_train_release_signals(void)
{
    for (int i = 0; i < SIGNALS; i++) sigaction(signals[i], &old[i], NULL);
}

int pfc_train_stopped(const pfc_cli *cli)
{
    int sig = (int)stop_signal;
    MPI_Allreduce(MPI_IN_PLACE, &sig, 1, MPI_INT, MPI_MAX, cli->comm);
    return sig;
}
