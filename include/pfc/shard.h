/* shard.h: which rank owns which classes. The one formula, used everywhere (semantics.md 2.2).
 *
 * C items over P ranks in contiguous blocks; the first C mod P ranks hold one more. C < P leaves ranks with none. */
#ifndef PFC_SHARD_H
#define PFC_SHARD_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pfc_shard {
    int64_t start; /* first global index of this rank */
    int64_t count; /* how many it owns */
} pfc_shard;

/* The block of `rank` of `ranks`. Local. */
pfc_shard pfc_shard_of(int64_t total, int ranks, int rank);

/* The rank that owns global index i, 0 <= i < total. Local. */
int pfc_shard_owner(int64_t total, int ranks, int64_t i);

#ifdef __cplusplus
}
#endif
#endif
