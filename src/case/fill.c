/* fill.c: what the generated inputs of the families are made of (fill.h). */
#include "case/fill.h"
#include "core/px.h"

#include <math.h>
#include <pfc/rng.h>
#include <string.h>

int pfc_fill_kind(const char *name, pfc_diag *diag)
{
    static const char *const kinds[PFC_FILLS] = { "normal", "lattice", "hard" };
    for (int k = 0; k < PFC_FILLS; k++)
        if (strcmp(kinds[k], name) == 0) return k;
    pfc_diag_fail(diag, PFC_EXIT_USAGE, "--fill %s: unknown, expected normal, lattice or hard", name);
    return PFC_FILL_NORMAL;
}

double pfc_fill_uniform(int64_t seed, int tensor, int64_t index) { return pfc_uniform(seed, index, (uint32_t)tensor, PFC_STREAM_FILL); }
double pfc_fill_normal(int64_t seed, int tensor, int64_t index) { return pfc_normal(seed, index, (uint32_t)tensor, PFC_STREAM_FILL); }
double pfc_fill_sign(int64_t seed, int tensor, int64_t index) { return pfc_fill_uniform(seed, tensor + PFC_FILL_SIGN, index) < 0.5 ? -1.0 : 1.0; }

double pfc_fill_wide(int64_t seed, int tensor, int64_t index)
{
    int power = (int)(pfc_fill_uniform(seed, tensor + PFC_FILL_WIDE, index) * 48.0) - 24;
    return ldexp(pfc_fill_normal(seed, tensor, index), power);
}

double pfc_fill_lattice_row(int64_t seed, int tensor, int64_t row, int64_t d, float *out)
{
    int64_t need = 1;
    double length = 1.0;
    for (; need * 4 <= d; need *= 4) length *= 2.0;
    for (int64_t j = 0; j < d; j++) {
        int64_t i = row * d + j;
        bool take = pfc_fill_uniform(seed, tensor, i) * (double)(d - j) < (double)need;
        out[j] = take ? (float)pfc_fill_sign(seed, tensor, i) : 0.0f;
        need -= take;
    }
    return length;
}

double pfc_fill_length(const float *x, int64_t d)
{
    double sum = 0.0;
    for (int64_t j = 0; j < d; j++) sum += (double)x[j] * (double)x[j];
    return sqrt(sum);
}

void pfc_fill_near(int64_t seed, int tensor, int64_t row, int64_t d, double factor, double part, float *out)
{
    double unit = pfc_fill_length(out, d) / (part * sqrt((double)d));
    for (int64_t j = 0; j < d; j++) out[j] = (float)(factor * (double)out[j] + unit * pfc_fill_normal(seed, tensor, row * d + j));
}

/* With w = out: v = g - (g.w / w.w) w is orthogonal to w; out = cos(angle) w/|w| + sin(angle) v/|v|. */
void pfc_fill_at_angle(int64_t seed, int tensor, int64_t row, int64_t d, double angle, float *out)
{
    double ww = 0.0, gw = 0.0, vv = 0.0, sine, cosine;
    px_sincos(angle, &sine, &cosine);
    for (int64_t j = 0; j < d; j++) {
        ww += (double)out[j] * (double)out[j];
        gw += pfc_fill_normal(seed, tensor, row * d + j) * (double)out[j];
    }
    double share = ww > 0.0 ? gw / ww : 0.0;
    for (int64_t j = 0; j < d; j++) {
        double v = pfc_fill_normal(seed, tensor, row * d + j) - share * (double)out[j];
        vv += v * v;
    }
    double a = ww > 0.0 ? cosine / sqrt(ww) : 0.0, b = vv > 0.0 ? sine / sqrt(vv) : 0.0;
    for (int64_t j = 0; j < d; j++) {
        double v = pfc_fill_normal(seed, tensor, row * d + j) - share * (double)out[j];
        out[j] = (float)(a * (double)out[j] + b * v);
    }
}
