/* precision.c: the table of number types that bounds are made for (precision.h). */
#include "case/precision.h"

#include <string.h>

#define TF32 .type = "tf32", .u = 0x1p-11, .largest = PX_INF
#define BF16 .type = "bf16", .u = 0x1p-8, .largest = PX_INF
#define F16 .type = "f16", .u = 0x1p-11, .tiny = 0x1p-25, .largest = 65504

const pfc_precision pfc_precisions[PFC_PRECISIONS + 1] = {
    { .name = "f32", .type = "f32", .largest = PX_INF },
    { .name = "tf32", TF32 },
    { .name = "bf16", BF16 },
    { .name = "f16", F16 },
    { .name = "f32-sound", .type = "f32", .largest = PX_INF, .sound = true },
    { .name = "tf32-sound", TF32, .sound = true },
    { .name = "bf16-sound", BF16, .sound = true },
    { .name = "f16-sound", F16, .sound = true },
    { .name = "tf32-rz", TF32, .truncates = true },
    { .name = "bf16-rz", BF16, .truncates = true },
    { .name = "f16-rz", F16, .truncates = true },
    { .name = NULL },
};

const pfc_precision *pfc_precision_find(const char *name)
{
    for (const pfc_precision *p = pfc_precisions; p->name; p++)
        if (strcmp(p->name, name) == 0) return p;
    return NULL;
}
