#!/usr/bin/env python3
"""PyTorch as a peer of `pfc_ref train`, task swav: goes from one checkpoint of a run to a later one by algorithm 1 of the paper with P ranks simulated, each with
batch norm of its own, its own loss and its own queue, in float64; compares the whole state to 2e-5 of each tensor's largest value: the program rounds to float32
every step.

    peer_swav_steps.py GLYPHS RANKS BEFORE.h5 AFTER.h5
The run: augment none, norm plain, constant rate, all characters, no LARC, the first crops assigned. Exit status: 0 all close, 1 something differs, 77 no PyTorch.
"""
import sys

try:
    import torch
except ImportError as missing:
    print("skipped: %s" % missing)
    sys.exit(77)
from exact_v1_core import philox4x32
from peer_moco_steps import EXAMPLE, Encoder, compare, images_of, order

AUGMENT = 8  # stream
NORMALISE = torch.nn.functional.normalize


def noisy(row, fact, epoch, view, example):
    """A view: uniform noise on every pixel, four words of a block for four pixels."""
    first = (example << 4 | view) << 15
    words = [w for p in range(len(row) // 4) for w in philox4x32([first + 2 + p & 0xffffffff, first >> 32, epoch, AUGMENT], [int(fact["seed"]), 0])]
    return row + float(fact["noise"]) * (torch.tensor(words, dtype=torch.float64) / 2**31 - 1)


def sinkhorn(scores, epsilon, iterations):
    """(N,K) of all ranks: the assignment."""
    q = torch.exp((scores - scores.max()) / epsilon).T
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(1, keepdim=True) * len(q)
        q /= q.sum(0, keepdim=True) * q.shape[1]
    return (q / q.sum(0, keepdim=True)).T


class Queues:
    """Of the assigned crops and ranks, (b*G, D) each, newest first; in a checkpoint (N, A, G, D)."""

    def __init__(self, state, fact, ranks):
        self.N, self.A, self.ranks = int(fact["batch"]), int(fact["num_assign"]), ranks
        self.G, self.in_use = int(fact["queue_length"]) // self.N, bool(fact.get("use_the_queue", 0))
        self.rows, self.zeros = None, {name: 0 * value for name, value in state.items() if name == "swav.queue"}
        if self.G and fact["queue_made"]:
            cut = torch.tensor(state["swav.queue"], dtype=torch.float64).reshape(ranks, self.N // ranks, self.A, self.G, -1)
            self.rows = [[cut[r, :, i].transpose(0, 1).reshape(-1, cut.shape[-1]) for r in range(ranks)] for i in range(self.A)]

    def begin_epoch(self, due, width):
        self.in_use = False
        if due and self.G and self.rows is None:
            self.rows = [[torch.zeros(self.G * self.N // self.ranks, width, dtype=torch.float64) for _ in range(self.ranks)] for _ in range(self.A)]

    def use(self, i):
        self.in_use = self.rows is not None and (self.in_use or bool(self.rows[i][0][-1].any()))
        return self.in_use

    def put(self, i, r, z):
        if self.rows is not None:
            self.rows[i][r] = torch.cat([z, self.rows[i][r][:-len(z)]])

    def state(self):
        if self.rows is None:
            return self.zeros
        cut = torch.stack([torch.stack(rank) for rank in self.rows]).reshape(self.A, self.ranks, self.G, self.N // self.ranks, -1)
        return {"swav.queue": cut.permute(1, 3, 0, 2, 4).reshape(self.N * self.A * self.G, -1).numpy()}


def assignments(fact, queues, C, z, b):
    """z of the ranks (V*b, D): [i][r] (b,K)."""
    out = []
    for i in range(queues.A):
        batch, use = [one[i * b:i * b + b] for one in z], queues.use(i)
        rows = [torch.cat([queues.rows[i][r], one]) if use else one for r, one in enumerate(batch)]
        for r, one in enumerate(batch):
            queues.put(i, r, one)
        q = sinkhorn(torch.cat(rows) @ C.T, float(fact["epsilon"]), int(fact["iterations"]))
        out.append([part[-b:] for part in q.split(len(rows[0]))])
    return out


def sgd(fact, params, momentum, names):
    for n in names:
        momentum[n].mul_(float(fact["momentum"])).add_(params[n].grad + float(fact["weight_decay"]) * params[n])
        params[n] -= float(fact["base_lr"]) * momentum[n]
        params[n].grad = None


def step(fact, views, networks, prototypes, momentum, queues, frozen):
    """views: of the ranks (V*b, pixels)."""
    V, A, b = int(fact["crops"]), queues.A, queues.N // queues.ranks
    z = []
    for r, x in enumerate(views):
        for network in networks:
            x = network.forward(x, r)
        z.append(NORMALISE(x, dim=1))
    with torch.no_grad():
        prototypes["C"].copy_(NORMALISE(prototypes["C"], dim=1))
        q = assignments(fact, queues, prototypes["C"], [one.detach() for one in z], b)
    loss = 0
    for r, one in enumerate(z):
        p = torch.log_softmax(one @ prototypes["C"].T / float(fact["temperature"]), 1)
        terms = [-(q[i][r] * p[v * b:v * b + b]).sum(1).mean() for i in range(A) for v in range(V) if v != i]
        loss = loss + sum(terms) / (A * (V - 1)) / queues.ranks
    loss.backward()
    with torch.no_grad():
        for network in networks:
            sgd(fact, network.params, network.momentum, network.params)
        sgd(fact, prototypes, momentum, [] if frozen else ["C"])
    prototypes["C"].grad = None


def replay(glyphs, ranks, before, fact, steps):
    x = images_of(glyphs, fact["train_faces"].split("+"))
    networks, queues = [Encoder(before, "encoder"), Encoder(before, "projection")], Queues(before, fact, ranks)
    prototypes = {"C": torch.tensor(before["swav.prototypes"], dtype=torch.float64).requires_grad_()}
    momentum = {"C": torch.tensor(before["swav.momentum"], dtype=torch.float64)}
    b, per_epoch = queues.N // ranks, len(x) // queues.N
    for t in range(int(fact["step"]), steps):
        epoch, at = divmod(t, per_epoch)
        rows = order(int(fact["seed"]), epoch, EXAMPLE, len(x))[at * queues.N:(at + 1) * queues.N]
        views = [torch.stack([noisy(x[e], fact, epoch, v, e) for v in range(int(fact["crops"])) for e in rows[r * b:r * b + b]]) for r in range(ranks)]
        if at == 0:
            queues.begin_epoch(epoch >= int(fact["epoch_queue_starts"]), prototypes["C"].shape[1])
        step(fact, views, networks, prototypes, momentum, queues, t < int(fact["freeze_prototypes_niters"]))
    state = {"swav.prototypes": prototypes["C"].detach().numpy(), "swav.momentum": momentum["C"].numpy()}
    return {**networks[0].state(), **networks[1].state(), **state, **queues.state()}, queues.in_use


def main(glyphs, ranks, first, second):
    return compare(first, second, lambda *state: replay(glyphs, int(ranks), *state), lambda in_use, end: in_use == bool(end.get("use_the_queue", 0)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
