/* explain_svg.c */
#include "driver/explain.h"
void pfc_ex_svg(FILE *f, const pfc_ex_story *s) { (void)f, (void)s; }
void pfc_ex_svg_event(FILE *f, const pfc_ex_story *s, int event) { (void)f, (void)s, (void)event; }
