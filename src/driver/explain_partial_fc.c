/* explain_partial_fc.c: the steps of partial_fc, and an example in the plane: 10 classes, 4 rows. */
#include "driver/explain.h"

#include <string.h>

static const int64_t label_list[] = { 0, 4, 7, 4, 9, 2, 5, 1 };

/* Directions all around the plane, and rows near their classes. */
static const double weight_list[] = { 0.9, 0.1, 0.6, 0.7, 0.1, 0.8, -0.4, 0.9, -0.8, 0.4, -0.9, -0.3, -0.5, -0.7, 0.1, -1.0, 0.6, -0.8, 0.9, -0.4 };
static const double feature_list[] = { 1.7, 0.6, -1.2, 1.1, 0.7, -1.6, -1.9, 0.3, 1.4, -1.1, -0.4, 1.5, -1.3, -1.0, 0.8, 1.6 };

static double label(int64_t i) { return (double)label_list[i % 8]; }
static double weight(int64_t i) { return weight_list[i]; }
static double feature(int64_t i) { return feature_list[i % 16]; }

static int example(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag)
{
    int64_t rows[2] = { pfc_ex_rows(ranks, 4), 2 }, classes[2] = { 10, 2 };
    bool linear = strcmp(pfc_param_word(c, "head"), "linear") == 0;
    pfc_ex_set(c, "scale", linear ? "1" : "4", diag);
    if (!linear) pfc_ex_set(c, "margin", "0.3", diag);
    pfc_ex_input(comm, c, "features", 2, rows, feature, diag);
    pfc_ex_input(comm, c, "labels", 1, rows, label, diag);
    pfc_ex_input(comm, c, "weight", 2, classes, weight, diag);
    return pfc_diag_agree(comm, diag);
}

static bool sampling(const pfc_case *c, pfc_mode mode, int ranks)
{
    (void)mode, (void)ranks;
    return pfc_param_present(c, "num_sample") || pfc_param_real(c, "sample_rate") < 1.0;
}

static bool exact(const pfc_case *c, pfc_mode mode, int ranks)
{
    (void)c, (void)ranks;
    return mode == PFC_EXACT;
}

static bool dense_rule(const pfc_case *c, pfc_mode mode, int ranks)
{
    return strcmp(pfc_param_word(c, "momentum_rule"), "dense") == 0 && sampling(c, mode, ranks);
}

static const pfc_ex_step steps[] = {
    { "1", "gather labels", "y = the labels of all rows, rank after rank", "Every rank must know all labels: any row may belong to one of its classes.",
      "in:labels", NULL },
    { "2", "sample classes",
      "positive: a class of this rank that is the label of some row\n"
      "n_r = max(number of positives, trunc(sample_rate * C_r))\n"
      "taken: all positives, then the classes with the largest keys u_c",
      "u_c are random numbers. Each rank samples among its own classes and nothing is moved; only with sample_rule=global are the keys of all ranks "
      "compared, and "
      "positives and sample counted over all of them.",
      "step:sample_keys out:sampled", sampling },
    { "3", "gather features", "X = the features of all rows, rank after rank", "On its way during step 2. Rows travel as float32.", "in:features", NULL },
    { "4", "norms, cosines",
      "z_nc = <x_n, w_c> / (|x_n| |w_c|)            for the sampled classes c\n"
      "       <x_n, w_c>                            head linear",
      "A rank has all rows and its own columns. A dot stands where a class was not sampled.", "in:weight step:cosine", NULL },
    { "5", "margin, running maximum",
      "l_nc = s z_nc                                at other classes than y_n\n"
      "l_ny = s cos(arccos z_ny + m)                head arc\n"
      "       s (z_ny - m)                          head cos\n"
      "max_n = largest l_nc of this rank",
      "Head circle has quadratic logits (doc/semantics.md 2.5); head linear has no margin.", "step:logits", NULL },
    { "6", "softmax denominator",
      "M_n = largest max_n of all ranks\n"
      "S_n = sum over all ranks of sum_c exp(l_nc - M_n)",
      "Two small vectors are all that the softmax over all classes takes.", NULL, NULL },
    { "7", "loss",
      "p_n = exp(l_ny - M_n) / S_n\n"
      "loss = -(1/N) sum_n log max(p_n, 1e-30)      loss clamp\n"
      "       (1/N) sum_n (log S_n - (l_ny - M_n))  loss lse",
      "Only the rank that owns the label's class knows p_n; the others add 0.", "out:loss", NULL },
    { "8", "scale of the gradient", "e_n = exponent of the largest term of row n, over all ranks",
      "Exact mode adds integers. The exponents put all ranks on the same grid; fast mode has no such step.", NULL, exact },
    { "9", "gradients, block by block",
      "g_nc = (p_nc - [c = y_n]) / N             p_nc = exp(l_nc - M_n) / S_n\n"
      "h_nc = g_nc dl_nc/dz_nc                   derivative of step 5\n"
      "dx_n += sum_c h_nc w_c / |w_c|            for step 10\n"
      "dw_c = (a_c - <a_c, w^_c> w^_c) / |w_c|      w^_c = w_c / |w_c|\n"
      "a_c = sum_n h_nc x_n / |x_n|\n"
      "d_c = dw_c + weight_decay w_c\n"
      "v_c <- momentum v_c + d_c\n"
      "w_c <- w_c - lr v_c\n"
      "       w_c - lr (d_c + momentum v_c)      nesterov=1",
      "The weights never leave their rank, nor does their gradient.", "step:dlogits out:weight_grad out:weight_momentum out:weight", NULL },
    { "10", "feature gradient",
      "dX = sum of all ranks' parts; each rank gets its own rows\n"
      "x_grad_n = xgrad_scale (dx_n - t_n x^_n) / |x_n|\n"
      "t_n = <dx_n, x^_n>                           x^_n = x_n / |x_n|",
      "xgrad_scale is the number of ranks, as in the source, if it is not set.", "out:x_grad", NULL },
    { "11", "dense rule", "where c was not sampled:\nv_c <- momentum v_c + weight_decay w_c\nw_c <- w_c - lr v_c", NULL, NULL, dense_rule },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const pfc_ex_exchange exchanges[] = {
    { "", PFC_COMM_MAX, "i", "do all ranks hold as many rows", NULL },
    { "1", PFC_COMM_GATHER, "i", "y, the labels of all rows", "N" },
    { "3", PFC_COMM_GATHER, "r", "X, the features of all rows", "N,D" },
    { "2", PFC_COMM_SUM, "i", "counts, of positives and of sample keys by their size (sample_rule=global)", NULL },
    { "2", PFC_COMM_GATHER, "i", "ties, at the edge of the sample on each rank (sample_rule=global)", NULL },
    { "6", PFC_COMM_MAX, "r", "M, the largest logit of each row (row_max)", "N" },
    { "6", PFC_COMM_SUM, "a", "S, the sum of exp(l - M) of each row (row_sum)", "N" },
    { "7", PFC_COMM_SUM, "r", "p, the probability of each row's class (prob_target)", "N" },
    { "7", PFC_COMM_SUM, "r", "l - M at the label (loss=lse)", "N" },
    { "8", PFC_COMM_MAX, "e", "e, exponents of dX and of its products with X", NULL },
    { "10", PFC_COMM_REDUCE_SCATTER, "a", "dX, the gradient of all normalised rows", "N,D" },
    { "10", PFC_COMM_REDUCE_SCATTER, "a", "t, its products <dx_n, x^_n> with the rows", "N" },
    { NULL, PFC_COMM_MAX, NULL, NULL, NULL },
};

static const char *const settings[] = { "head", "arc", "sample_rate", "0.7", "lr", "0.1", "momentum", "0.9", NULL };

const pfc_ex_algorithm pfc_ex_partial_fc = {
    .name = "partial_fc",
    .source = "src/algo/partial_fc.c",
    .about =
        "A softmax over very many classes does not fit on one device. Here each rank holds the weights of some of the classes, all ranks together make the "
        "softmax over all of them, and only a sample of the classes takes part in a step.",
    .letters = "P    ranks             r         this rank\n"
               "N    rows in all       b         rows of a rank, N = b P\n"
               "C    classes           C_r, n_r  classes of rank r, those sampled\n"
               "D    width             x_n, w_c  features of row n, weights of class c\n"
               "s    scale             m         margin\n"
               "y_n  label of row n    [c = y]   1 where that is so, else 0",
    .settings = settings,
    .example = example,
    .steps = steps,
    .exchanges = exchanges,
    .mask = "sampled",
};
