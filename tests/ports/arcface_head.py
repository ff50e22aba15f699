"""arcface_head, semantics.md 8: sub-centers, margins per class, hard and soft targets. Classes are sharded: the softmax sums rank after rank."""
import numpy as np

from . import Fault, Golden, Variant
from .precision import unit, unit_backward


def soft_inputs(seed, N=32, C=200, D=64, k=2):
    """Soft targets whose sums are not 1, weights of classes."""
    rng = np.random.RandomState(seed)
    targets = rng.uniform(0, 1, (N, C))**8
    return {"features": rng.standard_normal((N, D)).astype("f4"), "weight": rng.standard_normal((C * k, D)).astype("f4"),
            "labels": rng.randint(0, C, N), "soft_targets": (targets / targets.sum(1)[:, None] * rng.uniform(0.5, 1.5, (N, 1))).astype("f4"),
            "class_weight": rng.uniform(0.2, 1, C).astype("f4")}


GOLDENS = {
    "k3": Golden("arcface_head", 2, "N=64,C=200,D=128", "num_subcenters=3,scale=64"),
    "k1": Golden("arcface_head", 2, "N=32,C=300,D=64", "scale=32,loss_weight=0.5"),
    "easy": Golden("arcface_head", 2, "N=32,C=300,D=64", "num_subcenters=2,scale=32,easy_margin=1"),
    "lattice": Golden("arcface_head", 2, "N=32,C=200,D=64", "num_subcenters=2,scale=8", "lattice"),
    "soft": Golden("arcface_head", 2, "", "num_subcenters=2,scale=16", inputs=soft_inputs),
    "hard": Golden("arcface_head", 2, "N=32,C=300,D=64", "num_subcenters=2,scale=16,cos_clamp=1", "hard"),
}
WRONG = [
    Fault("gradient to all sub-centers", "k3"),
    Fault("second best sub-center", "k3", "cosine"),
    Fault("first sub-center only", "k3", "cosine"),
    Fault("margin off by 0.01", "k3", "prob"),
    Fault("margin left out", "k3", "prob"),
    Fault("margin's derivative left out", "k3"),
    Fault("margins one class late", "k3", "prob"),
    Fault("label off by one", "k3", "prob"),
    Fault("sum not all-reduced", "k1", "prob"),
    Fault("one class dropped", "lattice", "prob"),
    Fault("gradient not divided by N", "k1"),
    Fault("loss weight left out", "k1"),
    Fault("no projection", "k1"),
    Fault("weights not normalised", "k1", "cosine"),
    Fault("easy margin ignored", "easy", "prob"),
    Fault("easy margin the wrong way round", "easy", "prob"),
    Fault("class weights left out", "soft"),
    Fault("divided by the sum of class weights", "soft"),
    Fault("sum of targets taken as 1", "soft"),
    Fault("soft targets ignored", "soft"),
]
RIGHT = [
    Variant("acos and cos", "k3"),
    Variant("logarithm of the softmax", "k1"),
    Variant("sub-center after sub-center", "k3"),
    Variant("", "k3", {"sums": "sequential"}),
    Variant("", "k3", {"sums": "reversed"}),
    Variant("", "k3", {"sums": "float64"}),
    Variant("", "k3", {"stored": True}),
] + [Variant("", name, options) for name in GOLDENS for options in ({}, {"truncate": True})]


def margin(p, z, m, change):
    """Target logit over the scale, and its derivative by the cosine (8.3, 8.4); m: margins of the rows' classes."""
    sine, m = np.sqrt((1 - z) * (1 + z)), m.astype(z.dtype)
    if change == "acos and cos":
        angle = np.arccos(z)
        phi, slope = np.cos(angle + m), np.sin(angle + m) / sine
    else:
        phi, slope = z * np.cos(m) - sine * np.sin(m), np.cos(m) + z * np.sin(m) / sine
    slope = np.where(np.abs(z) == 1, 0, slope)  # with the clamp
    if p["easy_margin"] and change != "easy margin ignored":
        takes, otherwise = (z <= 0 if change == "easy margin the wrong way round" else z > 0), z
    else:
        takes, otherwise = z > np.cos(z.dtype.type(np.pi) - m), z - m * np.sin(z.dtype.type(np.pi) - m)
    if change == "margin's derivative left out":
        slope = np.ones_like(z)
    return np.where(takes, phi, otherwise), np.where(takes, slope, 1)


def winners(v, change):
    """Cosines (N,C,k) to the best of every class and its number."""
    best = v.argmax(2)
    if change == "second best sub-center":
        best = np.argsort(-v, 2, kind="stable")[:, :, 1]
    if change == "first sub-center only":
        best[:] = 0
    return np.take_along_axis(v, best[:, :, None], 2)[:, :, 0], best


def softmax(q, logits, P, change):
    """Probabilities and their logarithms; classes in P shards."""
    parts = np.array_split(logits, P, 1)
    M = np.max([l.max(1) for l in parts], 0)[:, None]
    E = [np.exp(l - M) for l in parts]
    if change == "one class dropped":
        E[-1][:, -1] = 0
    sums = [q.sum(e, 1) for e in E]
    S = (sums[0] if change == "sum not all-reduced" else q.over_ranks(sums))[:, None]
    p = np.concatenate(E, 1) / S
    return p, np.log(p) if change == "logarithm of the softmax" else logits - M - np.log(S)


def aims(p, x, y, N, C, change):
    """Targets times class weights: what the logarithms are multiplied with."""
    soft = "soft_targets" in x and change != "soft targets ignored"
    targets = x["soft_targets"] if soft else np.eye(C, dtype=np.float32)[y]
    if "class_weight" in x and change != "class weights left out":
        targets = targets * x["class_weight"]
    return targets


def port(case, q, change):
    p, x, P = case.param, case.inputs, case.ranks
    X, W, k = q.array(x["features"]), q.array(x["weight"]), p["num_subcenters"]
    N, C, rows = len(X), len(W) // k, np.arange(len(X))
    y = (x["labels"] + (change == "label off by one")) % C
    (fx, nx), (fw, nw) = unit(q, X), unit(q, W)
    if change == "weights not normalised":
        fw = W
    if change == "sub-center after sub-center":
        v = np.stack([q.matmul(fx, fw[j::k].T) for j in range(k)], 2)
    else:
        v = q.matmul(fx, fw.T).reshape(N, C, k)
    z, best = winners(v, change)
    inside = np.clip(z, -1, 1) if p["cos_clamp"] else z
    margins = x.get("margins", np.full(C, p["margin"])) + {"margin off by 0.01": 0.01, "margin left out": -np.inf}.get(change, 0)
    margins = np.roll(np.maximum(margins, 0), change == "margins one class late")
    logits, slope = p["scale"] * inside, np.full((N, C), p["scale"], q.real) * (inside == z)
    if change == "acos and cos" and not p["cos_clamp"]:
        logits = p["scale"] * np.cos(np.arccos(z))
    phi, rise = margin(p, inside[rows, y], margins[y], change)
    logits[rows, y], slope[rows, y] = p["scale"] * phi, p["scale"] * rise * (inside == z)[rows, y]
    prob, log_prob = softmax(q, logits, P, change)
    targets = q.array(aims(p, x, y, N, C, change))
    T = 1 if change == "sum of targets taken as 1" else q.sum(targets, 1)[:, None]
    f = 1 if change == "loss weight left out" else p["loss_weight"]
    total = q.sum(x["class_weight"][y]) if change == "divided by the sum of class weights" else N
    loss = -q.sum(q.sum(targets * log_prob, 1)) * f / total
    h = (T * prob - targets) * q.real(f / (1 if change == "gradient not divided by N" else total)) * slope
    H = np.where(np.arange(k) == best[:, :, None], h[:, :, None], 0).astype(q.real)
    if change == "gradient to all sub-centers":
        H = np.repeat(h[:, :, None], k, 2)
    H = H.reshape(N, C * k)
    projects = change not in ("no projection", "weights not normalised")
    x_grad = unit_backward(q, q.matmul(H, fw), fx, nx, projects)
    weight_grad = unit_backward(q, q.matmul(H.T, fx), fw, nw, projects)
    return {"logits": logits, "subcenter": best.astype(np.int64), "loss": loss, "x_grad": x_grad, "weight_grad": weight_grad}, {"cosine": z, "prob": prob}
