#!/usr/bin/env python3
"""PyTorch as a peer: batch norm as the sources have it, in float64, gradients by autograd; compares /out to 1e-9 of each tensor's largest value.

    peer_torch_batch_norm.py --cases                  the tiny cases to run, as lines "RANKS NAME"
    peer_torch_batch_norm.py RESULT.h5... [--ranks P]

All ranks in one process: plain and sub through torch's own batch_norm, sync by the source's mean and mean of squares, summed over the group.
Exit status: 0 all close, 1 something differs, 77 no PyTorch.
"""
import math
import sys

try:
    import h5py
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError as missing:
    print("skipped: %s" % missing)
    sys.exit(77)

import exact_v1
import peer_lib
from exact_v1_batch_norm import DEFAULTS
from exact_v1_core import with_defaults
from peer_lib import one_by_one, same

CASES = {1: ["any_plain", "any_plain_vectors", "any_sub", "any_sub_one", "any_sync"],
         2: ["w2_plain_cumulative", "w2_plain_eval", "w2_sub_cumulative", "w2_sync_cumulative", "w2_sync_eval"],
         3: ["any_plain", "any_sub", "any_sync", "w3_plain", "w3_sub", "w3_sync"], 4: ["w4_sync_groups"]}


def running(p, old, new):
    a = 1.0 / (p["num_batches_tracked"] + 1) if math.isnan(p["momentum"]) else p["momentum"]
    return (1 - a) * old + a * new


def statistics(v, channels):
    """Mean and variance of torch's training mode, the variance unbiased: what momentum 1 leaves in the running statistics."""
    mean, var = torch.zeros(channels, dtype=v.dtype), torch.ones(channels, dtype=v.dtype)
    F.batch_norm(v.detach(), mean, var, training=True, momentum=1.0)
    return mean, var


def plain_rank(p, x, weight, bias, mean, var):
    """y, mean, var of one rank."""
    if not p["training"]:
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, p["eps"]), mean, var
    new = statistics(x, x.shape[1])
    return F.batch_norm(x, None, None, weight, bias, True, 0.0, p["eps"]), running(p, mean, new[0]), running(p, var, new[1])


def sub_rank(p, x, weight, bias, split_mean, split_var):
    """SubBatchNorm3d, training: y, split statistics, aggregated statistics."""
    splits, c = p["num_splits"], x.shape[1]
    parts = x.reshape(x.shape[0] // splits, splits * c, *x.shape[2:])
    new = statistics(parts, splits * c)
    y = F.batch_norm(parts, None, None, None, None, True, 0.0, p["eps"]).reshape(x.shape)
    shape = (1, c) + (1,) * (x.dim() - 2)
    mean, var = running(p, split_mean, new[0]), running(p, split_var, new[1])
    m, v = mean.view(splits, c), var.view(splits, c)
    total = m.sum(0) / splits
    return y * weight.view(shape) + bias.view(shape), mean, var, total, v.sum(0) / splits + ((m - total) ** 2).sum(0) / splits


def sync_group(p, xs, weights, biases):
    """NaiveSyncBatchNorm3d over the ranks of a group, each with its own weight and bias: y of every rank, mean, biased variance."""
    dims = [0] + list(range(2, xs[0].dim()))
    mean = sum(x.mean(dims) for x in xs) / len(xs)
    var = sum((x * x).mean(dims) for x in xs) / len(xs) - mean * mean
    shape = (1, -1) + (1,) * (xs[0].dim() - 2)
    ys = []
    for x, weight, bias in zip(xs, weights, biases):
        scale = weight * torch.rsqrt(var + p["eps"])
        ys.append(x * scale.view(shape) + (bias - mean * scale).view(shape))
    return ys, mean, var


def forward(p, xs, weights, biases, state):
    """y of every rank; the statistics in `state` (lists by rank) move on. Weight and bias are one leaf per rank, for gradients per rank."""
    ranks = len(xs)
    local = p["local_size"] or ranks
    if p["kind"] == "sync" and p["training"] and local > 1:
        d, ys = p["num_sync_devices"] if p["num_sync_devices"] > 0 else local, []
        for first in range(0, ranks, d):
            group = range(first, first + d)
            parts, mean, var = sync_group(p, [xs[r] for r in group], [weights[r] for r in group], [biases[r] for r in group])
            ys += parts
            for r in group:
                state["running_mean"][r] = running(p, state["running_mean"][r], mean.detach())
                state["running_var"][r] = running(p, state["running_var"][r], var.detach())
        return ys
    ys = []
    for r in range(ranks):
        if p["kind"] == "sub" and p["training"]:
            made = sub_rank(p, xs[r], weights[r], biases[r], state["split_running_mean"][r], state["split_running_var"][r])
            ys.append(made[0])
            state["split_running_mean"][r], state["split_running_var"][r], state["running_mean"][r], state["running_var"][r] = made[1:]
        else:
            y, state["running_mean"][r], state["running_var"][r] = plain_rank(p, xs[r], weights[r], biases[r], state["running_mean"][r], state["running_var"][r])
            ys.append(y)
    return ys


def run(p, inputs, ranks):
    def tensor(name):
        return torch.tensor(np.array(inputs[name]), dtype=torch.float64)
    x = tensor("x")
    c, s, b = x.shape[1], p["num_splits"], x.shape[0] // ranks
    xs = [x[r * b:(r + 1) * b].clone().requires_grad_() for r in range(ranks)]
    weights = [(tensor("weight") if "weight" in inputs else torch.ones(c, dtype=x.dtype)).clone().requires_grad_() for _ in range(ranks)]
    biases = [(tensor("bias") if "bias" in inputs else torch.zeros(c, dtype=x.dtype)).clone().requires_grad_() for _ in range(ranks)]
    names = {"running_mean": (0.0, c), "running_var": (1.0, c), "split_running_mean": (0.0, s * c), "split_running_var": (1.0, s * c)}
    state = {n: list(tensor(n)) if n in inputs else [torch.full((size,), fill, dtype=x.dtype) for _ in range(ranks)] for n, (fill, size) in names.items()}
    ys = forward(p, xs, weights, biases, state)
    out = {"y": torch.cat(ys).detach().numpy()}
    for name in ("running_mean", "running_var") + (("split_running_mean", "split_running_var") if p["kind"] == "sub" else ()):
        out[name] = torch.stack([v.detach() for v in state[name]]).numpy()
    if "grad_y" in inputs:
        g = tensor("grad_y")
        sum((y * g[r * b:(r + 1) * b]).sum() for r, y in enumerate(ys)).backward()
        out["x_grad"] = torch.cat([v.grad for v in xs]).numpy()
        out["weight_grad"] = torch.stack([v.grad for v in weights]).numpy()
        out["bias_grad"] = torch.stack([v.grad for v in biases]).numpy()
    return out


def check(path, ranks):
    with h5py.File(path, "r") as h5:
        _, param, inputs = exact_v1.read_case(h5)
        want = {k: v[()] for k, v in h5["out"].items()}
    p = with_defaults(param, DEFAULTS)
    print("%s: autograd, one process" % path)
    out = run(p, inputs, ranks)
    return same(want, out)


if __name__ == "__main__":
    sys.exit(peer_lib.main("batch_norm", CASES, one_by_one(check)))
