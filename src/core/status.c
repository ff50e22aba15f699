/* status.c: words for statuses, sizes of types, version. */
#include <pfc/pfc.h>

#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

const char *pfc_status_string(pfc_status status)
{
    switch (status) {
    case PFC_OK: return "ok";
    case PFC_ERR_ARG: return "bad argument";
    case PFC_ERR_SHAPE: return "shapes do not fit";
    case PFC_ERR_DATA: return "unacceptable data";
    case PFC_ERR_NOMEM: return "out of memory";
    case PFC_ERR_UNSUPPORTED: return "not available here";
    case PFC_ERR_IO: return "file error";
    case PFC_ERR_RUNTIME: return "run-time failure";
    }
    return "unknown status";
}

size_t pfc_dtype_size(pfc_dtype dtype)
{
    switch (dtype) {
    case PFC_F32:
    case PFC_I32: return 4;
    case PFC_F64:
    case PFC_I64: return 8;
    case PFC_U8: return 1;
    }
    return 0;
}

const char *pfc_version(void) { return PACKAGE_VERSION; }
