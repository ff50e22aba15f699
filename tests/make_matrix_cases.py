#!/usr/bin/env python3
"""Cases for the bit matrix: full softmax and rule global, N a multiple of 120, C divisible by none of 2, 3, 5, 8, sums longer than one block of every kind
(D > 2048, N > 2048, more classes than one flush), all-max mantissas, and rows of wide dynamic range; heads and Sinkhorn likewise.
Usage: make_matrix_cases.py DIR"""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from write_case import write_case  # noqa: E402


def numbers(seed, *shape):
    """Uniform in (-1, 1), a pure function of the seed and NumPy's raw PCG64 words."""
    words = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return ((words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0).astype(np.float32).reshape(shape)


def labels(seed, n, classes):
    return ((numbers(seed, n).astype(np.float64) + 1.0) * 0.5 * classes).astype(np.int64) % classes


def largest(seed, *shape):
    """Every mantissa all ones; signs nearly all alike, so that sums do not cancel."""
    x = np.full(shape, np.float32(1.9999999), np.float32)
    x[numbers(seed, *shape) < -0.99] *= -1
    return x


def wide(seed, *shape):
    """Exponents over the whole row from 2^-60 to 2^60."""
    return (numbers(seed, *shape).astype(np.float64) * 2.0 ** np.rint(60.0 * numbers(seed + 1, *shape))).astype(np.float32)


def main(folder):
    os.makedirs(folder, exist_ok=True)

    def put(name, features, classes, weight, **params):
        base = dict(scale=16.0, margin=0.5, xgrad_scale=1.0, lr=0.1, weight_decay=0.01)
        inputs = dict(features=features, labels=labels(99, features.shape[-2], classes), weight=weight)
        write_case(os.path.join(folder, name + ".h5"), "partial_fc", {**base, **params}, inputs)

    put("long_d", numbers(1, 120, 2100), 37, numbers(2, 37, 2100), head="arc", steps=2, nesterov=1)
    put("many_classes", numbers(3, 120, 20), 3001, numbers(4, 3001, 20), head="cos", margin=0.4)
    put("sampled_global", numbers(5, 120, 24), 1009, numbers(6, 1009, 24), head="arc", sample_rate=0.57, sample_rule="global", seed=3, steps=2)
    put("long_n_all_max", largest(7, 2160, 9), 61, largest(8, 61, 9), head="linear", scale=0.001)
    put("wide_rows", wide(9, 120, 70), 307, wide(11, 307, 70), head="circle", margin=0.25, sample_rate=0.7, sample_rule="global")
    put("all_max", largest(13, 120, 130), 311, largest(14, 311, 130), head="cos", margin=0.1)

    def put_other(name, algorithm, params, **inputs):
        write_case(os.path.join(folder, name + ".h5"), algorithm, params, inputs)

    put_other("arc_wide", "arcface_head", dict(scale=16.0, num_subcenters=3), features=wide(15, 120, 70), labels=labels(98, 120, 61), weight=wide(17, 183, 70),
              soft_targets=np.abs(numbers(19, 120, 61)), class_weight=np.abs(numbers(20, 61)))
    put_other("arc_all_max", "arcface_head", dict(scale=4.0, easy_margin=1, feature_norm=0, weight_norm=0, cos_clamp=1),
              features=largest(21, 120, 9) / np.float32(8), labels=labels(97, 120, 311), weight=largest(22, 311, 9) / np.float32(8), bias=numbers(23, 311))
    put_other("sk_wide", "sinkhorn", dict(epsilon=0.05, iterations=5), scores=numbers(24, 240, 307) * np.float32(8))
    put_other("sk_log", "sinkhorn", dict(epsilon=0.01, version="log"), scores=numbers(25, 120, 61))
    put_other("sk_zero_rows", "sinkhorn", dict(epsilon=0.001, version="vissl"), scores=numbers(26, 120, 61))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
