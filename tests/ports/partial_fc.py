"""partial_fc, semantics.md 2: the class-sharded softmax layer on P ranks that hold a block of classes each."""
import numpy as np

from exact_v1_core import class_key

from . import Fault, Golden, Variant
from .precision import unit, unit_backward

SIZE = "N=32,C=301,D=64"
LARGE = "N=64,C=500,D=128"
GOLDENS = {
    "cos": Golden("partial_fc", 4, SIZE, "head=cos,scale=32,margin=0.4"),
    "arc": Golden("partial_fc", 2, LARGE, "head=arc,scale=64,margin=0.5"),
    "arc lattice": Golden("partial_fc", 2, "N=32,C=200,D=64", "head=arc,scale=8,margin=0.5", "lattice"),
    "arc easy": Golden("partial_fc", 2, SIZE, "head=arc,scale=32,margin=0.5,arc_fallback=easy"),
    "circle": Golden("partial_fc", 3, "N=30,C=301,D=64", "head=circle,scale=32,margin=0.25"),
    "linear": Golden("partial_fc", 4, SIZE, "head=linear,scale=2,lr=0.1,nesterov=1"),
    "sampled": Golden("partial_fc", 2, SIZE, "head=cos,scale=32,margin=0.4,sample_rate=0.3,lr=0.1,weight_decay=0.0005"),
    "dense": Golden("partial_fc", 2, SIZE, "head=arc,scale=32,margin=0.5,sample_rate=0.3,lr=0.1,weight_decay=0.5,nesterov=1,momentum_rule=dense"),
    "full": Golden("partial_fc", 2, SIZE, "head=arc,scale=32,margin=0.5,lr=0.1,weight_decay=0.0005"),
    "steps": Golden("partial_fc", 2, SIZE, "head=cos,scale=16,margin=0.4,sample_rate=0.3,steps=3,lr=0.01,weight_decay=0.0005"),
}
WRONG = [
    Fault("maximum not all-reduced", "cos", "row_max"),
    Fault("sum not all-reduced", "cos", "row_sum"),
    Fault("sum over half of the ranks", "cos", "row_sum"),
    Fault("shard begins one class late", "cos", "logits"),
    Fault("uneven shards taken as even", "cos", "logits"),
    Fault("target's probability not all-reduced", "cos", "prob_target"),
    Fault("factor of the ranks left out", "cos"),
    Fault("features' gradient lacks one shard", "cos"),
    Fault("gradient of another rank's rows", "cos"),
    Fault("loss summed, not averaged", "cos"),
    Fault("loss of one rank's rows", "cos"),
    Fault("gradient not divided by N", "cos", "dlogits"),
    Fault("gradient divided by a rank's N", "cos", "dlogits"),
    Fault("label not subtracted in the gradient", "cos", "dlogits"),
    Fault("no projection, features", "cos"),
    Fault("no projection, weights", "cos"),
    Fault("features not normalised", "cos", "cosine"),
    Fault("margin off by 0.01", "cos", "logits"),
    Fault("margin at every class", "cos", "logits"),
    Fault("label off by one", "cos", "logits"),
    Fault("one class dropped", "arc lattice", "row_sum"),
    Fault("margin 0.49 for 0.5", "arc", "logits"),
    Fault("head cos for arc", "arc", "logits"),
    Fault("margin left out", "arc", "logits"),
    Fault("margin subtracted from the angle", "arc", "logits"),
    Fault("margin's derivative left out", "arc"),
    Fault("scale left out of the gradient", "arc"),
    Fault("margin branch ignored", "arc easy", "logits"),
    Fault("wrong margin branch", "arc easy", "logits"),
    Fault("factors differentiated, too", "circle"),
    Fault("margins of target and others exchanged", "circle", "logits"),
    Fault("normalised where it should not", "linear", "cosine"),
    Fault("nesterov left out", "linear"),
    Fault("learning rate inside the momentum", "linear"),
    Fault("rows written back one late", "sampled"),
    Fault("momentum not written back", "sampled"),
    Fault("unsampled classes in the denominator", "sampled", "row_sum"),
    Fault("positives not put first", "sampled", "cosine"),
    Fault("smallest keys, not largest", "sampled", "cosine"),
    Fault("half of the sample", "sampled", "cosine"),
    Fault("decay and momentum on every row", "sampled"),
    Fault("no decay on unsampled rows", "dense"),
    Fault("weight decay twice", "dense"),
    Fault("weight decay of 0.5 left out", "dense"),
    Fault("weight decay of 0.0005 left out", "full", types=("f32",)),  # below the bounds of tf32 and bf16
    Fault("momentum forgotten between steps", "steps", "cosine"),
    Fault("keys of the first step in every step", "steps", "sample_keys"),
]
RIGHT = [
    Variant("one rank for all", "cos"),
    Variant("blocks of classes, online softmax", "cos"),
    Variant("cosines recomputed in the backward pass", "arc", {"sums": "reversed"}),
    Variant("acos and cos", "arc"),
    Variant("projection before the sum over ranks", "cos"),
    Variant("", "arc", {"sums": "sequential"}),
    Variant("", "cos", {"sums": "reversed"}),
    Variant("", "cos", {"finer": True}),
    Variant("", "arc", {"sums": "float64"}),
    Variant("", "arc", {"stored": True}),
    Variant("", "sampled", {"sums": "sequential"}),
    Variant("", "dense", {"sums": "sequential"}),
    Variant("", "steps", {"sums": "sequential"}),
] + [Variant("", name, options) for name in GOLDENS for options in ({}, {"truncate": True})]



# ---- shards and samples ------------------------------------------------------------------------------------------------------------------------

def shards(C, P):
    """The classes of every rank (2.2)."""
    q, e = divmod(C, P)
    return [np.arange(q * r + min(r, e), q * (r + 1) + min(r + 1, e)) for r in range(P)]


def sample(p, classes, labels, keys, change):
    """The classes of a shard that take part (2.4): its positives, then the largest keys."""
    if 1 <= p["sample_rate"] < 2 and "num_sample" not in p:
        return classes
    count = p.get("num_sample", int(p["sample_rate"] * len(classes)))
    count = count // 2 if change == "half of the sample" else count
    positive = np.isin(classes, labels) & (change != "positives not put first")
    key = keys[classes] * (-1 if change == "smallest keys, not largest" else 1)
    order = np.lexsort((classes, -np.where(positive, 2.0, key)))
    return np.sort(classes[order[:max(count, positive.sum())]])


def shift(r, C, P, change):
    """How far a rank is off with the number of its first class."""
    if change == "uneven shards taken as even":
        return C // P * r - shards(C, P)[r][0]
    return int(r > 0 and change == "shard begins one class late")


# ---- heads ------------------------------------------------------------------------------------------------------------------------------------

def circle(p, z, target, change):
    s, m = p["scale"], p["margin"]
    own, others = (1 - m, m) if change != "margins of target and others exchanged" else (m, 1 - m)
    a = np.where(target, np.maximum(1 + m - z, 0), np.maximum(z + m, 0))
    slope = s * a
    if change == "factors differentiated, too":
        slope = np.where(target, s * (2 - 2 * z), 2 * s * z) * (a > 0)
    return s * a * np.where(target, z - own, z - others), slope


def arc_target(p, z, change):
    """cos(theta + m), its derivative by cos(theta), and where the fallback easy has the cosine itself."""
    m = {"margin 0.49 for 0.5": p["margin"] - 0.01, "margin left out": 0.0, "margin subtracted from the angle": -p["margin"]}.get(change, p["margin"])
    sine = np.sqrt((1 - z) * (1 + z))
    if change == "acos and cos":
        angle = np.arccos(z)
        phi, slope = np.cos(angle + z.dtype.type(m)), np.sin(angle + z.dtype.type(m)) / sine
    else:
        phi, slope = z * np.cos(m) - sine * np.sin(m), np.cos(m) + z * np.sin(m) / sine
    if p["arc_fallback"] == "easy" and change != "margin branch ignored":
        plain = z > 0 if change == "wrong margin branch" else z <= 0
        phi, slope = np.where(plain, z, phi), np.where(plain, 1, slope)
    return phi.astype(z.dtype), slope.astype(z.dtype)


def head(p, z, target, change):
    """Logits and slopes of the cosines (2.5); target marks a row's own class."""
    s, one = p["scale"], np.ones_like(z)
    if p["head"] == "linear":
        return s * z, s * one
    if p["head"] == "circle":
        return circle(p, z, target, change)
    if p["head"] == "cos" or change == "head cos for arc":
        m = p["margin"] + (0.01 if change == "margin off by 0.01" else 0)
        return s * (z - m if change == "margin at every class" else np.where(target, z - z.dtype.type(m), z)), s * one
    phi, slope = arc_target(p, z, change)
    plain = np.cos(np.arccos(z)) if change == "acos and cos" else z
    slope = one if change == "margin's derivative left out" else slope
    return s * np.where(target, phi, plain), s * np.where(target, slope, one)


# ---- softmax ----------------------------------------------------------------------------------------------------------------------------------

def online(q, logits, block=17):
    """Maximum and sum of a shard, block after block."""
    M, S = np.full(len(logits), -np.inf, q.real), np.zeros(len(logits), q.real)
    for first in range(0, logits.shape[1], block):
        part = logits[:, first:first + block]
        higher = np.maximum(M, part.max(1))
        S = S * np.exp(M - higher) + q.sum(np.exp(part - higher[:, None]), 1)
        M = higher
    return M, S


def maxima_and_sums(q, logits, all_logits, change):
    """The all-reduced maximum and sum of every row. all_logits: of classes that were not sampled, too."""
    if change == "blocks of classes, online softmax":
        pairs = [online(q, l) for l in logits]
        M = np.max([m for m, _ in pairs], 0)
        return M, q.over_ranks([s * np.exp(m - M) for m, s in pairs])
    M = np.max([l.max(1) for l in logits], 0)
    if change == "maximum not all-reduced":
        M = logits[0].max(1)
        return M, q.over_ranks([q.sum(np.exp(l - l.max(1)[:, None]), 1) for l in logits])
    if change == "unsampled classes in the denominator":
        logits = all_logits
    E = [np.exp(l - M[:, None]) for l in logits]
    if change == "one class dropped":
        E[-1][:, -1] = 0
    sums = [q.sum(e, 1) for e in E]
    if change == "sum not all-reduced":
        return M, sums[0]
    return M, q.over_ranks(sums[:len(sums) // 2] if change == "sum over half of the ranks" else sums)


def logit_gradients(q, E, S, targets, N, P, change):
    """(p - onehot)/N of every rank (2.6), and the probability of each row's own class."""
    p = [e / S[:, None] for e in E]
    own = [q.sum(np.where(t, x, 0), 1) for x, t in zip(p, targets)]
    rows = {"gradient not divided by N": 1, "gradient divided by a rank's N": N // P}.get(change, N)
    hot = 0 if change == "label not subtracted in the gradient" else 1
    G = [(x - hot * t) / q.real(rows) for x, t in zip(p, targets)]
    if change == "one class dropped":
        G[-1][:, -1] = 0
    return G, own[0] if change == "target's probability not all-reduced" else q.over_ranks(own)


# ---- one step ---------------------------------------------------------------------------------------------------------------------------------

def step(p, P, q, X, y, W, B, keys, change):
    """W and B are updated in place. Returns loss, x_grad, weight_grad, the sampled classes and the steps."""
    N, C = len(X), len(W)
    blocks = shards(C, P)
    if change == "label off by one":
        y = (y + 1) % C
    index = [sample(p, b, y, keys, change) for b in blocks]
    targets = [y[:, None] == i + shift(r, C, P, change) for r, i in enumerate(index)]
    normalises = (p["head"] != "linear") != (change == "normalised where it should not")
    fx, nx = unit(q, X) if normalises and change != "features not normalised" else (X, np.ones((N, 1), q.real))
    ws = [unit(q, W[i]) if normalises else (W[i], np.ones((len(i), 1), q.real)) for i in index]
    z = [q.matmul(fx, w.T) for w, _ in ws]
    logits, slopes = zip(*[head(p, x, t, change) for x, t in zip(z, targets)])
    everything = [head(p, q.matmul(fx, unit(q, W[b])[0].T), y[:, None] == b, change)[0] for b in blocks] if change.startswith("unsampled") else None
    M, S = maxima_and_sums(q, logits, everything, change)
    again = [q.matmul(fx[:, ::-1], w[:, ::-1].T) for w, _ in ws] if change.startswith("cosines recomputed") else z
    E = [np.exp((head(p, x, t, change)[0] if again is not z else l) - M[:, None]) for x, t, l in zip(again, targets, logits)]
    G, a = logit_gradients(q, E, S, targets, N, P, change)
    rows = -np.log(np.maximum(a, q.real(1e-30)))
    loss = q.sum(rows) / N
    if change == "loss summed, not averaged":
        loss = q.sum(rows)
    if change == "loss of one rank's rows":
        loss = q.sum(rows[:N // P]) / (N // P)
    H = [g * (d / p["scale"] if change == "scale left out of the gradient" else d) for g, d in zip(G, slopes)]
    x_grad = feature_gradient(p, P, q, H, ws, fx, nx, normalises, change)
    dW = np.zeros_like(W)
    for i, h, (w, n) in zip(index, H, ws):
        g = q.matmul(h.T, fx)
        dW[i] = unit_backward(q, g, w, n, change != "no projection, weights") if normalises else g
    sampled = np.concatenate(index)
    update(p, W, B, dW, sampled, change)
    tables = {"cosine": z, "logits": logits, "dlogits": G}
    steps = {name: table(part, index, N, C) for name, part in tables.items()}
    steps.update(row_max=M, row_sum=S, prob_target=a)
    return loss, x_grad, dW, sampled, steps


def feature_gradient(p, P, q, H, ws, fx, nx, normalises, change):
    """(2.7) Every rank's part, added where the rows live."""
    parts = [q.matmul(h, w) for h, (w, _) in zip(H, ws)]
    if change == "features' gradient lacks one shard":
        parts = parts[:-1]
    projects = normalises and change not in ("no projection, features", "features not normalised")

    def back(g):
        return unit_backward(q, g, fx, nx, projects) if normalises else g
    total = q.over_ranks([back(g) for g in parts]) if change == "projection before the sum over ranks" else back(q.over_ranks(parts))
    if change == "gradient of another rank's rows":
        total = np.roll(total, len(total) // P, 0)
    return total if change == "factor of the ranks left out" else total * p["xgrad_scale"]


def update(p, W, B, dW, sampled, change):
    """(2.8) SGD with momentum, on the sampled rows or on all of them."""
    left_out = change.startswith("weight decay of")
    lr, mu, decay = p["lr"], p["momentum"], 0 if left_out else p["weight_decay"] * (2 if change == "weight decay twice" else 1)
    everywhere = (p["momentum_rule"] == "dense") != (change in ("decay and momentum on every row", "no decay on unsampled rows"))
    rows = np.arange(len(W)) if everywhere else sampled
    g = dW[rows] + decay * W[rows]
    inside = change == "learning rate inside the momentum"
    b = mu * B[rows] + (lr * g if inside else g)
    d = g + mu * b if p["nesterov"] and change != "nesterov left out" else b
    w = W[rows] - (d if inside else lr * d)
    to = (rows + 1) % len(W) if change == "rows written back one late" else rows
    W[to] = w
    if change != "momentum not written back":
        B[to] = b


def table(parts, index, N, C):
    """What the ranks hold, side by side; NaN where a class was not sampled."""
    whole = np.full((N, C), np.nan, parts[0].dtype)
    for part, i in zip(parts, index):
        whole[:, i] = part
    return whole


def port(case, q, change):
    p, x, P = case.param, case.inputs, case.ranks
    X, y = q.array(x["features"]), x["labels"]
    W, B = q.array(x["weight"]), q.array(x.get("weight_momentum", np.zeros_like(x["weight"])))
    several, losses, x_grads = p["steps"] != 1 or X.ndim == 3, [], []
    samples = not 1 <= p["sample_rate"] < 2
    P = 1 if change == "one rank for all" else P
    for t in range(p["steps"]):
        at = p["first_step"] + (0 if change == "keys of the first step in every step" else t)
        keys = np.array([class_key(p["seed"], c, at) for c in range(len(W))]) if samples else None
        if t and change == "momentum forgotten between steps":
            B[:] = 0
        if t and q.real is np.float64:  # the state is kept in float32
            W, B = q.array(W.astype(np.float32)), q.array(B.astype(np.float32))
        loss, x_grad, dW, sampled, steps = step(p, P, q, X[t] if X.ndim == 3 else X, y[t] if y.ndim == 2 else y, W, B, keys, change)
        losses.append(loss)
        x_grads.append(x_grad)
    if samples:
        steps["sample_keys"] = keys
    flags = np.zeros(len(W), np.int64)
    flags[sampled] = 1
    out = {"loss": np.array(losses), "x_grad": np.array(x_grads) if several else x_grads[0], "weight_grad": dW, "weight": W, "weight_momentum": B,
           "sampled": flags}
    return out, steps
