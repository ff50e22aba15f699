/* registry.c: the list of algorithms. A new family adds one line here and one in algorithms.h. */
#include "case/algorithms.h"
#include "case/internal.h"

#include <string.h>

/* One family a line. */
/* clang-format off */
const pfc_algorithm *const pfc_algorithms[] = {
    &pfc_algorithm_partial_fc,
    &pfc_algorithm_arcface_head, &pfc_algorithm_adaptive_margins,
    &pfc_algorithm_sinkhorn, &pfc_algorithm_swav, &pfc_algorithm_lr_schedule,
    &pfc_algorithm_moco_shuffle, &pfc_algorithm_moco,
    &pfc_algorithm_group_gather, &pfc_algorithm_batch_norm,
    NULL,
};
/* clang-format on */

const pfc_algorithm *pfc_algorithm_find(const char *name) { return pfc_algorithm_find_in(pfc_algorithms, name); }

int pfc_case_read(MPI_Comm comm, const char *path, int what, pfc_case **out, pfc_diag *diag)
{
    return pfc_case_read_from(comm, path, what, pfc_algorithms, NULL, out, diag);
}

int pfc_case_read_with(MPI_Comm comm, const char *path, int what, const pfc_tensor_list *given, pfc_case **out, pfc_diag *diag)
{
    return pfc_case_read_from(comm, path, what, pfc_algorithms, given, out, diag);
}
