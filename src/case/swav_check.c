/* swav_check.c: conditions of the swav family that its tables cannot say; its inputs gathered; its dense equations. */
#include "case/family.h"
#include "case/internal.h"
#include "case/swav_case.h"
#include "dense/swav_dense.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int check_shapes(const pfc_case *c, pfc_diag *diag)
{
    const pfc_tensor *embedding = pfc_tensor_find(&c->in, "embedding"), *queue = pfc_tensor_find(&c->in, "queue");
    int64_t crops = pfc_param_int(c, "crops");
    if (crops < 1) return pfc_case_fail(c, diag, "/param/crops", "found %lld, expected 1 or more", (long long)crops);
    if (embedding->dims[1] % crops)
        return pfc_case_fail(c, diag, "/in/embedding", "found %lld rows of each rank, expected a multiple of crops = %lld", (long long)embedding->dims[1],
                             (long long)crops);
    if (queue && queue->dims[2] < embedding->dims[1] / crops)
        return pfc_case_fail(c, diag, "/in/queue", "found L = %lld rows, expected at least the %lld samples of a rank", (long long)queue->dims[2],
                             (long long)(embedding->dims[1] / crops));
    return 0;
}

static int check_crops(const pfc_case *c, pfc_diag *diag)
{
    const pfc_tensor *t = pfc_tensor_find(&c->in, "crops_for_assign");
    const int64_t *crop = t->data, crops = pfc_param_int(c, "crops");
    for (int64_t i = 0; i < pfc_tensor_local(t); i++)
        if (crop[i] < 0 || crop[i] >= crops)
            return pfc_case_fail(c, diag, "/in/crops_for_assign", "found %lld at (%lld), expected 0 to %lld", (long long)crop[i], (long long)i,
                                 (long long)crops - 1);
    return 0;
}

int pfc_swav_case_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    (void)comm;
    double temperature = pfc_param_real(c, "temperature");
    c->depends_on_world = true; /* the first axis is the rank */
    if (pfc_case_sinkhorn_check(c, diag)) return diag->exit_status;
    if (!(temperature > 0.0) || isinf(temperature)) return pfc_case_fail(c, diag, "/param/temperature", "found %g, expected a number above 0", temperature);
    return check_shapes(c, diag) ? diag->exit_status : check_crops(c, diag);
}

/* ---- inputs, whole ---- */

int pfc_swav_inputs_gather(MPI_Comm comm, const pfc_case *c, pfc_swav_inputs *in, pfc_diag *diag)
{
    const pfc_tensor *queue = pfc_tensor_find(&c->in, "queue");
    *in = (pfc_swav_inputs){ .cfg = pfc_case_swav_config(c, pfc_tensor_find(&c->in, "crops_for_assign")->data),
                             .bs = pfc_swav_case_samples(c),
                             .L = queue ? queue->dims[2] : 0,
                             .frozen = (int)pfc_param_int(c, "freeze_prototypes"),
                             .use_the_queue = pfc_param_int(c, "use_the_queue") };
    MPI_Comm_size(comm, &in->ranks);
    if (!pfc_case_gather_reals(comm, c, "embedding", &in->embedding, diag) && !pfc_case_gather_reals(comm, c, "prototypes", &in->prototypes, diag))
        pfc_case_gather_reals(comm, c, "queue", &in->queue, diag);
    if (pfc_diag_agree(comm, diag)) pfc_swav_inputs_free(in);
    return diag->exit_status;
}

void pfc_swav_inputs_free(pfc_swav_inputs *in)
{
    free(in->embedding);
    free(in->prototypes);
    free(in->queue);
    in->embedding = in->prototypes = in->queue = NULL;
}

/* ---- dense equations ---- */

static pfc_tensor *add(MPI_Comm comm, pfc_tensor_list *out, const char *name, pfc_dtype dtype, int ndim, const int64_t *dims, pfc_diag *diag)
{
    pfc_tensor *t = pfc_tensor_add(comm, out, name, dtype, ndim, dims, PFC_DIST_NONE, 0);
    if (!t) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense swav: out of memory");
    return t;
}

static void compute(const pfc_swav_inputs *in, const pfc_tensor_list *out, pfc_diag *diag)
{
    pfc_dense_swav s = { .cfg = &in->cfg,
                         .ranks = in->ranks,
                         .bs = in->bs,
                         .L = in->L,
                         .frozen = in->frozen,
                         .embedding = in->embedding,
                         .prototypes = in->prototypes,
                         .queue = in->queue,
                         .use_the_queue = in->use_the_queue };
    s.loss = pfc_tensor_find(out, "loss")->data;
    s.assignment = pfc_tensor_find(out, "assignment")->data;
    s.embedding_grad = pfc_tensor_find(out, "embedding_grad")->data;
    s.prototypes_grad = pfc_tensor_find(out, "prototypes_grad")->data;
    if (!pfc_dense_swav_step(&s)) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense swav: out of memory");
    if (!s.same_answer) pfc_diag_fail(diag, PFC_EXIT_FILE, "/in/queue: found in use on some ranks only, expected on all or none");
    pfc_tensor *prototypes = pfc_tensor_find(out, "prototypes"), *queue = pfc_tensor_find(out, "queue");
    memcpy(prototypes->data, in->prototypes, (size_t)pfc_tensor_local(prototypes) * sizeof(double));
    if (queue) memcpy(queue->data, in->queue, (size_t)pfc_tensor_local(queue) * sizeof(double));
    *(int64_t *)pfc_tensor_find(out, "use_the_queue")->data = s.use_the_queue;
}

int pfc_swav_case_dense(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag)
{
    pfc_swav_inputs in;
    int rank;
    MPI_Comm_rank(comm, &rank);
    if (pfc_swav_inputs_gather(comm, c, &in, diag)) return diag->exit_status;
    int64_t P = in.ranks, D = in.cfg.embedding_size, K = in.cfg.num_prototypes, A = in.cfg.num_assign;
    int64_t q[4] = { P, A, in.bs, K }, e[3] = { P, in.cfg.crops * in.bs, D }, p[2] = { K, D }, queue[4] = { P, A, in.L, D };
    add(comm, out, "loss", PFC_F64, 1, &P, diag);
    add(comm, out, "assignment", PFC_F64, 4, q, diag);
    add(comm, out, "embedding_grad", PFC_F64, 3, e, diag);
    add(comm, out, "prototypes", PFC_F64, 2, p, diag);
    add(comm, out, "prototypes_grad", PFC_F64, 2, p, diag);
    if (in.L) add(comm, out, "queue", PFC_F64, 4, queue, diag);
    add(comm, out, "use_the_queue", PFC_I64, 0, NULL, diag);
    if (!pfc_diag_agree(comm, diag) && rank == 0) compute(&in, out, diag);
    pfc_swav_inputs_free(&in);
    return pfc_diag_agree(comm, diag);
}
