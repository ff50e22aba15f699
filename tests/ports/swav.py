"""swav, semantics.md 5: queue, assignments by Sinkhorn, swapped prediction, gradients. Rows of a rank are crop-major."""
import numpy as np

from . import Fault, Golden, Variant, sinkhorn
from .precision import unit, unit_backward

GOLDENS = {
    "plain": Golden("swav", 2, "B=16,K=24,D=64", "crops=3,temperature=0.1,epsilon=0.05"),
    "queue": Golden("swav", 2, "B=8,K=24,D=64,A=2,L=24", "crops=3,temperature=0.1,epsilon=0.05"),
    "lattice": Golden("swav", 2, "B=16,K=24,D=64,A=1", "crops=3,temperature=0.25,epsilon=0.25", "lattice"),
    "v2": Golden("swav", 4, "B=1,K=16,D=32,A=1", "crops=2,version=v2,epsilon=0.5"),
}
WRONG = [
    Fault("prototypes not normalised", "plain", "scores"),
    Fault("embedding not normalised", "plain", "scores"),
    Fault("loss divided by V, not V - 1", "plain", "dscores"),
    Fault("assigned crop not skipped", "plain", "dscores"),
    Fault("assignments of one rank's samples only", "lattice", "dscores"),
    Fault("temperature off by 1 %", "lattice", "dscores"),
    Fault("temperature left out of the gradient", "plain", "dscores"),
    Fault("epsilon off by 2 %", "lattice", "dscores"),
    Fault("crops predict themselves", "plain", "dscores"),
    Fault("rows taken as sample-major", "plain", "dscores"),
    Fault("sum of losses over samples", "plain", "dscores"),
    Fault("no projection", "plain"),
    Fault("projected prototypes not returned", "plain"),
    Fault("prototypes' gradient not averaged", "plain"),
    Fault("prototypes' gradient of one rank", "plain"),
    Fault("loss averaged over ranks", "v2"),
    Fault("queue not used", "queue", "dscores"),
    Fault("queue not shifted", "queue"),
    Fault("batch at the end of the queue", "queue"),
    Fault("embeddings queued before normalisation", "queue"),
    Fault("first rows of the assignment kept", "queue", "dscores"),
    Fault("queue filled before it is used", "queue", "dscores"),
    Fault("flag not set", "queue"),
]
RIGHT = [
    Variant("logarithm of a stable softmax", "plain"),
    Variant("assignments in the log domain", "plain"),
    Variant("no maximum subtracted", "plain"),
    Variant("gradients crop after crop", "plain"),
    Variant("", "queue", {"sums": "sequential"}),
    Variant("", "plain", {"sums": "reversed"}),
    Variant("", "plain", {"sums": "float64"}),
    Variant("", "queue", {"stored": True}),
] + [Variant("", name, options) for name in GOLDENS for options in ({}, {"truncate": True})]


def use_and_fill(p, q, i, crop_rows, queue, use, C, change):
    """Position i on every rank (5.2, 4): scores of the queue's rows, or nothing, and the queue after it."""
    if queue is None:
        return [np.zeros((0, len(C)), q.real)] * len(crop_rows), use
    use = use or any((rank[i][-1] != 0).any() for rank in queue)
    if change == "queue filled before it is used":
        fill(queue, i, crop_rows, change)
    extra = [q.matmul(rank[i], C.T) if use and change != "queue not used" else np.zeros((0, len(C)), q.real) for rank in queue]
    if change != "queue filled before it is used":
        fill(queue, i, crop_rows, change)
    return extra, use


def fill(queue, i, crop_rows, change):
    """(5.2, 4.3) Newest first."""
    bs = len(crop_rows[0])
    for rank, z in zip(queue, crop_rows):
        if change == "batch at the end of the queue":
            rank[i] = np.concatenate([rank[i][bs:], z])
        elif change == "queue not shifted":
            rank[i][:bs] = z
        else:
            rank[i] = np.concatenate([z, rank[i][:-bs]])


def assignments(p, q, P, scores, extra, change):
    """Of every rank's batch: rows of the queue first, batch last."""
    ranks = [np.concatenate([e, s]) for e, s in zip(extra, scores)]
    inner = {"assignments in the log domain": "in the log domain", "no maximum subtracted": change, "epsilon off by 2 %": change}.get(change, "")
    if change == "assignments of one rank's samples only":
        parts = [sinkhorn.assign(p, q, 1, r)[0] for r in ranks]
    else:
        parts = np.split(sinkhorn.assign(p, q, P, np.concatenate(ranks), inner)[0], P)
    bs = len(scores[0])
    return [x[:bs] if change == "first rows of the assignment kept" else x[-bs:] for x in parts]


def probabilities(q, s, temperature, change):
    l = s / q.real(temperature)
    shifted = l - l.max(1)[:, None]
    E = np.exp(shifted)
    S = q.sum(E, 1)[:, None]
    return E / S, shifted - np.log(S) if change == "logarithm of a stable softmax" else np.log(E / S)


def crops_of(rows, bs, change):
    """Rows of a rank by crop."""
    V = len(rows) // bs
    return [rows[v::V] if change == "rows taken as sample-major" else rows[v * bs:(v + 1) * bs] for v in range(V)]


def loss_of_rank(p, q, S, targets, A, bs, change):
    """(5.2, 5.3) The loss of one rank and the gradient of its scores; targets[i]: assignments of crop A[i]."""
    V, tau = p["crops"], p["temperature"] * (1.01 if change == "temperature off by 1 %" else 1)
    crops, loss = crops_of(S, bs, change), 0
    gradient = [np.zeros_like(c) for c in crops]
    for i, a in enumerate(A):
        for v in range(V):
            if (v == a) != (change == "crops predict themselves") and change != "assigned crop not skipped":
                continue
            prob, log_prob = probabilities(q, crops[v], tau, change)
            loss = loss - q.sum(q.sum(targets[i] * log_prob, 1))
            gradient[v] = gradient[v] + (q.sum(targets[i], 1)[:, None] * prob - targets[i])
    count = len(A) * (V if change == "loss divided by V, not V - 1" else V - 1) * (1 if change == "sum of losses over samples" else bs)
    factor = q.real(1 / (count * (1 if change == "temperature left out of the gradient" else tau)))
    whole = np.stack(gradient, 1).reshape(S.shape) if change == "rows taken as sample-major" else np.concatenate(gradient)
    return loss / count, whole * factor


def port(case, q, change):
    p, x, P = case.param, case.inputs, case.ranks
    raw, A = q.array(x["embedding"]), x["crops_for_assign"]
    bs = raw.shape[1] // p["crops"]
    C = q.array(x["prototypes"]) if change == "prototypes not normalised" else unit(q, q.array(x["prototypes"]))[0]
    pairs = [unit(q, r) for r in raw]
    z = list(raw) if change == "embedding not normalised" else [u for u, _ in pairs]
    S = [q.matmul(r, C.T) for r in z]
    queue = [[q.array(i) for i in rank] for rank in x["queue"]] if "queue" in x else None
    use, target = bool(p["use_the_queue"]), []
    for i, a in enumerate(A):
        rows = [r[a * bs:(a + 1) * bs] for r in (raw if change == "embeddings queued before normalisation" else z)]
        extra, use = use_and_fill(p, q, i, rows, queue, use, C, change)
        target.append(assignments(p, q, P, [crops_of(s, bs, change)[a] for s in S], extra, change))
    loss, dS = zip(*[loss_of_rank(p, q, S[r], [t[r] for t in target], A, bs, change) for r in range(P)])
    if change == "gradients crop after crop":
        dz = [np.concatenate([q.matmul(g, C) for g in crops_of(d, bs, "")]) for d in dS]
    else:
        dz = [q.matmul(d, C) for d in dS]
    projects = change not in ("no projection", "embedding not normalised")
    grads = [q.matmul(d.T, r) for d, r in zip(dS, z)]
    dC = grads[0] if change == "prototypes' gradient of one rank" else q.over_ranks(grads) / q.real(1 if change == "prototypes' gradient not averaged" else P)
    loss = np.array(loss)
    out = {"loss": loss * 0 + loss.mean() if change == "loss averaged over ranks" else loss,
           "assignment": np.array([[t[r] for t in target] for r in range(P)]),
           "embedding_grad": np.array([unit_backward(q, g, u, n, projects) for g, (u, n) in zip(dz, pairs)]),
           "prototypes": x["prototypes"] if change == "projected prototypes not returned" else C,
           "prototypes_grad": dC, "use_the_queue": np.int64(use and change != "flag not set")}
    if queue is not None:
        out["queue"] = np.array(queue)
    return out, {"scores": np.array(S), "dscores": np.array(dS)}
