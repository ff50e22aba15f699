#!/usr/bin/env python3
"""PyTorch as a peer: the head as the source has it, by autograd in float64; compares /out to 1e-9 of each tensor's largest value.

    peer_torch_arcface.py --cases                     the tiny cases to run, as lines "RANKS NAME"
    peer_torch_arcface.py RESULT.h5... [--ranks P]

One process for all rows; and with P = 2 and gloo at hand two processes with half of the rows and the whole weight each, gradients averaged, which is
how the source is run: class sharding must not be seen.
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
from exact_v1_arcface import DEFAULTS, MARGINS
from exact_v1_core import with_defaults
from peer_lib import check_distributed, same

F64 = torch.float64

CASES = {
    1: ["any_arc_plain", "any_arc_k3_margins", "any_arc_linear_branch", "any_arc_easy", "any_arc_set", "any_arc_soft", "any_arc_soft_class_weight",
        "any_arc_class_weight", "any_arc_bias", "any_arc_k3_bias", "any_arc_no_feature_norm", "any_arc_no_weight_norm", "any_arc_no_norm",
        "any_arc_no_norm_far", "any_arc_no_norm_far_easy", "any_arc_no_norm_clamp", "any_arc_eval", "any_arc_eval_clamp", "any_arc_pole",
        "any_arc_pole_opposite", "any_arc_duplicate", "any_arc_zero_rows", "any_arc_saturated", "any_arc_soft_saturated", "any_arc_broken",
        "any_arc_nan_margin", "any_arc_nan_margin_easy", "any_arc_one_class", "w1_arc_one_row", "any_margins_golden", "any_margins_equal",
        "any_margins_power", "any_margins_up"],
    2: ["any_arc_plain", "any_arc_k3_margins", "any_arc_easy", "any_arc_soft_class_weight", "any_arc_k3_bias", "any_arc_pole", "any_arc_duplicate"],
}


def cosine(param, x, weight, bias):
    x = F.normalize(x) if param["feature_norm"] else x
    w = F.normalize(weight) if param["weight_norm"] else weight
    every = F.linear(x, w, bias)
    return torch.max(every.view(len(x), -1, param["num_subcenters"]), dim=2)


def with_margin(param, cos, labels, margins):
    """phi at every class, mixed in by 0 and 1, so that what is not a number stays so; cos_clamp: at the target only."""
    if param["margin_constants"] == "init":
        threshold, sinm = torch.cos(math.pi - margins), torch.sin(math.pi - margins) * margins
    else:
        threshold, sinm = -torch.cos(margins), torch.sin(margins) * margins
    hot = F.one_hot(labels, cos.shape[1])
    if param["cos_clamp"]:
        cos = cos.clamp(-1, 1)
        at = cos[hot.bool()]
        end = at.abs() == 1  # no direction there: the angle is a constant
        phi = torch.cos(torch.acos(torch.where(end, torch.zeros_like(at), at)) + margins[labels])
        phi = torch.where(end, torch.cos(torch.acos(at.detach()) + margins[labels]), phi)
        above = at > 0 if param["easy_margin"] else at > threshold[labels]
        below = at if param["easy_margin"] else at - sinm[labels]
        return cos.masked_scatter(hot.bool(), torch.where(above, phi, below))
    phi = torch.cos(torch.acos(cos) + margins)
    phi = torch.where(cos > 0, phi, cos) if param["easy_margin"] else torch.where(cos > threshold, phi, cos - sinm)
    return hot * phi + (1 - hot) * cos


def loss_of(param, logits, labels, soft, class_weight):
    if soft is None:
        rows = F.cross_entropy(logits, labels, weight=class_weight, reduction="none")
    else:
        terms = -soft * F.log_softmax(logits, dim=-1)
        rows = (terms if class_weight is None else terms * class_weight).sum(dim=-1)
    return param["loss_weight"] * rows.sum() / len(rows)


def run(param, inputs, rows):
    """Results of these rows; the gradients are of their mean."""
    tensor = {name: torch.tensor(a, dtype=torch.int64 if a.dtype.kind == "i" else F64) for name, a in inputs.items()}
    x, weight = tensor["features"][rows].requires_grad_(), tensor["weight"].requires_grad_()
    bias = tensor["bias"].requires_grad_() if "bias" in tensor else None
    cos, winner = cosine(param, x, weight, bias)
    if param["eval"]:
        return {"logits": (param["scale"] * (cos.clamp(-1, 1) if param["cos_clamp"] else cos)).detach().numpy(), "subcenter": winner.numpy()}
    labels, classes = tensor["labels"][rows], cos.shape[1]
    margins = tensor.get("margins", torch.full((classes,), param["margin"], dtype=F64))
    logits = param["scale"] * with_margin(param, cos, labels, margins)
    loss = loss_of(param, logits, labels, tensor["soft_targets"][rows] if "soft_targets" in tensor else None, tensor.get("class_weight"))
    loss.backward()
    out = {"logits": logits, "subcenter": winner, "loss": loss, "x_grad": x.grad, "weight_grad": weight.grad}
    if bias is not None:
        out["bias_grad"] = bias.grad
    return {name: t.detach().numpy() for name, t in out.items()}


def adaptive_margins(param, counts):
    n = np.maximum(counts, 1).astype(np.float64) ** param["power"]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"margins": (n - n.min()) / (n.max() - n.min()) * (param["margin_max"] - param["margin_min"]) + param["margin_min"]}


def read(path):
    with h5py.File(path, "r") as h5:
        algorithm, param, inputs = exact_v1.read_case(h5)
        return algorithm, with_defaults(param, MARGINS if algorithm == "adaptive_margins" else DEFAULTS), inputs, {k: v[()] for k, v in h5["out"].items()}


def one_process(path, ranks, rank):
    _, param, inputs, _ = read(path)
    b = len(inputs["features"]) // ranks
    part = run(param, inputs, slice(rank * b, (rank + 1) * b))
    for name in ("loss", "weight_grad", "bias_grad"):
        if name in part:
            mean = torch.tensor(part[name])
            dist.all_reduce(mean)
            part[name] = mean.numpy() / ranks
    return dict(part, x_grad=part["x_grad"] / ranks)


def whole(parts):
    """The parts of all ranks put together."""
    return dict(parts[0], **{name: np.concatenate([part[name] for part in parts]) for name in ("logits", "subcenter", "x_grad")})


def check(path):
    algorithm, param, inputs, want = read(path)
    print("%s: autograd, one process" % path)
    return same(want, adaptive_margins(param, inputs["class_counts"]) if algorithm == "adaptive_margins" else run(param, inputs, slice(None)))


def check_all(paths, ranks):
    good = all([check(path) for path in paths])
    return good and (ranks != 2 or check_distributed(one_process, whole, paths, {path: read(path)[3] for path in paths}))


if __name__ == "__main__":
    sys.exit(peer_lib.main("arcface_head", CASES, check_all))
