#!/usr/bin/env python3
"""A training step of partial_fc in PyTorch, in two styles, for peer_torch.py.

    peer_partial_fc.py who THREADS                                torch and its BLAS
    peer_partial_fc.py agree STYLE RUN.h5 OUT.h5                  one step of a case that pfc_ref has run; results to OUT.h5
    peer_partial_fc.py time STYLE N C D SHARE ROUNDS THREADS      seconds of steps on random data

natural   as published: partial_fc.py of fast-reid and of insightface before version 2 (the two have the same order of operations)
tuned     backward by hand; W is never normalised in memory: its norms scale the products; logits, probabilities and gradients are one array; the products
          add into the momentum (addmm_ with beta)
"""
import ctypes
import json
import os
import sys

import torch
import torch.nn.functional as F

import peer_common

SCALE, MARGIN, MOMENTUM, DECAY = 64.0, 0.4, 0.9, 5e-4


class Natural:
    """One rank: the collectives of the source change nothing and are left out."""

    def __init__(self, weight, share, lr):
        self.weight, self.weight_mom = weight, torch.zeros_like(weight)
        self.num_local, self.full = weight.shape[0], int(share) == 1
        self.num_sample = int(share * self.num_local)
        self.sub_weight = torch.nn.Parameter(weight if self.full else torch.empty(0, 0))
        self.optimizer = torch.optim.SGD([self.sub_weight], lr=lr, momentum=MOMENTUM, weight_decay=DECAY)
        if self.full:
            self.optimizer.state[self.sub_weight]["momentum_buffer"] = self.weight_mom

    @torch.no_grad()
    def sample(self, label, index):
        positive = torch.unique(label, sorted=True)
        if index is None:
            perm = torch.rand(self.num_local)
            perm[positive] = 2.0
            index = torch.topk(perm, k=self.num_sample)[1].sort()[0]
        self.index = index
        label = torch.searchsorted(index, label)
        self.sub_weight = torch.nn.Parameter(self.weight[index])
        self.sub_weight_mom = self.weight_mom[index]
        self.optimizer.state.pop(self.optimizer.param_groups[-1]["params"][0], None)
        self.optimizer.param_groups[-1]["params"][0] = self.sub_weight
        self.optimizer.state[self.sub_weight]["momentum_buffer"] = self.sub_weight_mom
        return label

    def step(self, features, label, index=None):
        if not self.full:
            label = self.sample(label, index)
        total_features = features.detach().clone().requires_grad_(True)
        cosine = F.linear(F.normalize(total_features), F.normalize(self.sub_weight))
        rows = torch.where(label != -1)[0]
        m_hot = torch.zeros(rows.size(0), cosine.size(1))
        m_hot.scatter_(1, label[rows, None], MARGIN)
        cosine[rows] -= m_hot
        logits = cosine * SCALE
        with torch.no_grad():
            grad = torch.exp(logits - torch.max(logits, dim=1, keepdim=True)[0])
            grad.div_(grad.sum(dim=1, keepdim=True))
            one_hot = torch.zeros(rows.size(0), grad.size(1))
            one_hot.scatter_(1, label[rows, None], 1)
            loss = torch.zeros(grad.size(0), 1)
            loss[rows] = grad[rows].gather(1, label[rows, None])
            loss = -loss.clamp_min_(1e-30).log_().mean()
            grad[rows] -= one_hot
            grad.div_(features.size(0))
        logits.backward(grad)
        self.optimizer.step()
        if not self.full:
            with torch.no_grad():
                self.weight_mom[self.index] = self.sub_weight_mom
                self.weight[self.index] = self.sub_weight
        self.optimizer.zero_grad()
        return loss, total_features.grad


class Tuned:
    def __init__(self, weight, share, lr):
        self.weight, self.momentum, self.lr = weight, torch.zeros_like(weight), lr
        self.full, self.num_sample = int(share) == 1, int(share * weight.shape[0])
        self.buffer = None

    def rows(self, label, index):
        if index is None:
            keys = torch.rand(self.weight.shape[0])
            keys[label] = 2.0
            index = torch.topk(keys, k=self.num_sample, sorted=False)[1].sort()[0]
        return index, torch.searchsorted(index, label)

    def arrays(self, n, classes):
        """Cosines and logits, kept from step to step."""
        if self.buffer is None or self.buffer[0].shape != (n, classes):
            self.buffer = torch.empty(n, classes), torch.empty(n, classes)
        return self.buffer

    @torch.no_grad()
    def step(self, features, label, index=None):
        w, v = self.weight, self.momentum
        if not self.full:
            index, label = self.rows(label, index)
            w, v = w.index_select(0, index), v.index_select(0, index)
        n, batch = features.shape[0], torch.arange(features.shape[0])
        norm = features.norm(dim=1, keepdim=True).clamp_min_(1e-12)
        x = features / norm
        scale = w.norm(dim=1).clamp_min_(1e-12).reciprocal_()
        cosine, z = self.arrays(n, w.shape[0])
        torch.mm(x, w.t(), out=cosine)
        cosine.mul_(scale)
        torch.mul(cosine, SCALE, out=z)
        z[batch, label] -= SCALE * MARGIN
        z.sub_(z.amax(dim=1, keepdim=True)).exp_()
        total = z.sum(dim=1, keepdim=True)
        loss = -(z[batch, label] / total[:, 0]).clamp_min_(1e-30).log_().mean()
        z.mul_(total.reciprocal_().mul_(SCALE / n))  # the gradient of the cosines
        z[batch, label] -= SCALE / n
        radial = cosine.mul_(z).sum(dim=0).mul_(scale).mul_(scale).neg_().add_(DECAY)
        z.mul_(scale)
        dx = z.mm(w)
        dx.sub_(x * (dx * x).sum(dim=1, keepdim=True)).div_(norm)
        v.addmm_(z.t(), x, beta=MOMENTUM)
        v.addcmul_(w, radial[:, None])
        w.add_(v, alpha=-self.lr)
        if not self.full:
            self.weight.index_copy_(0, index, w)
            self.momentum.index_copy_(0, index, v)
        return loss, dx


STYLES = {"natural": Natural, "tuned": Tuned}


def who(threads):
    """The BLAS that products really go to: what is mapped once one was computed."""
    torch.set_num_threads(threads)
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))
    mapped = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
    blas = sorted(p for p in mapped if "openblas" in os.path.realpath(p))
    name, fair = "reference or unknown", False
    if "BLAS_INFO=mkl" in torch.__config__.show():
        name, fair = "MKL", True
    elif blas:
        library = ctypes.CDLL(blas[0])
        library.openblas_get_corename.restype = ctypes.c_char_p
        name, fair = "OpenBLAS, core %s" % library.openblas_get_corename().decode(), True
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "blas": name, "fair": fair}


def agree(style, case, out):
    import h5py
    with h5py.File(case, "r") as f, h5py.File(out, "w") as made:
        x, y, w = (torch.from_numpy(f["in"][n][()]) for n in ("features", "labels", "weight"))
        sampled = torch.from_numpy(f["out/sampled"][()]).nonzero()[:, 0]
        share = 1.0 if len(sampled) == w.shape[0] else len(sampled) / w.shape[0]
        layer = STYLES[style](w.float(), share, 0.1)
        momentum = layer.momentum if style == "tuned" else layer.weight_mom
        if "weight_momentum" in f["in"]:
            momentum.copy_(torch.from_numpy(f["in/weight_momentum"][()]))
        loss, dx = layer.step(x.float(), y.long(), None if share == 1.0 else sampled)
        for name, t in (("loss", loss.reshape(1)), ("x_grad", dx), ("weight", layer.weight), ("weight_momentum", momentum)):
            made[name] = t.detach().numpy()
    return {}


def timed(style, n, classes, d, share, rounds, threads):
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    layer = STYLES[style](torch.randn(classes, d).mul_(0.01), share, 1e-4)
    x, y = torch.randn(n, d), torch.randint(0, classes, (n,))
    return peer_common.timed(lambda: layer.step(x, y.clone()), rounds)


def main(words):
    if words[0] == "who":
        made = who(int(words[1]))
    elif words[0] == "agree":
        made = agree(*words[1:4])
    else:
        made = timed(words[1], int(words[2]), int(words[3]), int(words[4]), float(words[5]), int(words[6]), int(words[7]))
    print(json.dumps(made))


if __name__ == "__main__":
    main(sys.argv[1:])
