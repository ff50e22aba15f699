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

#define SAMPLING "has:sample_keys"

static const pfc_ex_step steps[] = {
    { "1", "gather labels", "y = the labels of all rows, rank after rank",
      "Every rank must know all labels: any row may belong to one of its "
      "classes.",
      "in:labels", NULL },
    { "2", "sample classes",
      "positive: a class that is the label of some row\n"
      "{sample_rule=shard !given:num_sample} places = trunc(sample_rate * C_r)                  on rank r\n"
      "{sample_rule=shard given:num_sample} places = num_sample, C_r at most                   on rank r\n"
      "{sample_rule=global !given:num_sample} places = trunc(sample_rate * C)                    in all\n"
      "{sample_rule=global given:num_sample} places = num_sample, C at most                     in all\n"
      "taken: all positives; places that are left go to the classes\n"
      "       with the largest keys",
      "The keys are random numbers from 0 to 1 (sample_keys).\n"
      "{sample_rule=shard} Each rank chooses among its own classes and nothing is moved.\n"
      "{sample_rule=global} The classes of all ranks compete for the places. How many keys lie in each of 2048 ranges is added over the ranks, "
      "then again inside "
      "the range where the places run out, and so on, until the smallest key that still gets a place is known.",
      "step:sample_keys out:sampled", SAMPLING },
    { "3", "gather features", "X = the features of all rows, rank after rank", "{" SAMPLING "} On its way during step 2.\nRows travel as float32.",
      "in:features", NULL },
    { "4", "norms, cosines",
      "{!head=linear} z_nc = <x_n, w_c> / (|x_n| |w_c|)\n"
      "{head=linear} z_nc = <x_n, w_c>                         head linear: no norms",
      "A rank has all rows and its own columns.\n{" SAMPLING "} A dot stands where a class was not sampled.", "in:weight step:cosine", NULL },
    { "5", "margin, running maximum",
      "{cos_clamp=1} z_nc below -1 counts as -1, above 1 as 1\n"
      "{head=linear} l_nc = s z_nc\n"
      "{head=arc|cos} l_nc = s z_nc                             at other classes than y_n\n"
      "{head=arc|cos !interclass_threshold=0}        0                           where z_nc > interclass_threshold\n"
      "{head=arc} l_ny = s cos(arccos z_ny + m)             at the label y_n\n"
      "{head=arc arc_fallback=linear}        s (z_ny - m sin m)                 where z_ny <= -cos m\n"
      "{head=arc arc_fallback=easy}        s z_ny                             where z_ny <= 0\n"
      "{head=cos} l_ny = s (z_ny - m)                       at the label y_n\n"
      "{head=circle} l_nc = s max(z_nc + m, 0) (z_nc - m)      at other classes than y_n\n"
      "{head=circle} l_ny = s max(1 + m - z_ny, 0) (z_ny - 1 + m)  at the label y_n\n"
      "max_n = largest l_nc of this rank",
      "{head=linear} Head linear has no margin.\n"
      "{head=arc|cos|circle} The margin m asks more of a row at its own class than at the others.",
      "step:logits", NULL },
    { "6", "softmax denominator",
      "M_n = largest max_n of all ranks\n"
      "S_n = sum over all ranks of sum_c exp(l_nc - M_n)",
      "Two small vectors are all that the softmax takes.\n{" SAMPLING "} Classes that were not sampled are not in it.", NULL, NULL },
    { "7", "loss",
      "p_n = exp(l_ny - M_n) / S_n\n"
      "{loss=clamp} loss = -(1/N) sum_n log max(p_n, 1e-30)\n"
      "{loss=lse} loss = (1/N) sum_n (log S_n - (l_ny - M_n))",
      "{ranks} Only the rank that owns the label's class knows p_n; the other ranks add 0.\n"
      "{ranks loss=lse} Likewise l - M at the label, which does not vanish where p_n is too small to be told from 0.",
      "out:loss", NULL },
    { "8", "scale of the gradient", "e_n = exponent of the largest term of row n, over all ranks",
      "Exact mode adds integers: the exponents say in which unit a row of u is counted. Fast mode has no such step.", NULL, "exact" },
    { "9", "gradients, block by block",
      "g_nc = (p_nc - [c = y_n]) / N             p_nc = exp(l_nc - M_n) / S_n\n"
      "{head=linear} h_nc = s g_nc                             derivative of step 5\n"
      "{head=cos} h_nc = g_nc dl_nc/dz_nc                   derivative of step 5\n"
      "{head=arc arc_gradient=exact} h_nc = g_nc dl_nc/dz_nc                   derivative of step 5\n"
      "{head=arc arc_gradient=straight_through} h_nc = s g_nc                             as if l_ny = s z_ny\n"
      "{head=arc|cos !interclass_threshold=0}        0                            where the threshold made l_nc 0\n"
      "{head=circle} h_nc = g_nc dl_nc/dz_nc                   max(...) of step 5 is constant\n"
      "{!head=linear} u_n += sum_c h_nc w_c / |w_c|             for step 10\n"
      "{!head=linear} a_c = sum_n h_nc x_n / |x_n|\n"
      "{!head=linear} dw_c = (a_c - <a_c, w^_c> w^_c) / |w_c|   w^_c = w_c / |w_c|\n"
      "{head=linear} u_n += sum_c h_nc w_c                     for step 10\n"
      "{head=linear} dw_c = sum_n h_nc x_n\n"
      "d_c = dw_c + weight_decay w_c\n"
      "{!momentum=0} v_c <- momentum v_c + d_c\n"
      "{momentum=0} w_c <- w_c - lr d_c\n"
      "{!momentum=0 nesterov=0} w_c <- w_c - lr v_c\n"
      "{!momentum=0 nesterov=1} w_c <- w_c - lr (d_c + momentum v_c)",
      "The weights never leave their rank, nor does their gradient.\n"
      "{momentum=0} Without momentum v stays as it was.\n"
      "{momentum_rule=lazy " SAMPLING "} Classes that were not sampled keep their weights and their v.",
      "step:dlogits out:weight_grad\n{!momentum_rule=dense} out:weight out:weight_momentum\n{!" SAMPLING "} out:weight out:weight_momentum", NULL },
    { "10", "feature gradient",
      "u_n = sum of all ranks' parts; each rank gets its own rows\n"
      "{!head=linear} x_grad_n = xgrad_scale (u_n - t_n x^_n) / |x_n|\n"
      "{!head=linear} t_n = <u_n, x^_n>                         x^_n = x_n / |x_n|\n"
      "{head=linear} x_grad_n = xgrad_scale u_n",
      "{!given:xgrad_scale} xgrad_scale is not set: it is the number of ranks, P, as in the published code.", "out:x_grad", NULL },
    { "11", "dense rule",
      "where c was not sampled:\n"
      "{momentum=0} w_c <- w_c - lr weight_decay w_c\n"
      "{!momentum=0} v_c <- momentum v_c + weight_decay w_c\n"
      "{!momentum=0 nesterov=0} w_c <- w_c - lr v_c\n"
      "{!momentum=0 nesterov=1} w_c <- w_c - lr (weight_decay w_c + momentum v_c)",
      "As if these classes had taken part with gradient 0.", "out:weight out:weight_momentum", "momentum_rule=dense " SAMPLING },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const pfc_ex_exchange exchanges[] = {
    { "", PFC_COMM_MAX, "i", "do all ranks hold as many rows", NULL, NULL },
    { "1", PFC_COMM_GATHER, "i", "y, the labels of all rows", "N", NULL },
    { "3", PFC_COMM_GATHER, "r", "X, the features of all rows", "N,D", NULL },
    { "2", PFC_COMM_SUM, "i", "positives, how many there are", NULL, "sample_rule=global" },
    { "2", PFC_COMM_SUM, "i", "counts, how many keys are in each range", NULL, "sample_rule=global" },
    { "2", PFC_COMM_GATHER, "i", "ties, how many keys of each rank equal the smallest one that gets a place", NULL, "sample_rule=global" },
    { "6", PFC_COMM_MAX, "r", "M, the largest logit of each row (row_max)", "N", NULL },
    { "6", PFC_COMM_SUM, "a", "S, the sum of exp(l - M) of each row (row_sum)", "N", NULL },
    { "7", PFC_COMM_SUM, "r", "p, the probability of each row's class (prob_target)", "N", NULL },
    { "7", PFC_COMM_SUM, "r", "l - M, at the label", "N", "loss=lse" },
    { "8", PFC_COMM_MAX, "e", "e, exponents of u and of its products t", NULL, NULL },
    { "10", PFC_COMM_REDUCE_SCATTER, "a", "u, the gradient of all normalised rows", "N,D", "!head=linear" },
    { "10", PFC_COMM_REDUCE_SCATTER, "a", "t, its products <u_n, x^_n> with the rows", "N", "!head=linear" },
    { "10", PFC_COMM_REDUCE_SCATTER, "a", "u, the gradient of all rows", "N,D", "head=linear" },
    { "10", PFC_COMM_REDUCE_SCATTER, "a", "t, zeros: head linear has no use for it", "N", "head=linear" },
    { NULL, PFC_COMM_MAX, NULL, NULL, NULL, NULL },
};

static const char *const settings[] = { "head", "arc", "sample_rate", "0.7", "lr", "0.1", "momentum", "0.9", NULL };

const pfc_ex_algorithm pfc_ex_partial_fc = {
    .name = "partial_fc",
    .source = "src/algo/partial_fc.c",
    .about = "A softmax over very many classes does not fit on one device. Here each rank holds the weights of some of the classes, and all ranks "
             "together make "
             "the softmax.\n"
             "{" SAMPLING "} Only a sample of the classes takes part in a step.\n"
             "{!" SAMPLING "} Here all classes take part in a step; with sample_rate below 1 only a sample of them does.",
    .letters = "P    ranks             r         this rank\n"
               "N    rows in all       b         rows of a rank, N = b P\n"
               "C    classes           C_r       classes of rank r\n"
               "D    width             x_n, w_c  features of row n, weights of class c\n"
               "s    scale\n"
               "{!head=linear} m    margin\n"
               "y_n  label of row n    [c = y]   1 where that is so, else 0\n"
               "<x, w>  sum of the products of their elements, |x| = sqrt <x, x>\n"
               "{!momentum=0} v_c  momentum of class c (weight_momentum), 0 at the beginning\n"
               "a <- b  a becomes b",
    .settings = settings,
    .example = example,
    .steps = steps,
    .exchanges = exchanges,
    .mask = "sampled",
    .rounds = true,
};
