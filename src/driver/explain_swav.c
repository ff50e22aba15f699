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

static bool log_domain(const pfc_case *c, pfc_mode mode, int ranks)
{
    (void)mode, (void)ranks;
    return strcmp(pfc_param_word(c, "version"), "log") == 0;
}

static bool plain(const pfc_case *c, pfc_mode mode, int ranks) { return !log_domain(c, mode, ranks); }

static const pfc_ex_step sinkhorn_steps[] = {
    { "1", "scores over temperature", "A = scores/epsilon ; M = its maximum", "M is taken over all ranks.", "in:scores", NULL },
    { "2", "exponentials", "Q = exp(A - M), without stabilise exp(A)", "Infinities are replaced in v1 and vissl.", NULL, plain },
    { "3", "total mass 1", "t = sum of Q ; Q = Q / t", "The sum over all ranks comes from the sums of the rows, one for each prototype.", NULL, plain },
    { "4", "row sums",
      "u_k = sum of row k                         over samples of all ranks\n"
      "vissl: if one is 0, Q = Q + 1e-12 and again",
      "Steps 4 and 5 come as often as `iterations` says. What comes out is row_sum_0, row_sum_1, ...", NULL, plain },
    { "5", "equal shares",
      "Q_kj = Q_kj (1/K)/u_k                      a prototype gets mass 1/K\n"
      "Q_kj = Q_kj (1/N)/sum_k Q_kj               a sample gives mass 1/N",
      "The second half needs no other rank: a sample is whole on its rank.", NULL, plain },
    { "6", "assignment",
      "assignment_jk = Q_kj / sum_k Q_kj\n"
      "                N Q_kj                       v2",
      NULL, "out:assignment", plain },
    { "4'", "row sums, log domain", "L_k = log sum_j exp(A_jk + g_j)",
      "First the maximum over all ranks, then the sum of exp(A + g - maximum). f = g = 0 at the start.", NULL, log_domain },
    { "5'", "equal shares, log domain", "f_k = -log K - L_k ; g_j = -log N - log sum_k exp(A_jk + f_k)", NULL, NULL, log_domain },
    { "6'", "assignment, log domain", "assignment_jk = exp(A_jk + f_k - log sum_k' exp(A_jk' + f_k'))", NULL, "out:assignment", log_domain },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const pfc_ex_exchange sinkhorn_exchanges[] = {
    { "", PFC_COMM_MAX, "i", "do all ranks have scores of one shape", NULL },
    { "1", PFC_COMM_MAX, "r", "M, the largest A, and the largest -A (-inf: not needed with these settings)", "largest A|largest -A" },
    { "3", PFC_COMM_MAX, "e", "e, exponents of the row sums", NULL },
    { "3", PFC_COMM_SUM, "ar", "u, the row sums of Q, which give t", "K" },
    { "4", PFC_COMM_MAX, "e", "e, exponents of the row sums", NULL },
    { "4", PFC_COMM_SUM, "ar", "u, the row sums of Q", "K" },
    { "4'", PFC_COMM_MAX, "r", "max, the largest A + g of each row", "K" },
    { "4'", PFC_COMM_SUM, "a", "u, the row sums of exp(A + g - max)", "K" },
    { NULL, PFC_COMM_MAX, NULL, NULL, NULL },
};

static const char *const sinkhorn_settings[] = { "epsilon", "0.5", "iterations", "3", "version", "v1", NULL };

const pfc_ex_algorithm pfc_ex_sinkhorn = {
    .name = "sinkhorn",
    .source = "src/algo/sinkhorn.c",
    .about =
        "Samples are assigned to prototypes by their scores, but so that every prototype gets the same share of all samples: rows and columns of a matrix are "
        "scaled in turn. A rank holds its own samples; only sums over prototypes travel.",
    .letters = "P  ranks         n  samples of this rank, N = n P\n"
               "K  prototypes    Q  (K,N): a rank holds its n columns, as rows of (n,K)\n"
               "j  a sample      k  a prototype\n"
               "v1, v2, vissl, log    published variants: the setting `version`",
    .settings = sinkhorn_settings,
    .example = sinkhorn_example,
    .steps = sinkhorn_steps,
    .exchanges = sinkhorn_exchanges,
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

/* Two samples of a rank; at most two crops are assigned; a queue of two rows for each. */
static int swav_example(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag)
{
    int64_t V = pfc_param_int(c, "crops"), A = V < 2 ? 1 : 2, h[3] = { ranks, 2 * (V < 1 ? 1 : V), 2 }, C[2] = { 3, 2 }, q[4] = { ranks, A, 2, 2 };
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
      "The ranks must come to the same answer. Rows of the table of the queue: L for every i, one i after the other.",
      "in:crops_for_assign in:queue out:use_the_queue", NULL },
    { "4", "scores to be assigned", "scores of the queue before those of crop a = A[i]",
      "A queue makes up for a batch that is smaller than the number of prototypes.", NULL, NULL },
    { "5", "queue", "z of crop a into the queue, the oldest bs rows out", "Newest rows first.", "out:queue", NULL },
    { "6", "assignment", "q^i = last bs rows of sinkhorn(scores)",
      "All samples of all ranks are assigned together. `pfc_ref explain sinkhorn` shows the numbers.", "out:assignment", NULL },
    { "7", "loss",
      "p^v = softmax(S^v/t)\n"
      "loss = mean over i, v != A[i], n of -sum_k q^i_nk log p^v_nk",
      "The assignment of one crop is predicted from another crop. Each rank has its own loss.", "out:loss", NULL },
    { "8", "gradient of the scores",
      "dS^v = sum over i with A[i] != v of (Q^i_n p^v - q^i) / (A (V-1) bs t)\n"
      "Q^i_n = sum_k q^i_nk",
      "q is constant.", "step:dscores", NULL },
    { "9", "gradient of the embeddings", "dz = dS C ; dh back through the length of h", NULL, "out:embedding_grad", NULL },
    { "10", "gradient of the prototypes", "dC = mean over ranks of dS^T z", NULL, "out:prototypes_grad", NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const pfc_ex_exchange swav_exchanges[] = {
    { "", PFC_COMM_MAX, "i", "do all ranks have as many samples and rows of the queue", NULL },
    { "", PFC_COMM_MAX, "r", "are the settings alike on all ranks", NULL },
    { NULL, PFC_COMM_MAX, "scores", NULL, NULL },
    { "3", PFC_COMM_MAX, "i", "the answer, 1 for yes and 1 for no", "yes|no" },
    { "6", PFC_COMM_MAX, "r", "M, the largest score (step 1 of sinkhorn)", NULL },
    { "6", PFC_COMM_MAX, "e", "e, exponents of the row sums", NULL },
    { "6", PFC_COMM_SUM, "ar", "u, the row sums of Q (steps 3 and 4 of sinkhorn)", NULL },
    { NULL, PFC_COMM_MAX, "dscores", NULL, NULL },
    { "10", PFC_COMM_MAX, "e", "e, exponents of dC", NULL },
    { "10", PFC_COMM_SUM, "a", "P dC, the sum over ranks", "K,D" },
    { NULL, PFC_COMM_MAX, NULL, NULL, NULL },
};

static const char *const swav_settings[] = { "crops", "2", "temperature", "0.5", "epsilon", "0.5", "iterations", "3", NULL };

const pfc_ex_algorithm pfc_ex_swav = {
    .name = "swav",
    .source = "src/algo/swav.c",
    .about = "Two crops of an image should belong to the same prototypes. Each crop is assigned by sinkhorn, together with all others of all ranks, and "
             "the assignment "
             "is predicted from the other crops.",
    .letters = "P  ranks         bs  samples of this rank     V  crops of a sample\n"
               "K  prototypes    D   width                    L  rows of the queue\n"
               "h  embeddings    z   their directions         C  prototypes\n"
               "A  crops that are assigned, as a number; a = A[i] is the i-th of them\n"
               "t  temperature   S^v, p^v  rows of crop v   q^i  assignment of crop A[i]",
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
      "Both ends are included.", NULL, NULL },
    { "2", "half a cosine",
      "lr_(rise+t) = final_lr + (base_lr - final_lr)/2 (1 + cos(pi t/fall))\n"
      "fall = (epochs - warmup_epochs) steps_per_epoch",
      "final_lr is never reached: the last t is fall - 1.", "out:lr", NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const char *const schedule_settings[] = { "base_lr",         "1", "final_lr", "0.01", "start_warmup", "0.1", "warmup_epochs", "2", "epochs", "5",
                                                 "steps_per_epoch", "3", NULL };

const pfc_ex_algorithm pfc_ex_lr_schedule = {
    .name = "lr_schedule",
    .source = "src/algo/lr_schedule.c",
    .about = "The learning rate of every step, worked out before training begins.",
    .letters = "i, t  steps, from the start and from the end of the warm-up",
    .settings = schedule_settings,
    .example = schedule_example,
    .steps = schedule_steps,
};
