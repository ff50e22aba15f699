/* comm_mpi.h (internal to src/comm): calls of MPI with pfc's types and errors. */
#ifndef PFC_COMM_MPI_H
#define PFC_COMM_MPI_H

#include "comm/comm.h"

/* The status of a call of MPI that returned rc; PFC_ERR_RUNTIME and "WHAT: what MPI says" in comm->error. Local. */
pfc_status pfc_comm_check(pfc_comm *comm, int rc, const char *what);

/* x <- op over ranks, elementwise. Collective. */
pfc_status pfc_comm_allreduce(pfc_comm *comm, void *x, int64_t count, pfc_dtype dtype, MPI_Op op);

#endif
