"""Tiny group_gather and batch_norm cases: every switch and corner. Inputs come from a fixed generator.

The running statistics and gradients are per rank, so that most cases exist for 1 and 3 ranks apart: any_NAME leaves them out, w3_NAME has them."""
import numpy as np

MAX32 = float(np.finfo(np.float32).max)


class Maker:
    """One random stream for each case, seeded by its name."""

    def __init__(self):
        self.made = []

    def bn(self, name, N, C, *inner, edit=None, ranks=0, back=True, affine=True, **param):
        rng = np.random.RandomState(sum(ord(ch) * (k + 1) for k, ch in enumerate(name)))
        inputs = {"x": rng.standard_normal((N, C) + inner) + rng.standard_normal((C,) + (1,) * len(inner))}
        if back:
            inputs["grad_y"] = rng.standard_normal((N, C) + inner)
        if affine:
            inputs.update(weight=1 + rng.standard_normal(C) / 4, bias=rng.standard_normal(C) / 4)
        if ranks:
            inputs.update(running_mean=rng.standard_normal((ranks, C)), running_var=0.5 + rng.rand(ranks, C))
            if param["kind"] == "sub":
                size = (ranks, C * param["num_splits"])
                inputs.update(split_running_mean=rng.standard_normal(size), split_running_var=0.5 + rng.rand(*size))
        if edit:
            edit(inputs, rng)
        self.made.append((name, "batch_norm", param, {k: np.asarray(v, np.int64 if k == "rows" else np.float32) for k, v in inputs.items()}))

    def gather(self, name, ranks, M, edit=None, **param):
        rng = np.random.RandomState(sum(ord(ch) * (k + 1) for k, ch in enumerate(name)))
        inputs = {"input": rng.standard_normal((ranks, M)), "grad_output": rng.standard_normal((ranks, M))}
        if edit:
            edit(inputs, rng)
        self.made.append((name, "group_gather", param, {k: np.asarray(v, np.float32) for k, v in inputs.items()}))


def gathers(make):
    def cancelling(inputs, rng):
        inputs["input"][0] = 1e20
        inputs["input"][1] = -1e20
        inputs["grad_output"] *= 10.0 ** rng.uniform(-30, 30, inputs["grad_output"].shape)

    def infinite(inputs, rng):
        inputs["input"][0, :3] = [np.inf, np.inf, np.nan]
        inputs["input"][1, :3] = [-np.inf, 1.0, 1.0]
        inputs["grad_output"][0, 0] = -0.0

    make.gather("w1_gather", 1, 3, num_sync_devices=1, num_groups=1)
    make.gather("w3_gather", 3, 5, cancelling, num_sync_devices=2, num_groups=1)  # one group: whatever num_sync_devices is
    make.gather("w4_gather", 4, 4, num_sync_devices=2, num_groups=2)
    make.gather("w6_gather_machines", 6, 4, cancelling, num_sync_devices=1, num_groups=1, local_size=2)
    make.gather("w4_gather_infinite", 4, 4, infinite, num_sync_devices=2, num_groups=2, allow_nonfinite=1)


def kinds(make):
    make.bn("any_plain", 6, 3, 2, 2, kind="plain")
    make.bn("any_plain_vectors", 9, 4, kind="plain", eps=1e-3)
    make.bn("any_plain_forward", 6, 2, 3, back=False, affine=False, kind="plain")
    make.bn("any_sub", 12, 2, 2, kind="sub", num_splits=2)
    make.bn("any_sub_one", 6, 2, 2, 1, 2, kind="sub", num_splits=1)
    make.bn("any_sync", 6, 3, 4, kind="sync", num_sync_devices=0)
    make.bn("any_sync_alone", 6, 3, 4, kind="sync")  # a group of one rank, or the plain layer
    make.bn("any_sync_machines", 6, 3, 4, kind="sync", local_size=1)
    make.bn("any_sync_one_value", 3, 3, kind="sync", num_sync_devices=0, training=0)
    make.bn("w3_plain", 6, 2, 3, ranks=3, kind="plain", momentum=0.25)
    make.bn("w3_sub", 18, 2, 2, ranks=3, kind="sub", num_splits=3, momentum=0.25)
    make.bn("w3_sync", 6, 2, 3, ranks=3, kind="sync", num_sync_devices=3, momentum=0.25)
    make.bn("w4_sync_groups", 8, 2, 3, ranks=4, kind="sync", num_sync_devices=2)
    make.bn("w4_sync_local", 8, 2, 3, ranks=4, kind="sync", num_sync_devices=2, local_size=2)
    make.bn("w6_sync_wide_groups", 6, 2, 3, ranks=6, kind="sync", num_sync_devices=0, local_size=3)
    make.bn("w2_sync_one_value", 2, 3, ranks=2, kind="sync", num_sync_devices=1)


def switches(make):
    nan = float("nan")
    for kind, extra in (("plain", {}), ("sub", {"num_splits": 2}), ("sync", {"num_sync_devices": 2})):
        make.bn("w2_%s_eval" % kind, 8, 2, 3, ranks=2, kind=kind, training=0, **extra)
        make.bn("w2_%s_cumulative" % kind, 8, 2, 3, ranks=2, kind=kind, momentum=nan, num_batches_tracked=4, **extra)
        make.bn("w2_%s_untracked" % kind, 8, 2, 3, ranks=2, kind=kind, track_running_stats=0, **extra)
        make.bn("w2_%s_untracked_eval" % kind, 8, 2, 3, ranks=2, kind=kind, track_running_stats=0, training=0, **extra)
        for rule in ("biased", "unbiased"):
            make.bn("w2_%s_%s" % (kind, rule), 8, 2, 3, ranks=2, kind=kind, running_var=rule, **extra)
    make.bn("w2_sub_aggregate", 8, 2, 3, ranks=2, kind="sub", num_splits=2, training=0, aggregate=1)
    make.bn("w2_sub_aggregate_untracked", 8, 2, 3, ranks=2, kind="sub", num_splits=2, training=0, aggregate=1, track_running_stats=0)
    make.bn("w2_first_cumulative", 8, 2, 3, ranks=2, kind="plain", momentum=nan)
    make.bn("w2_sync_two_pass", 8, 2, 3, ranks=2, kind="sync", num_sync_devices=2, variance="two_pass", weighting="count")
    make.bn("w2_unbiased_one_value", 2, 2, ranks=2, kind="sync", num_sync_devices=1, running_var="unbiased")


def rows(make):
    def given(*counts):
        def edit(inputs, rng):
            inputs["rows"] = counts
        return edit

    make.bn("w3_rows_plain", 7, 2, 3, edit=given(4, 1, 2), ranks=3, kind="plain")
    make.bn("w3_rows_sub", 10, 2, 3, edit=given(4, 6, 0), ranks=3, kind="sub", num_splits=2, training=0)
    make.bn("w3_rows_equal", 7, 2, 3, edit=given(4, 1, 2), ranks=3, kind="sync", num_sync_devices=3)
    make.bn("w3_rows_count", 7, 2, 3, edit=given(4, 0, 3), ranks=3, kind="sync", num_sync_devices=3, weighting="count")
    make.bn("w3_rows_count_unbiased", 7, 2, edit=given(1, 0, 6), ranks=3, kind="sync", num_sync_devices=1, weighting="count", running_var="unbiased")
    make.bn("w4_rows_groups", 9, 2, 3, edit=given(2, 2, 4, 1), ranks=4, kind="sync", num_sync_devices=2)
    make.bn("w4_rows_empty_group", 5, 2, 3, edit=given(0, 0, 4, 1), ranks=4, kind="sync", num_sync_devices=2, weighting="count")


def ranges(make):
    def large_mean(inputs, rng):
        inputs["x"][:, 0] += 1000.0
        inputs["x"][:, 1] = 16384.0 + inputs["x"][:, 1] / 64
        inputs["x"][:, 2] = 7.25

    def wide(inputs, rng):
        for name in ("x", "grad_y"):
            inputs[name] = np.where(rng.rand(*inputs[name].shape) < 0.5, -1, 1) * 10.0 ** rng.uniform(-30, 30, inputs[name].shape)

    def all_max(inputs, rng):
        for name in ("x", "grad_y"):
            inputs[name] = np.where(rng.rand(*inputs[name].shape) < 0.3, -1, 1) * (2 - 2.0**-23) * 2.0 ** rng.randint(-1, 2, inputs[name].shape)

    def extremes(inputs, rng):
        inputs["x"][0, 0] = MAX32
        inputs["x"][1, 0] = -MAX32
        inputs["x"][:, 1] = 1e-45 * np.arange(1, 7)[:, None]  # subnormal
        inputs["x"][:, 2] = 0.0
        inputs["x"][0, 2] = -0.0
        inputs["weight"][1] = 0.0

    make.bn("any_large_mean", 6, 3, 4, edit=large_mean, kind="sync", num_sync_devices=0)
    make.bn("w3_large_mean_rows", 6, 3, 4, edit=lambda i, r: (large_mean(i, r), i.update(rows=[1, 2, 3])), kind="sync", num_sync_devices=3)
    make.bn("any_bn_wide", 6, 3, 4, edit=wide, kind="plain")
    make.bn("any_bn_all_max", 6, 3, 4, edit=all_max, kind="sync", num_sync_devices=0)
    make.bn("any_extremes", 6, 3, 2, edit=extremes, kind="plain")
    make.bn("any_no_eps", 6, 3, 2, edit=extremes, kind="plain", eps=0.0)  # the constant channel: 0 * inf
    make.bn("any_negative_eps", 6, 3, 2, kind="plain", eps=-100.0)  # square root of a negative number


def nonfinite(make):
    def x(inputs, rng):
        inputs["x"][0, 0, 0] = np.inf
        inputs["x"][1, 1, 0] = np.nan
        inputs["x"][2, 2, 0] = np.inf
        inputs["x"][3, 2, 0] = -np.inf

    def gradients(inputs, rng):
        inputs["grad_y"][0, 0, 0] = np.inf
        inputs["grad_y"][1, 1, 0] = np.inf
        inputs["grad_y"][2, 1, 0] = -np.inf
        inputs["grad_y"][3, 2, 0] = np.nan

    def infinite_eval(inputs, rng):
        x(inputs, rng)
        gradients(inputs, rng)
        inputs["weight"][0] = 0.0
        inputs["running_var"][0, 1] = -1.0
        inputs["running_var"][0, 2] = np.inf
        inputs["running_mean"][0, 3] = np.nan

    for kind in ("plain", "sub", "sync"):
        make.bn("any_inf_%s" % kind, 12, 4, 2, edit=x, kind=kind, num_splits=2, num_sync_devices=0, allow_nonfinite=1)
        make.bn("any_inf_gradients_%s" % kind, 12, 4, 2, edit=gradients, kind=kind, num_splits=2, num_sync_devices=0, allow_nonfinite=1)
    make.bn("w1_inf_eval", 6, 4, 2, edit=infinite_eval, ranks=1, kind="plain", training=0, allow_nonfinite=1)
    make.bn("w3_inf_rows", 7, 4, 2, edit=lambda i, r: (x(i, r), i.update(rows=[3, 2, 2])), kind="sync", num_sync_devices=3, allow_nonfinite=1)


def cases():
    """(file name, algorithm, parameters, inputs) of every case; make_tiny_cases.py writes them."""
    make = Maker()
    for group in (gathers, kinds, switches, rows, ranges, nonfinite):
        group(make)
    return make.made
