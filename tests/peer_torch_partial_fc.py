#!/usr/bin/env python3
"""PyTorch as a peer: recomputes a partial_fc result by autograd in float64 and compares /out to 1e-9 of each tensor's largest value.

    peer_torch_partial_fc.py --cases                     the tiny cases to run, as lines "RANKS NAME"
    peer_torch_partial_fc.py RESULT.h5... [--ranks P]

Once in a single process with textbook operations; and, with P = 2 and gloo at hand, in two processes that own a shard each and talk as the
published code does: gather of features and labels, all-reduced maximum, sum and target probability, summed feature gradient.
Exit status: 0 all close, 1 something differs, 77 no PyTorch.
"""
import math
import sys

try:
    import h5py
    import numpy as np
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
except ImportError as missing:
    print("skipped: %s" % missing)
    sys.exit(77)

import exact_v1
import peer_lib
from exact_v1_core import class_key, shard
from exact_v1_partial_fc import case_of, samples
from peer_lib import check_distributed, same

F64 = torch.float64

# The tiny cases to compare, by number of ranks.
CASES = {
    1: ["any_linear", "any_arc", "any_straight_through", "any_fallback_linear", "any_fallback_easy", "any_interclass_arc", "any_lse", "any_clamp_far",
        "any_unowned_ignore", "any_zero_row", "any_tiny_rows", "any_pole", "any_pole_straight", "any_pole_clamp", "any_dense", "any_sampled_number",
        "any_nan_feature", "any_nan_linear"],
    2: ["any_circle", "any_steps_lazy", "any_sampled_shard", "any_sampled_own", "any_sampled_global", "any_unowned_source", "any_interclass_cos"],
}


def read_case(h5):
    _, param, inputs = exact_v1.read_case(h5)
    return case_of(param, inputs)


class Alone:
    """One process that holds the shards of all ranks."""

    def __init__(self, ranks):
        self.ranks, self.mine, self.rank = ranks, range(ranks), 0

    def gather(self, x):
        return x

    def reduce(self, x, op):
        return x

    def own_rows(self, x):
        return x


class Gloo:
    """One of several processes; holds its own shard."""

    def __init__(self, ranks, rank):
        self.ranks, self.mine, self.rank = ranks, [rank], rank

    def gather(self, x):
        parts = [torch.empty_like(x) for _ in range(self.ranks)]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    def reduce(self, x, op):
        x = x.clone()
        dist.all_reduce(x, {"max": dist.ReduceOp.MAX, "sum": dist.ReduceOp.SUM}[op])
        return x

    def own_rows(self, x):
        return x.chunk(self.ranks)[self.rank]


def sample(param, comm, C, first, labels, keys):
    """Ascending local numbers of the sampled classes: key 2 for positives, then the largest keys (semantics 2.4, A.4)."""
    mine = range(first, first + len(keys[0]))
    if not samples(param):
        return torch.arange(len(mine))
    every = keys[1].clone()  # of all classes: needed by the global rule only
    every[labels[(labels >= 0) & (labels < C)].unique()] = 2.0
    blocks = [range(C)] if param["sample_rule"] == "global" else [shard(C, comm.ranks, r) for r in comm.mine]
    chosen = []
    for block in blocks:
        u = every[block.start:block.stop]
        k = int(param["sample_rate"] * len(u)) if param["num_sample"] is None else min(param["num_sample"], len(u))
        k = max(k, int((u == 2.0).sum()))
        chosen.append(block.start + torch.sort(u, descending=True, stable=True)[1][:k])
    index = torch.sort(torch.cat(chosen))[0]
    return index[(index >= mine.start) & (index < mine.stop)] - first


def arc_phi(param, z):
    """Target logit of the arc head, before the scale."""
    m = param["margin"]
    end = (z.abs() == 1) if param["cos_clamp"] else torch.zeros_like(z, dtype=torch.bool)  # with the clamp, the angular gradient there is 0 (A.2)
    phi = torch.cos(torch.acos(z.masked_fill(end, 0.0)) + m)
    phi = torch.where(end, torch.cos(torch.acos(z.detach()) + m), phi)
    if param["arc_fallback"] == "linear":
        return torch.where(z > math.cos(math.pi - m), phi, z - m * math.sin(m))
    if param["arc_fallback"] == "easy":
        return torch.where(z > 0, phi, z)
    return phi


def logits_of(param, z, onehot):
    """Margin and scale (semantics 2.5, 3.5); onehot is a mask (rows, local classes)."""
    s, m, head = param["scale"], param["margin"], param["head"]
    if param["cos_clamp"]:
        z = z.clamp(-1.0, 1.0)
    if param["interclass_threshold"] > 0:
        z = z * (onehot | ~(z > param["interclass_threshold"])).to(F64)
    if head == "linear":
        return s * z
    if head == "cos":
        return s * (z - m * onehot.to(F64))
    if head == "circle":
        positive, negative = torch.relu((1 + m - z).detach()), torch.relu((z + m).detach())
        return s * torch.where(onehot, positive * (z - (1 - m)), negative * (z - m))
    target, other = arc_phi(param, z), z if param["cos_clamp"] else torch.cos(torch.acos(z))
    if param["arc_gradient"] == "straight_through":
        return s * (z + (torch.where(onehot, target, other) - z).detach())
    # Each element takes part in one branch only, so that the 0*inf of the other branch does not reach it.
    result = other.masked_fill(onehot, 0.0)
    result[onehot] = arc_phi(param, z[onehot])
    return s * result


def mean_loss(param, a, S, shifted, valid):
    if param["loss"] == "clamp":
        rows = -a.clamp_min(1e-30).log()
    else:
        rows = S.log() - shifted
    return float(rows[valid].mean()) if bool(valid.any()) else 0.0


def one_step(param, comm, C, first, x_local, labels_local, keys, weight, momentum):
    """One step of the layer; weight and momentum (local classes, D) are changed in place. Returns loss, x_grad, weight_grad, sampled."""
    labels, x = comm.gather(labels_local), comm.gather(x_local).clone().requires_grad_()
    index = sample(param, comm, C, first, labels, keys)
    sub = weight[index].clone().requires_grad_()
    z = F.linear(x, sub) if param["head"] == "linear" else F.linear(F.normalize(x), F.normalize(sub))
    onehot = (first + index)[None, :] == labels[:, None]
    l = logits_of(param, z, onehot)

    # distributed softmax: the loss is not differentiated, backward is driven by the gradient of the logits
    with torch.no_grad():
        local_max = l.max(dim=1)[0] if l.shape[1] else torch.full((len(l),), -math.inf, dtype=F64)
        M = comm.reduce(local_max, "max")
        E = torch.exp(l - M[:, None])
        S = comm.reduce(E.sum(dim=1), "sum")
        p = E / S[:, None]
        a = comm.reduce((p.masked_fill(~onehot, 0.0)).sum(dim=1), "sum")
        shifted = comm.reduce(((l - M[:, None]).masked_fill(~onehot, 0.0)).sum(dim=1), "sum")
        valid = (labels >= 0) & (labels < C) if param["unowned_label"] == "ignore" else torch.ones(len(labels), dtype=torch.bool)
        loss = mean_loss(param, a, S, shifted, valid)
        G = ((p - onehot.to(F64)) / max(int(valid.sum()), 1)).masked_fill(~valid[:, None], 0.0)
    l.backward(G)
    x_grad = comm.own_rows(comm.reduce(x.grad, "sum")) * param["xgrad_scale"]
    weight_grad = torch.zeros_like(weight)
    weight_grad[index] = sub.grad
    rows = torch.arange(len(weight)) if param["momentum_rule"] == "dense" else index
    update(param, rows, weight, momentum, weight_grad)
    return loss, x_grad, weight_grad, torch.zeros(len(weight), dtype=torch.int64).index_fill(0, index, 1)


def update(param, rows, weight, momentum, weight_grad):
    """torch.optim.SGD on the rows, the momentum put into its state as the published code does."""
    tensor = weight[rows].clone().requires_grad_()
    tensor.grad = weight_grad[rows].clone()
    mu = param["momentum"]
    optimiser = torch.optim.SGD([tensor], lr=param["lr"], momentum=mu, weight_decay=param["weight_decay"], nesterov=bool(param["nesterov"]))
    if mu != 0:
        optimiser.state[tensor]["momentum_buffer"] = momentum[rows].clone()
    optimiser.step()
    weight[rows] = tensor.detach()
    if mu != 0:
        momentum[rows] = optimiser.state[tensor]["momentum_buffer"]


def run(case, comm):
    """All steps; this process's part of every result as numpy arrays."""
    param, C = dict(case["param"]), len(case["weight"])
    if param["xgrad_scale"] is None:
        param["xgrad_scale"] = float(comm.ranks)
    blocks = [shard(C, comm.ranks, r) for r in comm.mine]
    first, stop = blocks[0].start, blocks[-1].stop
    weight, momentum = (torch.tensor(case[name], dtype=F64)[first:stop].clone() for name in ("weight", "weight_momentum"))
    losses, x_grads = [], []
    for t in range(param["steps"]):
        if t > 0:
            weight, momentum = weight.to(torch.float32).to(F64), momentum.to(torch.float32).to(F64)
        keys = case["sample_keys"](t) or [class_key(param["seed"], c, param["first_step"] + t) for c in range(C)]
        keys = torch.tensor(keys, dtype=F64)
        x, labels = torch.tensor(case["features"](t), dtype=F64), torch.tensor(case["labels"](t), dtype=torch.int64)
        result = one_step(param, comm, C, first, comm.own_rows(x), comm.own_rows(labels), (keys[first:stop], keys), weight, momentum)
        losses.append(result[0])
        x_grads.append(result[1].numpy())
    return {"loss": np.array(losses), "x_grad": np.stack(x_grads) if case["x_grad_has_steps"] else x_grads[0], "weight_grad": result[2].numpy(),
            "sampled": result[3].numpy(), "weight": weight.numpy(), "weight_momentum": momentum.numpy()}


def one_process(path, ranks, rank):
    with h5py.File(path, "r") as h5:
        case = read_case(h5)
    return run(case, Gloo(ranks, rank))


def whole(parts):
    """The parts of all ranks put together."""
    assert all(np.array_equal(part["loss"], parts[0]["loss"], equal_nan=True) for part in parts), "the ranks disagree on the loss"
    out = {name: np.concatenate([part[name] for part in parts]) for name in ("weight_grad", "weight", "weight_momentum", "sampled")}
    return dict(out, x_grad=np.concatenate([part["x_grad"] for part in parts], axis=-2), loss=parts[0]["loss"])


def read(path):
    with h5py.File(path, "r") as h5:
        return read_case(h5), {name: h5["out"][name][()] for name in h5["out"]}


def check(path, ranks):
    case, want = read(path)
    print("%s: autograd, one process" % path)
    return same(want, run(case, Alone(ranks)))


def check_all(paths, ranks):
    good = all([check(path, ranks) for path in paths])
    return good and (ranks != 2 or check_distributed(one_process, whole, paths, {path: read(path)[1] for path in paths}))


if __name__ == "__main__":
    sys.exit(peer_lib.main("partial_fc", CASES, check_all))
