"""The partial_fc cases. Unless one says otherwise it is defined for any number of ranks: N is a multiple of 120 (1, 2, 3, 5 and 8 ranks divide it), C is
divisible by none of them, sampling is global and xgrad_scale is 1. N: rows of the batch, D: features, C: classes.
"""
import math
import os

import numpy as np

import glyphs
from case_source import HERE

N, D, C = 120, 8, 19
SGD = {"lr": 0.1, "weight_decay": 5e-4}


def batch(source, n=N, d=D, c=C, classes=None):
    """A batch whose rows lie around their class: cosines to the target near 0.7."""
    weight = source.uniform(c, d)
    labels = source.pick(np.arange(c) if classes is None else classes, n)
    features = weight[labels] + source.uniform(n, d)
    return {"features": features, "labels": labels, "weight": weight}


# ---- heads ----


def full_linear(s):
    return {"head": "linear", "scale": 4.0, **SGD}, batch(s)


def full_cos(s):
    x = batch(s)
    x["weight_momentum"] = s.uniform(C, D) / np.float32(64)
    return {"head": "cos", "scale": 32.0, "margin": 0.4, **SGD}, x


def full_arc(s):
    return {"head": "arc", "scale": 32.0, "margin": 0.3, **SGD}, batch(s)


def full_circle(s):
    return {"head": "circle", "scale": 16.0, "margin": 0.25, **SGD}, batch(s)


# ---- switches ----


def arc_straight(s):
    return {"head": "arc", "scale": 32.0, "margin": 0.5, "arc_gradient": "straight_through", **SGD}, batch(s)


def far_targets(s):
    """Every fourth row points away from its class: angle + margin beyond pi."""
    x = batch(s)
    x["features"][::4] = s.uniform(N // 4, D) / np.float32(8) - x["weight"][x["labels"][::4]]
    return x


def arc_fallback_linear(s):
    return {"head": "arc", "scale": 16.0, "margin": 0.5, "arc_fallback": "linear", **SGD}, far_targets(s)


def arc_fallback_easy(s):
    return {"head": "arc", "scale": 16.0, "margin": 0.5, "arc_fallback": "easy", **SGD}, far_targets(s)


def on_the_axes(s, d=4, c=7):
    """In every ten rows four lie on an axis, and so does a class: their cosines are exactly 1 or -1, at the target or at another class."""
    x = batch(s, d=d, c=c)
    axis = np.eye(d, dtype=np.float32)
    for k, (cosine, is_target) in enumerate(((1, True), (1, False), (-1, True), (-1, False))):
        x["weight"][k] = 2 * cosine * axis[k]
        x["features"][k::10] = 4 * axis[k]
        x["labels"][k::10] = k if is_target else 4 + k % (c - 4)
    return x


def cos_clamp(s):
    return {"head": "arc", "scale": 16.0, "margin": 0.3, "cos_clamp": 1, **SGD}, on_the_axes(s)


def pole(s):
    """The same without the clamp: NaN gradients where the cosine is 1 or -1, as in the source."""
    return {"head": "arc", "scale": 16.0, "margin": 0.3, **SGD}, on_the_axes(s)


def threshold(s):
    return {"head": "cos", "scale": 32.0, "margin": 0.2, "interclass_threshold": 0.3, **SGD}, batch(s)


def lse(s):
    """Target probabilities far below the clamp at 1e-30, where the two losses differ."""
    return {"head": "cos", "scale": 64.0, "margin": 0.4, "loss": "lse", **SGD}, far_targets(s)


def unowned(s):
    x = batch(s)
    x["labels"][3::7] = -1
    x["labels"][5::17] = C + 2
    return x


def unowned_ignore(s):
    return {"head": "arc", "scale": 32.0, "margin": 0.3, "loss": "lse", "unowned_label": "ignore", **SGD}, unowned(s)


def unowned_source(s):
    return {"head": "cos", "scale": 32.0, "margin": 0.4, "unowned_label": "source", **SGD}, unowned(s)


# ---- sampling ----


def sampled_global(s):
    """Own keys, a seed of more than 32 bits; 14 of 37 classes: 8 with labels, 6 drawn."""
    params = {"head": "arc", "scale": 32.0, "margin": 0.3, "sample_rate": 0.4, "sample_rule": "global", "seed": 0x123456789AB, "first_step": 5, **SGD}
    return params, batch(s, c=37, classes=range(1, 37, 5))


def sampled_global_keys(s):
    """Given keys with ties at the edge of the draw: the lower class wins."""
    x = batch(s, c=37, classes=range(0, 37, 6))
    x["sample_keys"] = np.floor(s.keys(37) * 4) / 4
    return {"head": "circle", "scale": 16.0, "margin": 0.25, "sample_rate": 0.5, "sample_rule": "global", **SGD}, x


def sampled_shard_w2(s):
    params = {"world": 2, "head": "cos", "scale": 32.0, "margin": 0.4, "sample_rate": 0.5, "seed": 3, **SGD}
    return params, batch(s, n=24, c=37, classes=range(2, 37, 4))


def sampled_shard_w8(s):
    """Two classes a rank; some ranks have three with labels and keep all of them, others none."""
    params = {"world": 8, "head": "linear", "scale": 4.0, "num_sample": 2, "seed": 4, **SGD}
    return params, batch(s, n=24, c=37, classes=[0, 1, 2, 5, 11, 12, 13, 20, 30, 36])


# ---- several steps ----


def steps_lazy(s):
    """Three steps with a batch each; classes that were not drawn keep weight and momentum."""
    weight = s.uniform(C, 4)
    labels = s.pick([0, 3, 8, 17], 3, N)
    features = weight[labels] + s.uniform(3, N, 4)
    params = {"head": "cos", "scale": 16.0, "margin": 0.2, "steps": 3, "sample_rate": 0.4, "sample_rule": "global", "seed": 9, **SGD, "weight_decay": 0.01}
    return params, {"features": features, "labels": labels, "weight": weight}


def steps_dense_nesterov(s):
    """Three steps over one batch, given keys for each; momentum and decay move every class."""
    x = batch(s, d=4, classes=[1, 6, 11])
    x["sample_keys"] = s.keys(3, C)
    x["weight_momentum"] = s.uniform(C, 4) / np.float32(64)
    params = {"head": "arc", "scale": 16.0, "margin": 0.2, "steps": 3, "sample_rate": 0.4, "sample_rule": "global", "momentum_rule": "dense", "nesterov": 1}
    return {**params, **SGD, "weight_decay": 0.01}, x


# ---- awkward numbers and sizes ----


def hard(s):
    """Equal classes (ties in the maximum), a zero row, rows equal to a class, saturation below 1e-30, norms from 2^-60 (below the 1e-12 of the
    normalisation) to 2^60."""
    x = batch(s)
    w, f, y = x["weight"], x["features"], x["labels"]
    w[1], w[2], w[3], w[4] = w[0], 4 * w[0], -w[0], w[4] * np.float32(2.0**-60)
    f[0] = 0
    for row, factor, label in ((1, 1, 0), (2, 1, 3), (3, 2.0**60, 1), (4, 2.0**-30, 2), (5, 2.0**-60, 5), (6, -1, 3)):
        f[row] = w[0] * np.float32(factor)
        y[row] = label
    return {"head": "cos", "scale": 64.0, "margin": 0.4, **SGD}, x


def wide(s):
    """Elements of one row differ by up to 2^60."""
    x = batch(s)
    for name, sign in (("features", 1), ("weight", -1)):
        power = sign * (s.raw(*x[name].shape) % np.uint64(61)).astype(np.int32)
        x[name] = np.ldexp(s.uniform(*x[name].shape), power)
    return {"head": "cos", "scale": 32.0, "margin": 0.1, **SGD}, x


def few_classes(s):
    """Three classes: no class at all for some of 5 or 8 ranks."""
    return {"head": "arc", "scale": 16.0, "margin": 0.3, **SGD}, batch(s, c=3)


def kblock(s):
    """2,160 rows: the sum over the batch is longer than one block of 2,048. In half of the features every bit of the mantissa is set."""
    n, d, c = 2160, 2, 7
    x = {"features": s.uniform(n, d), "labels": s.pick(range(c), n), "weight": s.uniform(c, d)}
    x["features"][:, 0] = np.float32(2 - 2.0**-23)
    return {"head": "linear", "scale": 1.0, **SGD}, x


def kblock_features(s):
    """2,100 features: the sum in every logit is longer than one block."""
    return {"head": "arc", "scale": 32.0, "margin": 0.3, **SGD}, batch(s, d=2100, c=7)


# ---- numbers that can be compared with a published derivation: features, weight from sin(1 + 0.7 i + 1.3 seed) ----


def sine(seed, rows, columns):
    return np.array([math.sin(1.0 + 0.7 * i + 1.3 * seed) for i in range(rows * columns)]).reshape(rows, columns).astype(np.float32)


def golden_numbers(**params):
    def make(_):
        return {**params, "lr": 0.1}, {"features": sine(1, 4, 4), "labels": np.array([0, 3, 4, 1]), "weight": sine(2, 5, 4)}

    return make


def g_sampled(_):
    params, x = golden_numbers(head="cos", scale=16.0, margin=0.4, sample_rate=0.8, sample_rule="global")(None)
    x["sample_keys"] = np.array([0.5, 0.25, 0.0, 0.75, 0.125])
    return params, x


# ---- pixels ----


def glyph_batch(pixels, codes, faces):
    """pixels (F,C,d) integers. 24 characters, evenly spread over the classes, in five faces are the batch; the sixth face, handwriting, is the weight."""
    rows = [k for k, key in enumerate(faces) if key != "seto"]
    labels = np.arange(24) * len(codes) // 24
    mean = pixels.sum(axis=(0, 1)) // (pixels.shape[0] * pixels.shape[1])
    centred = (pixels - mean).astype(np.float32) / np.float32(512)
    features = centred[rows][:, labels].reshape(-1, pixels.shape[2])  # face by face
    return {"features": features, "labels": np.tile(labels, len(rows)), "weight": centred[faces.index("seto")]}


def read_glyphs():
    return glyphs.read(os.path.join(HERE, "han256.bin"))


def real_glyphs(_):
    """37 characters at 8 x 8 pixels (sums of 2 x 2), 29 classes sampled: 24 with labels, 5 drawn."""
    g = read_glyphs()
    few = np.arange(37) * len(g.codes) // 37
    faces, _, side, _ = g.pixels.shape
    small = g.pixels[:, few].astype(np.int64).reshape(faces, 37, side // 2, 2, side // 2, 2).sum(axis=(3, 5))
    params = {"head": "arc", "scale": 32.0, "margin": 0.3, "sample_rate": 0.8, "sample_rule": "global", "seed": 1, **SGD}
    return params, glyph_batch(small.reshape(faces, 37, -1), g.codes[few], g.faces)


def glyphs_full(_):
    """All 256 characters at 16 x 16 pixels, full softmax."""
    g = read_glyphs()
    pixels = 4 * g.pixels.astype(np.int64).reshape(len(g.faces), len(g.codes), -1)
    return {"head": "arc", "scale": 32.0, "margin": 0.3, **SGD}, glyph_batch(pixels, g.codes, g.faces)


def of_partial_fc(make):
    """Adds the algorithm, and the parameters that make results independent of the ranks."""
    def case(source):
        params, inputs = make(source)
        return "partial_fc", params if "world" in params else {"xgrad_scale": 1.0, **params}, inputs
    return case


SHIPPED = {
    "pfc_full_linear": full_linear,
    "pfc_full_cos": full_cos,
    "pfc_full_arc": full_arc,
    "pfc_full_circle": full_circle,
    "pfc_arc_straight": arc_straight,
    "pfc_arc_fallback_linear": arc_fallback_linear,
    "pfc_arc_fallback_easy": arc_fallback_easy,
    "pfc_cos_clamp": cos_clamp,
    "pfc_pole": pole,
    "pfc_threshold": threshold,
    "pfc_lse": lse,
    "pfc_unowned_ignore": unowned_ignore,
    "pfc_unowned_source": unowned_source,
    "pfc_sampled_global": sampled_global,
    "pfc_sampled_global_keys": sampled_global_keys,
    "pfc_sampled_shard_w2": sampled_shard_w2,
    "pfc_sampled_shard_w8": sampled_shard_w8,
    "pfc_steps_lazy": steps_lazy,
    "pfc_steps_dense_nesterov": steps_dense_nesterov,
    "pfc_hard": hard,
    "pfc_wide": wide,
    "pfc_few_classes": few_classes,
    "pfc_kblock": kblock,
    "pfc_g_linear": golden_numbers(head="linear", scale=1.0),
    "pfc_g_cos": golden_numbers(head="cos", scale=16.0, margin=0.4),
    "pfc_g_arc": golden_numbers(head="arc", scale=16.0, margin=0.5),
    "pfc_g_circle": golden_numbers(head="circle", scale=16.0, margin=0.25),
    "pfc_g_straight": golden_numbers(head="arc", scale=16.0, margin=0.5, arc_gradient="straight_through"),
    "pfc_g_sampled": g_sampled,
    "pfc_glyphs": real_glyphs,
}
SHIPPED = {name: of_partial_fc(make) for name, make in SHIPPED.items()}
STEPS = ["pfc_full_arc", "pfc_sampled_global_keys"]
LARGE = {"pfc_glyphs_full": of_partial_fc(glyphs_full), "pfc_kblock_features": of_partial_fc(kblock_features)}
