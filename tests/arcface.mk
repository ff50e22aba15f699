## Tests of arcface_head and adaptive_margins.
EXTRA_DIST += \
    tests/cases/arc_easy.h5 \
    tests/cases/arc_k3_margins.h5 \
    tests/cases/arc_soft.h5 \
    tests/cases/margins_golden.h5 \
    tests/exact_v1_arcface.py \
    tests/peer_torch_arcface.py \
    tests/tiny_cases_arcface.py
