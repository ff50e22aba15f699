/* cuda_module.c: finding and loading the CUDA backend. */
#include "backend/cuda_module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef pfc_status (*open_fn)(pfc_backend *be, pfc_mode mode, const char *engine);

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

pfc_status pfc_cuda_load(pfc_backend *be, pfc_mode mode, const char *engine)
{
    void *module = load(be->error, sizeof be->error);
    if (!module) return PFC_ERR_UNSUPPORTED;
    open_fn open = NULL;
    void *symbol = dlsym(module, "pfc_cuda_open");
    memcpy(&open, &symbol, sizeof open); /* ISO C has no cast from an object to a function */
    if (!open) {
        snprintf(be->error, sizeof be->error, "backend cuda cannot be loaded: pfc_cuda.so has no pfc_cuda_open");
        return PFC_ERR_UNSUPPORTED;
    }
    return open(be, mode, engine);
}
