#!/usr/bin/env python3
"""PyTorch as a peer of the encoder: training steps in float64 from the state before in FILE.h5 (tests/encoder_steps.c); compares the state after and all
outputs to 2e-6 of each tensor's largest value: exact mode rounds to float32 between layers and steps, torch does not.

    peer_encoder_steps.py FILE.h5...
Exit status: 0 all close, 1 something differs, 77 no PyTorch.
"""
import sys

try:
    import h5py
    import numpy as np
    import torch
except ImportError as missing:
    print("skipped: %s" % missing)
    sys.exit(77)

LAYERS = 3
NAMES = {"weight": "norm_weight", "bias": "norm_bias", "running_mean": "running_mean", "running_var": "running_var", "num_batches_tracked": "batches"}


def tensor(a):
    return torch.tensor(np.array(a), dtype=torch.float64)


def model_of(state):
    """Linear without bias, batch norm, ReLU after all but the last, with the state before the steps."""
    parts = []
    for layer in range(LAYERS):
        w = tensor(state["start.%d.weight" % layer])
        linear, norm = torch.nn.Linear(w.shape[1], w.shape[0], bias=False, dtype=torch.float64), torch.nn.BatchNorm1d(w.shape[0], dtype=torch.float64)
        linear.weight.data.copy_(w)
        for name, item in NAMES.items():
            getattr(norm, name).data.copy_(tensor(state["start.%d.%s" % (layer, item)]).reshape(getattr(norm, name).shape))
        parts += [linear, norm, torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1])


def state_after(model, optimiser):
    out = {}
    for layer in range(LAYERS):
        linear, norm = model[3 * layer], model[3 * layer + 1]
        momentum = {name: optimiser.state[p]["momentum_buffer"] for name, p in (("", linear.weight), ("norm_weight_", norm.weight), ("norm_bias_", norm.bias))}
        out["end.%d.weight" % layer] = linear.weight
        out.update({"end.%d.%smomentum" % (layer, name): m for name, m in momentum.items()})
        out.update({"end.%d.%s" % (layer, item): getattr(norm, name) for name, item in NAMES.items()})
    return out


def run(state):
    model, x, g = model_of(state), tensor(state["x"]), tensor(state["grad_y"])
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
    out, n = {}, state["y.0"].shape[0]
    for step in range(len(x) // n):
        rows = slice(step * n, (step + 1) * n)
        optimiser.zero_grad()
        out["y.%d" % step] = model(x[rows])
        out["y.%d" % step].backward(g[rows])
        optimiser.step()
    model.eval()
    out["evaluated"] = model(x[:n])
    out.update(state_after(model, optimiser))
    return out


def near(name, got, want):
    worst, size = np.max(np.abs(got - want)), np.max(np.abs(want))
    if worst <= 2e-6 * size:
        return True
    print("FAIL %s: differs by %g, largest value %g" % (name, worst, size))
    return False


def check(path):
    with h5py.File(path, "r") as h5:
        state = {name: data[()] for name, data in h5["state"].items()}
    want = {name: value.detach().numpy().astype(np.float64) for name, value in run(state).items()}
    missing = [name for name in state if name not in want and not name.startswith("start.") and name not in ("x", "grad_y")]
    if missing:
        print("FAIL not compared: %s" % " ".join(missing))
    alike = [near(name, np.reshape(state[name], value.shape), value) for name, value in sorted(want.items())]
    print("%s: %d tensors compared, %d alike" % (path, len(alike), sum(alike)))
    return all(alike) and not missing


if __name__ == "__main__":
    sys.exit(0 if len(sys.argv) > 1 and all([check(path) for path in sys.argv[1:]]) else 1)
