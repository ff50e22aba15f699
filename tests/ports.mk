## The proof of check: wrong and right ports of every family (tests/wrong_ports.py).
SCRIPT_TESTS += tests/wrong_ports.py
EXTRA_DIST += \
    tests/ports/__init__.py \
    tests/ports/adaptive_margins.py \
    tests/ports/arcface_head.py \
    tests/ports/batch_norm.py \
    tests/ports/lr_schedule.py \
    tests/ports/moco.py \
    tests/ports/partial_fc.py \
    tests/ports/precision.py \
    tests/ports/sinkhorn.py \
    tests/ports/swav.py
