/* digest.c: SHA-256 of the global little-endian row-major bytes, whoever holds which part.
 *
 * Cut on axis 0: the ranks' blocks follow each other, so the state of the hash travels from rank to rank and no data moves. Cut on a later
 * axis: the blocks interleave; slabs of a few rows are collected on rank 0, which hashes them in order. */
#include "case/internal.h"
#include "file/sha256.h"

#include <pfc/shard.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "digests are of little-endian bytes");

enum { SLAB_BYTES = 1 << 22 };

/* The state goes 0, 1, ..., P-1 and back to 0. */
static void hash_chain(MPI_Comm comm, const pfc_tensor *t, int rank, int ranks, pfc_sha256 *h)
{
    size_t bytes = (size_t)pfc_tensor_local(t) * pfc_dtype_size(t->dtype);
    if (rank > 0) MPI_Recv(h, (int)sizeof *h, MPI_BYTE, rank - 1, 0, comm, MPI_STATUS_IGNORE);
    pfc_sha256_add(h, t->data, bytes);
    if (ranks > 1) MPI_Send(h, (int)sizeof *h, MPI_BYTE, (rank + 1) % ranks, 0, comm);
    if (rank == 0 && ranks > 1) MPI_Recv(h, (int)sizeof *h, MPI_BYTE, ranks - 1, 0, comm, MPI_STATUS_IGNORE);
}

/* Rank 0's room for one slab from all ranks: the blocks one after the other, counts and places in bytes. */
typedef struct slab {
    int64_t rows, part, full; /* outer rows in a slab; bytes of a row here, and of a whole row */
    int *counts, *places;
    char *data;
} slab;

static bool slab_make(slab *s, const pfc_tensor *t, pfc_block b, int rank, int ranks)
{
    int64_t element = b.inner * (int64_t)pfc_dtype_size(t->dtype);
    s->part = t->count * element;
    s->full = t->dims[t->axis] * element;
    s->rows = s->full < SLAB_BYTES ? SLAB_BYTES / (s->full ? s->full : 1) : 1;
    s->counts = calloc((size_t)ranks, sizeof(int));
    s->places = calloc((size_t)ranks, sizeof(int));
    s->data = rank == 0 ? malloc((size_t)(s->rows * s->full) + 1) : NULL;
    return s->counts && s->places && (s->data || rank != 0);
}

static void slab_free(slab *s)
{
    free(s->counts);
    free(s->places);
    free(s->data);
}

static void hash_slabs(MPI_Comm comm, const pfc_tensor *t, pfc_block b, int rank, int ranks, slab *s, pfc_sha256 *h)
{
    int64_t element = b.inner * (int64_t)pfc_dtype_size(t->dtype);
    for (int64_t row = 0; row < b.outer; row += s->rows) {
        int64_t rows = b.outer - row < s->rows ? b.outer - row : s->rows;
        for (int r = 0; r < ranks; r++) {
            pfc_shard part = pfc_tensor_shard(t, ranks, r);
            s->counts[r] = (int)(rows * part.count * element);
            s->places[r] = (int)(rows * part.start * element);
        }
        MPI_Gatherv((const char *)t->data + row * s->part, (int)(rows * s->part), MPI_BYTE, s->data, s->counts, s->places, MPI_BYTE, 0, comm);
        for (int64_t i = 0; rank == 0 && i < rows; i++)
            for (int r = 0; r < ranks; r++) pfc_sha256_add(h, s->data + s->places[r] + i * (s->counts[r] / rows), (size_t)(s->counts[r] / rows));
    }
}

int pfc_tensor_digest(MPI_Comm comm, pfc_tensor *t, pfc_diag *diag)
{
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    pfc_block b = pfc_tensor_block(t);
    pfc_sha256 h;
    pfc_sha256_begin(&h);
    if (t->dist == PFC_DIST_NONE || ranks == 1) {
        if (rank == 0) pfc_sha256_add(&h, t->data, (size_t)pfc_tensor_local(t) * pfc_dtype_size(t->dtype));
    } else if (b.outer == 1) {
        hash_chain(comm, t, rank, ranks, &h);
    } else {
        slab s = { 0 };
        bool made = slab_make(&s, t, b, rank, ranks);
        if (!made) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory while hashing", t->name);
        if (made && s.rows * s.full > INT32_MAX) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: rows of more than 2 GiB cannot be hashed", t->name);
        if (pfc_diag_agree(comm, diag) == 0) hash_slabs(comm, t, b, rank, ranks, &s, &h);
        slab_free(&s);
    }
    if (diag->exit_status) return diag->exit_status;
    if (rank == 0) pfc_sha256_end(&h, t->sha256);
    MPI_Bcast(t->sha256, (int)sizeof t->sha256, MPI_CHAR, 0, comm);
    return 0;
}
