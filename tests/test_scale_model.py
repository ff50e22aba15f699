#!/usr/bin/env python3
"""tools/scale_model.py finds coefficients that are known, none below zero, and fits the measurements that doc/performance.md shows."""
import json
import os
import sys

TOP = os.environ.get("PFC_TOP_SRCDIR", ".")
sys.path.insert(0, os.path.join(TOP, "tools"))
try:
    import numpy as np
except ImportError:
    print("skipped: no numpy")
    sys.exit(77)
import scale_model as model

with open(os.path.join(TOP, "doc", "scale.json")) as f:
    runs = json.load(f)["runs"]
fitted = [r for r in runs if r["use"] == "fit"]
held_out = [r for r in runs if r["use"] == "held out"]

# Made measurements: the same runs with times and memory by formula.
time, memory = np.array([4e-12, 4e-11, 6e-10, 1e-11, 8e-8, 5e-9, 2e-9, 3e-5, 1e-5, 2e-10]), np.array([3e7, 80, 4, 18])
assert len(time) == len(model.TERMS)
made = [dict(r, cpu=r["ranks"] * float(np.dot(time, model.terms(r))),
             peak=model.state_bytes(*model.share(r), r["N"], r["D"]) + float(np.dot(memory, model.memory_terms(r)))) for r in fitted]
assert np.allclose(model.fit_time(made), time, rtol=1e-4), model.fit_time(made)
assert np.allclose(model.fit_memory(made), memory, rtol=1e-4), model.fit_memory(made)

# A term that helps only with a negative coefficient is left out.
x = model.least_squares(np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]]), np.array([3.0, 2.0, 1.0]))
assert x[1] == 0 and abs(x[0] - 2) < 1e-12, x

time, memory = model.fit_time(fitted), model.fit_memory(fitted)
assert len(fitted) > 2 * len(time) and len(held_out) >= 2
for r in held_out:
    t, m = model.predict(r, time, memory)
    assert abs(t / model.seconds(r) - 1) < 0.2 and abs(m / r["peak"] - 1) < 0.05, (r, t, m)
print(f"{len(fitted)} runs fitted, {len(held_out)} not used and met")
