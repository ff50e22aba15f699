/* swav_dense.c: one iteration of SwAV, loss and gradients, and the learning-rate schedule (semantics.md 5.2, 5.3, 5.7, 1.1). */
#include "dense/swav_dense.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double dot(const double *a, const double *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

/* out = v / max(|v|, 1e-12); returns |v|. */
static double normalise(const double *v, int64_t n, double *out)
{
    double length = sqrt(dot(v, v, n)), d = length < 1e-12 ? 1e-12 : length;
    for (int64_t i = 0; i < n; i++) out[i] = v[i] / d;
    return length;
}

/* p = softmax(s/t), log p by the chosen rule. */
static void softmax(const pfc_swav_config *cfg, const double *s, double *p, double *logp)
{
    int64_t K = cfg->num_prototypes;
    double t = cfg->temperature, max = s[0] / t, sum = 0;
    bool source = cfg->log_softmax == PFC_LOG_SOFTMAX_SOURCE && cfg->sinkhorn.version == PFC_SINKHORN_V1;
    for (int64_t k = 0; k < K; k++)
        if (s[k] / t > max || isnan(s[k])) max = s[k] / t;
    for (int64_t k = 0; k < K; k++) sum += exp(s[k] / t - max);
    for (int64_t k = 0; k < K; k++) {
        p[k] = exp(s[k] / t - max) / sum;
        logp[k] = source ? log(p[k]) : s[k] / t - max - log(sum);
    }
}

/* Loss of one rank from its scores (V*bs,K); dscores may be NULL. work: 2K. */
static double loss_of(const pfc_swav_config *cfg, int64_t bs, const double *scores, const double *q, double *dscores, double *work)
{
    int64_t K = cfg->num_prototypes, A = cfg->num_assign, V = cfg->crops;
    double *p = work, *logp = work + K, total = 0, factor = 1.0 / ((double)A * (double)(V - 1) * (double)bs * cfg->temperature);
    bool source = cfg->log_softmax == PFC_LOG_SOFTMAX_SOURCE && cfg->sinkhorn.version == PFC_SINKHORN_V1;
    for (int64_t r = 0; r < V * bs; r++) {
        double *g = dscores ? dscores + r * K : NULL;
        softmax(cfg, scores + r * K, p, logp);
        for (int64_t k = 0; g && k < K; k++) g[k] = 0;
        for (int64_t i = 0; i < A; i++) {
            const double *target = q + (i * bs + r % bs) * K;
            double mass = 0;
            bool vanished = false;
            if (cfg->crops_for_assign[i] == r / bs) continue;
            for (int64_t k = 0; k < K; k++) {
                total -= target[k] * logp[k];
                mass += target[k];
                vanished = vanished || p[k] == 0;
            }
            /* through log, then softmax: q/0 times 0 */
            for (int64_t k = 0; g && k < K; k++) g[k] += source && vanished ? NAN : mass * p[k] - target[k];
        }
        for (int64_t k = 0; g && k < K; k++) g[k] *= factor;
    }
    return total / (double)bs / (double)(V - 1) / (double)A;
}

double pfc_dense_swav_loss(const pfc_swav_config *cfg, int64_t bs, const double *h, const double *C, const double *q)
{
    int64_t K = cfg->num_prototypes, D = cfg->embedding_size, rows = cfg->crops * bs;
    double *z = malloc((size_t)D * sizeof *z), *scores = malloc((size_t)(rows * K) * sizeof *scores), *work = malloc((size_t)(2 * K) * sizeof *work);
    double loss = NAN;
    for (int64_t r = 0; z && scores && r < rows; r++) {
        normalise(h + r * D, D, z);
        for (int64_t k = 0; k < K; k++) scores[r * K + k] = dot(z, C + k * D, D);
    }
    if (z && scores && work) loss = loss_of(cfg, bs, scores, q, NULL, work);
    free(z);
    free(scores);
    free(work);
    return loss;
}

typedef struct memory {
    double *z, *length, *scores, *dscores; /* (P*V*bs, ..) */
    double *out, *q, *work;                /* (P*(L+bs), K) twice, 2K */
} memory;

static bool filled(const double *last, int64_t D)
{
    for (int64_t d = 0; d < D; d++)
        if (last[d] != 0) return true;
    return false;
}

/* Whether the queue of position i is in use, on every rank alike. */
static bool queue_in_use(pfc_dense_swav *s, int64_t i)
{
    int64_t D = s->cfg->embedding_size, A = s->cfg->num_assign;
    int yes = 0;
    if (!s->L) return true;
    for (int r = 0; r < s->ranks; r++) yes += s->use_the_queue || filled(s->queue + (((r * A + i) * s->L) + s->L - 1) * D, D);
    if (yes) s->use_the_queue = 1;
    return yes == 0 || yes == s->ranks;
}

/* Assignment of crop a = A[i]: queue scores first, fill, Sinkhorn, last bs rows. */
static bool assign(pfc_dense_swav *s, const memory *m, int64_t i)
{
    int64_t D = s->cfg->embedding_size, K = s->cfg->num_prototypes, A = s->cfg->num_assign, V = s->cfg->crops, bs = s->bs;
    int64_t L = s->L && s->use_the_queue ? s->L : 0, n = L + bs, a = s->cfg->crops_for_assign[i];
    for (int64_t r = 0; r < s->ranks; r++) {
        double *queue = s->L ? s->queue + (r * A + i) * s->L * D : NULL;
        const double *rows = m->scores + (r * V + a) * bs * K, *z = m->z + (r * V + a) * bs * D;
        for (int64_t j = 0; j < L; j++)
            for (int64_t k = 0; k < K; k++) m->out[(r * n + j) * K + k] = dot(queue + j * D, s->prototypes + k * D, D);
        memcpy(m->out + (r * n + L) * K, rows, (size_t)(bs * K) * sizeof *rows);
        if (queue) {
            memmove(queue + bs * D, queue, (size_t)((s->L - bs) * D) * sizeof *queue);
            memcpy(queue, z, (size_t)(bs * D) * sizeof *queue);
        }
    }
    if (!pfc_dense_sinkhorn(&s->cfg->sinkhorn, s->ranks, n, K, m->out, m->q)) return false;
    for (int64_t r = 0; r < s->ranks; r++) memcpy(s->assignment + (r * A + i) * bs * K, m->q + (r * n + L) * K, (size_t)(bs * K) * sizeof *m->q);
    return true;
}

/* Gradients of embeddings and prototypes from those of the scores. */
static void backward(pfc_dense_swav *s, const memory *m)
{
    int64_t D = s->cfg->embedding_size, K = s->cfg->num_prototypes, rows = s->ranks * s->cfg->crops * s->bs;
    memset(s->prototypes_grad, 0, (size_t)(K * D) * sizeof(double));
    for (int64_t r = 0; r < rows; r++) {
        const double *z = m->z + r * D, *g = m->dscores + r * K;
        double *dh = s->embedding_grad + r * D;
        for (int64_t d = 0; d < D; d++) {
            dh[d] = 0;
            for (int64_t k = 0; k < K; k++) dh[d] += g[k] * s->prototypes[k * D + d];
        }
        double along = dot(z, dh, D);
        for (int64_t d = 0; d < D; d++) dh[d] = m->length[r] < 1e-12 ? dh[d] / 1e-12 : (dh[d] - z[d] * along) / m->length[r];
        for (int64_t k = 0; !s->frozen && k < K; k++)
            for (int64_t d = 0; d < D; d++) s->prototypes_grad[k * D + d] += g[k] * z[d] / s->ranks;
    }
}

static bool run(pfc_dense_swav *s, const memory *m)
{
    int64_t D = s->cfg->embedding_size, K = s->cfg->num_prototypes, V = s->cfg->crops, A = s->cfg->num_assign, bs = s->bs;
    for (int64_t k = 0; k < K; k++) normalise(s->prototypes + k * D, D, s->prototypes + k * D);
    for (int64_t r = 0; r < s->ranks * V * bs; r++) {
        m->length[r] = normalise(s->embedding + r * D, D, m->z + r * D);
        for (int64_t k = 0; k < K; k++) m->scores[r * K + k] = dot(m->z + r * D, s->prototypes + k * D, D);
    }
    for (int64_t i = 0; i < A; i++) {
        s->same_answer = queue_in_use(s, i);
        if (!s->same_answer) return true;
        if (!assign(s, m, i)) return false;
    }
    for (int64_t r = 0; r < s->ranks; r++)
        s->loss[r] = loss_of(s->cfg, bs, m->scores + r * V * bs * K, s->assignment + r * A * bs * K, m->dscores + r * V * bs * K, m->work);
    backward(s, m);
    return true;
}

bool pfc_dense_swav_step(pfc_dense_swav *s)
{
    size_t D = (size_t)s->cfg->embedding_size, K = (size_t)s->cfg->num_prototypes, P = (size_t)s->ranks, rows = P * (size_t)(s->cfg->crops * s->bs);
    size_t n = P * (size_t)(s->L + s->bs), size = sizeof(double);
    memory m = { malloc(rows * D * size), malloc(rows * size),  malloc(rows * K * size), malloc(rows * K * size),
                 malloc(n * K * size),    malloc(n * K * size), malloc(2 * K * size) };
    s->same_answer = true;
    bool ok = m.z && m.length && m.scores && m.dscores && m.out && m.q && m.work && run(s, &m);
    free(m.z);
    free(m.length);
    free(m.scores);
    free(m.dscores);
    free(m.out);
    free(m.q);
    free(m.work);
    return ok;
}

void pfc_dense_lr_schedule(const pfc_lr_config *cfg, double *lr)
{
    const double pi = 3.14159265358979323846;
    int64_t rise = cfg->warmup_epochs * cfg->steps_per_epoch, fall = (cfg->epochs - cfg->warmup_epochs) * cfg->steps_per_epoch;
    for (int64_t i = 0; i < rise; i++)
        lr[i] = rise == 1 ? cfg->start_warmup : cfg->start_warmup + (cfg->base_lr - cfg->start_warmup) * (double)i / (double)(rise - 1);
    for (int64_t t = 0; t < fall; t++) lr[rise + t] = cfg->final_lr + (cfg->base_lr - cfg->final_lr) / 2 * (1 + cos(pi * (double)t / (double)fall));
}
