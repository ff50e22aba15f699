/* explain_moco.c: the steps of moco and moco_shuffle, and examples: keys in the plane, rows that tell their number. */
#include "driver/explain.h"

/* ---- moco_shuffle ---- */

static double row_value(int64_t i) { return (double)(10 * (i / 2) + i % 2); }

static int shuffle_example(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag)
{
    int64_t dims[2] = { pfc_ex_rows(ranks, 8), 2 };
    pfc_ex_input(comm, c, "x", 2, dims, row_value, diag);
    return pfc_diag_agree(comm, diag);
}

static const pfc_ex_step shuffle_steps[] = {
    { "1", "permutation",
      "tag_g = a random number of (seed, step, g)   for every row g\n"
      "idx = the row numbers sorted by (tag, row)",
      "Every rank draws the same permutation: it need not be sent. The checksums "
      "of all ranks are compared, since ranks that differ would wait for rows for ever.",
      NULL, NULL },
    { "2", "inverse", "inv[idx[j]] = j", NULL, "out:inverse", NULL },
    { "3", "plan", "row idx[start_r + i] of owner(.) comes to place i of rank r",
      "Each rank works out by itself what it sends to whom and what it gets from whom.", NULL, NULL },
    { "4", "shuffle", "out_i = X[idx[start_r + i]]",
      "Some rows are here already, some come from other ranks. Row g of the example has the numbers 10 g and 10 g + 1.", "in:x out:shuffled", NULL },
    { "5", "unshuffle", "out_i = Y[inv[start_r + i]]", "Y is the shuffled batch; its rows go back, some from other ranks, to where they were.",
      "out:unshuffled", NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const pfc_ex_exchange shuffle_exchanges[] = {
    { "", PFC_COMM_GATHER, "i", "how many rows has each rank", NULL, NULL },
    { "1", PFC_COMM_MAX, "i", "checksum, of the permutation, and its negative", NULL, NULL },
    { "", PFC_COMM_MAX, "i", "are rows of one length on all ranks", NULL, NULL },
    { "4", PFC_COMM_EXCHANGE_ROWS, "b", "X, rows to their shuffled places", NULL, NULL },
    { "", PFC_COMM_MAX, "i", "are rows of one length on all ranks", NULL, NULL },
    { "5", PFC_COMM_EXCHANGE_ROWS, "b", "X, shuffled rows back to their places", NULL, NULL },
    { NULL, PFC_COMM_MAX, NULL, NULL, NULL, NULL },
};

const pfc_ex_algorithm pfc_ex_moco_shuffle = {
    .name = "moco_shuffle",
    .source = "src/algo/moco_shuffle.c",
    .about = "Batch normalisation on each rank lets an image learn who else is in its batch. MoCo shuffles the images over the ranks before the "
             "key encoder, "
             "and the keys back after it. Rows go straight from the rank that has them to the one that wants them.",
    .letters = "P  ranks          b_r  rows of rank r          N  rows in all\n"
               "X  the batch      out  what comes to a rank    i  a row of it, from 0\n"
               "start_r           number of the first row of rank r\n"
               "owner(g)          the rank that holds row g\n"
               "idx, inv          the permutation, its inverse",
    .example = shuffle_example,
    .steps = shuffle_steps,
    .exchanges = shuffle_exchanges,
};

/* ---- moco ---- */

static double query(int64_t i)
{
    static const double list[] = { 1.5, 0.7, -0.9, 1.2, 0.5, -1.4, -1.6, -0.3, 0.2, 1.3, 1.1, -0.9, -0.6, 1.0, -1.0, -1.1 };
    return list[i % 16];
}

static double key(int64_t i)
{
    static const double list[] = { 1.2, 0.9, -0.6, 0.8, 0.3, -1.0, -1.2, 0.1, -0.3, 1.6, 0.9, -1.2, -0.8, 0.6, -1.3, -0.8 };
    return list[i % 16];
}

/* Of length 1, all of them. */
static double queued(int64_t i)
{
    static const double list[] = { 1.0, 0.0, 0.6, 0.8, 0.0, 1.0, -0.8, 0.6, -1.0, 0.0, -0.6, -0.8, 0.0, -1.0, 0.8, -0.6 };
    return list[i % 16];
}

static double theta_q(int64_t i) { return 1.0 + 0.5 * (double)i; }
static double theta_k(int64_t i) { return 2.0 - 0.5 * (double)i; }

static int moco_example(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag)
{
    int64_t rows[2] = { pfc_ex_rows(ranks, 4), 2 }, queue[2] = { 2 * rows[0], 2 }, params = 3;
    pfc_ex_input(comm, c, "params_q", 1, &params, theta_q, diag);
    pfc_ex_input(comm, c, "params_k", 1, &params, theta_k, diag);
    pfc_ex_input(comm, c, "query", 2, rows, query, diag);
    pfc_ex_input(comm, c, "key", 2, rows, key, diag);
    pfc_ex_input(comm, c, "queue", 2, queue, queued, diag);
    return pfc_diag_agree(comm, diag);
}

static const pfc_ex_step moco_steps[] = {
    { "hook 1", "shuffle", "the images, by a permutation of (seed, step)",
      "{ranks} In the example what the key encoder gives of each image stands for the image. They come "
      "from other ranks, as `pfc_ref explain moco_shuffle` shows.",
      "in:key", "ranks" },
    { "hook 2", "parameters",
      "{first_call=0} theta_k <- mu theta_k + (1 - mu) theta_q\n"
      "{first_call=1} theta_k <- theta_q                           first_call=1",
      "Every rank moves all parameters alike; nothing is sent.", "in:params_q in:params_k out:params_k", NULL },
    { "hook 3", "encode", "k = encoder(theta_k, images) ; k_n <- k_n / max(|k_n|, 1e-12)",
      "{ranks} Its batch norm sees the shuffled images.\nThere is no gradient through it.\n"
      "{!ranks} In the example the encoder gives these:",
      "{!ranks} in:key", NULL },
    { "hook 4", "unshuffle", "the keys, back to the ranks of their images", "They come back from other ranks, as in hook 1.", NULL, "ranks" },
    { "1", "queries", "q_n = x_n / max(|x_n|, 1e-12)", NULL, "in:query", NULL },
    { "2", "positive", "l_n0 = <q_n, k_n> / tau", "Of the same image.", "out:key", NULL },
    { "3", "negatives", "l_nj = <q_n, u_j> / tau                      j = 1..K",
      "Every rank has the same queue, so this needs no other rank. u_1 is its row k0; logits are numbered from the positive, 0.", "in:queue step:logits",
      NULL },
    { "4", "softmax",
      "M_n = max_j l_nj\n"
      "S_n = sum_j exp(l_nj - M_n)                  j >= 0",
      NULL, NULL, NULL },
    { "5", "loss", "loss = mean of log S_n - (l_n0 - M_n) over own rows", "Each rank has its own; whoever trains averages the gradients.", "out:loss", NULL },
    { "6", "gradient", "g_n = (1/(b tau)) ((p_n0 - 1) k_n + sum_j p_nj u_j)\np_nj = exp(l_nj - M_n) / S_n            j >= 1 in the sum", NULL, NULL, NULL },
    { "7", "queries' gradient", "dx_n = (g_n - <g_n, q_n> q_n) / |x_n|", NULL, "out:query_grad", NULL },
    { "8", "gather the keys", "k of all ranks, rank after rank", "The only exchange of the loss.", NULL, NULL },
    { "9", "enqueue",
      "rows ptr, ptr + 1, ... of the queue <- k\n"
      "ptr <- ptr + N                               modulo K",
      "The oldest keys go. ptr was the setting queue_ptr; it counts rows from 0.\n"
      "{queue_wrap=1} After the last row of the queue comes the first.",
      "out:queue out:queue_ptr", NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const pfc_ex_exchange moco_exchanges[] = {
    { "", PFC_COMM_MAX, "i", "are the sizes alike on all ranks", NULL, NULL },
    { "", PFC_COMM_MAX, "r", "are the settings alike on all ranks", NULL, NULL },
    { "", PFC_COMM_GATHER, "i", "how many rows has each rank", NULL, "ranks" },
    { "", PFC_COMM_MAX, "i", "a checksum of the permutation", NULL, "ranks" },
    { "", PFC_COMM_MAX, "i", "are rows of one length on all ranks", NULL, "ranks" },
    { "hook 1", PFC_COMM_EXCHANGE_ROWS, "b", "images, to their shuffled places", NULL, NULL },
    { "", PFC_COMM_MAX, "i", "are rows of one length on all ranks", NULL, "ranks" },
    { "hook 4", PFC_COMM_EXCHANGE_ROWS, "b", "keys, back to their places", NULL, NULL },
    { "", PFC_COMM_GATHER, "i", "how many rows has each rank", NULL, NULL },
    { "8", PFC_COMM_GATHER_ROWS, "b", "k, the keys of all rows", "N,D", NULL },
    { NULL, PFC_COMM_MAX, NULL, NULL, NULL, NULL },
};

static const char *const moco_settings[] = { "momentum", "0.9", "temperature", "0.5", NULL };

const pfc_ex_algorithm pfc_ex_moco = {
    .name = "moco",
    .source = "src/algo/moco_hook.c (hook 1 to 4) and src/algo/moco.c",
    .about = "A query should be near the key of its own image and far from the keys of others, which stand in a queue. A second encoder, which follows "
             "the first "
             "one slowly, makes the keys. Every rank has the whole queue and its own rows.",
    .letters = "P  ranks             b    rows of this rank, N  rows in all\n"
               "D  width             K    keys in the queue, ptr  where the next goes\n"
               "x  queries           q    their directions\n"
               "k  keys              u    the queue's keys\n"
               "mu momentum          tau  temperature\n"
               "theta_q, theta_k     parameters of the encoders of queries and of keys\n"
               "<q, k>  sum of the products of their elements, |x| = sqrt <x, x>\n"
               "a <- b  a becomes b",
    .settings = moco_settings,
    .example = moco_example,
    .steps = moco_steps,
    .exchanges = moco_exchanges,
};
