dist_man_MANS += doc/pfc_ref.1
EXTRA_DIST += \
    doc/arcface_head.md \
    doc/backend.md \
    doc/batch_norm.md \
    doc/case-format.md \
    doc/cuda.md \
    doc/design.md \
    doc/exact-v1.md \
    doc/exact.md \
    doc/faq.md \
    doc/fills.md \
    doc/first-readings.md \
    doc/golden-format.md \
    doc/goldens.md \
    doc/moco.md \
    doc/numerics.md \
    doc/partial_fc.md \
    doc/performance.md \
    doc/porting.md \
    doc/reading-order.md \
    doc/semantics.md \
    doc/sources.md \
    doc/swav.md \
    doc/tiles.md \
    doc/training.md \
    doc/wrong-ports.md

## The data flow of every algorithm on 4 ranks. They are the same on every machine; tests/driver_explain.sh compares them.
pictures = \
    doc/pictures/adaptive_margins.svg \
    doc/pictures/arcface_head.svg \
    doc/pictures/batch_norm.svg \
    doc/pictures/group_gather.svg \
    doc/pictures/lr_schedule.svg \
    doc/pictures/moco.svg \
    doc/pictures/moco_shuffle.svg \
    doc/pictures/partial_fc.svg \
    doc/pictures/sinkhorn.svg \
    doc/pictures/swav.svg
EXTRA_DIST += $(pictures) doc/pictures/han-21k.svg doc/pictures/train_scale.svg
pictures: pfc_ref$(EXEEXT)
	@. $(srcdir)/tests/mpi-env.sh; for picture in $(pictures); do \
	    algorithm=`basename $$picture .svg`; \
	    $(MPIRUN) $(MPIRUN_FLAGS) -np 4 ./pfc_ref$(EXEEXT) explain $$algorithm --quiet --svg $(srcdir)/$$picture || exit 1; \
	done
.PHONY: pictures
