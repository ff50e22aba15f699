/* test_case_file.c: case files: what is written is read again by any number of ranks, byte for byte the same; bad files are refused with one line
 * that all ranks agree on. */
#include "case_toy.h"
#include "pfc_test.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORLD MPI_COMM_WORLD

static char folder[1100];

static const char *at(const char *name)
{
    static char path[2][1400];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* How many files there are; removes them if asked. */
static int count_files(bool remove_them)
{
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        if (e->d_name[0] == '.') continue;
        n++;
        if (remove_them) unlink(at(e->d_name));
    }
    if (d) closedir(d);
    return n;
}

/* The bytes of a file; *size -1: it cannot be read. */
static char *slurp(const char *path, long *size)
{
    FILE *f = fopen(path, "rb");
    *size = -1;
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *size = ftell(f);
    rewind(f);
    char *bytes = malloc((size_t)*size + 1);
    if (fread(bytes, 1, (size_t)*size, f) != (size_t)*size) *size = -1;
    fclose(f);
    return bytes;
}

static bool same_files(const char *a, const char *b)
{
    long n, m;
    char *x = slurp(a, &n), *y = slurp(b, &m);
    bool same = n > 0 && n == m && memcmp(x, y, (size_t)n) == 0;
    free(x);
    free(y);
    return same;
}

enum { EVERYTHING = PFC_WRITE_INPUTS | PFC_WRITE_STEPS | PFC_WRITE_BOUNDS };

/* Writes the toy case with results on these ranks. */
static int write_toy(MPI_Comm comm, const char *path, int64_t rows, int64_t classes, int what, bool with_queue)
{
    pfc_diag d = { 0 };
    pfc_case *c = case_toy_make(comm, rows, classes);
    if (!with_queue) { /* its size is the number of ranks */
        free(c->in.items[--c->in.count].data);
    }
    int status = pfc_case_check(comm, c, &d);
    if (!status) {
        case_toy_results(comm, c);
        status = pfc_case_write(comm, path, c, what, &d);
    }
    pfc_case_free(c);
    return status;
}

static pfc_case *read_toy(const char *name, int what, pfc_diag *d)
{
    pfc_case *c = NULL;
    *d = (pfc_diag){ 0 };
    pfc_case_read_from(WORLD, at(name), what, case_toy_table, NULL, &c, d);
    return c;
}

static bool as_made(const pfc_tensor_list *list, int count)
{
    bool ok = list->count == count;
    for (int k = 0; k < list->count; k++) {
        const pfc_tensor *t = &list->items[k];
        for (int64_t i = 0; i < pfc_tensor_local(t); i++) ok = ok && pfc_tensor_get(t, i) == case_toy_value(t->name, pfc_tensor_global_index(t, i));
    }
    return ok;
}

/* ---- writing and reading again ---- */

START_TEST(round_trip)
{
    static const int64_t classes[] = { 1, 4, 37 };
    pfc_diag d;
    PFC_AGREE(WORLD, write_toy(WORLD, at("all.h5"), 6 * pfc_test_ranks(), classes[_i], EVERYTHING, true) == 0);
    pfc_case *c = read_toy("all.h5", PFC_READ_INPUTS | PFC_READ_RESULTS | PFC_READ_BOUNDS, &d);
    PFC_AGREE(WORLD, c != NULL);
    PFC_AGREE(WORLD, as_made(&c->in, 6) && as_made(&c->out, 4) && as_made(&c->step, 3) && as_made(&c->bound_out, 2) && as_made(&c->bound_step, 1));
    PFC_AGREE(WORLD, strcmp(c->name, "all") == 0 && strcmp(c->spec, "exact-v1") == 0 && c->rounded == 0 && c->world == -1);
    PFC_AGREE(WORLD, strcmp(pfc_param_word(c, "head"), "arc") == 0 && pfc_param_real(c, "scale") == 64.0 && !pfc_param_present(c, "count"));
    for (int k = 0; k < c->out.count; k++) { /* the digest in the file is that of the data */
        char stored[65];
        memcpy(stored, c->out.items[k].sha256, sizeof stored);
        PFC_AGREE(WORLD, pfc_tensor_digest(WORLD, &c->out.items[k], &d) == 0 && strcmp(stored, c->out.items[k].sha256) == 0);
    }
    PFC_AGREE(WORLD, pfc_tensor_find(&c->step, "logits")->order == 2 && pfc_tensor_find(&c->step, "row_sum_1")->order == 1);
    pfc_case_free(c);
}
END_TEST

START_TEST(same_bytes_from_one_rank)
{
    bool alone = true;
    PFC_AGREE(WORLD, write_toy(WORLD, at("many.h5"), 30, 4, EVERYTHING, false) == (30 % pfc_test_ranks() ? PFC_EXIT_FILE : 0));
    if (30 % pfc_test_ranks()) return;
    if (pfc_test_rank() == 0) alone = write_toy(MPI_COMM_SELF, at("one.h5"), 30, 4, EVERYTHING, false) == 0 && same_files(at("one.h5"), at("many.h5"));
    PFC_AGREE(WORLD, alone);
}
END_TEST

START_TEST(results_without_inputs)
{
    pfc_diag d;
    PFC_AGREE(WORLD, write_toy(WORLD, at("out.h5"), 6 * pfc_test_ranks(), 5, 0, true) == 0);
    pfc_case *c = read_toy("out.h5", PFC_READ_RESULTS, &d);
    PFC_AGREE(WORLD, c && c->in.count == 0 && c->step.count == 0 && as_made(&c->out, 4));
    pfc_case_free(c);
    PFC_AGREE(WORLD, read_toy("out.h5", PFC_READ_INPUTS, &d) == NULL && d.exit_status == PFC_EXIT_FILE && strstr(d.text, "/in/features"));
}
END_TEST

START_TEST(world_is_written_when_it_matters)
{
    pfc_diag d = { 0 };
    pfc_case *c = case_toy_make(WORLD, 6 * pfc_test_ranks(), 4);
    c->depends_on_world = true;
    PFC_AGREE(WORLD, pfc_case_check(WORLD, c, &d) == 0 && pfc_case_write(WORLD, at("world.h5"), c, PFC_WRITE_INPUTS, &d) == 0);
    pfc_case_free(c);
    c = read_toy("world.h5", PFC_READ_INPUTS, &d);
    PFC_AGREE(WORLD, c && c->world == pfc_test_ranks());
    pfc_case_free(c);
}
END_TEST

START_TEST(failed_write_leaves_nothing)
{
    pfc_diag d = { 0 };
    PFC_AGREE(WORLD, write_toy(WORLD, at("keep.h5"), 6 * pfc_test_ranks(), 4, EVERYTHING, true) == 0);
    PFC_AGREE(WORLD, pfc_test_rank() > 0 || link(at("keep.h5"), at("copy.h5")) == 0);
    int before = 0, after = 0;
    if (pfc_test_rank() == 0) before = count_files(false);
    MPI_Barrier(WORLD);
    pfc_case *c = case_toy_make(WORLD, 6 * pfc_test_ranks(), 4);
    int64_t three = 3;
    PFC_AGREE(WORLD, pfc_tensor_add(WORLD, &c->out, "stranger", PFC_F64, 1, &three, PFC_DIST_NONE, 0) != NULL);
    PFC_AGREE(WORLD, pfc_case_write(WORLD, at("keep.h5"), c, EVERYTHING, &d) == PFC_EXIT_RUNTIME && strstr(d.text, "stranger"));
    d = (pfc_diag){ 0 };
    PFC_AGREE(WORLD, pfc_case_write(WORLD, at("no/such/folder.h5"), c, EVERYTHING, &d) == PFC_EXIT_RUNTIME && strstr(d.text, "No such file"));
    d = (pfc_diag){ 0 };
    PFC_AGREE(WORLD, pfc_case_write(WORLD, folder, c, EVERYTHING, &d) == PFC_EXIT_RUNTIME && strstr(d.text, "directory"));
    if (pfc_test_rank() == 0) after = count_files(false);
    PFC_AGREE(WORLD, before == after && (pfc_test_rank() > 0 || same_files(at("keep.h5"), at("copy.h5"))));
    pfc_case_free(c);
}
END_TEST

/* ---- bad files, made by spoiling a good one with the serial library ---- */

/* Replaces /in/NAME by n values of a memory type, stored as such. */
static void replace(hid_t file, const char *name, hid_t type, int ndim, const hsize_t *dims, const void *data)
{
    H5Ldelete(file, name, H5P_DEFAULT);
    hid_t space = H5Screate_simple(ndim, dims, NULL), set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (data) H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    H5Dclose(set);
    H5Sclose(space);
}

static void set_number(hid_t file, const char *name, double value)
{
    hid_t group = H5Gopen2(file, "param", H5P_DEFAULT), space = H5Screate(H5S_SCALAR);
    if (H5Aexists(group, name) > 0) H5Adelete(group, name);
    hid_t a = H5Acreate2(group, name, H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(a, H5T_NATIVE_DOUBLE, &value);
    H5Aclose(a);
    H5Sclose(space);
    H5Gclose(group);
}

static const double NUMBERS[64] = { 1, 2, 3, 1e300 };
static const hsize_t FOUR_THREE[2] = { 4, 3 }, FOUR_TWO[2] = { 4, 2 }, NOUGHT_THREE[2] = { 0, 3 };

static void no_labels(hid_t f) { H5Ldelete(f, "in/labels", H5P_DEFAULT); }
static void unknown_input(hid_t f) { H5Lcopy(f, "in/labels", f, "in/label", H5P_DEFAULT, H5P_DEFAULT); }
static void unknown_param(hid_t f) { set_number(f, "scala", 1); }
static void half_a_count(hid_t f) { set_number(f, "count", 0.5); }
static void other_world(hid_t f) { set_number(f, "world", 1000); }
static void no_head(hid_t f) { H5Adelete_by_name(f, "param", "head", H5P_DEFAULT); }
static void narrow_weight(hid_t f) { replace(f, "in/weight", H5T_NATIVE_DOUBLE, 2, FOUR_TWO, NUMBERS); }
static void overflow(hid_t f) { replace(f, "in/weight", H5T_NATIVE_DOUBLE, 2, FOUR_THREE, NUMBERS); }
static void float_labels(hid_t f) { replace(f, "in/labels", H5T_NATIVE_DOUBLE, 1, FOUR_TWO, NUMBERS); }
static void empty_weight(hid_t f) { replace(f, "in/weight", H5T_NATIVE_DOUBLE, 2, NOUGHT_THREE, NULL); }
static void unwritten(hid_t f) { replace(f, "in/weight", H5T_NATIVE_DOUBLE, 2, FOUR_THREE, NULL); }
static void uneven(hid_t f)
{
    static const hsize_t rows[2] = { 1, 3 };
    replace(f, "in/features", H5T_NATIVE_DOUBLE, 2, rows, NUMBERS);
    replace(f, "in/labels", H5T_NATIVE_INT, 1, rows, NUMBERS);
}
static void soft_link(hid_t f)
{
    H5Lmove(f, "in/weight", f, "elsewhere", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/elsewhere", f, "in/weight", H5P_DEFAULT, H5P_DEFAULT);
}
static void no_format(hid_t f) { H5Adelete(f, "format"); }
static void version_2(hid_t f)
{
    hid_t a = H5Aopen(f, "format_version", H5P_DEFAULT);
    int two = 2;
    H5Awrite(a, H5T_NATIVE_INT, &two);
    H5Aclose(a);
}

static const struct {
    void (*spoil)(hid_t);
    const char *text;
} BAD[] = {
    { no_labels, "/in/labels: found nothing" },
    { unknown_input, "/in/label: found an unknown input" },
    { unknown_param, "/param/scala: found an unknown parameter" },
    { half_a_count, "/param/count: found 0.5, expected an integer" },
    { other_world, "/param/world: found" },
    { no_head, "/param/head: found nothing, expected linear, cos or arc" },
    { narrow_weight, "/in/weight: found shape (4,2), expected (C,D) with D = 3" },
    { overflow, "/in/weight: found 1.0000000000000001e+300 at (1,0)" },
    { float_labels, "/in/labels: found f64, expected integers" },
    { empty_weight, "/in/weight: found shape (0,3), which is empty" },
    { unwritten, "/in/weight: found a dataset without stored data" },
    { soft_link, "/in/weight: found a soft link" },
    { no_format, "attribute format: found nothing, expected \"pfc-case\"" },
    { version_2, "attribute format_version: found 2, expected 1" },
};

static void spoil(const char *name, void (*how)(hid_t))
{
    if (pfc_test_rank() == 0) {
        hid_t f = H5Fopen(at(name), H5F_ACC_RDWR, H5P_DEFAULT);
        how(f);
        H5Fclose(f);
    }
    MPI_Barrier(WORLD);
}

/* Refused with status 3 and one line, the same on all ranks. */
static bool refused(const char *name, const char *text)
{
    pfc_diag d;
    char first[sizeof d.text];
    bool null = read_toy(name, PFC_READ_INPUTS, &d) == NULL;
    memcpy(first, d.text, sizeof first);
    MPI_Bcast(first, sizeof first, MPI_CHAR, 0, WORLD);
    bool ok = null && d.exit_status == PFC_EXIT_FILE && strstr(d.text, text) && strstr(d.text, name) && !strchr(d.text, '\n') && strcmp(first, d.text) == 0;
    if (!ok) fprintf(stderr, "expected ...%s..., found %s\n", text, d.text);
    return ok;
}

START_TEST(bad_file)
{
    PFC_AGREE(WORLD, write_toy(WORLD, at("bad.h5"), 6 * pfc_test_ranks(), 4, PFC_WRITE_INPUTS, true) == 0);
    spoil("bad.h5", BAD[_i].spoil);
    PFC_AGREE(WORLD, refused("bad.h5", BAD[_i].text));
}
END_TEST

START_TEST(uneven_batch)
{
    PFC_AGREE(WORLD, write_toy(WORLD, at("uneven.h5"), 6 * pfc_test_ranks(), 4, PFC_WRITE_INPUTS, true) == 0);
    spoil("uneven.h5", uneven);
    pfc_diag d;
    pfc_case *c = pfc_test_ranks() == 1 ? read_toy("uneven.h5", PFC_READ_INPUTS, &d) : NULL;
    PFC_AGREE(WORLD, pfc_test_ranks() == 1 ? c != NULL : refused("uneven.h5", "/in/features: found N = 1, expected a multiple"));
    pfc_case_free(c);
}
END_TEST

START_TEST(no_case_file_at_all)
{
    if (pfc_test_rank() == 0) {
        FILE *f = fopen(at("text.h5"), "w");
        if (f) fputs("not HDF5\n", f);
        if (f) fclose(f);
    }
    PFC_AGREE(WORLD, write_toy(WORLD, at("cut.h5"), 6 * pfc_test_ranks(), 4, PFC_WRITE_INPUTS, true) == 0);
    PFC_AGREE(WORLD, pfc_test_rank() > 0 || truncate(at("cut.h5"), 3000) == 0);
    PFC_AGREE(WORLD, refused("text.h5", "no intact HDF5 file"));
    PFC_AGREE(WORLD, refused("cut.h5", "truncated"));
    PFC_AGREE(WORLD, refused("nowhere.h5", "No such file"));
    PFC_AGREE(WORLD, refused("", "a directory"));
}
END_TEST

/* ---- encodings ---- */

static hid_t half_type(size_t mantissa, size_t exponent, size_t bias)
{
    hid_t t = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(t, 15, mantissa, exponent, 0, mantissa);
    H5Tset_ebias(t, bias);
    H5Tset_precision(t, 16);
    H5Tset_size(t, 2);
    return t;
}

static const uint16_t HALVES[12] = { 0x3c00, 0xc000, 0x0001, 0x7c00 }; /* 1, -2, 2^-24, inf */
static const uint16_t BRAINS[12] = { 0x3f80, 0xc000, 0x3f81, 0x7f80 }; /* 1, -2, 1 + 2^-7, inf */

static void half_results(hid_t f)
{
    hid_t half = half_type(10, 5, 15), brain = half_type(7, 8, 127);
    replace(f, "out/weight", half, 2, FOUR_THREE, HALVES);
    replace(f, "step/row_sum_0", brain, 1, FOUR_THREE, BRAINS);
    H5Tclose(half);
    H5Tclose(brain);
}

START_TEST(half_precision_results)
{
    pfc_diag d;
    PFC_AGREE(WORLD, write_toy(WORLD, at("half.h5"), 6 * pfc_test_ranks(), 4, EVERYTHING, true) == 0);
    spoil("half.h5", half_results);
    pfc_case *c = read_toy("half.h5", PFC_READ_RESULTS, &d);
    PFC_AGREE(WORLD, c != NULL);
    const pfc_tensor *w = pfc_tensor_find(&c->out, "weight"), *s = pfc_tensor_find(&c->step, "row_sum_0");
    static const double halves[4] = { 1, -2, 0x1p-24, INFINITY }, brains[4] = { 1, -2, 1 + 0x1p-7, INFINITY };
    bool ok = strcmp(w->stored, "f16") == 0 && strcmp(s->stored, "bf16") == 0 && w->dtype == PFC_F32 && s->dtype == PFC_F32;
    for (int64_t i = 0; i < pfc_tensor_local(w); i++) {
        int64_t g = pfc_tensor_global_index(w, i);
        ok = ok && pfc_tensor_get(w, i) == (g < 4 ? halves[g] : 0.0);
    }
    for (int64_t i = 0; i < 4; i++) ok = ok && pfc_tensor_get(s, i) == brains[i];
    PFC_AGREE(WORLD, ok);
    pfc_case_free(c);
    spoil("half.h5", narrow_weight);
    PFC_AGREE(WORLD, refused("half.h5", "/in/weight"));
}
END_TEST

static void doubles(hid_t f)
{
    static const double x[12] = { 1, 1 + 1e-12, 2, 2 + 1e-12, 3e38 };
    static const hsize_t one = 1;
    replace(f, "in/weight", H5T_IEEE_F64BE, 2, FOUR_THREE, NULL);
    hid_t set = H5Dopen2(f, "in/weight", H5P_DEFAULT);
    H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, x);
    H5Dclose(set);
    replace(f, "in/table", H5T_NATIVE_DOUBLE, 1, &one, x); /* (1,) for a scalar */
    set_number(f, "count", 7.0);
}

START_TEST(doubles_are_rounded_and_counted)
{
    pfc_diag d;
    PFC_AGREE(WORLD, write_toy(WORLD, at("doubles.h5"), 6 * pfc_test_ranks(), 4, PFC_WRITE_INPUTS, true) == 0);
    spoil("doubles.h5", doubles);
    pfc_case *c = read_toy("doubles.h5", PFC_READ_INPUTS, &d);
    PFC_AGREE(WORLD, c != NULL);
    PFC_AGREE(WORLD, c->rounded == 3 && pfc_param_int(c, "count") == 7); /* 3e38 is no float32 either */
    const pfc_tensor *w = pfc_tensor_find(&c->in, "weight"), *s = pfc_tensor_find(&c->in, "table");
    bool ok = s->ndim == 0 && pfc_tensor_get(s, 0) == 1.0 && w->dtype == PFC_F32;
    static const double x[12] = { 1, 1, 2, 2, (double)3e38f };
    for (int64_t i = 0; i < pfc_tensor_local(w); i++) ok = ok && pfc_tensor_get(w, i) == x[pfc_tensor_global_index(w, i)];
    PFC_AGREE(WORLD, ok);
    pfc_case_free(c);
}
END_TEST

/* The first test and the last. What a killed run left is removed. */
START_TEST(a_folder_for_them)
{
    snprintf(folder, sizeof folder, "%s", pfc_test_path("case_file"));
    if (pfc_test_rank() == 0 && mkdir(folder, 0777) != 0) count_files(true);
    MPI_Barrier(WORLD);
    PFC_AGREE(WORLD, access(folder, W_OK) == 0);
}
END_TEST

START_TEST(nothing_else_is_left)
{
    MPI_Barrier(WORLD);
    if (pfc_test_rank() == 0) count_files(true);
    PFC_AGREE(WORLD, pfc_test_rank() > 0 || rmdir(folder) == 0);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(a_folder_for_them),
        PFC_LOOP(round_trip, 3),
        PFC_ONCE(same_bytes_from_one_rank),
        PFC_ONCE(results_without_inputs),
        PFC_ONCE(world_is_written_when_it_matters),
        PFC_ONCE(failed_write_leaves_nothing),
        PFC_LOOP(bad_file, sizeof BAD / sizeof BAD[0]),
        PFC_ONCE(uneven_batch),
        PFC_ONCE(no_case_file_at_all),
        PFC_ONCE(half_precision_results),
        PFC_ONCE(doubles_are_rounded_and_counted),
        PFC_ONCE(nothing_else_is_left),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
