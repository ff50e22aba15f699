/* partial_fc_case.c: runs a partial_fc case through the library: state in, a loop over the steps, results and intermediate results out. */
#include "case/partial_fc_case.h"
#include "core/ctx.h"
#include "core/px.h"

#include <stdlib.h>
#include <string.h>

pfc_partial_fc_config pfc_partial_fc_case_config(const pfc_case *c)
{
    pfc_partial_fc_config cfg = pfc_partial_fc_defaults();
    cfg.num_classes = c->size['C' - 'A'];
    cfg.embedding_size = c->size['D' - 'A'];
    cfg.head = (pfc_head_kind)pfc_param_choice(c, "head");
    cfg.scale = pfc_param_real(c, "scale");
    cfg.margin = pfc_param_present(c, "margin") ? pfc_param_real(c, "margin") : 0.0;
    cfg.sample_rate = pfc_param_real(c, "sample_rate");
    cfg.num_sample = pfc_param_present(c, "num_sample") ? pfc_param_int(c, "num_sample") : -1;
    cfg.sample_rule = (pfc_sample_rule)pfc_param_choice(c, "sample_rule");
    cfg.seed = pfc_param_int(c, "seed");
    cfg.first_step = pfc_param_int(c, "first_step");
    cfg.lr = pfc_param_real(c, "lr");
    cfg.momentum = pfc_param_real(c, "momentum");
    cfg.weight_decay = pfc_param_real(c, "weight_decay");
    cfg.nesterov = (int)pfc_param_int(c, "nesterov");
    cfg.xgrad_scale = pfc_param_real(c, "xgrad_scale");
    cfg.loss = (pfc_loss_kind)pfc_param_choice(c, "loss");
    cfg.arc_gradient = (pfc_arc_gradient)pfc_param_choice(c, "arc_gradient");
    cfg.arc_fallback = (pfc_arc_fallback)pfc_param_choice(c, "arc_fallback");
    cfg.cos_clamp = (int)pfc_param_int(c, "cos_clamp");
    cfg.interclass_threshold = pfc_param_real(c, "interclass_threshold");
    cfg.momentum_rule = (pfc_momentum_rule)pfc_param_choice(c, "momentum_rule");
    cfg.unowned_label = (pfc_unowned)pfc_param_choice(c, "unowned_label");
    return cfg;
}

/* Step s of an input (the last but `tail` axes may begin with a steps axis), as the matrix this rank holds. */
static pfc_view input_step(const pfc_tensor *t, int tail, int64_t s, int64_t rows, int64_t cols)
{
    if (!t) return pfc_view_make(NULL, PFC_F64, 0, 0);
    int64_t offset = t->ndim > tail ? s * rows * cols : 0;
    return pfc_view_make((char *)t->data + (size_t)offset * pfc_dtype_size(t->dtype), t->dtype, rows, cols);
}

static pfc_view whole(pfc_tensor *t, int64_t rows, int64_t cols) { return pfc_view_make(t->data, t->dtype, rows, cols); }

/* What a run needs at hand. */
typedef struct run {
    pfc_ctx *ctx;
    pfc_case *c;
    MPI_Comm comm;                       /* only the split of tensors is asked of it */
    int64_t steps, rows, classes, width; /* rows and classes: of this rank */
    pfc_tensor *loss, *x_grad, *weight_grad, *weight, *weight_momentum, *sampled;
    unsigned char *touched; /* (classes) 1 where a step updated the row; the others are moved, not computed */
    bool no_memory;
} run;

static bool add_outputs(run *r)
{
    pfc_case *c = r->c;
    pfc_dtype real = pfc_ctx_real(r->ctx);
    int64_t n = c->size['N' - 'A'], d = c->size['D' - 'A'], classes = c->size['C' - 'A'];
    bool steps_axis = r->steps > 1 || pfc_tensor_find(&c->in, "features")->ndim == 3;
    int64_t x[3] = { r->steps, n, d }, w[2] = { classes, d };
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    static const char *const names[] = { "loss", "x_grad", "weight_grad", "weight", "weight_momentum", "sampled" };
    bool ok = pfc_tensor_add(r->comm, &c->out, names[0], real, 1, &r->steps, PFC_DIST_NONE, 0) != NULL;
    ok = ok && pfc_tensor_add(r->comm, &c->out, names[1], real, steps_axis ? 3 : 2, steps_axis ? x : x + 1, PFC_DIST_BATCH, steps_axis ? 1 : 0);
    for (int i = 2; i < 5; i++) ok = ok && pfc_tensor_add(r->comm, &c->out, names[i], real, 2, w, PFC_DIST_CLASS, 0);
    ok = ok && pfc_tensor_add(r->comm, &c->out, names[5], PFC_I64, 1, &classes, PFC_DIST_CLASS, 0);
    if (!ok) return false;
    pfc_tensor **slot[] = { &r->loss, &r->x_grad, &r->weight_grad, &r->weight, &r->weight_momentum, &r->sampled };
    for (int i = 0; i < 6; i++) *slot[i] = pfc_tensor_find(&c->out, names[i]); /* adding may move the list */
    return true;
}

/* Copies an intermediate result into c->step. Class-wise matrices arrive as (N, C_r), row-wise ones as (N, 1), keys as (C_r, 1). */
static void keep_step(void *user, const char *name, pfc_view local, pfc_layout layout)
{
    run *r = user;
    pfc_case *c = r->c;
    int64_t n = c->size['N' - 'A'], classes = c->size['C' - 'A'];
    int64_t matrix[2] = { n, classes };
    pfc_tensor *t;
    if (layout == PFC_CLASS_COLS)
        t = pfc_tensor_add(r->comm, &c->step, name, local.dtype, 2, matrix, PFC_DIST_CLASS, 1);
    else if (layout == PFC_CLASS_ROWS)
        t = pfc_tensor_add(r->comm, &c->step, name, local.dtype, 1, &classes, PFC_DIST_CLASS, 0);
    else
        t = pfc_tensor_add(r->comm, &c->step, name, local.dtype, 1, &n, PFC_DIST_NONE, 0);
    if (!t) {
        r->no_memory = true;
        return;
    }
    size_t size = pfc_dtype_size(local.dtype);
    for (int64_t i = 0; i < local.rows; i++)
        memcpy((char *)t->data + (size_t)(i * local.cols) * size, (const char *)local.data + (size_t)(i * local.ld) * size, (size_t)local.cols * size);
    t->order = c->step.count - 1;
}

static void set_loss(pfc_tensor *t, int64_t s, double value)
{
    if (t->dtype == PFC_F32)
        ((float *)t->data)[s] = (float)value;
    else
        ((double *)t->data)[s] = value;
}

/* Which rows the step updates: the sampled ones, or all with the dense rule. */
static void mark_touched(run *r, bool all)
{
    const int64_t *sampled = r->sampled->data;
    for (int64_t i = 0; i < r->classes; i++) r->touched[i] |= all || sampled[i] != 0;
}

/* All steps; the state stays in the layer between them. */
static pfc_status run_steps(run *r, pfc_partial_fc *layer, bool want_steps)
{
    const pfc_tensor *features = pfc_tensor_find(&r->c->in, "features"), *labels = pfc_tensor_find(&r->c->in, "labels"),
                     *keys = pfc_tensor_find(&r->c->in, "sample_keys");
    pfc_view none = pfc_view_make(NULL, pfc_ctx_real(r->ctx), 0, 0);
    for (int64_t s = 0; s < r->steps; s++) {
        bool last = s == r->steps - 1;
        pfc_partial_fc_result result = { 0.0, input_step(r->x_grad, 2, s, r->rows, r->width), none, whole(r->sampled, r->classes, 1) };
        if (last) result.weight_grad = whole(r->weight_grad, r->classes, r->width);
        if (last && want_steps) pfc_ctx_set_tap(r->ctx, keep_step, r);
        pfc_status status = pfc_partial_fc_step(layer, input_step(features, 2, s, r->rows, r->width), input_step(labels, 1, s, r->rows, 1),
                                                input_step(keys, 1, s, r->classes, 1), &result);
        pfc_ctx_set_tap(r->ctx, NULL, NULL);
        if (status != PFC_OK) return status;
        set_loss(r->loss, s, result.loss);
        mark_touched(r, pfc_param_choice(r->c, "momentum_rule") == PFC_MOMENTUM_DENSE);
    }
    return pfc_partial_fc_get_state(layer, whole(r->weight, r->classes, r->width), whole(r->weight_momentum, r->classes, r->width));
}

static pfc_status run_layer(run *r, bool want_steps)
{
    pfc_partial_fc_config cfg = pfc_partial_fc_case_config(r->c);
    pfc_tensor *weight = pfc_tensor_find(&r->c->in, "weight"), *momentum = pfc_tensor_find(&r->c->in, "weight_momentum");
    pfc_partial_fc *layer = NULL;
    PFC_TRY(pfc_partial_fc_create(r->ctx, &cfg, &layer));
    pfc_view none = pfc_view_make(NULL, PFC_F32, 0, 0);
    pfc_status status = pfc_partial_fc_set_state(layer, whole(weight, r->classes, r->width), momentum ? whole(momentum, r->classes, r->width) : none);
    status = pfc_agree(r->ctx, status); /* setting the state is local, the steps are not */
    if (status == PFC_OK) status = run_steps(r, layer, want_steps);
    pfc_partial_fc_destroy(&layer);
    return status;
}

/* The state's rows that no step updated were moved, not computed: their -0 stays (case-format section 1). */
static void canonical_state(const run *r, pfc_tensor *t, bool computed)
{
    for (int64_t i = 0; i < r->classes * r->width; i++) {
        double *d = (double *)t->data + i;
        float *f = (float *)t->data + i;
        bool zero = computed && r->touched[i / r->width];
        if (t->dtype == PFC_F64) {
            if (*d != *d) *d = PX_NAN;
            if (zero && *d == 0.0) *d = 0.0;
        } else {
            if (*f != *f) *f = (float)PX_NAN;
            if (zero && *f == 0.0f) *f = 0.0f;
        }
    }
}

static void canonical(const run *r)
{
    for (int i = 0; i < r->c->out.count; i++) {
        pfc_tensor *t = &r->c->out.items[i];
        if (t == r->weight)
            canonical_state(r, t, true);
        else if (t == r->weight_momentum)
            canonical_state(r, t, pfc_param_real(r->c, "momentum") != 0.0);
        else
            pfc_tensor_canonical(t);
    }
    for (int i = 0; i < r->c->step.count; i++) pfc_tensor_canonical(&r->c->step.items[i]);
}

int pfc_partial_fc_run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag)
{
    int ranks = pfc_ctx_ranks(ctx);
    run r = { .ctx = ctx, .c = c, .comm = ctx->comm.mpi, .steps = pfc_param_int(c, "steps") };
    r.rows = c->size['N' - 'A'] / ranks;
    r.classes = pfc_shard_of(c->size['C' - 'A'], ranks, pfc_ctx_rank(ctx)).count;
    r.width = c->size['D' - 'A'];
    r.touched = calloc((size_t)r.classes + 1, 1);
    if (!r.touched || !add_outputs(&r)) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory for the results", c->name);
    if (!pfc_diag_agree(r.comm, diag)) {
        pfc_status status = run_layer(&r, want_steps);
        if (status != PFC_OK)
            pfc_diag_from_status(diag, status, ctx, c->path[0] ? c->path : c->name);
        else if (r.no_memory)
            pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory for the intermediate results", c->name);
        if (!pfc_diag_agree(r.comm, diag)) canonical(&r);
    }
    free(r.touched);
    return diag->exit_status;
}
