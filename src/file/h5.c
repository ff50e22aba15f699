/* h5.c: the few HDF5 idioms that reading and writing share. */
#include "file/h5.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STRING_BYTES = 4096, LARGEST_CHUNK = 1 << 28 };

pfc_h5_quiet pfc_h5_quiet_begin(void)
{
    pfc_h5_quiet saved = { NULL, NULL };
    H5Eget_auto2(H5E_DEFAULT, &saved.function, &saved.data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return saved;
}

void pfc_h5_quiet_end(pfc_h5_quiet saved) { H5Eset_auto2(H5E_DEFAULT, saved.function, saved.data); }

static herr_t first_reason(unsigned n, const H5E_error2_t *error, void *text)
{
    (void)n;
    char *buffer = text;
    if (!buffer[0] && error->desc) snprintf(buffer, 160, "%s", error->desc);
    return 0;
}

const char *pfc_h5_reason(char *buffer, size_t size)
{
    char text[160] = "";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first_reason, text);
    snprintf(buffer, size, "%s", text[0] ? text : "unknown reason");
    return buffer;
}

hid_t pfc_h5_access(MPI_Comm comm, bool write)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
    if (fapl < 0) return fapl;
    herr_t bad = comm == MPI_COMM_NULL ? 0 : H5Pset_fapl_mpio(fapl, comm, MPI_INFO_NULL);
    if (bad >= 0 && write) bad = H5Pset_libver_bounds(fapl, H5F_LIBVER_V18, H5F_LIBVER_V18);
    if (bad >= 0) bad = H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG);
#if H5_VERSION_GE(1, 10, 7)
    if (bad >= 0) bad = H5Pset_file_locking(fapl, 0, 1); /* not every file system has locks; reading needs none */
#endif
    if (bad >= 0) return fapl;
    H5Pclose(fapl);
    return -1;
}

int pfc_h5_link(hid_t where, const char *name, const char **which)
{
    H5L_info_t info;
    if (H5Lexists(where, name, H5P_DEFAULT) <= 0) return 0;
    if (H5Lget_info(where, name, &info, H5P_DEFAULT) < 0) return 0;
    if (info.type == H5L_TYPE_HARD) return 1;
    *which = info.type == H5L_TYPE_SOFT ? "a soft link" : info.type == H5L_TYPE_EXTERNAL ? "a link to another file" : "a link of unknown type";
    return -1;
}

/* ---- attributes ---- */

const char *pfc_value_text(const pfc_value *v, char *buffer, size_t size)
{
    if (v->kind == PFC_VALUE_INT)
        snprintf(buffer, size, "%lld", (long long)v->i);
    else if (v->kind == PFC_VALUE_REAL)
        snprintf(buffer, size, v->r == floor(v->r) && fabs(v->r) < 0x1p64 ? "%.0f" : "%.17g", v->r);
    else
        snprintf(buffer, size, "\"%s\"", v->text);
    return buffer;
}

static void trim(char *text, H5T_str_t pad)
{
    size_t n = strlen(text);
    while (pad == H5T_STR_SPACEPAD && n > 0 && text[n - 1] == ' ') text[--n] = '\0';
}

/* Fixed or variable length, any padding, ASCII or UTF-8. */
static int read_string(hid_t attribute, hid_t type, pfc_value *value, char *found, size_t size)
{
    char *text = NULL;
    size_t bytes = H5Tget_size(type);
    bool variable = H5Tis_variable_str(type) > 0;
    if (!variable && bytes > STRING_BYTES) {
        snprintf(found, size, "a string of %zu bytes", bytes);
        return -1;
    }
    /* The memory type is the file's own: then nothing is converted and the character set does not matter. */
    if (!variable) text = calloc(1, bytes + 1);
    herr_t bad = variable ? H5Aread(attribute, type, &text) : text ? H5Aread(attribute, type, text) : -1;
    if (bad >= 0) {
        value->kind = PFC_VALUE_TEXT;
        snprintf(value->text, sizeof value->text, "%s", text ? text : "");
        if (!variable) trim(value->text, H5Tget_strpad(type));
    } else {
        snprintf(found, size, "a string that cannot be read");
    }
    if (variable && text && bad >= 0)
        H5free_memory(text);
    else if (!variable)
        free(text);
    return bad < 0 ? -1 : 0;
}

static int read_number(hid_t attribute, hid_t type, H5T_class_t class, pfc_value *value)
{
    if (class == H5T_FLOAT) {
        value->kind = PFC_VALUE_REAL;
        return H5Aread(attribute, H5T_NATIVE_DOUBLE, &value->r) < 0 ? -1 : 0;
    }
    hid_t base = class == H5T_ENUM ? H5Tget_super(type) : H5Tcopy(type);
    bool is_unsigned = H5Tget_sign(base) == H5T_SGN_NONE;
    H5Tclose(base);
    value->kind = PFC_VALUE_INT;
    if (!is_unsigned) return H5Aread(attribute, H5T_NATIVE_INT64, &value->i) < 0 ? -1 : 0;
    uint64_t u = 0;
    if (H5Aread(attribute, H5T_NATIVE_UINT64, &u) < 0) return -1;
    value->i = (int64_t)u;
    if (u > (uint64_t)INT64_MAX) { /* no integer of ours; as a real it is refused where an integer is wanted */
        value->kind = PFC_VALUE_REAL;
        value->r = (double)u;
    }
    return 0;
}

static int read_open(hid_t attribute, pfc_value *value, char *found, size_t size)
{
    hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);
    hssize_t n = H5Sget_simple_extent_type(space) == H5S_NULL ? 0 : H5Sget_simple_extent_npoints(space);
    H5T_class_t class = H5Tget_class(type);
    int bad = -1;
    memset(value, 0, sizeof *value);
    if (n != 1)
        snprintf(found, size, "%lld values", (long long)n);
    else if (class == H5T_STRING)
        bad = read_string(attribute, type, value, found, size);
    else if (class == H5T_INTEGER || class == H5T_FLOAT || class == H5T_ENUM) {
        bad = H5Tget_size(type) > 16 ? -1 : read_number(attribute, type, class, value);
        if (bad) snprintf(found, size, "a number that cannot be read");
    } else
        snprintf(found, size, "a value that is neither number nor string");
    H5Tclose(type);
    H5Sclose(space);
    return bad;
}

int pfc_h5_read_attribute(hid_t object, const char *name, pfc_value *value, char *found, size_t size)
{
    snprintf(found, size, "nothing");
    if (H5Aexists(object, name) <= 0) return -1;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    snprintf(found, size, "an attribute that cannot be read");
    if (attribute < 0) return -1;
    int bad = read_open(attribute, value, found, size);
    H5Aclose(attribute);
    return bad;
}

/* ---- types of datasets ---- */

typedef struct float_layout {
    const char *name;
    size_t size, sign, exponent, exponent_bits, mantissa, mantissa_bits, bias;
} float_layout;

static const float_layout floats[] = {
    { "f64", 8, 63, 52, 11, 0, 52, 1023 },
    { "f32", 4, 31, 23, 8, 0, 23, 127 },
    { "f16", 2, 15, 10, 5, 0, 10, 15 },
    { "bf16", 2, 15, 7, 8, 0, 7, 127 },
};

static const char *stored_float(hid_t type)
{
    size_t s, e, es, m, ms;
    if (H5Tget_fields(type, &s, &e, &es, &m, &ms) < 0 || H5Tget_offset(type) != 0) return NULL;
    for (size_t k = 0; k < sizeof floats / sizeof floats[0]; k++) {
        const float_layout *f = &floats[k];
        if (H5Tget_size(type) == f->size && s == f->sign && e == f->exponent && es == f->exponent_bits && m == f->mantissa && ms == f->mantissa_bits &&
            H5Tget_ebias(type) == f->bias)
            return f->name;
    }
    return NULL;
}

const char *pfc_h5_stored(hid_t type, char *found, size_t size)
{
    static const char *const integers[2][4] = { { "i8", "i16", "i32", "i64" }, { "u8", "u16", "u32", "u64" } };
    H5T_class_t class = H5Tget_class(type);
    size_t bytes = H5Tget_size(type);
    const char *name = class == H5T_FLOAT ? stored_float(type) : NULL;
    if (class == H5T_INTEGER && (bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8))
        name = integers[H5Tget_sign(type) == H5T_SGN_NONE][bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3];
    const char *word = class == H5T_FLOAT      ? "floating-point numbers"
                       : class == H5T_INTEGER  ? "integers"
                       : class == H5T_STRING   ? "strings"
                       : class == H5T_ENUM     ? "an enumeration"
                       : class == H5T_COMPOUND ? "compound values"
                                               : "values of another class";
    if (name)
        snprintf(found, size, "%s", name);
    else
        snprintf(found, size, "%s of %zu bytes", word, bytes);
    return name ? name : "other";
}

hid_t pfc_h5_memory_type(pfc_dtype dtype)
{
    return dtype == PFC_F32 ? H5T_NATIVE_FLOAT : dtype == PFC_F64 ? H5T_NATIVE_DOUBLE : dtype == PFC_U8 ? H5T_NATIVE_UINT8 : H5T_NATIVE_INT64;
}

/* ---- storage ---- */

/* Whether every chunk was written, and whether one may be read: HDF5 holds a filtered one in memory as a whole. */
static const char *chunk_fault(hid_t dataset, hid_t dcpl, hid_t space, hid_t type)
{
    hsize_t chunk[H5S_MAX_RANK], extent[H5S_MAX_RANK], chunks = 0, needed = 1, bytes = H5Tget_size(type);
    int n = H5Sget_simple_extent_dims(space, extent, NULL);
    if (n <= 0 || H5Pget_chunk(dcpl, H5S_MAX_RANK, chunk) != n) return "chunks of other axes than the dataset";
    for (int k = 0; k < n; k++) {
        if (chunk[k] == 0 || needed > UINT64_MAX / (extent[k] / chunk[k] + 1) || bytes > LARGEST_CHUNK / chunk[k])
            return "chunks of more than 256 MiB, expected smaller ones";
        bytes *= chunk[k];
        needed *= extent[k] / chunk[k] + (extent[k] % chunk[k] != 0);
    }
    if (H5Dget_num_chunks(dataset, space, &chunks) < 0 || chunks < needed) return "a dataset of which some chunks were never written, expected all its values";
    return NULL;
}

const char *pfc_h5_storage_fault(hid_t dataset)
{
    hid_t dcpl = H5Dget_create_plist(dataset), space = H5Dget_space(dataset), type = H5Dget_type(dataset);
    const char *fault = dcpl < 0 || space < 0 || type < 0 ? "a dataset that cannot be read" : NULL;
    H5D_layout_t layout = fault ? H5D_LAYOUT_ERROR : H5Pget_layout(dcpl);
    if (!fault && (layout == H5D_VIRTUAL || H5Pget_external_count(dcpl) > 0)) fault = "data that lies in other files, expected it in this file";
    if (!fault && H5Sget_simple_extent_npoints(space) != 0 && H5Dget_storage_size(dataset) == 0) fault = "a dataset without stored data, expected its values";
    if (!fault && layout == H5D_CHUNKED && H5Sget_simple_extent_npoints(space) != 0) fault = chunk_fault(dataset, dcpl, space, type);
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (dcpl >= 0) H5Pclose(dcpl);
    return fault;
}

/* ---- writing ---- */

bool pfc_h5_put(hid_t object, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t a = space < 0 || type < 0 ? -1 : H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    /* file types are little-endian forms of the native ones (see digest.c) */
    bool ok = a >= 0 && H5Awrite(a, type, value) >= 0;
    if (a >= 0 && H5Aclose(a) < 0) ok = false;
    if (space >= 0) H5Sclose(space);
    return ok;
}

bool pfc_h5_put_text(hid_t object, const char *name, const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    size_t n = strlen(text);
    bool ok = type >= 0 && H5Tset_size(type, n ? n : 1) >= 0 && H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0 && pfc_h5_put(object, name, type, text);
    if (type >= 0) H5Tclose(type);
    return ok;
}

bool pfc_h5_put_int(hid_t object, const char *name, int64_t value) { return pfc_h5_put(object, name, H5T_STD_I64LE, &value); }

hid_t pfc_h5_file_type(pfc_dtype dtype)
{
    return dtype == PFC_F32 ? H5T_IEEE_F32LE : dtype == PFC_F64 ? H5T_IEEE_F64LE : dtype == PFC_U8 ? H5T_STD_U8LE : H5T_STD_I64LE;
}

hid_t pfc_h5_creation_list(hid_t class, bool dataset)
{
    hid_t p = H5Pcreate(class);
    if (p < 0 || H5Pset_obj_track_times(p, 0) < 0) return -1;
    if (dataset) {
        if (H5Pset_layout(p, H5D_CONTIGUOUS) < 0 || H5Pset_alloc_time(p, H5D_ALLOC_TIME_EARLY) < 0 || H5Pset_fill_time(p, H5D_FILL_TIME_NEVER) < 0) return -1;
    } else if (H5Pset_link_creation_order(p, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED) < 0) {
        return -1;
    }
    return p;
}
