"""moco and moco_shuffle, semantics.md 6."""
import numpy as np

from . import Fault, Golden, Variant
from .precision import unit, unit_backward

GOLDENS = {
    "plain": Golden("moco", 4, "N=32,K=256,D=128", "temperature=0.2"),
    "later": Golden("moco", 4, "N=8,K=64,D=64", "temperature=0.2,queue_ptr=32"),
    "lattice": Golden("moco", 4, "N=32,K=64,D=64", "temperature=0.25", "lattice"),
    "shuffle": Golden("moco_shuffle", 4, "N=32,D=6"),
}
WRONG = [
    Fault("mu and 1 - mu swapped", "plain"),
    Fault("1 - mu formed in float32", "plain"),
    Fault("no momentum update", "plain"),
    Fault("keys not normalised", "plain", "logits"),
    Fault("query not normalised", "plain", "logits"),
    Fault("unshuffle left out", "plain", "logits"),
    Fault("enqueue before the logits", "plain", "logits"),
    Fault("one key of the queue dropped", "lattice", "logits"),
    Fault("temperature off by 1 %", "lattice", "logits"),
    Fault("positive in the last column, label 0", "plain", "logits"),
    Fault("positive left out of the sum", "later"),
    Fault("mean over all ranks", "later"),
    Fault("gradient divided by N", "plain"),
    Fault("1/temperature left out of the gradient", "plain"),
    Fault("no projection", "plain"),
    Fault("pointer not advanced", "later"),
    Fault("queue written at 0", "later"),
    Fault("queue in reverse order", "later"),
    Fault("one rank's keys queued", "later"),
    Fault("keys queued before normalisation", "later"),
    Fault("unshuffle skipped", "shuffle"),
    Fault("permutation for its inverse", "shuffle"),
    Fault("inverse for the permutation", "shuffle"),
    Fault("shuffled inside each rank only", "shuffle"),
]
RIGHT = [
    Variant("powers of two for exp", "plain"),
    Variant("online softmax over blocks of keys", "plain"),
    Variant("keys and queue in one product", "plain"),
    Variant("", "plain", {"sums": "sequential"}),
    Variant("", "plain", {"sums": "reversed"}),
    Variant("", "plain", {"finer": True}),
    Variant("", "plain", {"sums": "float64"}),
    Variant("", "plain", {"stored": True}),
] + [Variant("", name, options) for name in GOLDENS for options in ({}, {"truncate": True})]


def parameters(p, q, theta_k, theta_q, change):
    """(6.2)"""
    mu, rest = p["momentum"], 1 - p["momentum"]
    if change == "1 - mu formed in float32":
        rest = np.float32(1) - np.float32(mu)
    if change == "mu and 1 - mu swapped":
        mu, rest = rest, mu
    return theta_k if change == "no momentum update" else theta_k * q.real(mu) + theta_q * q.real(rest)


def log_sum(q, l, change):
    """log of the sum of exp of every row, and the probabilities."""
    if change == "online softmax over blocks of keys":
        M, S = np.full(len(l), -np.inf, q.real), np.zeros(len(l), q.real)
        for first in range(0, l.shape[1], 19):
            part = l[:, first:first + 19]
            higher = np.maximum(M, part.max(1))
            S, M = S * np.exp(M - higher) + q.sum(np.exp(part - higher[:, None]), 1), higher
        return M + np.log(S), np.exp(l - M[:, None]) / S[:, None]
    M = l.max(1)
    E = np.exp2((l - M[:, None]) * q.real(np.log2(np.e))) if change == "powers of two for exp" else np.exp(l - M[:, None])
    S = q.sum(E[:, 1:] if change == "positive left out of the sum" else E, 1)
    return M + np.log(S), E / S[:, None]


def loss_and_gradient(p, q, query, k, queue, b, change):
    """(6.4) rows' losses, the gradient of the raw query, the logits."""
    N, tau = len(query), p["temperature"] * (1.01 if change == "temperature off by 1 %" else 1)
    f, n = unit(q, query)
    f = query if change == "query not normalised" else f
    if change == "keys and queue in one product":
        z = q.matmul(f, np.concatenate([k, queue]).T)
        z = np.concatenate([z[np.arange(N), np.arange(N)][:, None], z[:, N:]], 1)
    else:
        z = np.concatenate([q.dot_rows(f, k)[:, None], q.matmul(f, queue.T)], 1)
    l = z * q.real(1 / tau)
    if change == "one key of the queue dropped":
        l[:, -1] = -np.inf
    last = change == "positive in the last column, label 0"
    l = np.roll(l, -1, 1) if last else l
    total, prob = log_sum(q, l, change)
    rows = total - l[:, 0]
    prob[:, 0] -= 1
    size = N if change == "gradient divided by N" else b
    h = prob * q.real(1 / (size * (1 if change == "1/temperature left out of the gradient" else tau)))
    h = np.roll(h, 1, 1) if last else h
    g = q.operand(h[:, :1]) * q.operand(k) + q.matmul(h[:, 1:], queue)
    dq = unit_backward(q, g, f, n, change not in ("no projection", "query not normalised"))
    return rows, dq, l


def enqueue(p, queue, keys, P, change):
    """(6.4) The keys of all ranks from the pointer on."""
    if change == "one rank's keys queued":
        keys = keys[:len(keys) // P]
    if change == "queue in reverse order":
        keys = keys[::-1]
    ptr = 0 if change == "queue written at 0" else p["queue_ptr"]
    queue = queue.copy()
    queue[(ptr + np.arange(len(keys))) % len(queue)] = keys
    return queue


def moco(case, q, change):
    p, x, P = case.param, case.inputs, case.ranks
    query, key, queue = (q.array(x[name]) for name in ("query", "key", "queue"))
    N, K, b = len(query), len(queue), len(query) // P
    k = key if change == "keys not normalised" else unit(q, key)[0]
    if change == "unshuffle left out":
        k = k[np.random.RandomState(1).permutation(N)]
    after = enqueue(p, queue, key if change == "keys queued before normalisation" else k, P, change)
    rows, dq, logits = loss_and_gradient(p, q, query, k, after if change == "enqueue before the logits" else queue, b, change)
    loss = q.sum(rows.reshape(P, b), 1) / b
    ptr = p["queue_ptr"] if change == "pointer not advanced" else (p["queue_ptr"] + N) % K
    return {"params_k": parameters(p, q, q.array(x["params_k"]), q.array(x["params_q"]), change),
            "loss": loss * 0 + loss.mean() if change == "mean over all ranks" else loss, "query_grad": dq, "key": k, "queue": after,
            "queue_ptr": np.int64(ptr)}, {"logits": logits}


def shuffle(case, q, change):
    """(6.3) Own keys as in case-format.md."""
    from exact_v1_moco import shuffle_key
    p, x = case.param, q.operand(case.inputs["x"])
    N, P = len(x), case.ranks
    order = case.inputs.get("permutation", np.array(sorted(range(N), key=lambda row: (shuffle_key(p["seed"], row, p["step"]), row))))
    if change == "shuffled inside each rank only":
        order = np.concatenate([r * (N // P) + np.argsort(part) for r, part in enumerate(np.split(order, P))])
    inverse = np.argsort(order)
    if change == "inverse for the permutation":
        order, inverse = inverse, order
    shuffled = x[order]
    back = order if change == "permutation for its inverse" else inverse
    return {"shuffled": shuffled, "inverse": inverse, "unshuffled": shuffled if change == "unshuffle skipped" else shuffled[back]}, {}


def port(case, q, change):
    return (shuffle if case.algorithm == "moco_shuffle" else moco)(case, q, change)
