/* explain_swav.c: the steps of sinkhorn, swav and lr_schedule, and examples with 3 prototypes in the plane. */
#include "driver/explain.h"

#include <string.h>

/* ---- sinkhorn ---- */

static double score(int64_t i)
{
    static const double list[] = { 0.8, 0.1, -0.3, 0.6,  0.2, -0.5, 0.9, -0.1, 0.0, 0.3, 0.7,  -0.2,
                                   0.5, 0.4, -0.6, -0.4, 0.8, 0.1,  0.7, -0.3, 0.2, 0.1, -0.2, 0.6 };
    return list[i % 24];
}

static int sinkhorn_example(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag)
{
    int64_t dims[2] = { pfc_ex_rows(ranks, 8), 3 };
    pfc_ex_input(comm, c, "scores", 2, dims, score, diag);
    return pfc_diag_agree(comm, diag);
}

#define ITERATIONS "!iterations=0"

static const pfc_ex_step sinkhorn_steps[] = {
    { "1", "scores over epsilon", "A = scores/epsilon ; M = its maximum",
      "M is taken over all ranks.\n{stabilise=0} With stabilise=0 nothing is made of it.\n{stabilise=1 version=log} Version log makes nothing of it.",
      "in:scores", NULL },
    { "2", "exponentials",
      "{stabilise=1} Q = exp(A - M)\n"
      "{stabilise=0} Q = exp(A)",
      "{version=v1|vissl} If an exp were too large for a number, the largest one of the rank would take its place.", NULL, "!version=log" },
    { "3", "total mass 1", "t = sum of Q ; Q = Q / t",
      "t is the sum of the sums of the rows, one for each prototype; those are added over all "
      "ranks.",
      NULL, "!version=log" },
    { "4", "row sums",
      "u_k = sum of row k                         over samples of all ranks\n"
      "{version=vissl} if one is 0, Q = Q + 1e-12 and again",
      "Steps 4 and 5 come in turn, as often as `iterations` says.", NULL, "!version=log " ITERATIONS },
    { "5", "equal shares",
      "Q_kj = Q_kj (1/K)/u_k                      a prototype gets mass 1/K\n"
      "Q_kj = Q_kj (1/N)/sum_k Q_kj               a sample gives mass 1/N",
      "The second half needs no other rank: a sample is whole on its rank. It spoils the equal shares of the first half, less each time.\n"
      "{!iterations=1} What step 6 would make of Q after fewer iterations:",
      "again:assignment", "!version=log " ITERATIONS },
    { "6", "assignment",
      "{!version=v2} assignment_jk = Q_kj / sum_k Q_kj\n"
      "{version=v2} assignment_jk = N Q_kj",
      NULL, "out:assignment", "!version=log" },
    { "4'", "row sums, log domain", "L_k = log sum_j exp(A_jk + g_j)",
      "First the maximum over all ranks, then the sum of exp(A + g - maximum). f = g = 0 at the start. Steps 4' and 5' come in turn, as often as "
      "`iterations` "
      "says.",
      NULL, "version=log " ITERATIONS },
    { "5'", "equal shares, log domain", "f_k = -log K - L_k ; g_j = -log N - log sum_k exp(A_jk + f_k)",
      "{!iterations=1} What step 6' would make of it after fewer iterations:", "again:assignment", "version=log " ITERATIONS },
    { "6'", "assignment, log domain", "assignment_jk = exp(A_jk + f_k - log sum_k' exp(A_jk' + f_k'))", "{iterations=0} f = 0.", "out:assignment",
      "version=log" },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const pfc_ex_exchange sinkhorn_exchanges[] = {
    { "", PFC_COMM_MAX, "i", "do all ranks have scores of one shape", NULL, NULL },
    { "1", PFC_COMM_MAX, "r", "M, the largest A; the other number is for fast mode", "largest A|unused", "exact" },
    { "1", PFC_COMM_MAX, "r", "M, the largest A, and the largest -A", "largest A|largest -A", "!exact" },
    { "3", PFC_COMM_MAX, "e", "e, exponents of the row sums", NULL, "exact" },
    { "3", PFC_COMM_SUM, "a", "u, the row sums of Q, which give t", "K", "exact" },
    { "3", PFC_COMM_SUM, "r", "u, the row sums of Q, and their sum, t", "K|t", "!exact" },
    { "4", PFC_COMM_MAX, "e", "e, exponents of the row sums", NULL, "exact" },
    { "4", PFC_COMM_SUM, "a", "u, the row sums of Q", "K", "exact" },
    { "4", PFC_COMM_SUM, "r", "u, the row sums of Q, and their sum", "K|sum", "!exact" },
    { "4'", PFC_COMM_MAX, "r", "max, the largest A + g of each row", "K", NULL },
    { "4'", PFC_COMM_SUM, "a", "u, the row sums of exp(A + g - max)", "K", NULL },
    { NULL, PFC_COMM_MAX, NULL, NULL, NULL, NULL },
};

static const char *const sinkhorn_settings[] = { "epsilon", "0.5", "iterations", "3", "version", "v1", NULL };

const pfc_ex_algorithm pfc_ex_sinkhorn = {
    .name = "sinkhorn",
    .source = "src/algo/sinkhorn.c",
    .about = "Samples are assigned to prototypes by their scores, but so that every prototype gets the same share of all samples: rows and columns of a "
             "matrix are "
             "scaled in turn. A rank holds its own samples; only sums over prototypes travel.",
    .letters = "P  ranks         n  samples of this rank, N = n P of all\n"
               "K  prototypes    Q  (K,N): a rank holds its n columns, as rows of (n,K)\n"
               "j  a sample: n0, n1, ... in tables, k  a prototype\n"
               "epsilon          the smaller, the harder the choice of a prototype\n"
               "v1, v2, vissl, log    published variants: the setting version",
    .settings = sinkhorn_settings,
    .example = sinkhorn_example,
    .steps = sinkhorn_steps,
    .exchanges = sinkhorn_exchanges,
    .again = "iterations",
};

/* ---- swav ---- */

static double embedding(int64_t i)
{
    static const double list[] = { 1.2,  0.4,  -0.9, 0.8,  1.1,  0.7,  -1.2, 0.5, 0.3,  -1.1, 0.7,  0.9,  0.5, -1.3, 0.4,  1.2,
                                   -0.8, -0.6, 1.3,  -0.2, -1.0, -0.3, 1.4,  0.1, -0.2, 1.5,  -0.7, -0.9, 0.1, 1.1,  -0.4, -1.2 };
    return list[i % 32];
}

static double prototype(int64_t i)
{
    static const double list[] = { 1.0, 0.5, -1.0, 0.8, 0.2, -1.0 };
    return list[i % 6];
}

static double queued(int64_t i)
{
    static const double list[] = { 0.6, 0.8, -0.8, 0.6, 0.0, -1.0, 1.0, 0.0 };
    return list[i % 8];
}

static double crop(int64_t i) { return (double)i; }

/* Two samples of a rank; at most two crops are assigned; a queue of four rows for each. */
static int swav_example(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag)
{
    int64_t V = pfc_param_int(c, "crops"), A = V < 2 ? 1 : 2, h[3] = { ranks, 2 * (V < 1 ? 1 : V), 2 }, C[2] = { 3, 2 }, q[4] = { ranks, A, 4, 2 };
    pfc_ex_input(comm, c, "embedding", 3, h, embedding, diag);
    pfc_ex_input(comm, c, "prototypes", 2, C, prototype, diag);
    pfc_ex_input(comm, c, "crops_for_assign", 1, &A, crop, diag);
    pfc_ex_input(comm, c, "queue", 4, q, queued, diag);
    return pfc_diag_agree(comm, diag);
}

static const pfc_ex_step swav_steps[] = {
    { "1", "projection of the prototypes", "C_k = C_k / |C_k|", "Every rank has the same prototypes.", "in:prototypes out:prototypes", NULL },
    { "2", "scores",
      "z_r = h_r / |h_r| ; S = z C^T\n"
      "row v*bs + n is crop v of sample n",
      NULL, "in:embedding step:scores", NULL },
    { "3", "is the queue in use?", "for every i: the queue is in use if it was, or its last row is not zero",
      "The answers of all ranks are compared: they must be the same. In the table of the queue 1:0 is "
      "the newest row for i = 1.",
      "in:crops_for_assign in:queue out:use_the_queue", NULL },
    { "4", "scores to be assigned", "scores of the queue before those of crop a = A[i]",
      "A queue makes up for a batch that is smaller than the number of prototypes.", NULL, NULL },
    { "5", "queue", "z of crop a in front of the queue, its last bs rows out", "Newest rows first.", "out:queue", NULL },
    { "6", "assignment", "q^i = last bs rows of sinkhorn(scores)",
      "All samples of all ranks are assigned together, crop by crop. `pfc_ref explain sinkhorn` shows the numbers. In the table 1:0 is sample 0 "
      "for i = 1.",
      "out:assignment", NULL },
    { "7", "loss",
      "p^v = softmax(S^v/t)\n"
      "loss = mean over i, v != A[i], n of -sum_k q^i_nk log p^v_nk",
      "The assignment of one crop is predicted from another crop. Each rank has its own loss.\n"
      "{crops=1} One crop has no other: the mean is over nothing, 0/0, as in the published code.",
      "out:loss", NULL },
    { "8", "gradient of the scores",
      "dS^v = sum over i with A[i] != v of (w^i_n p^v - q^i) / (A (V-1) bs t)\n"
      "w^i_n = sum_k q^i_nk",
      "The assignments q are taken as constant.", "step:dscores", NULL },
    { "9", "gradient of the embeddings", "dz = dS C ; dh back through the length of h", NULL, "out:embedding_grad", NULL },
    { "10", "gradient of the prototypes",
      "{freeze_prototypes=0} dC = mean over ranks of dS^T z\n"
      "{freeze_prototypes=1} dC = 0                                       freeze_prototypes=1",
      NULL, "out:prototypes_grad", NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const pfc_ex_exchange swav_exchanges[] = {
    { "", PFC_COMM_MAX, "i", "do all ranks have as many samples and rows of the queue", NULL, NULL },
    { NULL, PFC_COMM_MAX, "scores", NULL, NULL, NULL },
    { "3", PFC_COMM_MAX, "i", "the answer: a 1 under yes, or under no", "yes|no", NULL },
    { "6", PFC_COMM_MAX, "r", "M, the largest score (step 1 of sinkhorn)", NULL, NULL },
    { "6", PFC_COMM_MAX, "e", "e, exponents of the row sums", NULL, "exact !version=log" },
    { "6", PFC_COMM_SUM, "ar", "u, the row sums of Q (steps 3 and 4 of sinkhorn)", NULL, "!version=log" },
    { "6", PFC_COMM_MAX, "r", "max, the largest A + g of each row (step 4' of sinkhorn)", NULL, "version=log " ITERATIONS },
    { "6", PFC_COMM_SUM, "a", "u, the row sums of exp(A + g - max) (step 4' of sinkhorn)", NULL, "version=log " ITERATIONS },
    { NULL, PFC_COMM_MAX, "dscores", NULL, NULL, NULL },
    { "10", PFC_COMM_MAX, "e", "e, exponents of dC", NULL, "exact freeze_prototypes=0" },
    { "10", PFC_COMM_SUM, "a", "P dC, the sum over ranks", "K,D", "freeze_prototypes=0" },
    { NULL, PFC_COMM_MAX, NULL, NULL, NULL, NULL },
};

static const char *const swav_settings[] = { "crops", "2", "temperature", "0.5", "epsilon", "0.5", "iterations", "3", NULL };

const pfc_ex_algorithm pfc_ex_swav = {
    .name = "swav",
    .source = "src/algo/swav.c",
    .about = "Two crops of an image should belong to the same prototypes. Each crop is assigned by sinkhorn, together with those of all ranks, and the "
             "assignment "
             "is predicted from the other crops.",
    .letters = "P  ranks         bs  samples of this rank     V  crops of a sample\n"
               "K  prototypes    D   width                    L  rows of the queue\n"
               "h  embeddings    z   their directions         C  prototypes\n"
               "A  how many crops are assigned; a = A[i] is the i-th of them\n"
               "t  temperature   S^v  rows of crop v       q^i  assignment of crop A[i]\n"
               "|h|  length, the root of the sum of squares\n"
               "C^T  transposed      dX  gradient of X",
    .settings = swav_settings,
    .example = swav_example,
    .steps = swav_steps,
    .exchanges = swav_exchanges,
};

/* ---- lr_schedule ---- */

static int schedule_example(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag)
{
    (void)comm, (void)c, (void)ranks;
    return diag->exit_status;
}

static const pfc_ex_step schedule_steps[] = {
    { "1", "warm-up",
      "lr_i = start_warmup + i (base_lr - start_warmup)/(rise - 1), i < rise\n"
      "rise = warmup_epochs steps_per_epoch",
      "Both ends are included; a warm-up of one step has the rate start_warmup.", NULL, "!warmup_epochs=0" },
    { "2", "half a cosine",
      "lr_(rise+t) = final_lr + (base_lr - final_lr)/2 (1 + cos(pi t/fall))\n"
      "fall = (epochs - warmup_epochs) steps_per_epoch",
      "{warmup_epochs=0} rise is 0.\nfinal_lr is never reached: the last t is fall - 1.", "out:lr", NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const char *const schedule_settings[] = { "base_lr",         "1", "final_lr", "0.01", "start_warmup", "0.1", "warmup_epochs", "2", "epochs", "5",
                                                 "steps_per_epoch", "3", NULL };

const pfc_ex_algorithm pfc_ex_lr_schedule = {
    .name = "lr_schedule",
    .source = "src/algo/lr_schedule.c",
    .about = "The learning rate of every step, worked out before training begins.",
    .letters = "lr_i  learning rate of step i, from 0\n"
               "t     steps since the end of the warm-up",
    .settings = schedule_settings,
    .example = schedule_example,
    .steps = schedule_steps,
};
