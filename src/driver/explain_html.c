/* explain_html.c */
#include "driver/explain.h"
const pfc_ex_writer pfc_ex_html = { 0 };
