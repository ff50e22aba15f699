/* encoder.h (internal): the encoder's inside. */
#ifndef PFC_TRAIN_ENCODER_H
#define PFC_TRAIN_ENCODER_H

#include "core/ctx.h"

#include <pfc/encoder.h>

typedef struct pfc_encoder_layer {
    int64_t in, out;
    int64_t weight_at, norm_at; /* where its weight (out,in), and its batch norm's weight and bias (2 out) begin in a row of all parameters; norm_at -1: none */
    pfc_batch_norm *norm;       /* NULL: none */
    void *x, *z;                /* host, real: (b,in) its input; (b,out) its product, if a batch norm follows */
    int64_t batches;            /* in the copy for checkpoints */
    float *copy_mean, *copy_var; /* the same, (statistics) */
} pfc_encoder_layer;

struct pfc_encoder {
    pfc_ctx *ctx;
    pfc_encoder_config cfg;
    pfc_encoder_layer layer[PFC_ENCODER_LAYERS];
    int64_t params;
    pfc_view param, momentum, grad; /* (1, params) real, in the place of the backend; between calls param and momentum are float32 numbers */
    bool has_grad, fresh;           /* a backward was; its gradients are not used up yet */
    bool shared;                    /* all ranks share the statistics of batch norm: what it sums is already over all ranks */
    int64_t rows;                   /* b of the last training forward, which waits for its backward; -1: there is none */
    int64_t room;                   /* rows that the buffers of the layers, and these two, hold */
    void *g, *d;                    /* host, real: gradients on their way back, as wide as the widest layer */
    double *vectors;                /* host, room for two numbers per channel (or split and channel) of the widest layer, on every rank and once more */
    double *two;                    /* host, real: batch norm's weights and biases, or their gradients, of a layer */
    float *copy;                    /* (2, params) parameters and momentum, then the statistics, for checkpoints; NULL: not asked for yet */
    char (*names)[PFC_ITEM_NAME];   /* of the items */
};

/* One number per channel, or per split and channel, that batch norm keeps of its statistics. */
int64_t pfc_encoder_statistics(const pfc_encoder *e, const pfc_encoder_layer *l);
/* Views of the means and variances that count: the running ones; sub: those of the splits. */
pfc_batch_norm_state pfc_encoder_running(const pfc_encoder *e, const pfc_encoder_layer *l, void *mean, void *var, pfc_dtype dtype);

/* Part of a row of parameters. */
static inline pfc_view pfc_encoder_part(pfc_view row, int64_t at, int64_t rows, int64_t cols)
{
    pfc_view v = { (char *)row.data + (size_t)at * pfc_dtype_size(row.dtype), row.dtype, row.place, rows, cols, cols };
    return v;
}

/* Batch norm's weights and biases <- the parameters. Local. */
pfc_status pfc_encoder_tell_norms(pfc_encoder *e);

#endif
