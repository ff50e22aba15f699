/* explain_arcface.c: the steps of arcface_head and adaptive_margins, and examples: 6 classes with two sub-centers each in the plane; 6 class counts. */
#include "driver/explain.h"

/* ---- arcface_head ---- */

static const int64_t label_list[] = { 0, 2, 4, 5, 1, 3, 2, 0 };
static const double weight_list[] = { 0.9,  0.1, 0.8,  0.5,  0.5,  0.9,  0.1, 1.0,  -0.4, 0.8,  -0.8, 0.6,
                                      -1.0, 0.1, -0.9, -0.4, -0.4, -0.8, 0.1, -0.9, 0.6,  -0.7, 0.9,  -0.3 };
static const double feature_list[] = { 1.6, 0.9, -0.5, 1.4, -0.6, -1.3, 1.5, -0.9, 0.4, 1.7, -1.8, -0.2, -1.2, 0.9, 1.9, -0.1 };

static double label(int64_t i) { return (double)label_list[i % 8]; }
static double weight(int64_t i) { return weight_list[i % 24]; }
static double feature(int64_t i) { return feature_list[i % 16]; }

static int arcface_example(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag)
{
    int64_t rows[2] = { pfc_ex_rows(ranks, 4), 2 }, k = pfc_param_int(c, "num_subcenters"), classes[2] = { 6 * (k > 0 ? k : 1), 2 };
    pfc_ex_input(comm, c, "features", 2, rows, feature, diag);
    pfc_ex_input(comm, c, "labels", 1, rows, label, diag);
    pfc_ex_input(comm, c, "weight", 2, classes, weight, diag);
    return pfc_diag_agree(comm, diag);
}

static bool training(const pfc_case *c, pfc_mode mode, int ranks)
{
    (void)mode, (void)ranks;
    return pfc_param_int(c, "eval") == 0;
}

static bool exact(const pfc_case *c, pfc_mode mode, int ranks) { return training(c, mode, ranks) && mode == PFC_EXACT; }

static const pfc_ex_step arcface_steps[] = {
    { "1", "gather labels and features", "y, X = the labels and features of all rows, rank after rank", "Every rank has all rows and its own classes.",
      "in:labels in:features", NULL },
    { "2", "directions",
      "x^_i = x_i / |x_i|\n"
      "w^_cj = w_cj / |w_cj|                        sub-center j of class c",
      NULL, "in:weight", NULL },
    { "3", "cosines",
      "cos_ic = max_j (<x^_i, w^_cj> + b_cj)\n"
      "j*_ic = the j that wins",
      "Only the sub-center that wins takes part in what follows.", "step:cosine out:subcenter", NULL },
    { "4", "margin, running maximum",
      "l_ic = s cos_ic                              at other classes than y_i\n"
      "l_iy = s cos(arccos cos_iy + m)              training\n"
      "max_i = largest l_ic of this rank",
      NULL, "out:logits", NULL },
    { "5", "softmax denominator",
      "M_i = largest max_i of all ranks\n"
      "S_i = sum over all ranks of sum_c exp(l_ic - M_i)",
      NULL, "step:prob", training },
    { "6", "targets and loss",
      "q_ic = class weight times target: 1 at y_i, or a soft target\n"
      "T_i = sum_c q_ic\n"
      "L_i = sum_c q_ic (log S_i - (l_ic - M_i))\n"
      "loss = loss_weight/N sum_i L_i",
      "Each rank knows the terms of its own classes.", "out:loss", training },
    { "7", "scale of the gradient", "e_i = exponent of the largest term of row i, over all ranks", "Exact mode adds integers on a common grid.", NULL, exact },
    { "8", "gradients, block by block",
      "g_ic = loss_weight/N (T_i p_ic - q_ic)\n"
      "h_ic = g_ic dl_ic/dcos_ic                    at sub-center j*_ic, else 0\n"
      "dx^_i += sum_c h_ic w^_cj*\n"
      "dw_cj = (a_cj - <a_cj, w^_cj> w^_cj) / |w_cj|\n"
      "a_cj = sum of h_ic x^_i over the rows that j won",
      "The gradient of the weights stays where the weights are.", "out:weight_grad out:bias_grad", training },
    { "9", "feature gradient",
      "dX^ = sum of all ranks' parts; each rank gets its own rows\n"
      "x_grad_i = (dx^_i - <dx^_i, x^_i> x^_i) / |x_i|",
      NULL, "out:x_grad", training },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const pfc_ex_exchange arcface_exchanges[] = {
    { "", PFC_COMM_MAX, "i", "are shapes and inputs alike on all ranks", NULL },
    { "1", PFC_COMM_GATHER, "i", "y, the labels of all rows", "N" },
    { "1", PFC_COMM_GATHER, "r", "X, the features of all rows", "N,D" },
    { "5", PFC_COMM_MAX, "r", "M, the largest logit of each row", "N" },
    { "5", PFC_COMM_SUM, "a", "S, the sum of exp(l - M) of each row", "N" },
    { "6", PFC_COMM_MAX, "e", "e, exponents of T", NULL },
    { "6", PFC_COMM_MAX, "e", "e', exponents of L", NULL },
    { "6", PFC_COMM_SUM, "a", "T, the sum of each row's targets", "N" },
    { "6", PFC_COMM_SUM, "a", "L, the loss of each row", "N" },
    { "7", PFC_COMM_MAX, "e", "e, exponents of dX^", NULL },
    { "9", PFC_COMM_REDUCE_SCATTER, "a", "dX^, the gradient of all directions", "N,D" },
    { NULL, PFC_COMM_MAX, NULL, NULL, NULL },
};

static const char *const arcface_settings[] = { "scale", "4", "margin", "0.3", "num_subcenters", "2", NULL };

const pfc_ex_algorithm pfc_ex_arcface_head = {
    .name = "arcface_head",
    .source = "src/algo/arcface_head.c",
    .about =
        "ArcFace asks a row to be nearer to its own class by an angle m. With sub-centers a class may have several directions, of which the nearest counts. "
        "The classes are cut over the ranks; the loss is the mean over the rows of all ranks.",
    .letters = "P  ranks              r  this rank\n"
               "N  rows in all        b  rows of a rank, N = b P\n"
               "C  classes            k  sub-centers of a class\n"
               "D  width              s  scale, m  margin\n"
               "y_i label of row i    b_cj  bias of a sub-center, 0 here\n"
               "c3.1                  in tables: sub-center 1 of class 3",
    .settings = arcface_settings,
    .example = arcface_example,
    .steps = arcface_steps,
    .exchanges = arcface_exchanges,
};

/* ---- adaptive_margins ---- */

static double count(int64_t i)
{
    static const double list[] = { 1000, 100, 10, 1, 50, 500 };
    return list[i % 6];
}

static int margins_example(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag)
{
    int64_t classes = 6;
    (void)ranks;
    pfc_ex_input(comm, c, "class_counts", 1, &classes, count, diag);
    return pfc_diag_agree(comm, diag);
}

static const pfc_ex_step margins_steps[] = {
    { "1", "frequencies", "f_c = max(n_c, 1)^power", NULL, "in:class_counts", NULL },
    { "2", "range of f", "min f, max f                                 over all classes", NULL, NULL, NULL },
    { "3", "margins",
      "margin_c = (f_c - min f)/(max f - min f) *\n"
      "           (margin_max - margin_min) + margin_min",
      "With a negative power rare classes get large margins.", "out:margins", NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const char *const margins_settings[] = { "power", "-0.25", "margin_min", "0.05", "margin_max", "0.5", NULL };

const pfc_ex_algorithm pfc_ex_adaptive_margins = {
    .name = "adaptive_margins",
    .source = "src/algo/adaptive_margins.c",
    .about =
        "A class with few training rows is hard to tell from others, so its margin in arcface_head is made larger. All class counts are known to every rank.",
    .letters = "C    classes\n"
               "n_c  training rows of class c",
    .settings = margins_settings,
    .example = margins_example,
    .steps = margins_steps,
};
