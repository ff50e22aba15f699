# shellcheck shell=sh
# Source this before `mpirun -np 8 ./pfc_ref` on a small machine: more ranks than cores without a warning, waiting ranks give the core away,
# no binding (on one rank it would put all threads on one core).
: "${OMP_NUM_THREADS:=1}"
OMPI_MCA_rmaps_base_oversubscribe=1
OMPI_MCA_hwloc_base_binding_policy=none
OMPI_MCA_mpi_yield_when_idle=1
# One machine: messages go through memory. Looking for other networks takes 0.3 s of every start.
: "${OMPI_MCA_pml:=ob1}"
# Single-copy messages need ptrace rights that containers often lack; without them Open MPI prints errors.
OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMP_NUM_THREADS OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_hwloc_base_binding_policy OMPI_MCA_mpi_yield_when_idle
export OMPI_MCA_pml OMPI_MCA_btl_vader_single_copy_mechanism
# mpirun closes a pipe that its event library still polls and, now and then, prints "[warn] Epoll MOD(1) on fd ... failed"; poll does not mind.
: "${EVENT_NOEPOLL:=1}"
export EVENT_NOEPOLL
if [ "$(id -u)" = 0 ]; then
    OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM
fi
