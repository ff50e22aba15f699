"""batch_norm and group_gather, semantics.md 7. No matrix products: x, grad_y and the gathered vectors are read in the type."""
import numpy as np

from . import Fault, Golden, Variant

GOLDENS = {
    "plain": Golden("batch_norm", 2, "N=8,C=6,H=2,W=2", "kind=plain,eps=0.1"),
    "eval": Golden("batch_norm", 2, "N=8,C=6,H=2,W=2", "kind=plain,training=0"),
    "sub": Golden("batch_norm", 2, "N=24,C=5,H=2,W=2", "kind=sub,num_splits=3"),
    "sync": Golden("batch_norm", 4, "N=16,C=6,H=2,W=2", "kind=sync,num_sync_devices=2,eps=0.1"),
    "sync large": Golden("batch_norm", 2, "N=16,C=4,H=8,W=8", "kind=sync,num_sync_devices=2"),
    "sync lattice": Golden("batch_norm", 4, "N=16,C=6,H=2,W=2", "kind=sync,num_sync_devices=2", "lattice"),
    "gather": Golden("group_gather", 4, "M=50", "num_sync_devices=2,num_groups=2"),
    "machines": Golden("group_gather", 4, "M=50", "num_sync_devices=2,num_groups=1,local_size=2"),
}
WRONG = [
    Fault("biased running variance", "plain"),
    Fault("momentum and 1 - momentum swapped", "plain"),
    Fault("eps outside the root", "plain", "sum_gx"),
    Fault("eps left out", "plain", "sum_gx"),
    Fault("variance not centred", "plain", "var"),
    Fault("statistics of all ranks", "plain", "mean"),
    Fault("mean of the gradient left out", "plain"),
    Fault("term of x^ left out of the gradient", "plain"),
    Fault("weight left out of the gradient", "plain"),
    Fault("bias left out", "plain"),
    Fault("running statistics not updated", "plain"),
    Fault("batch statistics in evaluation", "eval", "mean"),
    Fault("statistics' terms in the gradient of evaluation", "eval"),
    Fault("splits of samples in a row", "sub", "mean"),
    Fault("one split only", "sub", "mean"),
    Fault("units in the order c*S + s", "sub", "mean"),
    Fault("gradient sums over all splits", "sub", "sum_g"),
    Fault("weight's gradient of the last split", "sub"),
    Fault("aggregated without the spread of the means", "sub"),
    Fault("not aggregated", "sub"),
    Fault("statistics of one rank", "sync", "mean"),
    Fault("unbiased running variance", "sync"),
    Fault("whole machine for the sub-group", "sync", "mean"),
    Fault("every second rank", "sync", "mean"),
    Fault("gradient sums of one rank", "sync", "sum_g"),
    Fault("gradient sums not divided by the ranks", "sync"),
    Fault("weight's gradient averaged over the ranks", "sync"),
    Fault("sum over ranks, not mean", "sync", "mean"),
    Fault("means of the variances of the ranks", "sync lattice", "var"),
    Fault("gradient not reduced", "gather"),
    Fault("gradient averaged", "gather"),
    Fault("the other sub-group", "gather"),
    Fault("whole machine, not the sub-group", "gather"),
    Fault("every second rank, not two in a row", "gather"),
    Fault("last rank left out", "gather"),
    Fault("all machines, not one", "machines"),
]
RIGHT = [
    Variant("Welford", "plain"),
    Variant("mean of x^2 less squared mean", "sync large"),
    Variant("two passes over the group", "sync"),
    Variant("gradient step by step, as autograd does", "sync"),
    Variant("scale and shift of a channel", "plain"),
    Variant("", "sync large", {"sums": "sequential"}),
    Variant("", "sync large", {"sums": "reversed"}),
    Variant("", "sync large", {"finer": True}),
    Variant("", "sync large", {"sums": "float64"}),
] + [Variant("", name, options) for name in GOLDENS for options in ({}, {"truncate": True})]


# ---- units: channels of a split, elements side by side -----------------------------------------------------------------------------------------------

def units(x, S, change):
    """A rank's (n,C,L) as (S*C, n/S*L): sample i belongs to split i mod S, for (n/S, S*C, L) is the same memory (7.3)."""
    n, C, L = x.shape
    if change == "splits of samples in a row":
        x = x.reshape(S, n // S, C, L).transpose(1, 0, 2, 3)
    x = x.reshape(n // S, S, C, L)
    if change == "units in the order c*S + s":
        return x.transpose(2, 1, 0, 3).reshape(S * C, -1)
    return x.transpose(1, 2, 0, 3).reshape(S * C, -1)


def samples(u, S, shape, change):
    """The inverse of units."""
    n, C, L = shape
    if change == "units in the order c*S + s":
        return u.reshape(C, S, n // S, L).transpose(2, 1, 0, 3).reshape(shape)
    x = u.reshape(S, C, n // S, L)
    if change == "splits of samples in a row":
        return x.transpose(0, 2, 1, 3).reshape(shape)
    return x.transpose(2, 0, 1, 3).reshape(shape)


def per_unit(values, S, change):
    """Weight or bias (C) of every unit."""
    return np.repeat(values, S) if change == "units in the order c*S + s" else np.tile(values, S)


# ---- statistics -------------------------------------------------------------------------------------------------------------------------------

def welford(q, x):
    mean, m2 = np.zeros(len(x), q.real), np.zeros(len(x), q.real)
    for i in range(x.shape[1]):
        delta = x[:, i] - mean
        mean = mean + delta / q.real(i + 1)
        m2 = m2 + delta * (x[:, i] - mean)
    return mean, m2 / q.real(x.shape[1])


def own_moments(q, x, change):
    """Mean and variance of every unit of one rank."""
    if change == "Welford":
        return welford(q, x)
    M = q.real(x.shape[1])
    mean = q.sum(x, 1) / M
    var = q.sum(x * x if change == "variance not centred" else (x - mean[:, None])**2, 1) / M
    return mean, var


def group_moments(q, parts, change):
    """Of a group of ranks: the source averages means and mean squares (7.6)."""
    n = q.real(1 if change == "sum over ranks, not mean" else len(parts))
    M = q.real(parts[0].shape[1])
    mean = q.over_ranks([q.sum(x, 1) / M for x in parts]) / n
    if change == "two passes over the group":
        return mean, q.over_ranks([q.sum((x - mean[:, None])**2, 1) / M for x in parts]) / n
    if change == "means of the variances of the ranks":
        return mean, q.over_ranks([own_moments(q, x, "")[1] for x in parts]) / n
    return mean, q.over_ranks([q.sum(x * x, 1) / M for x in parts]) / n - mean * mean


class Layout:
    """Which ranks share statistics."""

    def __init__(self, p, P, change):
        self.P, self.local = P, p.get("local_size", P)
        self.sync = p["kind"] == "sync" and self.local > 1 and p["training"]
        self.n = p["num_sync_devices"] if p["num_sync_devices"] > 0 else self.local
        self.change = change

    def group(self, r):
        if self.change in ("whole machine for the sub-group", "statistics of all ranks"):
            return list(range(self.P))
        if not self.sync or self.change == "statistics of one rank":
            return [r]
        if self.change == "every second rank":
            return [s for s in range(self.P) if s % (self.P // self.n) == r % (self.P // self.n)]
        return list(range(r // self.n * self.n, r // self.n * self.n + self.n))


def moments(p, q, layout, X, r, running, change):
    if not p["training"] and change != "batch statistics in evaluation":
        return running[0][r], running[1][r]
    parts = [X[s] for s in layout.group(r)]
    if len(parts) == 1 and not layout.sync:
        return own_moments(q, parts[0], change)
    return group_moments(q, parts, change)


def moved(p, q, old, mean, var, M, biased, change):
    """Running statistics after the step."""
    if not p["training"] or change == "running statistics not updated":
        return old
    a = 1 - p["momentum"] if change == "momentum and 1 - momentum swapped" else p["momentum"]
    if not biased:
        var = var * q.real(M / (M - 1))
    return [old[0] + q.real(a) * (mean - old[0]), old[1] + q.real(a) * (var - old[1])]


def aggregated(q, split, S, C, change):
    """(7.3) The law of total variance."""
    m, v = (s.reshape(S, C) if change != "units in the order c*S + s" else s.reshape(C, S).T for s in split)
    mean = q.sum(m, 0) / S
    spread = 0 if change == "aggregated without the spread of the means" else q.sum((m - mean)**2, 0) / S
    return mean, q.sum(v, 0) / S + spread


# ---- the layer --------------------------------------------------------------------------------------------------------------------------------

def inverse(p, q, var, change):
    eps = q.real(p["eps"])
    if change == "eps outside the root":
        return 1 / (np.sqrt(var) + eps)
    return 1 / np.sqrt(var if change == "eps left out" else var + eps)


def element_gradients(p, q, G, x, xh, a, mean, inv, sums, D, change):
    """(7.2, 7.6) Of one rank; sums: of g and g x^ over its group, D elements."""
    if not p["training"] and change != "statistics' terms in the gradient of evaluation":
        return a * G
    mg, mgx = (s[:, None] / q.real(D) for s in sums)
    if change == "mean of the gradient left out":
        mg = 0
    if change == "term of x^ left out of the gradient":
        mgx = 0
    if change == "gradient step by step, as autograd does":
        dv = -a * mgx * inv[:, None] / 2  # of the variance, over the elements; then of x through mean of x^2 and mean
        dmu = -a * mg - 2 * mean[:, None] * dv
        return a * G + dmu + 2 * x * dv
    return a * (G - mg - xh * mgx)


def batch_norm(case, q, change):
    p, inp, P = case.param, case.inputs, case.ranks
    shape = inp["x"].shape
    N, C = shape[:2]
    S = p["num_splits"] if p["kind"] == "sub" and p["training"] and change != "one split only" else 1
    block = (N // P, C, inp["x"].size // N // C)
    X, G = ([units(r, S, change) for r in q.operand(inp[name]).reshape((P,) + block)] for name in ("x", "grad_y"))
    w, b = (q.array(inp.get(name, np.full(C, value))) for name, value in (("weight", 1), ("bias", 0)))
    layout = Layout(p, P, change)
    names = ("split_running_" if p["kind"] == "sub" else "running_")
    running = [q.array(inp.get(names + k, np.full((P, S * C), v))) for k, v in (("mean", 0), ("var", 1))]
    if change == "one split only":
        running = [x[:, :C] for x in running]
    M, wu, bu = X[0].shape[1], per_unit(w, S, change)[:, None], per_unit(b, S, change)[:, None]
    stats = [moments(p, q, layout, X, r, running, change) for r in range(P)]
    inv = [inverse(p, q, var, change) for _, var in stats]
    xh = [(x - mean[:, None]) * i[:, None] for x, (mean, _), i in zip(X, stats, inv)]
    if change == "scale and shift of a channel":
        y = [x * (wu * i[:, None]) + (bu - mean[:, None] * i[:, None] * wu) for x, (mean, _), i in zip(X, stats, inv)]
    else:
        y = [h * wu + (0 if change == "bias left out" else bu) for h in xh]
    own = [(q.sum(g, 1), q.sum(g * h, 1)) for g, h in zip(G, xh)]
    shared = [[q.over_ranks([own[s][k] for s in (layout.group(r) if change != "gradient sums of one rank" else [r])]) for k in (0, 1)] for r in range(P)]
    if change == "gradient sums over all splits":
        shared = [[np.tile(q.sum(s.reshape(S, C), 0), S) for s in pair] for pair in shared]
    a = [(1 if change == "weight left out of the gradient" else wu) * i[:, None] for i in inv]
    size = [M * (1 if change == "gradient sums not divided by the ranks" else len(layout.group(r))) for r in range(P)]
    dx = [element_gradients(p, q, G[r], X[r], xh[r], a[r], stats[r][0], inv[r], shared[r], size[r], change) for r in range(P)]
    biased = (layout.sync and change != "unbiased running variance") or change == "biased running variance"
    after = [moved(p, q, [s[r] for s in running], *stats[r], M * len(layout.group(r)), biased, change) for r in range(P)]
    out = results(p, q, own, after, S, C, change)
    out.update(y=whole(y, S, block, shape, change), x_grad=whole(dx, S, block, shape, change))
    if change == "not aggregated":
        out.update(running_mean=inp["running_mean"], running_var=inp["running_var"])
    return out, {"mean": np.array([s[0] for s in stats]), "var": np.array([s[1] for s in stats]), "sum_g": np.array([s[0] for s in shared]),
                 "sum_gx": np.array([s[1] for s in shared])}


def whole(parts, S, block, shape, change):
    return np.concatenate([samples(x, S, block, change) for x in parts]).reshape(shape)


def results(p, q, own, after, S, C, change):
    """Gradients of weight and bias and the running statistics, (P,C) each."""
    def over_splits(s):
        rows = s.reshape(C, S).T if change == "units in the order c*S + s" else s.reshape(S, C)
        return rows[-1] if change == "weight's gradient of the last split" else q.sum(rows, 0)
    bias_grad, weight_grad = (np.array([over_splits(pair[k]) for pair in own]) for k in (0, 1))
    if change == "weight's gradient averaged over the ranks":
        weight_grad = np.broadcast_to(weight_grad.mean(0), weight_grad.shape)
    out = {"bias_grad": bias_grad, "weight_grad": weight_grad}
    if p["kind"] == "sub":
        mean, var = zip(*[aggregated(q, a, S, C, change) for a in after])
        full = p["num_splits"] // S
        out.update(split_running_mean=np.array([np.tile(a[0], full) for a in after]), split_running_var=np.array([np.tile(a[1], full) for a in after]))
    else:
        mean, var = zip(*after)
    out.update(running_mean=np.array(mean), running_var=np.array(var))
    return out


# ---- group_gather -----------------------------------------------------------------------------------------------------------------------------

def gather(p, q, x, change):
    """(7.5) The sum over the rank's sub-group, for every rank."""
    P, local = len(x), p.get("local_size", len(x))
    n = local if p["num_groups"] == 1 else p["num_sync_devices"]
    n = P if change in ("whole machine, not the sub-group", "all machines, not one") else n
    result = []
    for r in range(P):
        first = r // n * n
        group = list(range(first, first + n))
        if change == "the other sub-group":
            group = [(s + n) % P for s in group]
        if change == "every second rank, not two in a row":
            group = [s for s in range(P) if s % n == r % n]
        result.append(q.over_ranks([x[s] for s in (group[:-1] if change == "last rank left out" else group)]))
    return np.array(result)


def group_gather(case, q, change):
    p, x, g = case.param, *(q.operand(case.inputs[name]) for name in ("input", "grad_output"))
    back = g if change == "gradient not reduced" else gather(p, q, g, change)
    return {"output": gather(p, q, x, change), "grad_input": back / q.real(2) if change == "gradient averaged" else back}, {}


def port(case, q, change):
    return (group_gather if case.algorithm == "group_gather" else batch_norm)(case, q, change)
