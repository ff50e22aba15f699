/* fill.h: what the generated inputs of the families are made of. Every number is a pure function of (seed, tensor, global index): Philox4x32-10 with the
 * stream PFC_STREAM_FILL and the tensor's number as the step word, so any rank, thread or device can make any slice. doc/fills.md is the description.
 *
 * Only IEEE + - * / sqrt fma, comparisons and integers are used: ldexp by powers in range and floor are exact. Sums run in the order of the index. */
#ifndef PFC_CASE_FILL_H
#define PFC_CASE_FILL_H

#include "case/case.h"

enum { PFC_FILL_NORMAL, PFC_FILL_LATTICE, PFC_FILL_HARD, PFC_FILLS };
enum { PFC_FILL_SIGN = 16, PFC_FILL_WIDE = 32 }; /* added to a tensor's number: its signs and its powers of 2 */

#define PFC_FILL_LARGEST 0x1.fffffep0 /* 2 - 2^-23: the largest integers of exact-v1 */

/* One of the three by its name; an unknown one is in diag, and PFC_FILL_NORMAL. Local. */
int pfc_fill_kind(const char *name, pfc_diag *diag);

double pfc_fill_uniform(int64_t seed, int tensor, int64_t index); /* [0,1) */
double pfc_fill_normal(int64_t seed, int tensor, int64_t index);
double pfc_fill_sign(int64_t seed, int tensor, int64_t index); /* +1 or -1 */
double pfc_fill_wide(int64_t seed, int tensor, int64_t index); /* g 2^p, p = -24 .. 23 */

/* (d) 4^k elements +-1, the largest 4^k <= d, and zeros: every position is taken with the probability still needed over still left. Returns 2^k, the
 * length. */
double pfc_fill_lattice_row(int64_t seed, int tensor, int64_t row, int64_t d, float *out);

/* (d) out <- factor out + g |out| / (part sqrt d): near the direction of out; g of this row. The cosine is about 1 - 1/(2 (factor part)^2). */
void pfc_fill_near(int64_t seed, int tensor, int64_t row, int64_t d, double factor, double part, float *out);
/* (d) out <- a vector of length 1 at `angle` from out, in the plane of out and the g of this row. */
void pfc_fill_at_angle(int64_t seed, int tensor, int64_t row, int64_t d, double angle, float *out);

double pfc_fill_length(const float *x, int64_t d);

#endif
