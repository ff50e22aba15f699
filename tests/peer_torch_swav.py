#!/usr/bin/env python3
"""PyTorch as a peer: Sinkhorn and SwAV as the sources have them, in float64, gradients by autograd; compares /out to 1e-9 of each tensor's largest value.

    peer_torch_swav.py --cases                        the tiny cases to run, as lines "RANKS NAME"
    peer_torch_swav.py RESULT.h5... [--ranks P]

All ranks in one process: what the sources all-reduce is a sum over a list. main_swav.py 77f7185 (v1), 9a2dc80 (v2); vissl swav_loss.py.
Exit status: 0 all close, 1 something differs, 77 no PyTorch.
"""
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
from peer_lib import one_by_one, same

DEFAULTS = {"epsilon": 0.05, "iterations": 3, "stabilise": 1, "version": "v1", "temperature": 0.1, "freeze_prototypes": 0, "use_the_queue": 0,
            "log_softmax": "source"}
CASES = {1: ["any_sk_v1", "w1_sk_v1_0", "any_sk_v2", "w1_sk_v2_0", "any_sk_vissl", "w1_swav_plain", "w1_swav_queue", "w1_swav_v2", "w1_swav_stable"],
         3: ["any_sk_v1", "w3_sk_v1_plain", "w3_sk_v1_overflow", "any_sk_v2", "any_sk_vissl", "w3_swav_plain", "w3_swav_queue", "w3_swav_empty_queue",
             "w3_swav_vissl", "w3_swav_frozen"]}


def shoot_infs(x):
    """Infinities become the largest of the rest."""
    bad = torch.isinf(x)
    if bad.any():
        x = torch.where(bad, torch.zeros_like(x), x)
        x = torch.where(bad, x.max(), x)
    return x


def sinkhorn(p, scores):
    """Scores (n,K) of every rank to assignments (n,K) of every rank."""
    a = [s / p["epsilon"] for s in scores]
    if p["stabilise"]:
        a = [x - max(y.max() for y in a) for x in a]
    Q = [torch.exp(x).t() for x in a]
    K, N, first = Q[0].shape[0], len(Q) * Q[0].shape[1], p["version"] != "v2"
    Q = [shoot_infs(q) for q in Q] if first else Q
    total = sum(q.sum() for q in Q)
    Q = [q / total for q in Q]
    for _ in range(p["iterations"]):
        u = sum(q.sum(1) for q in Q)
        if p["version"] == "vissl" and (u == 0).any():
            Q = [q + 1e-12 for q in Q]
            u = sum(q.sum(1) for q in Q)
        if first:
            Q = [q * shoot_infs((1.0 / K) / u).unsqueeze(1) for q in Q]
            Q = [q * ((1.0 / N) / q.sum(0)).unsqueeze(0) for q in Q]
        else:
            Q = [q / u.unsqueeze(1) / K for q in Q]
            Q = [q / q.sum(0, keepdim=True) / N for q in Q]
    return [(q / q.sum(0, keepdim=True)).t() if first else (q * N).t() for q in Q]


def assign(p, scores, z, C, queue, crops, bs, use):
    """Assignments [i][rank] (bs,K); the queues and the flag move on."""
    out = []
    for i, crop in enumerate(crops):
        rows = [s[crop * bs:(crop + 1) * bs].detach() for s in scores]
        if queue is not None:
            use = use or bool((queue[0][i][-1] != 0).any())
            full = [torch.cat((q[i] @ C.t(), s)) if use else s for q, s in zip(queue, rows)]
            for q, e in zip(queue, z):
                q[i][bs:] = q[i][:-bs].clone()
                q[i][:bs] = e[crop * bs:(crop + 1) * bs].detach()
            rows = full
        out.append([q[-bs:] for q in sinkhorn(p, rows)])
    return out, use


def swav(p, inputs):
    h = [torch.tensor(np.array(e), dtype=torch.float64).requires_grad_() for e in inputs["embedding"]]
    C = F.normalize(torch.tensor(np.array(inputs["prototypes"]), dtype=torch.float64), dim=1).requires_grad_()
    queue = torch.tensor(np.array(inputs["queue"]), dtype=torch.float64) if "queue" in inputs else None
    crops, V = [int(a) for a in inputs["crops_for_assign"]], p["crops"]
    bs = len(h[0]) // V
    z = [F.normalize(e, dim=1) for e in h]
    scores = [e @ C.t() for e in z]
    q, use = assign(p, scores, z, C.detach(), queue, crops, bs, bool(p["use_the_queue"]))
    losses = []
    for r, s in enumerate(scores):
        loss = 0.0
        for i, crop in enumerate(crops):
            for v in (v for v in range(V) if v != crop):
                x = s[v * bs:(v + 1) * bs] / p["temperature"]
                logp = torch.log(F.softmax(x, 1)) if p["version"] == "v1" and p["log_softmax"] == "source" else F.log_softmax(x, 1)
                loss = loss - (q[i][r] * logp).sum(1).mean() / (V - 1)
        losses.append(loss / len(crops))
    sum(losses).backward()
    out = {"loss": torch.stack(losses).detach().numpy(), "assignment": torch.stack([torch.stack([a[r] for a in q]) for r in range(len(h))]).numpy(),
           "embedding_grad": torch.stack([e.grad for e in h]).numpy(), "prototypes": C.detach().numpy(),
           "prototypes_grad": 0.0 * C.grad.numpy() if p["freeze_prototypes"] else C.grad.numpy() / len(h), "use_the_queue": np.array(int(use))}
    if queue is not None:
        out["queue"] = queue.numpy()
    return out


def check(path, ranks):
    with h5py.File(path, "r") as h5:
        algorithm, param, inputs = exact_v1.read_case(h5)
        want = {k: v[()] for k, v in h5["out"].items()}
    p = {**DEFAULTS, **param}
    print("%s: autograd, one process" % path)
    if algorithm == "swav":
        out = swav(p, inputs)
    else:
        out = {"assignment": torch.cat(sinkhorn(p, torch.tensor(np.array(inputs["scores"]), dtype=torch.float64).chunk(ranks))).numpy()}
    return same(want, out)


if __name__ == "__main__":
    sys.exit(peer_lib.main("sinkhorn and swav", CASES, one_by_one(check)))
