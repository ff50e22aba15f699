/* glyphs.h (internal): a file of glyphs (format: top of data/hanglyph.c), and which of them train and which are held out.
 *
 * A character is a class, a face one sample of it. Letters: C characters and F faces of the file, S pixels a side. */
#ifndef PFC_TRAIN_GLYPHS_H
#define PFC_TRAIN_GLYPHS_H

#include "core/ctx.h"
#include "file/sha256.h"

enum { PFC_GLYPH_KEY = 32 }; /* bytes of a face's key, the end included */

typedef struct pfc_glyphs {
    int64_t size, characters, faces; /* S, C, F */
    char sha256[PFC_SHA256_TEXT];    /* of the file: a fact for checkpoints */
    unsigned char *bytes;            /* the file; code points, keys, masks and pixels are parts of it */
    int64_t byte_count;
} pfc_glyphs;

/* Rank 0 reads the file and looks at every byte; then all ranks hold it: C F (S*S + 1/8) bytes each. Collective.
 * Errors: PFC_ERR_DATA (cannot be opened; does not follow the format: item, found, expected), PFC_ERR_IO, PFC_ERR_NOMEM. *out is NULL then. */
pfc_status pfc_glyphs_open(pfc_ctx *ctx, const char *path, pfc_glyphs **out);
void pfc_glyphs_close(pfc_glyphs **glyphs); /* NULL-safe. Local */

/* Whether these are the bytes of a glyph file: true with sizes and bytes set (sha256 is not); else why (size bytes) is "ITEM: found ..., expected ...".
 * Local; bytes is borrowed. */
bool pfc_glyphs_check(unsigned char *bytes, int64_t byte_count, pfc_glyphs *glyphs, char *why, size_t size);

uint32_t pfc_glyph_code(const pfc_glyphs *g, int64_t character);                      /* code point */
const char *pfc_glyph_key(const pfc_glyphs *g, int64_t face);                         /* "notosans" */
bool pfc_glyph_inked(const pfc_glyphs *g, int64_t face, int64_t character);           /* the face has ink for it */
const unsigned char *pfc_glyph(const pfc_glyphs *g, int64_t face, int64_t character); /* (S,S), 0 paper, 255 ink; zeros where there is no ink */

/* ---- selection ---- */

/* Equal on all ranks. Lists of faces: keys joined by '+'. */
typedef struct pfc_glyph_choice {
    const char *train; /* NULL or "": all faces but the held-out ones */
    const char *held;  /* NULL or "": none */
    int64_t min_faces; /* a class is a character with ink in at least so many training faces, 1 or more */
    int64_t classes;   /* so many of them, drawn by (seed, their number among all); 0: all */
    int64_t seed;
} pfc_glyph_choice;

typedef struct pfc_glyph_example {
    int32_t class, character, face;
} pfc_glyph_example;

typedef struct pfc_glyph_set {
    const pfc_glyphs *glyphs;
    int64_t classes;
    int64_t *character;         /* (classes) ascending code points */
    int64_t examples;           /* with ink in a training face */
    pfc_glyph_example *example; /* (examples) by class, then by face in the file's order */
    int64_t *first;             /* (classes + 1): examples [first[c], first[c + 1]) are those of class c */
    int64_t held;               /* number of held-out faces */
    int64_t *held_face;         /* (held) in the list's order */
    int64_t *query_first;       /* (held + 1): queries [query_first[h], query_first[h + 1]) are those of held-out face h */
    pfc_glyph_example *query;   /* by held-out face, then class; only where the face has ink */
} pfc_glyph_set;

/* The set keeps a pointer to glyphs. Collective. Errors: PFC_ERR_ARG (a face that is not in the file, or twice; min_faces: less than 1, or no
 * character has so many; classes: more than there are), PFC_ERR_NOMEM. */
pfc_status pfc_glyph_set_make(pfc_ctx *ctx, const pfc_glyphs *glyphs, const pfc_glyph_choice *choice, pfc_glyph_set **out);
void pfc_glyph_set_free(pfc_glyph_set **set); /* NULL-safe. Local */

#endif
