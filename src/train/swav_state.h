/* swav_state.h (internal): what a checkpoint has of a SwAV layer, whose queue is cut over the ranks.
 *
 * A step puts the N rows of the batch of all ranks into the queue of every assigned position and takes the N oldest rows out, so a queue is the batches of the
 * last G = (queue_length - queue_length mod N)/N steps, whatever the number of ranks; rank r holds its own N/P rows of each. The global array has them in the
 * order (row of the batch, position, age), newest first, A*G rows of a place in the batch together: cut at batch rows, its parts are what the ranks hold.
 * On another number of ranks every row is still there once, of the same age, where that number of ranks would have put it. */
#ifndef PFC_TRAIN_SWAV_STATE_H
#define PFC_TRAIN_SWAV_STATE_H

#include "train/items.h"

#include <pfc/swav.h>

/* Tensors swav.prototypes and swav.momentum (K,D); if a run with this batch has a queue, swav.queue (N*A*G, D), zeros before its first epoch, and facts
 * queue_made, use_the_queue. All float32, as a port keeps its state: in exact mode the next step rounds to it anyway. N is a multiple of the ranks. Local.
 * Errors: PFC_ERR_NOMEM. */
pfc_status pfc_swav_items(pfc_swav *layer, int64_t batch, pfc_items *items);
/* The layer <- what reading has put into the list. Local. Errors: PFC_ERR_DATA (facts that are no switches, or disagree; nothing has changed), PFC_ERR_NOMEM. */
pfc_status pfc_swav_take(pfc_swav *layer, int64_t batch, const char *path, const pfc_items *items);

#endif
