"""The group_gather and batch_norm cases. Running statistics and gradients are per rank, so every case is defined for one number of ranks, which ends its
name: wP. Channels have means and deviations of their own; grad_y has a mean, so that both sums of the backward count.
"""
import numpy as np

CHANNELS = 3


def gather(source, world, **param):
    """24 elements a rank, of which every fourth nearly cancels over the ranks."""
    x = source.uniform(world, 24)
    x[:, ::4] += np.float32(256) * np.where(np.arange(world) % 2, -1, 1).astype(np.float32)[:, None]
    return "group_gather", {"world": world, **param}, {"input": x, "grad_output": source.uniform(world, 24)}


def gather_w2(s):
    return gather(s, 2, num_sync_devices=2, num_groups=1)


def gather_w3(s):
    """One group: num_sync_devices is not looked at."""
    return gather(s, 3, num_sync_devices=2, num_groups=1)


def gather_groups_w4(s):
    return gather(s, 4, num_sync_devices=2, num_groups=2)


def gather_machines_w8(s):
    """Two machines of four ranks, two sub-groups each."""
    return gather(s, 8, num_sync_devices=2, num_groups=2, local_size=4)


def batch(source, world, rows, *inner, running=True, mean=2.0, deviation=1.0, **param):
    """rows: samples of a rank, or of each rank."""
    counts = [rows] * world if isinstance(rows, int) else rows
    shape = (sum(counts), CHANNELS) + inner
    channel = (CHANNELS,) + (1,) * len(inner)
    x = np.float32(deviation) * source.uniform(*shape) + np.float32(mean) * source.uniform(*channel)
    inputs = {"x": x.astype(np.float32), "grad_y": source.uniform(*shape) + source.uniform(*channel) / np.float32(4),
              "weight": np.float32(1) + source.uniform(CHANNELS) / np.float32(2), "bias": source.uniform(CHANNELS)}
    if not isinstance(rows, int):
        inputs["rows"] = np.asarray(rows, np.int64)
    if running:
        inputs.update(running_mean=source.uniform(world, CHANNELS), running_var=np.float32(1.5) + source.uniform(world, CHANNELS))
    if running and param["kind"] == "sub":
        units = CHANNELS * param["num_splits"]
        inputs.update(split_running_mean=source.uniform(world, units), split_running_var=np.float32(1.5) + source.uniform(world, units))
    return "batch_norm", {"world": world, **param}, inputs


# ---- plain ----


def plain_w1(s):
    return batch(s, 1, 8, 2, 3, kind="plain")


def plain_vectors_w3(s):
    """(N,C): one value per channel and sample."""
    return batch(s, 3, 8, kind="plain", eps=1e-3)


def plain_eval_w2(s):
    return batch(s, 2, 3, 4, kind="plain", training=0)


def plain_cumulative_w5(s):
    return batch(s, 5, 3, 4, kind="plain", momentum=float("nan"), num_batches_tracked=3)


def untracked_w2(s):
    """Evaluation without running statistics takes those of the batch."""
    return batch(s, 2, 4, 3, running=False, kind="plain", training=0, track_running_stats=0)


# ---- sub ----


def sub_w1(s):
    return batch(s, 1, 9, 2, 2, kind="sub", num_splits=3)


def sub_w8(s):
    return batch(s, 8, 4, 3, kind="sub", num_splits=2, momentum=0.25)


def sub_aggregate_w2(s):
    return batch(s, 2, 3, 4, kind="sub", num_splits=4, training=0, aggregate=1)


# ---- sync ----


def sync_w2(s):
    return batch(s, 2, 4, 2, 2, 2, kind="sync", num_sync_devices=2)


def sync_w3(s):
    return batch(s, 3, 3, 4, kind="sync", num_sync_devices=3, running_var="unbiased")


def sync_groups_w4(s):
    return batch(s, 4, 3, 4, kind="sync", num_sync_devices=2, momentum=0.25)


def sync_machines_w8(s):
    """Two machines of four ranks; all of a machine is one group."""
    return batch(s, 8, 2, 4, kind="sync", num_sync_devices=0, local_size=4)


def sync_one_value_w5(s):
    """One value per channel on a rank, which the other kinds refuse."""
    return batch(s, 5, 1, kind="sync", num_sync_devices=5)


def sync_rows_equal_w3(s):
    """Every rank counts the same, whatever it holds."""
    return batch(s, 3, [4, 1, 2], 4, kind="sync", num_sync_devices=3)


def sync_rows_count_w5(s):
    return batch(s, 5, [3, 0, 1, 4, 2], 4, kind="sync", num_sync_devices=5, weighting="count", running_var="unbiased")


def sync_large_mean_w2(s):
    """Mean and deviation 2000 apart: a difference of means of squares would keep nothing."""
    return batch(s, 2, 6, 4, mean=1024.0, deviation=0.5, kind="sync", num_sync_devices=2, variance="two_pass")


SHIPPED = {
    "gather_w2": gather_w2,
    "gather_w3": gather_w3,
    "gather_groups_w4": gather_groups_w4,
    "gather_machines_w8": gather_machines_w8,
    "bn_plain_w1": plain_w1,
    "bn_plain_vectors_w3": plain_vectors_w3,
    "bn_plain_eval_w2": plain_eval_w2,
    "bn_plain_cumulative_w5": plain_cumulative_w5,
    "bn_untracked_w2": untracked_w2,
    "bn_sub_w1": sub_w1,
    "bn_sub_w8": sub_w8,
    "bn_sub_aggregate_w2": sub_aggregate_w2,
    "bn_sync_w2": sync_w2,
    "bn_sync_w3": sync_w3,
    "bn_sync_groups_w4": sync_groups_w4,
    "bn_sync_machines_w8": sync_machines_w8,
    "bn_sync_one_value_w5": sync_one_value_w5,
    "bn_sync_rows_equal_w3": sync_rows_equal_w3,
    "bn_sync_rows_count_w5": sync_rows_count_w5,
    "bn_sync_large_mean_w2": sync_large_mean_w2,
}
