/* suite.h: the golden suite: cases with generated inputs, one table for all algorithms. doc/goldens.md shows it. */
#ifndef PFC_SUITE_H
#define PFC_SUITE_H

#include "driver/driver.h"

typedef struct pfc_suite_case {
    const char *name, *algorithm;
    int world;                 /* ranks it is defined for; 0: any number that divides N */
    const char *fill;          /* normal, lattice, hard; none: the algorithm has no tensors to fill */
    const char *sizes, *param; /* as of --size and --param; "": none */
    int64_t seed;
    bool large; /* made only when asked for */
    const char *purpose;
} pfc_suite_case;

extern const pfc_suite_case pfc_suite[]; /* ends with name NULL */

/* Whether `word` asks for this case: NULL or "suite": all small ones; "suite-large": the large ones; an algorithm: its small ones; a case: itself. Local. */
bool pfc_suite_asked(const pfc_suite_case *s, const char *word);
/* Whether it is defined for this many ranks. Local. */
bool pfc_suite_fits(const pfc_suite_case *s, int ranks);
/* The case with its inputs, not checked yet. NULL: diag says why, agreed. Collective. */
pfc_case *pfc_suite_fill(const pfc_cli *cli, const pfc_suite_case *s, pfc_diag *diag);

#endif
