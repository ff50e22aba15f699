/* arcface_head.h (internal): the head object and the pieces of a step. */
#ifndef PFC_ALGO_ARCFACE_HEAD_H
#define PFC_ALGO_ARCFACE_HEAD_H

#include "algo/matrix.h"

#include <pfc/arcface_head.h>
#include <pfc/shard.h>

struct pfc_arcface {
    pfc_ctx *ctx;
    pfc_arcface_config cfg;
    pfc_shard shard;   /* this rank's classes */
    pfc_view constant; /* real (C_r, 4): cos m, sin m, threshold, m sin m; in the backend's place */
};

/* Everything of one step that more than one function sees. Blocks belong to lanes: `lane_rows` rows each. */
typedef struct pfc_arcface_run {
    pfc_arcface *head;
    pfc_ctx *ctx;
    const pfc_ops *ops;
    pfc_backend *be;
    const pfc_arcface_input *in;
    pfc_arcface_result *result;
    int64_t N, b, D, k, classes; /* classes: C_r */
    pfc_angular angular;
    int64_t *labels, *target;               /* N: global, host; position among this rank's classes or -1, in the backend's place */
    pfc_view X, xnorm;                      /* (N,D) unit rows; (N,1) lengths of the given ones */
    pfc_matrix x;                           /* X */
    pfc_operand *operand;                   /* X */
    pfc_view W, wnorm, bias;                /* (C_r k, D) as given; (C_r k, 1) */
    pfc_view cosine, L, winner;             /* (C_r, N) */
    int64_t block_classes, lane_rows;       /* classes of a block; rows of the weight in one */
    pfc_view U, unorm, uexpo, Z, dW, db;    /* of a block: unit rows (rows,D), their (rows,1); Z, later H (rows,N); gradients (rows,D) (rows,1) */
    pfc_view valid, target_logit, max, sum; /* (N,1) */
    pfc_rows_info rows;
    pfc_aims aims;
    pfc_acc *sum_acc, *total_acc, *loss_acc; /* N: softmax denominator, sum of the targets, row loss */
    pfc_acc *feature_acc;                    /* (N,D) */
    double *row_loss;                        /* N, host */
} pfc_arcface_run;

/* Forward and, with labels, loss and gradients, on a prepared run (arcface_head.c). Collective; the caller agrees on the status. */
pfc_status pfc_arcface_forward(pfc_arcface_run *s);
pfc_status pfc_arcface_train(pfc_arcface_run *s);

/* ---- moving data between the caller and the backend (arcface_head_data.c); local ---- */

/* Allocates real (rows, cols) in the backend's place and fills it from a host view, f32 or f64, rounded to float32; transposed: the host's is (cols, rows). */
pfc_status pfc_arcface_upload(pfc_ctx *ctx, pfc_view host, int64_t rows, int64_t cols, bool transposed, pfc_view *out);
/* (C_r, N) in the backend's place to a host view (N, C_r); int32 may become int64. */
pfc_status pfc_arcface_download_classes(pfc_ctx *ctx, pfc_view classes, pfc_view host);
/* Sends (C_r, N) to the context's tap as (N, C_r). Collective. */
pfc_status pfc_arcface_tap(pfc_ctx *ctx, const char *name, pfc_view classes);

#endif
