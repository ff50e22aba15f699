/* shard.c: contiguous blocks, the first total mod ranks of them one longer (semantics.md 2.2). */
#include <pfc/shard.h>

pfc_shard pfc_shard_of(int64_t total, int ranks, int rank)
{
    int64_t q = total / ranks, e = total % ranks;
    pfc_shard s = { q * rank + (rank < e ? rank : e), q + (rank < e ? 1 : 0) };
    return s;
}

int pfc_shard_owner(int64_t total, int ranks, int64_t i)
{
    int64_t q = total / ranks, e = total % ranks;
    int64_t longer = e * (q + 1); /* items in the longer blocks */
    if (i < longer) return (int)(i / (q + 1));
    return (int)(e + (i - longer) / q);
}
