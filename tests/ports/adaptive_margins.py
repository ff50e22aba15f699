"""adaptive_margins, semantics.md 8.6."""
import numpy as np

from . import Fault, Golden, Variant

GOLDENS = {"counts": Golden("adaptive_margins", 1, "C=50", "")}
WRONG = [
    Fault("power -0.2", "counts"),
    Fault("power's sign", "counts"),
    Fault("smallest and largest margin exchanged", "counts"),
    Fault("margin_min not added", "counts"),
    Fault("logarithm of the counts", "counts"),
]
RIGHT = [Variant("", "counts"), Variant("exp and log", "counts"), Variant("", "counts", {"sums": "float64"})]


def port(case, q, change):
    p = case.param
    n = q.array(np.maximum(case.inputs["class_counts"], 1))
    power = q.real({"power -0.2": -0.2, "power's sign": -p["power"]}.get(change, p["power"]))
    f = np.exp(power * np.log(n)) if change == "exp and log" else -np.log(n) if change == "logarithm of the counts" else n**power
    low, high = p["margin_min"], p["margin_max"]
    if change == "smallest and largest margin exchanged":
        low, high = high, low
    margins = (f - f.min()) / (f.max() - f.min()) * q.real(high - low) + q.real(0 if change == "margin_min not added" else low)
    return {"margins": margins}, {}
