/* format.h (internal): rounding to the number types of matrix units. One subject with the operands of emulated products (backend/emulate). */
#ifndef PFC_CORE_FORMAT_H
#define PFC_CORE_FORMAT_H

typedef struct pfc_format {
    const char *name; /* "tf32", "bf16", "f16" */
    int digits;       /* of the significand, the leading one included */
    int least;        /* 2^least is the smallest normal number; below it are subnormal ones */
    double largest;
} pfc_format;

/* How a port rounds. Ties: hardware that converts to tf32 takes them away from 0. */
typedef enum pfc_rounding { PFC_ROUND_EVEN, PFC_ROUND_TO_ZERO, PFC_ROUND_AWAY, PFC_ROUNDINGS } pfc_rounding;

/* NULL: no such type; float32 is none, as nothing is to be done for it. */
const pfc_format *pfc_format_find(const char *name);

/* x to the format: to nearest, beyond the largest number infinity; or towards zero, then the largest number stays. Subnormal numbers are kept, NaN and
 * infinities pass. */
double pfc_format_round(const pfc_format *f, pfc_rounding how, double x);

#endif
