"""Some fifty tiny partial_fc cases: every head, switch and corner. Inputs come from a fixed generator."""
import numpy as np

MAX32 = float(np.finfo(np.float32).max)


class Maker:
    """One random stream for each case, seeded by its name."""

    def __init__(self):
        self.made = []

    def case(self, name, N, C, D, edit=None, steps_axis=False, **param):
        rng = np.random.RandomState(sum(ord(ch) * (k + 1) for k, ch in enumerate(name)))
        lead = (param["steps"],) if steps_axis else ()
        inputs = {"features": rng.standard_normal(lead + (N, D)), "labels": rng.randint(0, C, lead + (N,)),
                  "weight": 0.3 * rng.standard_normal((C, D)), "weight_momentum": 0.1 * rng.standard_normal((C, D))}
        param = dict({"scale": 16.0, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}, **param)
        if param["head"] != "linear":
            param.setdefault("margin", {"cos": 0.4, "arc": 0.5, "circle": 0.25}[param["head"]])
        if edit:
            edit(inputs, rng)
        kinds = {"labels": np.int64, "sample_keys": np.float64}
        self.made.append((name, "partial_fc", param, {key: np.asarray(value, kinds.get(key, np.float32)) for key, value in inputs.items()}))


def heads(make):
    make.case("any_linear", 6, 5, 4, head="linear", scale=1.5)
    make.case("any_cos", 6, 11, 9, head="cos")
    make.case("any_arc", 9, 7, 5, head="arc", scale=64.0)
    make.case("any_circle", 6, 5, 4, head="circle")
    make.case("any_straight_through", 6, 5, 4, head="arc", arc_gradient="straight_through", xgrad_scale=1.0)
    make.case("w1_one_class", 2, 1, 1, head="cos")
    make.case("w1_two_rows", 2, 3, 2, head="arc", margin=1.25)
    make.case("any_two_classes", 3, 2, 3, head="cos", xgrad_scale=0.3)  # with three ranks one of them has no class


def switches(make):
    def against(inputs, rng):  # targets on both sides of every threshold
        inputs["weight"][inputs["labels"][0]] = -inputs["features"][0]
        inputs["weight"][inputs["labels"][1]] = inputs["features"][1] + 0.05 * rng.standard_normal(inputs["features"][1].shape)

    make.case("any_fallback_linear", 9, 7, 3, against, head="arc", arc_fallback="linear", cos_clamp=1)
    make.case("any_fallback_easy", 9, 7, 3, against, head="arc", arc_fallback="easy", cos_clamp=1)
    make.case("any_fallback_straight", 9, 7, 3, against, head="arc", arc_fallback="linear", arc_gradient="straight_through", cos_clamp=1)
    make.case("any_interclass_cos", 6, 9, 3, head="cos", interclass_threshold=0.2)
    make.case("any_interclass_arc", 6, 9, 3, head="arc", interclass_threshold=0.1, margin=0.3)
    make.case("any_lse", 6, 5, 4, head="cos", loss="lse", scale=1000.0)
    make.case("any_clamp_far", 6, 5, 4, head="cos", loss="clamp", scale=1000.0)  # probabilities below 1e-30
    make.case("any_circle_clamp", 6, 5, 2, against, head="circle", cos_clamp=1)


def unowned(make):
    def lost(inputs, rng):
        inputs["labels"][..., :3] = [-1, 99, 5]

    def all_lost(inputs, rng):
        inputs["labels"][...] = -7

    make.case("any_unowned_source", 6, 5, 4, lost, head="cos")
    make.case("any_unowned_ignore", 6, 5, 4, lost, head="arc", unowned_label="ignore", loss="lse")
    make.case("any_unowned_all", 6, 5, 4, all_lost, head="cos", unowned_label="ignore")


def sampling(make):
    def keys(inputs, rng):
        shape = inputs["labels"].shape[:-1] + (len(inputs["weight"]),)
        inputs["sample_keys"] = rng.randint(0, 4, shape) / 4.0  # many equal keys

    def few(inputs, rng):
        keys(inputs, rng)
        inputs["labels"][...] = 1

    def none(inputs, rng):
        inputs["labels"][...] = -1

    def clumped(inputs, rng):
        inputs["labels"][...] = inputs["labels"] % 4

    make.case("any_sampled_shard", 6, 11, 4, keys, True, head="cos", steps=3, sample_rate=0.57)
    make.case("any_sampled_own", 6, 11, 4, None, True, head="arc", steps=3, sample_rate=0.4, seed=0x123456789abcdef, first_step=41)
    make.case("any_sampled_global", 6, 11, 4, clumped, head="cos", steps=2, sample_rate=0.6, sample_rule="global", seed=-5, nesterov=1)
    make.case("any_sampled_number", 6, 11, 4, few, head="linear", scale=1.0, num_sample=2, momentum_rule="dense", steps=2)
    make.case("any_sampled_clipped", 6, 11, 4, keys, head="circle", num_sample=7, sample_rate=0.1)
    make.case("any_sampled_positives", 3, 11, 4, few, head="cos", sample_rate=0.0)  # ranks without a sampled class
    make.case("any_sampled_none", 3, 5, 4, none, head="cos", sample_rate=0.0)  # no class anywhere
    make.case("w3_world", 6, 11, 4, keys, head="cos", sample_rate=0.5, world=3)


def states(make):
    make.case("any_steps_lazy", 6, 7, 4, None, True, head="cos", steps=3, nesterov=1)
    make.case("any_steps_one_batch", 6, 7, 4, head="arc", steps=3, momentum=0.0, weight_decay=0.0)
    make.case("any_dense", 6, 9, 4, None, True, head="cos", steps=3, sample_rate=0.4, momentum_rule="dense", nesterov=1)
    make.case("any_update_huge", 3, 4, 3, head="cos", steps=2, lr=2e38, momentum=0.5)  # some of the state overflows float32


def ranges(make):
    def zero_row(inputs, rng):
        inputs["features"][1] = 0.0
        inputs["weight"][2] = 0.0
        inputs["features"][2, 0] = -0.0
        inputs["labels"][0] = 2

    def tiny_rows(inputs, rng):  # norms on both sides of 1e-12
        inputs["features"][1] *= 1e-13
        inputs["features"][2] *= 1e-30
        inputs["weight"][0] *= 1e-12
        inputs["weight"][1] = 1e-45 * np.arange(1, 5)  # subnormal

    def wide(inputs, rng):
        for name in ("features", "weight"):
            shape = inputs[name].shape
            inputs[name] = np.where(rng.rand(*shape) < 0.5, -1, 1) * 10.0 ** rng.uniform(-30, 30, shape)
        inputs["weight_momentum"][...] = 0.0

    def all_max(inputs, rng):  # every mantissa bit set: the largest integers that a product sum meets
        for name in ("features", "weight"):
            shape = inputs[name].shape
            inputs[name] = np.where(rng.rand(*shape) < 0.3, -1, 1) * (2 - 2.0**-23) * 2.0 ** rng.randint(-1, 2, shape)

    def largest(inputs, rng):
        inputs["features"][0] = MAX32
        inputs["weight"][1] = [MAX32, -MAX32, MAX32, MAX32]

    make.case("any_large_scale", 6, 5, 4, zero_row, head="cos", scale=1e100)  # the largest scale; gradients divided by 1e-12
    make.case("any_zero_row", 6, 5, 4, zero_row, head="cos")
    make.case("any_zero_row_arc", 6, 5, 4, zero_row, head="arc", arc_fallback="easy")
    make.case("any_tiny_rows", 6, 5, 4, tiny_rows, head="cos", lr=1e-9)
    make.case("any_wide", 6, 5, 9, wide, head="cos")
    make.case("any_wide_linear", 6, 5, 4, wide, head="linear", scale=1e-60)
    make.case("any_all_max", 12, 11, 9, all_max, head="cos")
    make.case("any_all_max_linear", 12, 3, 8, all_max, head="linear", scale=0.05)
    make.case("any_largest", 3, 4, 4, largest, head="circle")


def poles(make):
    def axes(inputs, rng):  # cosines that are exactly 1 and -1, at targets and elsewhere
        inputs["features"][0] = [2.0, 0.0, 0.0]
        inputs["features"][1] = [0.0, -3.0, 0.0]
        inputs["weight"][0] = [5.0, 0.0, 0.0]
        inputs["weight"][1] = [0.0, 0.5, 0.0]
        inputs["labels"][0:2] = [0, 1]

    def elsewhere(inputs, rng):
        axes(inputs, rng)
        inputs["labels"][0:2] = [2, 3]

    def outside(inputs, rng):  # 3 / (RN(sqrt 3) * RN(sqrt 3)) is above 1
        inputs["features"][0] = 1.0
        inputs["weight"][0] = 1.0
        inputs["features"][1] = -1.0

    def ignored(inputs, rng):
        axes(inputs, rng)
        inputs["labels"][0:2] = [-1, -1]

    def ignored_outside(inputs, rng):
        outside(inputs, rng)
        inputs["labels"][0:2] = [-1, -1]

    make.case("any_pole", 6, 5, 3, axes, head="arc")
    make.case("any_pole_elsewhere", 6, 5, 3, elsewhere, head="arc", arc_fallback="linear")
    make.case("any_pole_clamp", 6, 5, 3, axes, head="arc", cos_clamp=1)
    make.case("any_pole_clamp_linear", 6, 5, 3, axes, head="arc", cos_clamp=1, arc_fallback="linear")
    make.case("any_pole_straight", 6, 5, 3, axes, head="arc", arc_gradient="straight_through")
    make.case("any_outside", 6, 5, 3, outside, head="arc")
    make.case("any_outside_clamp", 6, 5, 3, outside, head="arc", cos_clamp=1)
    make.case("any_outside_straight", 6, 5, 3, outside, head="arc", arc_gradient="straight_through")
    make.case("any_outside_interclass", 6, 5, 3, outside, head="arc", interclass_threshold=0.5)
    make.case("any_pole_ignored", 6, 5, 3, ignored, head="arc", unowned_label="ignore")
    make.case("any_outside_ignored", 6, 5, 3, ignored_outside, head="arc", unowned_label="ignore")


def nonfinite(make):
    def nan_feature(inputs, rng):
        inputs["features"][1, 2] = np.nan
        inputs["features"][2, 0] = np.inf

    def nan_weight(inputs, rng):
        inputs["weight"][1, 0] = -np.inf
        inputs["weight"][3, 1] = np.nan
        inputs["weight_momentum"][0, 0] = np.nan

    def infinite(inputs, rng):
        inputs["features"][0, 0] = np.inf
        inputs["features"][1, 1] = -np.inf
        inputs["weight"][2, 0] = 0.0

    def ignored_infinite(inputs, rng):
        nan_weight(inputs, rng)
        inputs["labels"][0:2] = -1

    def dropped(inputs, rng):  # non-finite values in rows that take no part
        nan_feature(inputs, rng)
        inputs["labels"][1:3] = [-1, 99]

    def infinite_weight(inputs, rng):  # logit -inf: p is 0, and without decay only momentum and product see the infinity
        inputs["features"][...] = np.abs(inputs["features"]) + 1.0
        inputs["weight"][1, 0] = -np.inf

    for head in ("linear", "cos"):
        make.case("any_nan_dropped_" + head, 6, 5, 4, dropped, head=head, allow_nonfinite=1, unowned_label="ignore")
        make.case("any_inf_dropped_" + head, 6, 5, 4, ignored_infinite, head=head, allow_nonfinite=1, unowned_label="ignore", weight_decay=0.0)
    make.case("any_inf_weight", 6, 5, 4, infinite_weight, head="linear", allow_nonfinite=1, weight_decay=0.0)
    make.case("any_nan_feature", 6, 5, 4, nan_feature, head="cos", allow_nonfinite=1)
    make.case("any_nan_weight", 6, 5, 4, nan_weight, head="arc", allow_nonfinite=1, cos_clamp=1)
    make.case("any_nan_sampled", 6, 5, 4, nan_weight, head="cos", allow_nonfinite=1, sample_rate=0.5, sample_rule="global")
    make.case("any_nan_linear", 6, 5, 4, nan_weight, head="linear", scale=2.0, allow_nonfinite=1)
    make.case("any_inf_linear", 6, 5, 4, infinite, head="linear", allow_nonfinite=1)


def cases():
    """(file name, algorithm, parameters, inputs) of every case; make_tiny_cases.py writes them."""
    make = Maker()
    for group in (heads, switches, unowned, sampling, states, ranges, poles, nonfinite):
        group(make)
    return make.made
