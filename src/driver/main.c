/* main.c: starts MPI, reads the command line, runs the command. */
#include "case/internal.h"
#include "driver/driver.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The first is what `pfc_ref` alone does. Options: the letters of options.c. */
const pfc_command pfc_commands[] = {
    { "verify", "",
      "Runs every shipped case on the ranks at hand and compares it with its golden and with the dense equations."
      "\vColumns: results compared; how many have the golden's digest (by ranks: compared with the dense equations only); largest error of the dense "
      "equations over what is tolerated; largest error of fast mode over its bound. "
      "Cases for another number of ranks are n/a. The suite has no stored results: golden suite computes them; their digests are in data/digests.txt.\n\n"
      "  mpirun -np 8 pfc_ref\n"
      "  pfc_ref verify --mode fast --json verify.json",
      0, 0, "", true, pfc_cmd_verify },
    { "list", "",
      "Lists algorithms with their parameters, inputs and results, the shipped cases and those of the golden suite."
      "\vShapes are written with letters: N rows of the batch, C classes, D width, K prototypes or keys, P ranks; doc/case-format.md.",
      0, 0, "", false, pfc_cmd_list },
    { "info", "",
      "Says how this program was built and what it finds on this machine: versions, and for every backend, mode and product engine whether it can run here."
      "\v  pfc_ref info --backend checked",
      0, 0, "", true, pfc_cmd_info },
    { "explain", "ALGORITHM",
      "Works a small example through on the ranks at hand: which rank holds what, every step with its equations and numbers, every exchange with what goes "
      "in, what "
      "comes out and how many bytes, and the check against the dense equations."
      "\v2 to 4 ranks are best for reading. --json has the bytes of every exchange for each rank.\n\n"
      "  mpirun -np 4 pfc_ref explain partial_fc\n"
      "  mpirun -np 2 pfc_ref explain sinkhorn --param version=log --html page.html",
      1, 1, "pMX", true, pfc_cmd_explain },
    { "run", "CASE.h5 -o OUT.h5",
      "Computes a case, or a golden's again: reads its parameters and inputs, writes them with the results."
      "\vThe layout of a case: doc/case-format.md. tools/write_case.py makes one of .npy files.\n\n"
      "  mpirun -np 3 pfc_ref run my_case.h5 -o my_result.h5 --steps\n"
      "  pfc_ref run golden.h5 -o as_bf16.h5 --emulate bf16\n"
      "  pfc_ref run arcface.h5 -o out.h5 --in margins=margins.txt",
      1, 1, "oSIiEC", true, pfc_cmd_run },
    { "golden", "[NAME|CASE.h5|ALGORITHM|suite|suite-large...] -o DIR\nALGORITHM [--size N=..,C=..,D=..] [--param ...] -o DIR",
      "Makes goldens: of the given cases, shipped or of the suite (without a name: all but the large ones), or of a generated case. Beside NAME.h5 stands "
      "NAME.info.json with facts about the machine."
      "\v  mpirun -np 3 pfc_ref golden suite -o DIR\n"
      "  pfc_ref golden my_case.h5 -o DIR --steps\n"
      "  pfc_ref golden partial_fc --size N=16,C=50,D=32 \\\n"
      "      --param head=cos,scale=16,margin=0.35 --steps --name cos -o DIR",
      0, 1 << 20, "oSdspfeni", true, pfc_cmd_golden },
    { "check", "GOLDEN.h5 CANDIDATE",
      "Compares a candidate's results (a file, or a folder of .npy files) with a golden: by digest (exact), or within the golden's bounds for the type the "
      "candidate was computed in."
      "\vIt names the first result in data-flow order that differs, and what the difference looks like. Columns: elements; bad ones, outside their bounds; then "
      "of the worst element its error over its bound, absolute and relative error, index, values. FAIL: bad elements (gate G1), or none, but all together are "
      "off: FAIL G2 root mean square, G3 slope or mean of the errors, G4 a sum that the algorithm fixes. NONFINITE: NaN or infinite in one of the two only. "
      "VACUOUS: its bounds decide nothing.\n"
      "Status 0: everything matches, 1: something differs, 3: nothing differs, but something is MISSING, of another SHAPE or DTYPE, or VACUOUS.\n\n"
      "  pfc_ref check golden.h5 mine.h5 --dtype bf16\n"
      "  pfc_ref check golden.h5 folder/ --rank 1 --of 4 --json verdict.json",
      2, 2, "dRPDO", false, pfc_cmd_check },
    { "bench", "[ALGORITHM]",
      "Measures the machine, then times steps on generated inputs: every algorithm at its standard sizes, or one, partial_fc beside plain matrix products of "
      "the "
      "same shapes."
      "\v  pfc_ref bench --json bench.json --plot bench.svg\n"
      "  mpirun -np 2 pfc_ref bench sinkhorn --size N=4096 --rounds 9",
      0, 1, "sprfeQgC", true, pfc_cmd_bench },
    { "train", "--features FILE --labels FILE\n--glyphs FILE",
      "Trains a class-sharded softmax layer or an ArcFace head on the rows of FILE; on glyphs an encoder with it, or without labels by task=moco or "
      "task=swav. --param NAME=VALUE sets what has no option of its own."
      "\vSIGINT, SIGTERM and SIGUSR1 stop it after the current step, with a checkpoint. Settings and their defaults: task=head, batch=128, epochs=1 or steps, "
      "lr=0.1, schedule=constant (cosine, polynomial), warmup_steps=0, momentum=0.9, weight_decay=0, seed=0; of a head also head, scale, margin, sample_rate "
      "and more. doc/training.md has all of them.\n\n"
      "  pfc_ref train --features x.npy --labels y.npy --checkpoint DIR\n"
      "  mpirun -np 3 pfc_ref train --features x.npy --labels y.npy --batch 96 \\\n"
      "      --epochs 8 --param head=arc,margin=0.3 --checkpoint DIR --resume\n"
      "  mpirun -np 2 pfc_ref train --recipe swav --glyphs han16.bin --plot run.svg",
      0, 0, "FLHhzybNTAaGcvkuljx", true, pfc_cmd_train },
    { "inspect", "FILE",
      "Says what is in a checkpoint, a case or a golden, and whether its data has the digests that it is stored with."
      "\v  pfc_ref inspect DIR/step-000000000075.h5 --json facts.json",
      1, 1, "", false, pfc_cmd_inspect },
    { "export", "CHECKPOINT -o DIR",
      "Writes the tensors of a checkpoint as .npy files, whole or split for ranks, and its facts."
      "\v  pfc_ref export DIR/step-000000000075.h5 -o arrays --ranks 4",
      1, 1, "oW", false, pfc_cmd_export },
    { NULL, NULL, NULL, 0, 0, NULL, false, NULL },
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
