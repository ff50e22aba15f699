/* check.h: what the files of `pfc_ref check` share.
 *
 *   cmd_check.c     the command: files, types, tensors in turn, status
 *   check_gates.c   is a tensor right as a whole: gates G2 to G4
 *   hints.c         what the difference looks like
 *   check_tell.c    table and text
 *   check_json.c    the same for programs */
#ifndef PFC_CHECK_H
#define PFC_CHECK_H

#include "driver/driver.h"

enum { PFC_MAX_ROWS = 128, PFC_MAX_HINTS = 4, PFC_HINT_TEXT = 240, PFC_GATES = 4 };

typedef enum pfc_gate { PFC_GATE_NONE, PFC_GATE_PASS, PFC_GATE_FAIL } pfc_gate;

/* A tensor of the golden, what was found, and what follows from it. */
typedef struct pfc_check_row {
    pfc_comparison c;
    bool step;
    const pfc_tensor *want, *got; /* got NULL: missing */
    double *bound;                /* of every element, with the rounding of what is stored; NULL: bit for bit. While it is looked at only */
    double *storing;              /* of that, the rounding of what is stored; NULL: none */

    pfc_gate gate[PFC_GATES]; /* G1 to G4 */
    double rms, rms_limit;
    double slope, slope_limit; /* sum (got - want) want / sum want^2 */
    double mean, mean_limit;   /* mean of got - want */
    const char *invariant;     /* of the worst one; NULL: none */
    int64_t invariant_row;
    double invariant_value, invariant_limit; /* its distance from what it should be */
    const pfc_tensor *orthogonal_to;         /* the invariant's input; NULL: none */
    bool probabilities;                      /* the invariant is a sum of them */

    pfc_owned place; /* of the worst element */
    double ulp;      /* its error in units of the last place */
    const char *ulp_type;
    int hint_count;
    char hint[PFC_MAX_HINTS][PFC_HINT_TEXT];
} pfc_check_row;

typedef struct pfc_check {
    const pfc_cli *cli;
    pfc_diag *diag;
    pfc_result_file golden, mine;
    const char *dtype;              /* what is compared */
    const pfc_precision *precision; /* whose bounds; NULL: bit for bit */
    int ranks;                      /* of the port; -1: unknown */
    pfc_check_row out[PFC_MAX_ROWS], step[PFC_MAX_ROWS];
    int out_count, step_count;
    int compared, different, lacking;  /* tensors of /out */
    const pfc_check_row *first_step;   /* in data-flow order, of those that differ */
    const pfc_check_row *lacking_step; /* the first that both have and that cannot be compared */
    const pfc_check_row *first_out;
    const char *fits; /* a type in whose bounds all would lie, where none was given; NULL: none */
} pfc_check;

static inline bool pfc_row_differs(const pfc_check_row *r) { return r->c.verdict == PFC_FAIL || r->c.verdict == PFC_NONFINITE; }

/* The first gate that failed, 1 to 4; 0: none. */
static inline int pfc_row_gate(const pfc_check_row *r)
{
    for (int g = 0; g < PFC_GATES; g++)
        if (r->gate[g] == PFC_GATE_FAIL) return g + 1;
    return 0;
}

/* Gates G2 to G4 of a real tensor whose elements were compared. Needs r->bound. Local. */
int pfc_check_gates(const pfc_check *k, pfc_check_row *r);
/* Sentences about a tensor that differs. Needs r->bound where there is one. They decide nothing. Local. */
void pfc_check_hints(const pfc_check *k, pfc_check_row *r);

void pfc_check_print(const pfc_check *k, int status);
void pfc_check_json(const pfc_check *k, pfc_json *j, int status);
/* The command line that does it again. */
void pfc_check_repeat(const pfc_check *k, char *text, size_t size);

#endif
