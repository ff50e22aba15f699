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
/* So that no product is above 1 where nothing is normalised: it has no arccos. */
static double short_feature(int64_t i) { return 0.5 * feature(i); }

static int arcface_example(MPI_Comm comm, pfc_case *c, int ranks, pfc_diag *diag)
{
    int64_t rows[2] = { pfc_ex_rows(ranks, 4), 2 }, k = pfc_param_int(c, "num_subcenters"), classes[2] = { 6 * (k > 0 ? k : 1), 2 };
    bool products = pfc_ex_given(c, "feature_norm") && !pfc_param_int(c, "feature_norm");
    pfc_ex_input(comm, c, "features", 2, rows, products ? short_feature : feature, diag);
    pfc_ex_input(comm, c, "labels", 1, rows, label, diag);
    pfc_ex_input(comm, c, "weight", 2, classes, weight, diag);
    return pfc_diag_agree(comm, diag);
}

#define TRAINING "eval=0"

static const pfc_ex_step arcface_steps[] = {
    { "1", "gather labels and features",
      "{eval=0} y, X = the labels and features of all rows, rank after rank\n"
      "{eval=1} X = the features of all rows, rank after rank",
      "Every rank has all rows and its own classes.\n{eval=1} Evaluation needs no labels.", "{eval=0} in:labels\nin:features", NULL },
    { "2", "directions",
      "{feature_norm=1} x^_i = x_i / |x_i|\n"
      "{feature_norm=0} x^_i = x_i                                   feature_norm=0\n"
      "{weight_norm=1} w^_cj = w_cj / |w_cj|                        sub-center j of class c\n"
      "{weight_norm=0} w^_cj = w_cj                                 weight_norm=0; sub-center j",
      NULL, "in:weight", NULL },
    { "3", "cosines",
      "cos_ic = max_j <x^_i, w^_cj>\n"
      "j*_ic = the j that wins",
      "{!num_subcenters=1} Only the sub-center that wins takes part in what follows.\n"
      "{num_subcenters=1} Each class has one sub-center, number 0, which always wins.\n"
      "{feature_norm=0} These are cosines times |x|.\n"
      "{weight_norm=0} They have |w| as a factor.",
      "step:cosine out:subcenter", NULL },
    { "4", "margin, running maximum",
      "{cos_clamp=1} cos_ic below -1 counts as -1, above 1 as 1\n"
      "{eval=0} l_ic = s cos_ic                              at other classes than y_i\n"
      "{eval=0} l_iy = s cos(arccos cos_iy + m)              at the label y_i\n"
      "{eval=0 easy_margin=0}        s (cos_iy - m sin m)                  where cos_iy <= -cos m\n"
      "{eval=0 easy_margin=1}        s cos_iy                              where cos_iy <= 0\n"
      "{eval=0} max_i = largest l_ic of this rank\n"
      "{eval=1} l_ic = s cos_ic",
      "{eval=0} The margin m asks more of a row at its own class than at the others.\n{eval=1} Evaluation has no margin and ends here.", "out:logits", NULL },
    { "5", "softmax denominator",
      "M_i = largest max_i of all ranks\n"
      "S_i = sum over all ranks of sum_c exp(l_ic - M_i)\n"
      "p_ic = exp(l_ic - M_i) / S_i",
      NULL, "step:prob", TRAINING },
    { "6", "targets and loss",
      "q_ic = 1 at y_i, else 0\n"
      "T_i = sum_c q_ic\n"
      "L_i = sum_c q_ic (log S_i - (l_ic - M_i))\n"
      "loss = loss_weight/N sum_i L_i",
      "With the inputs soft_targets or class_weight, which this example lacks, q and T are other numbers.\n"
      "{ranks} Each rank knows the terms of its own classes; they are added over all ranks.",
      "out:loss", TRAINING },
    { "7", "scale of the gradient", "e_i = exponent of the largest term of row i, over all ranks",
      "Exact mode adds integers: the exponents say in which unit a row of u is counted.", NULL, TRAINING " exact" },
    { "8", "gradients, block by block",
      "g_ic = loss_weight/N (T_i p_ic - q_ic)\n"
      "h_ic = g_ic dl_ic/dcos_ic                    at sub-center j*_ic, else 0\n"
      "u_i += sum_c h_ic w^_cj*                     for step 9\n"
      "a_cj = sum of h_ic x^_i over the rows that j won\n"
      "{weight_norm=1} dw_cj = (a_cj - <a_cj, w^_cj> w^_cj) / |w_cj|\n"
      "{weight_norm=0} dw_cj = a_cj",
      "The gradient of the weights stays where the weights are.", "out:weight_grad", TRAINING },
    { "9", "feature gradient",
      "u_i = sum of all ranks' parts; each rank gets its own rows\n"
      "{feature_norm=1} x_grad_i = (u_i - <u_i, x^_i> x^_i) / |x_i|\n"
      "{feature_norm=0} x_grad_i = u_i",
      NULL, "out:x_grad", TRAINING },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const pfc_ex_exchange arcface_exchanges[] = {
    { "", PFC_COMM_MAX, "i", "are shapes and inputs alike on all ranks", NULL, NULL },
    { "1", PFC_COMM_GATHER, "i", "y, the labels of all rows", "N", TRAINING },
    { "1", PFC_COMM_GATHER, "r", "X, the features of all rows", "N,D", NULL },
    { "5", PFC_COMM_MAX, "r", "M, the largest logit of each row", "N", NULL },
    { "5", PFC_COMM_SUM, "a", "S, the sum of exp(l - M) of each row", "N", NULL },
    { "6", PFC_COMM_MAX, "e", "e, exponents of T", NULL, "exact" },
    { "6", PFC_COMM_MAX, "e", "e', exponents of L", NULL, "exact" },
    { "6", PFC_COMM_SUM, "a", "T, the sum of each row's targets", "N", NULL },
    { "6", PFC_COMM_SUM, "a", "L, the loss of each row", "N", NULL },
    { "7", PFC_COMM_MAX, "e", "e, exponents of u", NULL, NULL },
    { "9", PFC_COMM_REDUCE_SCATTER, "a", "u, the gradient of all directions", "N,D", NULL },
    { NULL, PFC_COMM_MAX, NULL, NULL, NULL, NULL },
};

static const char *const arcface_settings[] = { "scale", "4", "margin", "0.3", "num_subcenters", "2", NULL };

const pfc_ex_algorithm pfc_ex_arcface_head = {
    .name = "arcface_head",
    .source = "src/algo/arcface_head.c",
    .about = "ArcFace asks a row to be nearer to its own class by an angle m. With sub-centers a class may have several directions, of which the "
             "nearest counts. "
             "The classes are cut over the ranks.\n{eval=0} The loss is the mean over the rows of all ranks.",
    .letters = "P  ranks              r  this rank\n"
               "N  rows in all        b  rows of a rank, N = b P\n"
               "i  a row: n0, n1, ... in tables\n"
               "C  classes            k  sub-centers of a class\n"
               "D  width              x_i   features of row i\n"
               "s  scale              w_cj  weights of sub-center j of class c\n"
               "{eval=0} m  margin             y_i   label of row i\n"
               "<x, w>  sum of the products of their elements, |x| = sqrt <x, x>\n"
               "{!num_subcenters=1} c3.1    in tables: sub-center 1 of class 3",
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
      "m_c = (f_c - min f)/(max f - min f) *\n"
      "      (margin_max - margin_min) + margin_min\n"
      "{equal_counts=min}       margin_min                         where max f = min f",
      "With a negative power rare classes get the large margins, with a positive one the frequent ones.\n"
      "{equal_counts=source} Where all f are equal this is 0/0, as in the published code: nan, not a number.",
      "out:margins", NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};

static const char *const margins_settings[] = { "power", "-0.25", "margin_min", "0.05", "margin_max", "0.5", NULL };

const pfc_ex_algorithm pfc_ex_adaptive_margins = {
    .name = "adaptive_margins",
    .source = "src/algo/adaptive_margins.c",
    .about = "A class with few training rows is hard to tell from others, so its margin in arcface_head should be larger. Every rank knows all "
             "class counts.",
    .letters = "C    classes\n"
               "n_c  training rows of class c",
    .settings = margins_settings,
    .example = margins_example,
    .steps = margins_steps,
};
