libpfc_la_SOURCES += \
    src/comm/comm.c \
    src/comm/comm.h \
    src/comm/comm_acc.c \
    src/comm/comm_mpi.h \
    src/comm/comm_rows.c
