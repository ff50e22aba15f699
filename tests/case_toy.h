/* case_toy.h: a small family for the tests of src/case: tables only, no mathematics. */
#ifndef CASE_TOY_H
#define CASE_TOY_H

#include "case/internal.h"

extern const pfc_algorithm case_toy;
extern const pfc_algorithm *const case_toy_table[];

/* A case of it with N = 6 * P rows, D = 3, C classes, inputs made from the global element index. Collective. */
pfc_case *case_toy_make(MPI_Comm comm, int64_t rows, int64_t classes);
/* Adds all results, steps and bounds, made from the global element index. Collective. */
void case_toy_results(MPI_Comm comm, pfc_case *c);
/* Element i of any tensor of the toy; integers are 7 i mod 11. */
double case_toy_value(const char *name, int64_t index);

#endif
