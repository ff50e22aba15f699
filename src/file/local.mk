## HDF5 idioms, SHA-256 and safe new files: for checkpoints in the library and for the driver's case files.
libpfc_la_SOURCES += \
    src/file/h5.c \
    src/file/h5.h \
    src/file/new_file.c \
    src/file/new_file.h \
    src/file/sha256.h
