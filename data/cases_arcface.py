"""The arcface_head and adaptive_margins cases, for any number of ranks that divides N: 24, or 120 in three of them. C is divisible by no number of ranks.
N: rows of the batch, D: features, C: classes, k: sub-centers.
"""
import numpy as np

N, D, C, MANY = 24, 6, 7, 120


def batch(source, k=1, n=N, d=D, c=C):
    """Rows lie around the first sub-center of their class: cosines to the target near 0.7, a loss of order 1."""
    weight = source.uniform(c * k, d)
    labels = source.pick(np.arange(c), n)
    return {"features": weight[labels * k] + source.uniform(n, d), "labels": labels, "weight": weight}


def head(**param):
    return {"scale": 8.0, **param}


def plain(s):
    return "arcface_head", head(margin=0.3), batch(s, n=MANY)


def k3_margins(s):
    x = batch(s, 3, MANY)
    x["margins"] = 0.1 + 0.4 * s.keys(C)
    return "arcface_head", head(num_subcenters=3), x


def linear_branch(s):
    """Every third row points away from its class: angle + margin beyond pi."""
    x = batch(s)
    x["features"][::3] = s.uniform(N // 3, D) / np.float32(8) - x["weight"][x["labels"][::3]]
    return "arcface_head", head(margin_constants="set", loss_weight=0.5), x


def easy(s):
    _, _, x = linear_branch(s)
    return "arcface_head", head(easy_margin=1, num_subcenters=1), x


def soft(s):
    """Probability targets whose rows do not sum to 1, class weights, two sub-centers."""
    x = batch(s, 2, MANY)
    x["soft_targets"] = (np.abs(s.uniform(MANY, C)) / np.float32(4)).astype(np.float32)
    x["class_weight"] = np.float32(1.25) + s.uniform(C)
    return "arcface_head", head(num_subcenters=2), x


def class_weight(s):
    x = batch(s)
    x["class_weight"] = np.float32(1.25) + s.uniform(C)
    return "arcface_head", head(margin=0.2), x


def bias(s):
    x = batch(s, 2)
    x["bias"] = s.uniform(C * 2) / np.float32(8)
    return "arcface_head", head(num_subcenters=2, cos_clamp=1), x


def no_norm(s):
    """Products as they are, within (-1, 1)."""
    x = batch(s)
    x["features"], x["weight"] = x["features"] / np.float32(4), x["weight"] / np.float32(4)
    return "arcface_head", head(feature_norm=0, weight_norm=0, scale=16.0), x


def no_norm_clamp(s):
    """Products beyond 1 with the clamp; only the weight is normalised."""
    x = batch(s, 2)
    x["features"] *= np.float32(2)
    return "arcface_head", head(feature_norm=0, num_subcenters=2, cos_clamp=1), x


def duplicate(s):
    """Sub-centers of a class are equal: the first one wins and has the gradient. Row 0 and weight 2 are zero."""
    x = batch(s, 2)
    x["weight"][1::2] = x["weight"][::2]
    x["features"][0] = 0
    x["weight"][2] = 0
    return "arcface_head", head(num_subcenters=2), x


def pole(s):
    """Row 0 lies on a weight that is not its class's: cosine 1, forward as usual, gradients NaN."""
    x = batch(s, c=3, d=4)
    x["features"][0], x["weight"][1] = [0, 2, 0, 0], [0, 3, 0, 0]
    x["labels"][0] = 0
    return "arcface_head", head(margin=0.3), x


def evaluate(s):
    x = batch(s, 3)
    del x["labels"]
    return "arcface_head", head(num_subcenters=3, eval=1), x


def wide(s):
    """More sub-centers than a block of rows holds."""
    return "arcface_head", head(num_subcenters=130, margin=0.2), batch(s, 130, d=3, c=3)


def margins_golden(s):
    return "adaptive_margins", {}, {"class_counts": np.array([1, 10, 100, 0])}


def margins_power(s):
    return "adaptive_margins", {"power": -0.5, "margin_min": 0.1, "margin_max": 0.4}, {"class_counts": s.pick(np.arange(1, 2000) ** 2, 23)}


def margins_equal(s):
    return "adaptive_margins", {}, {"class_counts": np.array([7, 7, 7])}


def margins_equal_min(s):
    return "adaptive_margins", {"equal_counts": "min"}, {"class_counts": np.array([7, 7, 7])}


SHIPPED = {"arc_plain": plain, "arc_k3_margins": k3_margins, "arc_linear_branch": linear_branch, "arc_easy": easy, "arc_soft": soft,
           "arc_class_weight": class_weight, "arc_bias": bias, "arc_no_norm": no_norm, "arc_no_norm_clamp": no_norm_clamp, "arc_duplicate": duplicate,
           "arc_pole": pole, "arc_eval": evaluate, "arc_wide": wide, "margins_golden": margins_golden, "margins_power": margins_power,
           "margins_equal": margins_equal, "margins_equal_min": margins_equal_min}
