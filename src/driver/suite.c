/* suite.c: the golden suite as a table, and a case made from an entry.
 *
 * Names begin like those of the shipped cases of the family, say the fill, and end with _wP where a case is defined for P ranks only; none is the name of
 * a shipped case (tests/driver_suite.sh). Cases for any number of ranks have N = 120, which 1, 2, 3, 4, 5 and 8 divide, or N = 64 where 1/N shall be
 * exact, and the parameters that make the result independent of the ranks. Class counts are primes: shards differ. */
#include "driver/suite.h"

#include <stdlib.h>
#include <string.h>

#define GLOBAL "xgrad_scale=1,sample_rule=global,lr=0.1,weight_decay=0.0005"

const pfc_suite_case pfc_suite[] = {
    /* ---- partial_fc ---- */
    { "pfc_linear_normal", "partial_fc", 0, "normal", "N=120,C=37,D=16", "head=linear,scale=4," GLOBAL, 1, false, "plain products" },
    { "pfc_cos_normal", "partial_fc", 0, "normal", "N=120,C=37,D=16", "head=cos,scale=64,margin=0.4," GLOBAL, 2, false, "the usual scale and margin" },
    { "pfc_arc_normal", "partial_fc", 0, "normal", "N=120,C=37,D=16", "head=arc,scale=64,margin=0.5," GLOBAL, 3, false, "the usual scale and margin" },
    { "pfc_circle_normal", "partial_fc", 0, "normal", "N=120,C=37,D=16", "head=circle,scale=64,margin=0.25," GLOBAL, 4, false, "the usual margin" },
    { "pfc_sampled_normal", "partial_fc", 0, "normal", "N=120,C=61,D=16", "head=arc,scale=32,margin=0.3,sample_rate=0.4,steps=3,seed=9," GLOBAL, 5, false,
      "three steps with drawn classes" },
    { "pfc_dense_normal", "partial_fc", 0, "normal", "N=120,C=61,D=16",
      "head=cos,scale=32,margin=0.3,num_sample=40,steps=2,momentum_rule=dense,nesterov=1," GLOBAL, 6, false, "dense momentum, Nesterov" },
    { "pfc_straight_normal", "partial_fc", 0, "normal", "N=120,C=37,D=16", "head=arc,scale=32,margin=0.5,arc_gradient=straight_through,loss=lse," GLOBAL, 7,
      false, "straight-through gradient, log-sum-exp loss" },
    { "pfc_one_class_normal", "partial_fc", 0, "normal", "N=120,C=1,D=8", "head=cos,scale=16,margin=0.2," GLOBAL, 8, false, "one class: p is 1 everywhere" },
    { "pfc_one_row_normal_w1", "partial_fc", 1, "normal", "N=1,C=19,D=8", "head=arc,scale=16,margin=0.3", 9, false, "a batch of one row" },
    { "pfc_shard_normal_w2", "partial_fc", 2, "normal", "N=16,C=37,D=16", "head=cos,scale=32,margin=0.4,sample_rate=0.5,lr=0.1", 10, false,
      "classes sampled in each shard" },
    { "pfc_shard_normal_w4", "partial_fc", 4, "normal", "N=16,C=61,D=16", "head=arc,scale=32,margin=0.3,sample_rate=0.3,steps=2,lr=0.1", 11, false,
      "the same, two steps" },
    { "pfc_shard_normal_w5", "partial_fc", 5, "normal", "N=5,C=61,D=16", "head=circle,scale=32,margin=0.25,num_sample=4,lr=0.1", 12, false,
      "one row on every rank" },
    { "pfc_linear_lattice", "partial_fc", 0, "lattice", "N=64,C=37,D=20", "head=linear,scale=0.25," GLOBAL, 13, false, "exact logits in every type" },
    { "pfc_cos_lattice", "partial_fc", 0, "lattice", "N=64,C=37,D=20", "head=cos,scale=16,margin=0.25," GLOBAL, 14, false, "exact logits in every type" },
    { "pfc_arc_lattice", "partial_fc", 0, "lattice", "N=120,C=37,D=64", "head=arc,scale=16,margin=0.5," GLOBAL, 15, false, "exact cosines in every type" },
    { "pfc_circle_lattice", "partial_fc", 0, "lattice", "N=64,C=37,D=20", "head=circle,scale=16,margin=0.25," GLOBAL, 16, false,
      "exact cosines, logits from products of them" },
    { "pfc_sampled_lattice", "partial_fc", 0, "lattice", "N=120,C=61,D=16", "head=cos,scale=16,margin=0.25,sample_rate=0.5," GLOBAL, 17, false,
      "drawn classes and exact logits" },
    { "pfc_linear_hard", "partial_fc", 0, "hard", "N=120,C=37,D=16", "head=linear,scale=0.001," GLOBAL, 18, false, "logits beyond every exponential" },
    { "pfc_cos_hard", "partial_fc", 0, "hard", "N=120,C=37,D=16", "head=cos,scale=64,margin=0.4," GLOBAL, 19, false,
      "equal classes, saturated rows, wide numbers" },
    { "pfc_arc_hard", "partial_fc", 0, "hard", "N=120,C=37,D=16", "head=arc,scale=64,margin=0.5," GLOBAL, 37, false,
      "cosines near 1, -1 and cos(pi-m), none at a pole" },
    { "pfc_arc_linear_hard", "partial_fc", 0, "hard", "N=120,C=37,D=16", "head=arc,scale=64,margin=0.5,arc_fallback=linear,cos_clamp=1," GLOBAL, 21, false,
      "the branch at cos(pi-m) from both sides" },
    { "pfc_arc_easy_hard", "partial_fc", 0, "hard", "N=120,C=37,D=16", "head=arc,scale=32,margin=0.5,arc_fallback=easy,loss=lse,cos_clamp=1," GLOBAL, 22, false,
      "the branch at 0, log-sum-exp of saturated rows" },
    { "pfc_arc_clamp_hard", "partial_fc", 0, "hard", "N=120,C=37,D=16", "head=arc,scale=64,margin=0.5,cos_clamp=1," GLOBAL, 23, false, "clamped cosines" },
    { "pfc_circle_hard", "partial_fc", 0, "hard", "N=120,C=37,D=16", "head=circle,scale=64,margin=0.25," GLOBAL, 24, false, "saturated from both sides" },
    { "pfc_threshold_hard", "partial_fc", 0, "hard", "N=120,C=37,D=16", "head=cos,scale=32,margin=0.2,interclass_threshold=0.3," GLOBAL, 25, false,
      "large cosines of other classes left out" },
    { "pfc_sampled_hard", "partial_fc", 0, "hard", "N=120,C=61,D=16", "head=cos,scale=64,margin=0.4,sample_rate=0.7,steps=2," GLOBAL, 26, false,
      "equal keys at the edge of the sample" },
    { "pfc_unowned_hard", "partial_fc", 0, "hard", "N=120,C=37,D=16", "head=arc,scale=32,margin=0.3,unowned_label=ignore,loss=lse,cos_clamp=1," GLOBAL, 27,
      false, "labels no rank owns are left out" },
    { "pfc_unowned_source_hard", "partial_fc", 0, "hard", "N=120,C=37,D=16", "head=cos,scale=32,margin=0.4,unowned_label=source," GLOBAL, 28, false,
      "labels no rank owns count as the source counts them" },
    { "pfc_few_hard", "partial_fc", 0, "hard", "N=120,C=3,D=16", "head=cos,scale=64,margin=0.4," GLOBAL, 29, false, "ranks without classes from 4 ranks up" },
    { "pfc_shard_hard_w3", "partial_fc", 3, "hard", "N=24,C=37,D=16", "head=cos,scale=64,margin=0.4,sample_rate=0.7,lr=0.1", 30, false,
      "equal keys in each shard" },
    { "pfc_shard_hard_w8", "partial_fc", 8, "hard", "N=16,C=7,D=16", "head=arc,scale=64,margin=0.5,num_sample=1,cos_clamp=1,lr=0.1", 31, false,
      "one class a rank, one rank without" },
    { "pfc_large_normal", "partial_fc", 0, "normal", "N=240,C=10007,D=256", "head=arc,scale=64,margin=0.5," GLOBAL, 32, true, "10,007 classes, 256 features" },
    { "pfc_sampled_large_normal", "partial_fc", 0, "normal", "N=240,C=100003,D=64", "head=cos,scale=64,margin=0.4,sample_rate=0.1," GLOBAL, 33, true,
      "a tenth of 100,003 classes" },

    /* ---- arcface_head ---- */
    { "arc_head_normal", "arcface_head", 0, "normal", "N=120,C=19,D=16", "scale=64,margin=0.5", 1, false, "one center a class" },
    { "arc_subcenters_normal", "arcface_head", 0, "normal", "N=120,C=19,D=16", "scale=32,num_subcenters=3", 2, false, "three sub-centers a class" },
    { "arc_set_normal", "arcface_head", 0, "normal", "N=120,C=19,D=16", "scale=32,margin_constants=set", 3, false, "constants of set_margins" },
    { "arc_easy_normal", "arcface_head", 0, "normal", "N=120,C=19,D=16", "scale=32,easy_margin=1,loss_weight=1.5", 4, false, "easy margin, weighted loss" },
    { "arc_one_class_normal", "arcface_head", 0, "normal", "N=120,C=1,D=8", "scale=16", 5, false, "one class: no loss" },
    { "arc_one_row_normal_w1", "arcface_head", 1, "normal", "N=1,C=19,D=8", "scale=16,num_subcenters=2", 6, false, "a batch of one row" },
    { "arc_head_lattice", "arcface_head", 0, "lattice", "N=64,C=19,D=16", "scale=16,margin=0.5", 7, false, "exact cosines in every type" },
    { "arc_subcenters_lattice", "arcface_head", 0, "lattice", "N=120,C=19,D=64", "scale=16,num_subcenters=3", 8, false,
      "exact cosines, sub-centers that tie exactly" },
    { "arc_head_hard", "arcface_head", 0, "hard", "N=120,C=19,D=16", "scale=64", 9, false, "cosines near 1, -1 and the threshold of each class's margin" },
    { "arc_subcenters_hard", "arcface_head", 0, "hard", "N=120,C=19,D=16", "scale=64,num_subcenters=3,cos_clamp=1", 10, false, "equal sub-centers" },
    { "arc_clamp_hard", "arcface_head", 0, "hard", "N=120,C=19,D=16", "scale=64,num_subcenters=2,cos_clamp=1", 11, false, "clamped cosines" },
    { "arc_set_hard", "arcface_head", 0, "hard", "N=120,C=19,D=16", "scale=32,margin_constants=set,cos_clamp=1", 12, false,
      "the other threshold, from both sides" },
    { "arc_eval_hard", "arcface_head", 0, "hard", "N=120,C=19,D=16", "scale=64,num_subcenters=3,eval=1", 13, false, "logits without margin" },
    { "arc_few_hard", "arcface_head", 0, "hard", "N=120,C=3,D=16", "scale=64,num_subcenters=2,cos_clamp=1", 14, false,
      "ranks without classes from 4 ranks up" },
    { "arc_large_normal", "arcface_head", 0, "normal", "N=240,C=5003,D=128", "scale=64,num_subcenters=3", 15, true, "5,003 classes with three sub-centers" },

    /* ---- adaptive_margins, lr_schedule: no matrices; counts have the three fills, a schedule has no input ---- */
    { "margins_counts_normal", "adaptive_margins", 0, "normal", "C=101", "", 1, false, "many rare classes, few frequent ones" },
    { "margins_counts_lattice", "adaptive_margins", 0, "lattice", "C=64", "", 2, false, "counts with exact fourth roots" },
    { "margins_counts_hard", "adaptive_margins", 0, "hard", "C=101", "", 3, false, "counts 0, 1 and 2^53" },
    { "margins_power_hard", "adaptive_margins", 0, "hard", "C=37", "power=-0.75,margin_min=0.1,margin_max=0.4", 4, false, "another exponent" },
    { "margins_one_class_normal", "adaptive_margins", 0, "normal", "C=1", "equal_counts=min", 5, false, "one class: the formula's 0/0" },
    { "margins_large_normal", "adaptive_margins", 0, "normal", "C=1000003", "", 6, true, "a million classes" },
    { "lr_warmup", "lr_schedule", 0, "none", "", "base_lr=4.8,final_lr=0.0048,start_warmup=0.3,warmup_epochs=2,epochs=7,steps_per_epoch=11", 1, false,
      "warm-up and half a cosine" },
    { "lr_all_warmup", "lr_schedule", 0, "none", "", "base_lr=1,final_lr=0,start_warmup=0,warmup_epochs=3,epochs=3,steps_per_epoch=7", 1, false,
      "nothing but the warm-up" },
    { "lr_one_step", "lr_schedule", 0, "none", "", "base_lr=0.1,final_lr=0.01,start_warmup=0,warmup_epochs=0,epochs=1,steps_per_epoch=1", 1, false,
      "one step" },
    { "lr_large", "lr_schedule", 0, "none", "", "base_lr=4.8,final_lr=0.0048,start_warmup=0.3,warmup_epochs=10,epochs=800,steps_per_epoch=1251", 1, true,
      "a million steps" },

    /* ---- sinkhorn ---- */
    { "sk_v1_normal", "sinkhorn", 0, "normal", "N=120,K=37", "", 1, false, "scores as cosines are" },
    { "sk_v2_normal", "sinkhorn", 0, "normal", "N=120,K=37", "version=v2", 2, false, "the same, version v2" },
    { "sk_vissl_normal", "sinkhorn", 0, "normal", "N=120,K=37", "version=vissl", 3, false, "the same, version vissl" },
    { "sk_log_normal", "sinkhorn", 0, "normal", "N=120,K=37", "version=log,epsilon=0.01,iterations=10", 4, false, "a small epsilon, ten iterations" },
    { "sk_one_prototype_normal", "sinkhorn", 0, "normal", "N=120,K=1", "", 5, false, "one prototype: assignments of 1" },
    { "sk_one_row_normal_w1", "sinkhorn", 1, "normal", "N=1,K=19", "version=v2", 6, false, "a batch of one row" },
    { "sk_v1_lattice", "sinkhorn", 0, "lattice", "N=64,K=16", "epsilon=0.0625", 7, false, "exponents exact in every type" },
    { "sk_log_lattice", "sinkhorn", 0, "lattice", "N=120,K=16", "version=log,epsilon=0.0625", 8, false, "exponents exact in every type" },
    { "sk_log_hard", "sinkhorn", 0, "hard", "N=120,K=37", "version=log", 9, false, "ties, saturation, a prototype of mass e^-400" },
    { "sk_v1_hard", "sinkhorn", 0, "hard", "N=120,K=37", "epsilon=1", 10, false, "ties, a prototype of mass e^-20" },
    { "sk_v2_hard", "sinkhorn", 0, "hard", "N=120,K=37", "version=v2,epsilon=0.5,iterations=5", 11, false, "ties, a prototype of mass e^-40" },
    { "sk_vissl_hard", "sinkhorn", 0, "hard", "N=120,K=37", "version=vissl,epsilon=1", 12, false, "ties, a prototype of mass e^-20" },
    { "sk_large_normal", "sinkhorn", 0, "normal", "N=1920,K=3000", "", 13, true, "3,000 prototypes" },

    /* ---- swav: a loss for each rank, so every case is for one number of ranks ---- */
    { "swav_normal_w1", "swav", 1, "normal", "B=4,K=11,D=8,L=8", "crops=3", 1, false, "the queue before it is used" },
    { "swav_normal_w2", "swav", 2, "normal", "B=4,K=11,D=8,L=8", "crops=3,use_the_queue=1", 2, false, "the queue in use" },
    { "swav_normal_w3", "swav", 3, "normal", "B=4,K=11,D=8", "crops=4,version=v2", 3, false, "no queue, four crops" },
    { "swav_normal_w4", "swav", 4, "normal", "B=2,K=11,D=8,L=6", "crops=3,version=vissl", 4, false, "version vissl" },
    { "swav_normal_w5", "swav", 5, "normal", "B=1,K=11,D=8,L=3", "crops=2,use_the_queue=1", 5, false, "one sample on every rank" },
    { "swav_normal_w8", "swav", 8, "normal", "B=2,K=11,D=8,L=4,A=1", "crops=3,freeze_prototypes=1", 6, false, "one assigned crop, frozen prototypes" },
    { "swav_lattice_w1", "swav", 1, "lattice", "B=8,K=16,D=16", "crops=2,temperature=0.125,epsilon=0.0625", 7, false, "exact scores in every type" },
    { "swav_lattice_w2", "swav", 2, "lattice", "B=4,K=16,D=16,L=8", "crops=2,temperature=0.125,epsilon=0.0625,use_the_queue=1", 8, false,
      "exact scores, the queue in use" },
    { "swav_lattice_w3", "swav", 3, "lattice", "B=4,K=8,D=64", "crops=3,temperature=0.125,epsilon=0.0625,version=log", 9, false, "exact scores, version log" },
    { "swav_hard_w1", "swav", 1, "hard", "B=8,K=11,D=8", "crops=2,version=log,log_softmax=stable", 10, false, "zero rows, equal prototypes, a zero one" },
    { "swav_hard_w2", "swav", 2, "hard", "B=4,K=11,D=8,L=8", "crops=3,use_the_queue=1", 11, false, "the same with the queue" },
    { "swav_hard_w3", "swav", 3, "hard", "B=4,K=11,D=8", "crops=3,version=log,temperature=0.01,log_softmax=stable", 12, false, "saturated softmax" },
    { "swav_hard_w8", "swav", 8, "hard", "B=4,K=11,D=8,L=8", "crops=2,version=v2", 13, false, "eight ranks" },
    { "swav_one_prototype_normal_w2", "swav", 2, "normal", "B=4,K=1,D=8", "crops=2", 14, false, "one prototype: no loss" },
    { "swav_large_normal_w8", "swav", 8, "normal", "B=16,K=1000,D=128,L=64", "crops=4,use_the_queue=1", 15, true, "1,000 prototypes" },

    /* ---- moco_shuffle ---- */
    { "shuffle_images_normal", "moco_shuffle", 0, "normal", "N=120,C=3,H=4,W=4", "seed=2026", 1, false, "small images" },
    { "shuffle_images_lattice", "moco_shuffle", 0, "lattice", "N=120,C=3,H=4,W=4", "seed=2027,step=5", 0x123456789abcdef, false, "whole numbers" },
    { "shuffle_images_hard", "moco_shuffle", 0, "hard", "N=120,C=3,H=4,W=4", "seed=2028", 3, false, "wide numbers and zeros below 0, which stay" },
    { "shuffle_numbers_normal", "moco_shuffle", 0, "normal", "N=120", "seed=-1,step=4294967295", 4, false, "one number a row, the last step" },
    { "shuffle_one_row_normal_w1", "moco_shuffle", 1, "normal", "N=1,D=5", "", 5, false, "one row" },
    { "shuffle_large_normal", "moco_shuffle", 0, "normal", "N=960,C=3,H=32,W=32", "seed=1", 6, true, "960 images" },

    /* ---- moco: a loss for each rank ---- */
    { "moco_normal_w1", "moco", 1, "normal", "N=8,K=32,D=16,M=50", "queue_ptr=24", 1, false, "the end of the queue" },
    { "moco_normal_w2", "moco", 2, "normal", "N=8,K=32,D=16,M=50", "temperature=0.07", 2, false, "a small temperature" },
    { "moco_normal_w3", "moco", 3, "normal", "N=12,K=37,D=16,M=50", "queue_wrap=1,queue_ptr=29", 3, false, "the ring wraps" },
    { "moco_normal_w4", "moco", 4, "normal", "N=8,K=32,D=16,M=50", "first_call=1", 4, false, "the first call" },
    { "moco_normal_w5", "moco", 5, "normal", "N=5,K=30,D=16,M=50", "", 5, false, "one row on every rank" },
    { "moco_normal_w8", "moco", 8, "normal", "N=16,K=1,D=16,M=1", "queue_wrap=1", 6, false, "a queue of one row, one parameter" },
    { "moco_lattice_w1", "moco", 1, "lattice", "N=8,K=32,D=16,M=50", "temperature=0.25,momentum=0.5", 7, false, "exact logits in every type" },
    { "moco_lattice_w2", "moco", 2, "lattice", "N=16,K=64,D=20,M=50", "temperature=0.125,momentum=0.75", 8, false, "exact logits, rows with zeros" },
    { "moco_lattice_w3", "moco", 3, "lattice", "N=12,K=48,D=64,M=50", "temperature=0.25,momentum=0.5", -9, false, "exact logits, 64 features" },
    { "moco_hard_w1", "moco", 1, "hard", "N=8,K=64,D=16,M=50", "", 10, false, "keys in the queue, ties, zero rows, wide numbers" },
    { "moco_hard_w2", "moco", 2, "hard", "N=8,K=37,D=16,M=50", "temperature=0.01,queue_wrap=1,queue_ptr=36", 11, false, "saturated softmax, the ring wraps" },
    { "moco_hard_w3", "moco", 3, "hard", "N=12,K=48,D=16,M=50", "", 12, false, "three ranks" },
    { "moco_hard_w8", "moco", 8, "hard", "N=16,K=64,D=16,M=50", "temperature=0.07,momentum=1", 13, false, "eight ranks, parameters that stay" },
    { "moco_large_normal_w8", "moco", 8, "normal", "N=256,K=4096,D=128,M=100000", "temperature=0.07", 14, true, "a queue of 4,096 keys" },

    /* ---- group_gather: a vector of each rank ---- */
    { "gather_normal_w1", "group_gather", 1, "normal", "M=37", "num_sync_devices=1,num_groups=1", 1, false, "a rank alone" },
    { "gather_normal_w2", "group_gather", 2, "normal", "M=37", "num_sync_devices=1,num_groups=1", 2, false, "a machine of two" },
    { "gather_normal_w3", "group_gather", 3, "normal", "M=1", "num_sync_devices=3,num_groups=1", 3, false, "one number" },
    { "gather_groups_normal_w8", "group_gather", 8, "normal", "M=37", "num_sync_devices=2,num_groups=2,local_size=4", 4, false,
      "pairs in two machines of four" },
    { "gather_lattice_w2", "group_gather", 2, "lattice", "M=37", "num_sync_devices=1,num_groups=2", 5, false, "whole numbers; groups of one" },
    { "gather_groups_lattice_w4", "group_gather", 4, "lattice", "M=37", "num_sync_devices=2,num_groups=2", 6, false, "whole numbers; two pairs" },
    { "gather_lattice_w5", "group_gather", 5, "lattice", "M=37", "num_sync_devices=5,num_groups=1", 7, false, "whole numbers" },
    { "gather_hard_w2", "group_gather", 2, "hard", "M=37", "num_sync_devices=2,num_groups=1", 8, false, "cancellation, wide numbers" },
    { "gather_hard_w3", "group_gather", 3, "hard", "M=37", "num_sync_devices=3,num_groups=1", 9, false, "an odd rank is left of the cancellation" },
    { "gather_groups_hard_w8", "group_gather", 8, "hard", "M=37", "num_sync_devices=4,num_groups=2", 10, false, "two groups of four" },
    { "gather_large_normal_w8", "group_gather", 8, "normal", "M=100003", "num_sync_devices=4,num_groups=2", 11, true, "100,003 numbers a rank" },

    /* ---- batch_norm: running statistics of each rank ---- */
    { "bn_plain_normal_w1", "batch_norm", 1, "normal", "N=6,C=5,H=4,W=7", "", 1, false, "statistics of the batch" },
    { "bn_plain_normal_w2", "batch_norm", 2, "normal", "N=8,C=5", "running_var=biased,momentum=0.3", 2, false, "vectors" },
    { "bn_sub_normal_w3", "batch_norm", 3, "normal", "N=12,C=5,T=2,H=3,W=3", "kind=sub,num_splits=2", 3, false, "two sub-batches of video clips" },
    { "bn_sync_normal_w2", "batch_norm", 2, "normal", "N=6,C=5,H=4,W=7", "kind=sync,num_sync_devices=2", 4, false, "one group" },
    { "bn_sync_normal_w4", "batch_norm", 4, "normal", "N=8,C=5,H=3,W=3", "kind=sync,num_sync_devices=2", 5, false, "two groups" },
    { "bn_sync_normal_w5", "batch_norm", 5, "normal", "N=5,C=5", "kind=sync,num_sync_devices=0", 6, false, "one number of a channel on every rank" },
    { "bn_eval_normal_w2", "batch_norm", 2, "normal", "N=6,C=5,H=4,W=7", "training=0", 7, false, "running statistics" },
    { "bn_plain_lattice_w1", "batch_norm", 1, "lattice", "N=8,C=8,H=4,W=4", "", 8, false, "exact sums in float32" },
    { "bn_sync_lattice_w2", "batch_norm", 2, "lattice", "N=8,C=8,H=4,W=4", "kind=sync,num_sync_devices=2", 9, false, "exact sums in float32" },
    { "bn_sub_lattice_w4", "batch_norm", 4, "lattice", "N=16,C=8,H=4,W=4", "kind=sub,num_splits=2", 10, false, "exact sums in float32" },
    { "bn_plain_hard_w1", "batch_norm", 1, "hard", "N=6,C=12,H=4,W=7", "", 11, false, "large means, a constant channel, wide numbers" },
    { "bn_sub_hard_w2", "batch_norm", 2, "hard", "N=8,C=12,H=4,W=7", "kind=sub,num_splits=2", 12, false, "the same in sub-batches" },
    { "bn_sync_hard_w3", "batch_norm", 3, "hard", "N=6,C=12,H=4,W=7", "kind=sync,num_sync_devices=3", 13, false, "the same over three ranks" },
    { "bn_sync_hard_w8", "batch_norm", 8, "hard", "N=16,C=12,H=4,W=4", "kind=sync,num_sync_devices=4,variance=two_pass,weighting=count", 14, false,
      "the two-pass variance, two groups" },
    { "bn_eval_hard_w2", "batch_norm", 2, "hard", "N=6,C=12,H=4,W=7", "training=0,track_running_stats=0", 15, false, "statistics of the batch in evaluation" },
    { "bn_large_normal_w8", "batch_norm", 8, "normal", "N=64,C=64,H=28,W=28", "kind=sync,num_sync_devices=8", 16, true, "64 channels of 28 x 28" },
    { NULL, NULL, 0, NULL, NULL, NULL, 0, false, NULL },
};

bool pfc_suite_asked(const pfc_suite_case *s, const char *word)
{
    if (word && strcmp(word, s->name) == 0) return true;
    if (s->large) return word && strcmp(word, "suite-large") == 0;
    return !word || strcmp(word, "suite") == 0 || strcmp(word, s->algorithm) == 0;
}

bool pfc_suite_fits(const pfc_suite_case *s, int ranks)
{
    const char *n = strstr(s->sizes, "N=");
    return s->world ? s->world == ranks : !n || atoi(n + 2) % ranks == 0;
}

/* What the command line would be: golden ALGORITHM --size --param --fill --seed --name. */
pfc_case *pfc_suite_fill(const pfc_cli *cli, const pfc_suite_case *s, pfc_diag *diag)
{
    const pfc_algorithm *a = pfc_algorithm_find(s->algorithm);
    const char *param = s->param;
    const pfc_cli line = { .params = &param, .param_count = 1 };
    pfc_case *c = a ? pfc_case_new(a) : NULL;
    if (!c) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", s->name);
    if (pfc_diag_agree(cli->comm, diag)) {
        pfc_case_free(c);
        return NULL;
    }
    snprintf(c->name, sizeof c->name, "%s", s->name);
    if (s->world) c->world = s->world;
    if (!pfc_cli_sizes(s->sizes, c, diag) && !pfc_cli_params(&line, c, diag)) a->fill(cli->comm, c, s->fill, s->seed, diag);
    if (!pfc_diag_agree(cli->comm, diag)) return c;
    pfc_case_free(c);
    return NULL;
}
