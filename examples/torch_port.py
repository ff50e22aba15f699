#!/usr/bin/env python3
"""A PyTorch port of partial_fc's arc head in one process, on the GPU if there is one, checked against a golden of pfc_ref.

    torch_port.py [GOLDEN.h5...]                   default: the shipped pfc_full_arc.h5
    PFC_GOLDEN=GOLDEN.h5 pytest torch_port.py      the same, as a test

A golden for it:  pfc_ref golden partial_fc --size N=64,C=500,D=64 --param head=arc,scale=16,margin=0.5,lr=0.1,xgrad_scale=1 --steps --name arc -o .
Where pfc_golden.py lies elsewhere: PYTHONPATH=PREFIX/share/pfc_ref/tools. Exit status: 0 right, 1 wrong, 77 no PyTorch.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, os.pardir, "tools"))
from pfc_golden import assert_golden, load  # noqa: E402

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    if __name__ != "__main__":
        raise
    print("skipped: no PyTorch")
    sys.exit(77)


def arc_head(param, inputs):
    """One training step. Returns (out, step), dicts of tensors by the golden's names."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    given = {name: torch.from_numpy(a).to(device) for name, a in inputs.items()}
    x, w, y = given["features"], given["weight"], given["labels"]
    velocity = given.get("weight_momentum", torch.zeros_like(w))
    x.requires_grad_()
    w.requires_grad_()
    rows = torch.arange(len(y), device=device)

    cosine = F.normalize(x) @ F.normalize(w).T  # (N,C)
    target = torch.cos(torch.acos(cosine[rows, y]) + param["margin"])
    logits = param["scale"] * cosine.index_put((rows, y), target)
    logits.retain_grad()
    loss = F.cross_entropy(logits, y)
    loss.backward()

    with torch.no_grad():  # SGD
        velocity = param["momentum"] * velocity + w.grad + param["weight_decay"] * w
        weight = w - param["lr"] * velocity
        row_max = logits.max(1).values
        step = {"cosine": cosine, "logits": logits, "row_max": row_max, "row_sum": torch.exp(logits - row_max[:, None]).sum(1),
                "prob_target": torch.softmax(logits, 1)[rows, y], "dlogits": logits.grad}
    out = {"loss": loss.reshape(1), "x_grad": param["xgrad_scale"] * x.grad, "weight_grad": w.grad, "weight": weight, "weight_momentum": velocity,
           "sampled": torch.ones(len(w), dtype=torch.int64)}
    return out, step


def check(path):
    golden = load(path)
    expected = {"head": "arc", "arc_gradient": "exact", "arc_fallback": "none", "cos_clamp": 0, "sample_rate": 1, "steps": 1, "interclass_threshold": 0}
    for name, value in expected.items():
        if golden.param.get(name) != value:
            raise ValueError(f"{path}: parameter {name}: found {golden.param.get(name)}, this port is for {value}")
    assert_golden(path, *arc_head(golden.param, golden.inputs), dtype="f32")


def test_arc_head():  # pytest finds it by its name
    check(os.environ.get("PFC_GOLDEN", os.path.join(HERE, os.pardir, "data", "pfc_full_arc.h5")))


def main():
    for path in sys.argv[1:] or [os.path.join(HERE, os.pardir, "data", "pfc_full_arc.h5")]:
        try:
            check(path)
        except AssertionError as wrong:
            print(wrong)
            return 1
        print(f"{path}: every result and step is right as f32")
    return 0


if __name__ == "__main__":
    sys.exit(main())
