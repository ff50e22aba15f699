#!/usr/bin/env python3
"""PyTorch as a peer: moco_shuffle and moco by the published code's operations in float64, one process for each rank over gloo.

    peer_torch_moco.py --cases                     the tiny cases to run, as lines "RANKS NAME"
    peer_torch_moco.py RESULT.h5... [--ranks P]

VISSL hooks/moco_hooks.py and losses/moco_loss.py: momentum update, shuffle by gathering, normalised keys, unshuffle, cross entropy of the logits with
the positive first, gradient by autograd, keys gathered into the queue. The permutation is the case's: torch's own random numbers are not part of it.
/out is compared to 1e-9 of each tensor's largest value. Exit status: 0 all close, 1 something differs, 77 no PyTorch.
"""
import sys

try:
    import h5py
    import numpy as np
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
except ImportError as missing:
    print("skipped: %s" % missing)
    sys.exit(77)

import peer_lib
from exact_v1 import read_case
from exact_v1_core import with_defaults
from exact_v1_moco import DEFAULTS, shuffle_key
from peer_lib import same

CASES = {
    1: ["any_shuffle_seed", "any_moco_zero", "w1_moco_one"],
    2: ["w2_moco_two"],
    3: ["any_shuffle_line", "any_shuffle_seed", "any_moco_sharp", "any_moco_negative", "any_moco_first", "any_moco_wide", "any_moco_zero", "any_moco_same",
        "any_moco_huge", "any_moco_nan_queue"],
}


# ---- the published code, over a gloo group -----------------------------------------------------------------------------------------------------

def concat_all_gather(x):
    gathered = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, x.contiguous())
    return torch.cat(gathered)


def batch_shuffle(x, order):
    """Own rows of the shuffled batch, and the inverse permutation; rank 0's order counts."""
    everything = concat_all_gather(x)
    dist.broadcast(order, src=0)
    return everything[order.view(dist.get_world_size(), -1)[dist.get_rank()]], torch.argsort(order)


def batch_unshuffle(x, inverse):
    return concat_all_gather(x)[inverse.view(dist.get_world_size(), -1)[dist.get_rank()]]


class MoCoLoss:
    def __init__(self, queue, ptr, temperature):
        self.queue, self.queue_ptr, self.temperature = queue.T.clone(), ptr, temperature

    def dequeue_and_enqueue(self, key):
        keys = concat_all_gather(key)
        assert self.queue.shape[1] % len(keys) == 0
        self.queue[:, self.queue_ptr:self.queue_ptr + len(keys)] = keys.T
        self.queue_ptr = (self.queue_ptr + len(keys)) % self.queue.shape[1]

    def __call__(self, query, key):
        query = F.normalize(query, dim=1)
        l_pos = torch.einsum("nc,nc->n", query, key).unsqueeze(-1)
        l_neg = torch.einsum("nc,ck->nk", query, self.queue.clone())
        logits = torch.cat([l_pos, l_neg], dim=1) / self.temperature
        self.dequeue_and_enqueue(key)
        return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64))


# ---- a case ------------------------------------------------------------------------------------------------------------------------------------

def own(x):
    return x.chunk(dist.get_world_size())[dist.get_rank()].clone()


def run_shuffle(param, inputs):
    param, x = with_defaults(param, {"seed": 0, "step": 0}), torch.tensor(inputs["x"])
    order = inputs.get("permutation")
    if order is None:
        order = sorted(range(len(x)), key=lambda row: (shuffle_key(param["seed"], row, param["step"]), row))
    shuffled, inverse = batch_shuffle(own(x), torch.tensor(np.array(order)))
    return {"shuffled": concat_all_gather(shuffled), "inverse": inverse, "unshuffled": concat_all_gather(batch_unshuffle(shuffled, inverse))}


def run_moco(param, inputs):
    param, at = with_defaults(param, DEFAULTS), {name: torch.tensor(x) for name, x in inputs.items()}
    params_k = at["params_q"] if param["first_call"] else at["params_k"] * param["momentum"] + at["params_q"] * (1 - param["momentum"])
    order = torch.randperm(len(at["key"]))
    images, inverse = batch_shuffle(own(at["key"]), order)
    key = batch_unshuffle(F.normalize(images, dim=1), inverse)
    loss = MoCoLoss(at["queue"], param["queue_ptr"], param["temperature"])
    query = own(at["query"]).requires_grad_()
    value = loss(query, key)
    value.backward()
    return {"params_k": params_k, "loss": concat_all_gather(value.detach().view(1)), "query_grad": concat_all_gather(query.grad),
            "key": concat_all_gather(key), "queue": loss.queue.T, "queue_ptr": torch.tensor(loss.queue_ptr)}


def one_process(path, _ranks, _rank):
    with h5py.File(path, "r") as h5:
        algorithm, param, inputs = read_case(h5)
    out = (run_shuffle if algorithm == "moco_shuffle" else run_moco)(param, inputs)
    return {name: x.numpy().copy() for name, x in out.items()}


def check_all(paths, ranks):
    made, why = peer_lib.distributed(one_process, paths, ranks)
    if made is None:
        return why
    good = True
    for path, parts in zip(paths, made):
        print(path)
        with h5py.File(path, "r") as h5:
            want = {name: h5["out"][name][()] for name in h5["out"]}
        good = same(want, parts[0]) and good
    return good


if __name__ == "__main__":
    sys.exit(peer_lib.main("moco_shuffle and moco", CASES, check_all))
