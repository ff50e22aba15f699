/* rng.h: counter-based random numbers, a pure function of (seed, stream, step, index).
 *
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011). No state: any rank, thread or
 * device can make any element. All calls are Local and cannot fail. No libm: every real number comes from integers or from the elementwise functions of exact-v1. */
#ifndef PFC_RNG_H
#define PFC_RNG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* out = Philox4x32-10 of counter under key. */
void pfc_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Last counter word: which use a number is for. */
enum {
    PFC_STREAM_CLASS_KEY = 1,   /* sampling of classes (partial_fc) */
    PFC_STREAM_SHUFFLE_KEY = 2, /* the batch's permutation (moco_shuffle) */
    PFC_STREAM_WEIGHT = 3,      /* initial weights and prototypes */
    PFC_STREAM_FILL = 4,        /* inputs of generated cases (doc/fills.md) */
    PFC_STREAM_QUEUE = 5,       /* initial queues (moco) */
    PFC_STREAM_EXAMPLE = 6,     /* order of the samples in training */
    PFC_STREAM_ENCODER = 7,     /* initial parameters of the encoder */
    PFC_STREAM_AUGMENT = 8,     /* changes to the images */
    PFC_STREAM_GLYPH_CLASS = 9  /* which characters are classes */
};

/* u in [0,1) on the grid 2^-53: key = (seed low, seed high), counter = (index low, index high, step, stream),
 * u = ((x0*2^32 + x1) >> 11) * 2^-53. */
double pfc_uniform(int64_t seed, int64_t index, uint32_t step, uint32_t stream);

/* Standard normal number of an index, rounded to double: Box-Muller on the elementwise functions of exact-v1. Elements 2i and 2i+1 share
 * one counter (i low, i high, step, stream). */
double pfc_normal(int64_t seed, int64_t index, uint32_t step, uint32_t stream);

/* Both numbers of a counter: elements 2*pair and 2*pair + 1. */
void pfc_normal_pair(int64_t seed, int64_t pair, uint32_t step, uint32_t stream, double out[2]);

#ifdef __cplusplus
}
#endif
#endif
