dist_man_MANS += doc/pfc_ref.1
EXTRA_DIST += \
    doc/case-format.md \
    doc/cuda.md \
    doc/design.md \
    doc/exact-v1.md \
    doc/exact.md \
    doc/fills.md \
    doc/goldens.md \
    doc/numerics.md \
    doc/performance.md \
    doc/porting.md \
    doc/semantics.md \
    doc/sources.md \
    doc/tiles.md \
    doc/training.md \
    doc/wrong-ports.md
