/* explain_tell.c: a story from beginning to end, whoever writes it down. */
#include "driver/explain.h"

#include "case/internal.h"
#include <stdlib.h>
#include <string.h>

/* Those lines that hold in this run, if there are any. */
static void lines(FILE *f, void (*tell)(FILE *f, const char *text), const pfc_ex_story *s, const char *text)
{
    char *told = pfc_ex_lines(s, text);
    if (text && !told) tell(f, "(There is no memory left to tell this.)");
    if (told && told[0]) tell(f, told);
    free(told);
}

/* ---- before the steps ---- */

/* "The steps are ..."; the settings of the example, and how places are written in tables. */
static void how_to_read(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    char *text = NULL, letter;
    size_t size = 0;
    FILE *o = open_memstream(&text, &size);
    const pfc_param_spec *spec = s->c->algorithm->params;
    if (!o) return;
    fprintf(o, "The steps are those at the top of %s.%s%s", s->told->source, s->told->exchanges ? " " : "", s->told->exchanges ? w->legend : "");
    int n = 0;
    for (int i = 0; spec[i].name; i++) {
        const pfc_param *p = &s->c->param[i];
        if (!p->given) continue;
        fprintf(o, "%s %s=", n++ ? "" : "\nThe example:", spec[i].name);
        if (spec[i].type == PFC_PARAM_INT) fprintf(o, "%lld", (long long)p->i);
        if (spec[i].type == PFC_PARAM_REAL) fprintf(o, "%g", p->r);
        if (spec[i].type == PFC_PARAM_WORD) fprintf(o, "%s", p->word);
    }
    fprintf(o, n ? "; the rest as `pfc_ref list` has it." : "\nThe example: all settings as `pfc_ref list` has them.");
    letter = pfc_ex_first_letter(s);
    if (letter) fprintf(o, "\nIn tables %c2 is number 2 along the axis %c, counted from 0.", letter, letter - 'a' + 'A');
    if (s->rounds > 1)
        fprintf(o,
                "\nThese are %d training steps with the same inputs. Exchanges are told of each; tensors are of the last one, but for results that "
                "have an axis of "
                "steps: 0:n2 is n2 of the first.",
                s->rounds);
    fclose(o);
    for (char *line = text, *rest = NULL; (line = strtok_r(line, "\n", &rest)); line = NULL) w->prose(f, line);
    free(text);
}

static bool has_exponents(const pfc_ex_story *s)
{
    for (int i = 0; i < s->event_count; i++)
        if (pfc_ex_event_of(s, i, 0)->kind == 'e') return true;
    return false;
}

/* Inputs and their cut. */
static void holdings(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    int inputs = s->c->in.count;
    char text[80];
    bool slices = false;
    pfc_ex_table t = { .columns = inputs + 1 };
    pfc_ex_panel p;
    if (inputs == 0) return;
    pfc_ex_cell(&t, "%s", "");
    for (int i = 0; i < inputs; i++) pfc_ex_cell(&t, "%s", s->tensors[i].t->name);
    pfc_ex_cell(&t, "%s", "");
    for (int i = 0; i < inputs; i++) pfc_ex_cell(&t, "%s", pfc_shape_text(s->tensors[i].t, text, sizeof text));
    for (int r = 0; r < s->ranks; r++) {
        pfc_ex_cell(&t, "rank %d", r);
        for (int i = 0; i < inputs; i++) {
            bool ok = pfc_ex_panel_tensor(s, &s->tensors[i], &p);
            pfc_ex_cell(&t, "%s", ok ? pfc_ex_part_text(s->tensors[i].t, &p, r, text) : "");
            if (ok) pfc_ex_panel_free(&p);
            slices = slices || s->tensors[i].t->dist == PFC_DIST_RANK;
        }
        pfc_ex_own(&t, r);
    }
    w->heading(f, "", "Which rank holds what");
    pfc_ex_give(f, w, &t);
    if (slices) w->prose(f, "Slice 1 is number 1 along the first axis, counted from 0.");
}

/* ---- steps ---- */

/* Tensors of the step that are inputs, or those that are not. */
static void tensors(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s, const pfc_ex_step *step, bool inputs)
{
    for (int i = 0; i < s->tensor_count; i++) {
        const pfc_ex_tensor *t = &s->tensors[i];
        pfc_ex_panel p;
        if ((strcmp(t->list, "in") == 0) != inputs || !pfc_ex_shows(s, step, t) || !pfc_ex_panel_tensor(s, t, &p)) continue;
        w->panel(f, &p);
        pfc_ex_panel_free(&p);
    }
}

static void tell_step(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s, const pfc_ex_step *step)
{
    w->heading(f, step->number, step->title);
    lines(f, w->equations, s, step->equations);
    if (!pfc_ex_holds(s, step->when)) {
        w->prose(f, "Not taken with these settings.");
        return;
    }
    lines(f, w->prose, s, step->note);
    tensors(f, w, s, step, true);
    for (int i = 0; i < s->event_count; i++)
        if (strcmp(s->entry[i]->step, step->number) == 0) pfc_ex_tell_exchange(f, w, s, i);
    tensors(f, w, s, step, false);
}

/* ---- the end ---- */

static void checks(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    pfc_ex_table t = { .columns = 4 };
    bool good = true;
    pfc_ex_cell(&t, "result");
    pfc_ex_cell(&t, "largest error");
    pfc_ex_cell(&t, "allowed");
    pfc_ex_cell(&t, "verdict");
    for (int i = 0; i < s->check_count; i++) {
        const pfc_ex_check *c = &s->checks[i];
        pfc_ex_cell(&t, "%s", c->name);
        pfc_ex_cell(&t, "%.2g", c->error);
        pfc_ex_cell(&t, c->bound > 0.0 ? "%.2g" : "equal", c->bound);
        pfc_ex_cell(&t, "%s", c->good ? "match" : "DIFFERENT");
        good = good && c->good;
    }
    w->heading(f, "", s->against);
    pfc_ex_give(f, w, &t);
    w->prose(f, good ? "All results match." : "RESULTS DIFFER.");
}

void pfc_ex_tell(FILE *f, const pfc_ex_writer *w, const pfc_ex_story *s)
{
    w->begin(f, s);
    lines(f, w->prose, s, s->told->about);
    how_to_read(f, w, s);
    if (has_exponents(s))
        w->prose(f, "Exact mode adds numbers as integers, so that their order does not matter. Exponents, e, are exchanged before: the integers of "
                    "all ranks "
                    "must count in the same unit (doc/numerics.md).");
    w->heading(f, "", "Letters");
    lines(f, w->letters, s, s->told->letters);
    holdings(f, w, s);
    if (w->overview) w->overview(f, s);
    for (const pfc_ex_step *step = s->told->steps; step->number; step++) tell_step(f, w, s, step);
    pfc_ex_tell_traffic(f, w, s);
    checks(f, w, s);
    w->end(f, s);
}

void pfc_ex_json(pfc_json *j, const pfc_ex_story *s)
{
    pfc_json_text(j, "algorithm", s->told->name);
    pfc_json_text(j, "mode", s->mode == PFC_EXACT ? "exact" : "fast");
    pfc_json_int(j, "ranks", s->ranks);
    pfc_json_begin(j, "exchanges", '[');
    for (int i = 0; i < s->event_count; i++) {
        const pfc_ex_exchange *x = s->entry[i];
        pfc_json_begin(j, NULL, '{');
        pfc_json_text(j, "step", x->step);
        pfc_json_text(j, "operation", pfc_ex_op_name(pfc_ex_event_of(s, i, 0)->op));
        pfc_json_text(j, "of", x->what);
        if (s->told->rounds) pfc_json_int(j, "training_step", s->round[i]);
        for (int side = 0; side < 2; side++) {
            pfc_json_begin(j, side ? "bytes_out" : "bytes_in", '[');
            for (int r = 0; r < s->ranks; r++) pfc_json_int(j, NULL, pfc_ex_event_of(s, i, r)->side[side].bytes);
            pfc_json_end(j);
        }
        pfc_json_end(j);
    }
    pfc_json_end(j);
    pfc_json_begin(j, "checks", '[');
    for (int i = 0; i < s->check_count; i++) {
        pfc_json_begin(j, NULL, '{');
        pfc_json_text(j, "result", s->checks[i].name);
        pfc_json_real(j, "error", s->checks[i].error);
        pfc_json_real(j, "bound", s->checks[i].bound);
        pfc_json_bool(j, "match", s->checks[i].good);
        pfc_json_end(j);
    }
    pfc_json_end(j);
}
