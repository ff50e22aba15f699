/* format.c: see format.h. */
#include "core/format.h"

#include "core/px.h"

#include <stdbool.h>
#include <string.h>

static const pfc_format formats[] = {
    { "tf32", 11, -126, 0x1.ffcp127 },
    { "bf16", 8, -126, 0x1.fep127 },
    { "f16", 11, -14, 65504 },
    { NULL, 0, 0, 0 },
};

const pfc_format *pfc_format_find(const char *name)
{
    for (const pfc_format *f = formats; f->name; f++)
        if (strcmp(f->name, name) == 0) return f;
    return NULL;
}

double pfc_format_round(const pfc_format *f, pfc_rounding how, double x)
{
    bool truncate = how == PFC_ROUND_TO_ZERO;
    int64_t exponent = (int64_t)(px_bits(x) >> 52 & 0x7ff) - 1023; /* 2^exponent <= |x| */
    if (exponent == 1024) return x;                                /* not finite */
    if (exponent < f->least) exponent = f->least;
    double unit = px_pow2(exponent - f->digits + 1), y;
    if (exponent > 900) /* far beyond the largest of all formats, where adding could overflow */
        y = x;
    else
        y = (x + PX_MAGIC * unit) - PX_MAGIC * unit; /* the nearest multiple of unit: that has 2^51 units more, so its last place is one */
    if (truncate && PX_ABS(y) > PX_ABS(x)) y -= __builtin_copysign(unit, x);
    if (how == PFC_ROUND_AWAY && PX_ABS(x) - PX_ABS(y) == unit / 2) y += __builtin_copysign(unit, x);
    if (y == 0) return __builtin_copysign(0.0, x);
    if (PX_ABS(y) <= f->largest) return y;
    return __builtin_copysign(truncate ? f->largest : PX_INF, x);
}
