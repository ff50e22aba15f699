/* sha256.h (internal): SHA-256 of nettle or of OpenSSL's libcrypto, as a state that can travel from rank to rank. */
#ifndef PFC_FILE_SHA256_H
#define PFC_FILE_SHA256_H

#include <stddef.h>
#include <stdio.h>

enum { PFC_SHA256_TEXT = 65 }; /* 64 hexadecimal digits and the end */

#ifdef HAVE_NETTLE
#include <nettle/sha2.h>
typedef struct sha256_ctx pfc_sha256;
static inline void pfc_sha256_begin(pfc_sha256 *h) { sha256_init(h); }
static inline void pfc_sha256_add(pfc_sha256 *h, const void *data, size_t bytes) { sha256_update(h, bytes, data); }
static inline void pfc_sha256_bytes(pfc_sha256 *h, unsigned char digest[32]) { sha256_digest(h, 32, digest); }
#else
/* The plain calls, not EVP: only their state is a struct that can travel. */
#define OPENSSL_API_COMPAT 0x10101000L
#include <openssl/sha.h>
typedef SHA256_CTX pfc_sha256;
static inline void pfc_sha256_begin(pfc_sha256 *h) { SHA256_Init(h); }
static inline void pfc_sha256_add(pfc_sha256 *h, const void *data, size_t bytes) { SHA256_Update(h, data, bytes); }
static inline void pfc_sha256_bytes(pfc_sha256 *h, unsigned char digest[32]) { SHA256_Final(digest, h); }
#endif

/* The digest in hexadecimal. */
static inline void pfc_sha256_end(pfc_sha256 *h, char text[PFC_SHA256_TEXT])
{
    unsigned char digest[32];
    pfc_sha256_bytes(h, digest);
    for (int k = 0; k < 32; k++) snprintf(text + 2 * k, 3, "%02x", digest[k]);
}

#endif
