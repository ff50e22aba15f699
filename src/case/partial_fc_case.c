/* partial_fc_case.c: runs a partial_fc case through the library: state in, a loop over the steps, results and intermediate results out. */
#include "case/family.h"
#include "case/partial_fc_case.h"
#include "core/ctx.h"

#include <stdlib.h>

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
    cfg.recompute = c->recompute;
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
    MPI_Comm comm;
    int64_t steps, rows, classes, width; /* rows and classes: of this rank */
    pfc_tensor *loss, *x_grad, *weight_grad, *weight, *weight_momentum, *sampled;
    unsigned char *touched; /* (classes) 1 where a step updated the row; the others are moved, not computed */
} run;

static int add_outputs(run *r, pfc_diag *diag)
{
    pfc_case *c = r->c;
    bool steps_axis = r->steps > 1 || pfc_tensor_find(&c->in, "features")->ndim == 3;
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    double cosines = pfc_partial_fc_case_samples(c) ? 0.0 : (double)c->size['N' - 'A'] * (double)c->size['C' - 'A']; /* sampled ones are fewer */
    if (pfc_case_check_memory(r->ctx, c, "/in/weight", "the cosines", cosines, diag)) return diag->exit_status;
    r->loss = pfc_case_add_out(r->ctx, c, "loss", -1, NULL, diag);
    r->x_grad = pfc_case_add_out(r->ctx, c, "x_grad", steps_axis ? 3 : 2, NULL, diag);
    r->weight_grad = pfc_case_add_out(r->ctx, c, "weight_grad", -1, NULL, diag);
    r->weight = pfc_case_add_out(r->ctx, c, "weight", -1, NULL, diag);
    r->weight_momentum = pfc_case_add_out(r->ctx, c, "weight_momentum", -1, NULL, diag);
    r->sampled = pfc_case_add_out(r->ctx, c, "sampled", -1, NULL, diag);
    return diag->exit_status;
}

/* Which rows the step updates: the sampled ones, or all with the dense rule. */
static void mark_touched(run *r, bool all)
{
    const int64_t *sampled = r->sampled->data;
    for (int64_t i = 0; i < r->classes; i++) r->touched[i] |= all || sampled[i] != 0;
}

/* All steps; the state stays in the layer between them. */
static pfc_status run_steps(run *r, pfc_partial_fc *layer, bool want_steps, pfc_diag *diag)
{
    const pfc_tensor *features = pfc_tensor_find(&r->c->in, "features"), *labels = pfc_tensor_find(&r->c->in, "labels"),
                     *keys = pfc_tensor_find(&r->c->in, "sample_keys");
    pfc_view none = pfc_view_make(NULL, pfc_ctx_real(r->ctx), 0, 0);
    pfc_capture capture;
    for (int64_t s = 0; s < r->steps; s++) {
        bool last = s == r->steps - 1;
        pfc_partial_fc_result result = { 0.0, input_step(r->x_grad, 2, s, r->rows, r->width), none, whole(r->sampled, r->classes, 1) };
        if (last) result.weight_grad = whole(r->weight_grad, r->classes, r->width);
        if (last && want_steps) pfc_capture_begin(&capture, r->ctx, r->c, NULL);
        pfc_status status = pfc_partial_fc_step(layer, input_step(features, 2, s, r->rows, r->width), input_step(labels, 1, s, r->rows, 1),
                                                input_step(keys, 1, s, r->classes, 1), &result);
        if (last && want_steps) pfc_capture_end(&capture, diag);
        if (status != PFC_OK) return status;
        pfc_tensor_set(r->loss, s, result.loss);
        mark_touched(r, pfc_param_choice(r->c, "momentum_rule") == PFC_MOMENTUM_DENSE);
    }
    return pfc_partial_fc_get_state(layer, whole(r->weight, r->classes, r->width), whole(r->weight_momentum, r->classes, r->width));
}

static pfc_status run_layer(run *r, bool want_steps, pfc_diag *diag)
{
    pfc_partial_fc_config cfg = pfc_partial_fc_case_config(r->c);
    pfc_tensor *weight = pfc_tensor_find(&r->c->in, "weight"), *momentum = pfc_tensor_find(&r->c->in, "weight_momentum");
    pfc_partial_fc *layer = NULL;
    PFC_TRY(pfc_partial_fc_create(r->ctx, &cfg, &layer));
    pfc_view none = pfc_view_make(NULL, PFC_F32, 0, 0);
    pfc_status status = pfc_partial_fc_set_state(layer, whole(weight, r->classes, r->width), momentum ? whole(momentum, r->classes, r->width) : none);
    status = pfc_agree(r->ctx, status); /* setting the state is local, the steps are not */
    if (status == PFC_OK) status = run_steps(r, layer, want_steps, diag);
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
    static const char *const state[] = { "weight", "weight_momentum", NULL };
    canonical_state(r, r->weight, true);
    canonical_state(r, r->weight_momentum, pfc_param_real(r->c, "momentum") != 0.0);
    pfc_case_canonical(r->c, state);
}

int pfc_partial_fc_run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag)
{
    int ranks = pfc_ctx_ranks(ctx);
    run r = { .ctx = ctx, .c = c, .comm = ctx->comm.mpi, .steps = pfc_param_int(c, "steps") };
    r.rows = c->size['N' - 'A'] / ranks;
    r.classes = pfc_shard_of(c->size['C' - 'A'], ranks, pfc_ctx_rank(ctx)).count;
    r.width = c->size['D' - 'A'];
    r.touched = calloc((size_t)r.classes + 1, 1);
    if (!r.touched) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory for the results", c->name);
    add_outputs(&r, diag);
    if (!pfc_diag_agree(r.comm, diag)) {
        pfc_case_status(diag, run_layer(&r, want_steps, diag), ctx, c);
        if (!pfc_diag_agree(r.comm, diag)) canonical(&r);
    }
    free(r.touched);
    return diag->exit_status;
}
