/* words.h (internal): the names of the library's enumerations, in their order, as case files, settings and checkpoints write them. */
#ifndef PFC_CORE_WORDS_H
#define PFC_CORE_WORDS_H

#define PFC_WORDS_HEAD "linear|cos|arc|circle"
#define PFC_WORDS_SAMPLE_RULE "shard|global"
#define PFC_WORDS_LOSS "clamp|lse"
#define PFC_WORDS_ARC_GRADIENT "exact|straight_through"
#define PFC_WORDS_ARC_FALLBACK "none|linear|easy"
#define PFC_WORDS_MOMENTUM_RULE "lazy|dense"
#define PFC_WORDS_UNOWNED_LABEL "source|error|ignore"
#define PFC_WORDS_MARGIN_CONSTANTS "init|set"
#define PFC_WORDS_SCHEDULE "constant|cosine|polynomial"

#endif
