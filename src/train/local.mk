## Training from features, and checkpoints: above the algorithms' public interface.
libpfc_la_SOURCES += \
    src/train/arcface_state.c \
    src/train/augment.c \
    src/train/augment.h \
    src/train/checkpoint.c \
    src/train/checkpoint.h \
    src/train/checkpoint_folder.c \
    src/train/checkpoint_read.c \
    src/train/checkpoint_write.c \
    src/train/class_means.c \
    src/train/class_means.h \
    src/train/encoder.c \
    src/train/encoder.h \
    src/train/encoder_state.c \
    src/train/encoder_step.c \
    src/train/class_means.c \
    src/train/class_means.h \
    src/train/examples.c \
    src/train/examples.h \
    src/train/glyph_set.c \
    src/train/glyphs.c \
    src/train/glyphs.h \
    src/train/items.c \
    src/train/items.h \
    src/train/nearest.c \
    src/train/nearest.h \
    src/train/plan.c \
    src/train/plan.h \
    src/train/schedule.c \
    src/train/swav_state.c \
    src/train/swav_state.h \
    src/train/trainer.c \
    src/train/trainer.h \
    src/train/trainer_state.c
