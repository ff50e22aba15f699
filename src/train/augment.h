/* augment.h (internal): images to rows of numbers, moved a little at random.
 *
 * What happens to an image depends on (seed, epoch, example, view) alone: not on ranks, threads or its neighbours in a batch. The bits are the same
 * everywhere: integer random words, and sums and products of doubles and floats. */
#ifndef PFC_TRAIN_AUGMENT_H
#define PFC_TRAIN_AUGMENT_H

#include "core/ctx.h"

typedef enum pfc_augment_kind {
    PFC_AUGMENT_NONE,
    PFC_AUGMENT_SHIFT, /* by -1, 0 or 1 pixel in each direction */
    PFC_AUGMENT_AFFINE /* scale and shear: pixel p of the result is the image at m + (I + A)(p - m) + t, m the middle, bilinear */
} pfc_augment_kind;

typedef struct pfc_augment {
    pfc_augment_kind kind;
    int64_t size;       /* S; images and results have S*S pixels; 1 to 256 */
    double stretch;     /* affine: the four numbers of A are uniform in [-stretch, stretch); 0 to 1 */
    double translation; /* affine: the two of t are uniform in [-translation, translation) times S; 0 to 1 */
    double noise;       /* uniform in [-noise, noise) is added to every pixel of the result; 0 to 1; 0: none. Not clamped */
    int64_t seed;
} pfc_augment;

/* The views of one example in one epoch, and examples that can be told apart. */
enum { PFC_AUGMENT_VIEWS = 16 };
#define PFC_AUGMENT_EXAMPLES (INT64_C(1) << 44)

/* none, noise 0; stretch 0.12 and translation 0.05 should it become affine. Local. */
pfc_augment pfc_augment_defaults(int64_t size);

/* rows (count, S*S) <- images, u8 to [0,1] (value/255), outside an image is 0. example (count): their numbers, 0 to PFC_AUGMENT_EXAMPLES - 1; with kind none
 * and no noise NULL will do. epoch 0 to 2^32 - 1, view 0 to PFC_AUGMENT_VIEWS - 1. Threads share the rows. Local. Errors: PFC_ERR_ARG. */
pfc_status pfc_augment_rows(pfc_ctx *ctx, const pfc_augment *a, int64_t epoch, int view, int64_t count, const unsigned char *const *images,
                            const int64_t *example, float *rows);

#endif
