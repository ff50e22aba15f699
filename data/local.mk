## Shipped data, installed into pkgdatadir, and the glyph generator, built where configure found FreeType.
dist_pkgdata_DATA += data/han256.bin
recipesdir = $(pkgdatadir)/recipes
dist_recipes_DATA = \
    data/recipes/han-21k \
    data/recipes/han-5k \
    data/recipes/moco \
    data/recipes/swav
EXTRA_DIST += \
    data/README.md \
    data/case_source.py \
    data/digests.txt \
    data/faces.txt \
    data/get_fonts.sh \
    data/han256.sha256 \
    data/make_cases.py \
    data/make_goldens.sh \
    tests/test_cases.py \
    tests/test_glyphs.py \
    tests/test_hanglyph.sh
TESTS += \
    tests/test_cases.py \
    tests/test_glyphs.py \
    tests/test_hanglyph.sh

if PFC_HAVE_FREETYPE
noinst_PROGRAMS += data/hanglyph
endif
EXTRA_PROGRAMS += data/hanglyph
data_hanglyph_SOURCES = data/hanglyph.c
data_hanglyph_CFLAGS = $(AM_CFLAGS) $(FREETYPE_CFLAGS)
data_hanglyph_LDADD = $(FREETYPE_LIBS) $(SHA_LIBS)

## The goldens, one list for each family.
include data/partial_fc.mk
include data/arcface.mk
include data/swav.mk
include data/moco.mk
include data/batch_norm.mk
