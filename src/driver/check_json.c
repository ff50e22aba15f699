/* check_json.c: what check found, for programs. Keys are only ever added. */
#include "driver/check.h"
#include <math.h>

static void hex(pfc_json *j, const char *key, double value)
{
    char text[40];
    snprintf(text, sizeof text, "%a", value);
    pfc_json_text(j, key, text);
}

static void worst(const pfc_check *k, pfc_json *j, const pfc_check_row *r)
{
    if (r->c.worst_index < 0) return;
    pfc_json_text(j, "worst_at", r->place.whole);
    pfc_json_int(j, "worst_index", r->place.index);
    if (r->place.rank >= 0) {
        pfc_json_int(j, "rank", r->place.rank);
        pfc_json_int(j, "ranks", k->ranks);
        pfc_json_text(j, "local_at", r->place.local);
    }
    pfc_json_real(j, "got", r->c.got);
    pfc_json_real(j, "want", r->c.want);
    hex(j, "got_hex", r->c.got);
    hex(j, "want_hex", r->c.want);
    pfc_json_real(j, "bound", r->c.bound);
    if (!r->ulp_type) return;
    pfc_json_real(j, "ulp", r->ulp);
    pfc_json_text(j, "ulp_of", r->ulp_type);
}

static void gates(pfc_json *j, const pfc_check_row *r)
{
    static const char *const names[] = { "G1", "G2", "G3", "G4" }, *const words[] = { "n/a", "pass", "fail" };
    pfc_json_begin(j, "gates", '{');
    for (int g = 0; g < PFC_GATES; g++) pfc_json_text(j, names[g], words[r->gate[g]]);
    pfc_json_end(j);
    if (pfc_row_gate(r)) pfc_json_text(j, "failed_gate", names[pfc_row_gate(r) - 1]);
    if (r->gate[1]) {
        pfc_json_real(j, "rms", r->rms);
        pfc_json_real(j, "rms_limit", r->rms_limit);
    }
    if (r->gate[2]) {
        pfc_json_real(j, "slope_error", r->slope);
        pfc_json_real(j, "slope_limit", r->slope_limit);
        pfc_json_real(j, "mean_error", r->mean);
        pfc_json_real(j, "mean_limit", r->mean_limit);
    }
    if (r->gate[3]) {
        pfc_json_text(j, "invariant", r->invariant);
        pfc_json_int(j, "invariant_row", r->invariant_row);
        pfc_json_real(j, "invariant_error", r->invariant_value);
        pfc_json_real(j, "invariant_limit", r->invariant_limit);
    }
}

static void one(const pfc_check *k, pfc_json *j, const pfc_check_row *r)
{
    pfc_json_begin(j, NULL, '{');
    pfc_json_text(j, "tensor", r->c.name);
    pfc_json_text(j, "verdict", pfc_verdict_string(r->c.verdict));
    pfc_json_bool(j, "digest_match", r->c.digest_match);
    if (r->got) pfc_json_text(j, "stored", r->got->stored);
    pfc_json_int(j, "elements", r->c.elements);
    pfc_json_int(j, "bad", r->c.bad);
    pfc_json_real(j, "bad_share", r->c.elements ? (double)r->c.bad / (double)r->c.elements : 0.0);
    pfc_json_int(j, "undecided", r->c.undecided);
    pfc_json_int(j, "ties", r->c.ties);
    pfc_json_real(j, "worst_ratio", r->c.worst_ratio);
    pfc_json_real(j, "worst_abs", r->c.worst_abs);
    pfc_json_real(j, "worst_rel", r->c.worst_rel);
    worst(k, j, r);
    gates(j, r);
    pfc_json_begin(j, "hints", '[');
    for (int i = 0; i < r->hint_count; i++) pfc_json_text(j, NULL, r->hint[i]);
    pfc_json_end(j);
    pfc_json_end(j);
}

void pfc_check_json(const pfc_check *k, pfc_json *j, int status)
{
    char repeat[4096];
    const pfc_check_row *first = k->first_step; /* for programs, or the first that cannot be compared */
    if (!first || (k->lacking_step && k->lacking_step < first)) first = k->lacking_step;
    pfc_check_repeat(k, repeat, sizeof repeat);
    pfc_json_text(j, "golden", k->golden.path);
    pfc_json_text(j, "candidate", k->mine.path);
    pfc_json_text(j, "algorithm", k->golden.algorithm);
    pfc_json_text(j, "dtype", k->dtype);
    if (k->precision) pfc_json_text(j, "bounds", k->precision->name);
    if (k->ranks > 0) pfc_json_int(j, "ranks", k->ranks);
    pfc_json_text(j, "verdict", status == PFC_EXIT_OK ? "match" : status == PFC_EXIT_DIFFERENT ? "different" : "incomplete");
    pfc_json_int(j, "exit_status", status);
    pfc_json_int(j, "compared", k->compared);
    pfc_json_int(j, "different", k->different);
    pfc_json_int(j, "not_comparable", k->lacking);
    if (first) pfc_json_text(j, "first_divergence", first->c.name);
    if (k->first_out) pfc_json_text(j, "first_different_result", k->first_out->c.name);
    if (k->fits) pfc_json_text(j, "would_match_as", k->fits);
    pfc_json_text(j, "repeat", repeat);
    pfc_json_begin(j, "tensors", '[');
    for (int i = 0; i < k->out_count; i++) one(k, j, &k->out[i]);
    for (int i = 0; i < k->step_count; i++) one(k, j, &k->step[i]);
    pfc_json_end(j);
}
