#!/usr/bin/env python3
"""Beside the CUDA backend: products of the same shapes and the natural PyTorch step on the same GPU. Called by gpu_check.sh with what it measured.

A line for each case: what TAB detail. The natural step is insightface's: normalise the weights, linear, margin on the targets, softmax, gradients by
autograd, SGD with momentum and weight decay; float32 without TF32.
"""
import statistics
import sys
import time

import torch
import torch.nn.functional as F

CASES = {"A": (128, 100000, 512), "B": (512, 100000, 512), "C": (128, 1000000, 128)}


def timed(step, rounds=7):
    step()
    step()
    wall = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        wall.append(time.perf_counter() - start)
    return statistics.median(wall)


def products(n, c, d, dtype):
    x, w, g = (torch.randn(*s, device="cuda", dtype=dtype) for s in ((n, d), (c, d), (n, c)))
    return lambda: (x @ w.t(), g @ w, g.t() @ x)


def natural(n, c, d):
    weight = torch.nn.Parameter(torch.randn(c, d, device="cuda") * 0.01)
    x = torch.randn(n, d, device="cuda", requires_grad=True)
    label = torch.randint(0, c, (n,), device="cuda")
    sgd = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=5e-4)

    def step():
        sgd.zero_grad()
        x.grad = None
        cosine = F.linear(F.normalize(x), F.normalize(weight))
        logits = cosine.clone()
        rows = torch.arange(n, device="cuda")
        logits[rows, label] = cosine[rows, label] - 0.4
        F.cross_entropy(logits * 64, label).backward()
        sgd.step()
    return step


def main():
    torch.backends.cuda.matmul.allow_tf32 = False
    ours = {}
    for line in open(sys.argv[1]):
        name, mode, wall = line.split()
        ours[name, mode] = float(wall)
    for name, (n, c, d) in CASES.items():
        single, double, peer = timed(products(n, c, d, torch.float32)), timed(products(n, c, d, torch.float64)), timed(natural(n, c, d))
        torch.cuda.empty_cache()
        if (name, "fast") in ours:
            print("%s fast\t%.3f ms; natural PyTorch %.3f ms: %.2fx; three SGEMMs %.3f ms: %.0f %% of this bound" % (
                name, 1e3 * ours[name, "fast"], 1e3 * peer, peer / ours[name, "fast"], 1e3 * single, 100 * single / ours[name, "fast"]))
        if (name, "exact") in ours:
            print("%s exact\t%.3f ms; three DGEMMs %.3f ms: %.1fx" % (name, 1e3 * ours[name, "exact"], 1e3 * double, ours[name, "exact"] / double))


if __name__ == "__main__":
    main()
