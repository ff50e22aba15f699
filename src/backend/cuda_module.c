/* cuda_module.c: finding and loading the CUDA backend. */
#include "backend/cuda_module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef pfc_status (*open_fn)(pfc_backend *be, pfc_mode mode, const char *engine);
typedef void (*tables_fn)(const pfc_ops *out[2]);

/* Where the module may be: the n-th folder; false: no more. PFC_MODULE_DIR alone if it is set. */
static bool folder(int n, char *out, size_t size)
{
    const char *asked = getenv("PFC_MODULE_DIR");
    if (asked && *asked) return snprintf(out, size, "%s", asked), n == 0;
    if (n == 0) return snprintf(out, size, "%s", PFC_MODULE_DIR), true;
    if (n > 1) return false;
    ssize_t length = readlink("/proc/self/exe", out, size - sizeof "/.libs");
    if (length < 0) return false;
    out[length] = 0;
    char *slash = strrchr(out, '/');
    memcpy(slash ? slash : out, "/.libs", sizeof "/.libs");
    return true;
}

/* Not closed again: the CUDA runtime does not like it, and the next context needs it. */
static void *load(char *why, size_t size)
{
    char dir[PATH_MAX], path[PATH_MAX + 16];
    for (int n = 0; folder(n, dir, sizeof dir); n++) {
        snprintf(path, sizeof path, "%s/pfc_cuda.so", dir);
        if (access(path, F_OK) != 0) {
            if (n == 0) snprintf(why, size, "backend cuda is not installed: no %.180s", path);
            continue;
        }
        void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!module) snprintf(why, size, "backend cuda cannot be loaded: %.180s", dlerror());
        return module;
    }
    return NULL;
}

/* A function of the module into the pointer that fn points to: ISO C has no cast from an object to a function. */
static pfc_status find(const char *name, void *fn, char *why, size_t size)
{
    void *module = load(why, size), *symbol = module ? dlsym(module, name) : NULL;
    if (module && !symbol) snprintf(why, size, "backend cuda cannot be loaded: pfc_cuda.so has no %s", name);
    memcpy(fn, &symbol, sizeof symbol);
    return symbol ? PFC_OK : PFC_ERR_UNSUPPORTED;
}

pfc_status pfc_cuda_load(pfc_backend *be, pfc_mode mode, const char *engine)
{
    open_fn open = NULL;
    PFC_TRY(find("pfc_cuda_open", &open, be->error, sizeof be->error));
    return open(be, mode, engine);
}

pfc_status pfc_cuda_module_tables(const pfc_ops *out[2], char *why, size_t size)
{
    tables_fn tables = NULL;
    PFC_TRY(find("pfc_cuda_tables", &tables, why, size));
    tables(out);
    return PFC_OK;
}
