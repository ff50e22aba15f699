/* main.c: starts MPI, reads the command line, runs the command. */
#include "case/internal.h"
#include "driver/driver.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The first is what `pfc_ref` alone does. Options: the letters of options.c. */
const pfc_command pfc_commands[] = {
    { "verify", "", "Runs every shipped case on the ranks at hand and compares it with its golden and with the dense equations.", 0, 0, "", pfc_cmd_verify },
    { "list", "", "Lists algorithms with their parameters, inputs and results, and the shipped cases.", 0, 0, "", pfc_cmd_list },
    { "info", "", "Says how this program was built and what it finds on this machine.", 0, 0, "", pfc_cmd_info },
    { "explain", "ALGORITHM",
      "Works a small example through on the ranks at hand: which rank holds what, every step with its equations and numbers, every exchange with what goes in, what "
      "comes out and how many bytes, and the check against the dense equations.",
      1, 1, "pMX", pfc_cmd_explain },
    { "run", "CASE.h5 -o OUT.h5", "Computes a case.", 1, 1, "oSIiEC", pfc_cmd_run },
    { "golden", "[NAME|CASE.h5|ALGORITHM|suite|suite-large...] -o DIR\nALGORITHM [--size N=..,C=..,D=..] [--param ...] -o DIR",
      "Makes goldens: of the given cases, shipped or of the suite (without a name: all but the large ones), or of a generated case. Beside NAME.h5 stands NAME.info.json with facts about the machine.",
      0, 1 << 20, "oSdspfeni", pfc_cmd_golden },
    { "check", "GOLDEN.h5 CANDIDATE",
      "Compares a candidate's results (a file, or a folder of .npy files) with a golden: by digest (exact), or within the golden's bounds for the type the "
      "candidate was computed in.",
      2, 2, "dRPDO", pfc_cmd_check },
    { "bench", "[ALGORITHM]",
      "Measures the machine, then times steps on generated inputs: every algorithm at its standard sizes, or one, partial_fc beside plain matrix products of the "
      "same shapes.",
      0, 1, "sprfeQgC", pfc_cmd_bench },
    { "train", "--features FILE --labels FILE\n--glyphs FILE",
      "Trains a class-sharded softmax layer or an ArcFace head on the rows of FILE, or an encoder with it on glyphs. --param NAME=VALUE sets head, scale, margin, sample_rate and so on.",
      0, 0, "FLHhzybNTAaGcvkuljx", pfc_cmd_train },
    { "inspect", "FILE", "Says what is in a checkpoint, a case or a golden, and whether its data has the digests that it is stored with.", 1, 1, "",
      pfc_cmd_inspect },
    { "export", "CHECKPOINT -o DIR", "Writes the tensors of a checkpoint as .npy files, whole or split for ranks, and its facts.", 1, 1, "oW", pfc_cmd_export },
    { NULL, NULL, NULL, 0, 0, NULL, NULL },
};

/* A launcher (mpirun, srun) has started this process. */
static bool launched(void)
{
    static const char *const marks[] = { "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID", NULL };
    for (int i = 0; marks[i]; i++)
        if (getenv(marks[i])) return true;
    return false;
}

/* The launcher ends this rank because another one failed, or the user has had enough. */
static void stopped(int sig)
{
    pfc_temporary_unlink_all();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void catch_signals(void)
{
    static const int signals[] = { SIGHUP, SIGINT, SIGTERM };
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (signal(signals[i], stopped) == SIG_IGN) signal(signals[i], SIG_IGN); /* nohup */
}

static void find_ranks(pfc_cli *cli)
{
    MPI_Comm node;
    pfc_mpi_errors_end_all();
    cli->comm = MPI_COMM_WORLD;
    MPI_Comm_rank(cli->comm, &cli->rank);
    MPI_Comm_size(cli->comm, &cli->ranks);
    MPI_Comm_split_type(cli->comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &cli->node_ranks);
    MPI_Comm_free(&node);
    MPI_Allreduce(MPI_IN_PLACE, &cli->node_ranks, 1, MPI_INT, MPI_MAX, cli->comm);
}

/* The worst status of all ranks, so that the launcher returns it whichever rank it asks. */
static int agree(const pfc_cli *cli, int status)
{
    if (fflush(stdout) && status == PFC_EXIT_OK) status = PFC_EXIT_RUNTIME;
    MPI_Allreduce(MPI_IN_PLACE, &status, 1, MPI_INT, MPI_MAX, cli->comm);
    return status;
}

int main(int argc, char **argv)
{
    pfc_cli cli = { 0 };
    if ((argc == 3 || argc == 4) && strcmp(argv[1], PFC_PROBE_OPTION) == 0) return pfc_probe_limited(argv[2], argv[3]); /* argv[argc] is NULL */
    pfc_probe_enable();
    /* Alone, help and usage errors need no MPI. Under a launcher all ranks read the line, one speaks. */
    int status = -1;
    bool alone = !launched();
    if (alone) status = pfc_cli_parse(&cli, argc, argv, true);
    if (status >= 0) {
        pfc_cli_free(&cli);
        return status;
    }
    pfc_openblas_mend();  /* before any thread exists */
    pfc_h5_quiet_begin(); /* to the end: closing HDF5 after a damaged file prints, too */
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    catch_signals();
    find_ranks(&cli);
    if (!alone) status = agree(&cli, pfc_cli_parse(&cli, argc, argv, cli.rank == 0));
    if (status < 0) status = agree(&cli, cli.command->run(&cli));
    pfc_cli_free(&cli);
    MPI_Finalize();
    return status;
}
