"""Tiny cases of arcface_head and adaptive_margins: every switch and corner. Inputs come from a fixed generator."""
import numpy as np

MAX32 = float(np.finfo(np.float32).max)
KINDS = {"labels": np.int64, "margins": np.float64, "class_counts": np.int64}


class Maker:
    """One random stream for each case, seeded by its name."""

    def __init__(self):
        self.made = []

    def case(self, name, N, C, D, edit=None, k=1, **param):
        rng = np.random.RandomState(sum(ord(ch) * (i + 1) for i, ch in enumerate(name)))
        inputs = {"features": rng.standard_normal((N, D)), "labels": rng.randint(0, C, N), "weight": rng.standard_normal((C * k, D))}
        if k != 1:
            param["num_subcenters"] = k
        param.setdefault("scale", 16.0)
        if edit:
            edit(inputs, rng)
        self.add(name, "arcface_head", param, inputs)

    def add(self, name, algorithm, param, inputs):
        self.made.append((name, algorithm, param, {key: np.asarray(value, KINDS.get(key, np.float32)) for key, value in inputs.items()}))


def margins(x, rng):
    x["margins"] = rng.uniform(0.1, 0.5, len(x["weight"]) // (3 if len(x["weight"]) % 3 == 0 else 1))


def far(x, rng):
    """Targets on both sides of every threshold."""
    for i, sign in enumerate((-1, -1, 1, 1)):
        x["weight"][x["labels"][i]] = sign * (x["features"][i] + 0.05 * i * rng.standard_normal(x["features"][i].shape))


def soft(x, rng):
    x["soft_targets"] = rng.uniform(0, 0.4, (len(x["features"]), len(x["weight"])))
    x["soft_targets"][0, 1:] = 0


def class_weight(x, rng):
    x["class_weight"] = rng.uniform(0.2, 2, len(x["weight"]))


def bias(x, rng):
    x["bias"] = 0.05 * rng.standard_normal(len(x["weight"]))


def small(x, rng):
    """Lengths with which products stay within (-1, 1)."""
    x["features"] *= 0.2
    x["weight"] *= 0.2


def both(*edits):
    def edit(x, rng):
        for e in edits:
            e(x, rng)
    return edit


def switches(make):
    make.case("any_arc_plain", 6, 5, 4)
    make.case("any_arc_k3_margins", 6, 4, 5, margins, 3)
    make.case("any_arc_two_classes", 3, 2, 3, k=2)  # with three ranks one of them has no class
    make.case("any_arc_one_class", 3, 1, 2)
    make.case("w1_arc_one_row", 1, 3, 1)
    make.case("any_arc_linear_branch", 6, 5, 3, far)
    make.case("any_arc_linear_branch_clamp", 6, 5, 3, far, cos_clamp=1, margin=1.25)
    make.case("any_arc_easy", 6, 5, 3, far, easy_margin=1)
    make.case("any_arc_easy_clamp", 6, 5, 3, far, easy_margin=1, cos_clamp=1, margin_constants="set")
    make.case("any_arc_set", 6, 5, 4, margin_constants="set", margin=0.3, loss_weight=-2.5)
    make.case("any_arc_soft", 6, 5, 4, soft)
    make.case("any_arc_class_weight", 6, 5, 4, class_weight, loss_weight=0.7)
    make.case("any_arc_soft_class_weight", 6, 5, 4, both(soft, class_weight))
    make.case("any_arc_bias", 6, 5, 4, bias, cos_clamp=1)
    make.case("any_arc_k3_bias", 6, 4, 5, both(bias, small), 3, weight_norm=0)
    make.case("any_arc_no_feature_norm", 6, 5, 4, small, feature_norm=0)
    make.case("any_arc_no_weight_norm", 6, 5, 4, small, weight_norm=0, easy_margin=1)
    make.case("any_arc_no_norm", 6, 5, 4, small, feature_norm=0, weight_norm=0)
    make.case("any_arc_no_norm_far", 6, 5, 4, feature_norm=0, weight_norm=0)  # products beyond 1: NaN
    make.case("any_arc_no_norm_far_easy", 6, 5, 4, feature_norm=0, weight_norm=0, easy_margin=1)
    make.case("any_arc_no_norm_clamp", 6, 5, 4, feature_norm=0, weight_norm=0, cos_clamp=1)
    make.case("any_arc_eval", 6, 4, 5, bias, 2, eval=1)
    make.case("any_arc_eval_clamp", 6, 4, 5, feature_norm=0, weight_norm=0, eval=1, cos_clamp=1)


def corners(make):
    def pole(x, rng):
        for r in (x["features"], x["weight"]):
            r[0] = 0
            r[0, 0] = 2

    def opposite(x, rng):
        pole(x, rng)
        x["weight"][0, 0] = -2
        x["labels"][0] = 0

    def poles(x, rng):
        pole(x, rng)
        x["labels"][0] = 0
        x["features"][1] = -x["features"][0]

    def duplicate(x, rng):
        x["weight"][1::2] = x["weight"][::2]

    def zeros(x, rng):
        x["features"][1] = 0
        x["weight"][2] = 0

    def tiny(x, rng):
        x["features"][0] *= 1e-20
        x["weight"][1] *= 1e-25
        x["weight"][3] *= 1e-39

    def huge(x, rng):
        x["features"][0] = MAX32
        x["weight"][1] = -MAX32

    def broken(x, rng):
        x["features"][0, 1] = np.nan
        x["weight"][3, 0] = np.inf

    def infinite(x, rng):
        x["features"][1, 0] = np.inf
        x["weight"][2, 1] = -np.inf

    def no_margin(x, rng):
        margins(x, rng)
        x["margins"][2] = np.nan

    make.case("any_arc_pole", 6, 5, 3, pole)
    make.case("any_arc_pole_opposite", 6, 5, 3, opposite)
    make.case("any_arc_pole_clamp", 6, 5, 3, poles, cos_clamp=1)
    make.case("any_arc_pole_easy_clamp", 6, 5, 3, poles, cos_clamp=1, easy_margin=1)
    make.case("any_arc_duplicate", 6, 5, 4, duplicate, 2)
    make.case("any_arc_zero_rows", 6, 5, 4, zeros)
    make.case("any_arc_tiny_rows", 6, 5, 4, tiny)
    make.case("any_arc_huge_rows", 6, 5, 4, huge)
    make.case("any_arc_saturated", 6, 5, 4, scale=1000.0)
    make.case("any_arc_soft_saturated", 6, 5, 4, soft, scale=1000.0)
    make.case("any_arc_broken", 6, 5, 4, broken, allow_nonfinite=1)
    make.case("any_arc_broken_k3", 6, 2, 4, broken, 3, allow_nonfinite=1, cos_clamp=1)
    make.case("any_arc_infinite_no_norm", 6, 5, 4, infinite, allow_nonfinite=1, feature_norm=0, weight_norm=0, cos_clamp=1)
    make.case("any_arc_infinite_feature_norm", 6, 5, 4, infinite, allow_nonfinite=1, weight_norm=0, cos_clamp=1)
    make.case("any_arc_infinite_eval", 6, 5, 4, infinite, allow_nonfinite=1, feature_norm=0, eval=1)
    make.case("any_arc_nan_margin", 6, 5, 4, no_margin, allow_nonfinite=1)
    make.case("any_arc_nan_margin_easy", 6, 5, 4, no_margin, allow_nonfinite=1, easy_margin=1)


def counts(make):
    for name, counts, param in (("any_margins_golden", [1, 10, 100, 0], {}), ("any_margins_equal", [7, 7, 7], {}), ("any_margins_one", [5], {}),
                                ("any_margins_equal_min", [7, 7, 7], {"equal_counts": "min"}), ("any_margins_power", [3, 2**62, 0, 2**53 + 1], {"power": -1}),
                                ("any_margins_up", [3, 5, 9, 5], {"power": 2.5, "margin_min": 0.6, "margin_max": -0.1}),
                                ("any_margins_flat", [3, 5, 9], {"power": 0, "equal_counts": "min"}), ("any_margins_overflow", [2, 10**9], {"power": 100})):
        make.add(name, "adaptive_margins", param, {"class_counts": counts})


def cases():
    make = Maker()
    for group in (switches, corners, counts):
        group(make)
    return make.made
