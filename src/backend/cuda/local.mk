## The CUDA backend: a module that is loaded when it is asked for (src/backend/cuda_module.c). Plain rules: libtool has no CUDA.
cuda_headers = \
    $(srcdir)/src/backend/cuda/acc.h \
    $(srcdir)/src/backend/cuda/launch.h \
    $(srcdir)/src/backend/cuda/math.h \
    $(srcdir)/src/backend/cuda/operand.h \
    $(srcdir)/src/backend/cuda/products.h \
    $(srcdir)/src/backend/cuda/state.h
cuda_sources = \
    src/backend/cuda/acc.cu \
    src/backend/cuda/arcface.cu \
    src/backend/cuda/batch_norm.cu \
    src/backend/cuda/exact_products.cu \
    src/backend/cuda/fast_products.cu \
    src/backend/cuda/levels.cu \
    src/backend/cuda/matrix.cu \
    src/backend/cuda/moco.cu \
    src/backend/cuda/rows.cu \
    src/backend/cuda/sinkhorn.cu \
    src/backend/cuda/softmax.cu \
    src/backend/cuda/state.cu \
    src/backend/cuda/swav.cu
cuda_objects = $(cuda_sources:.cu=.o)
cuda_ptx = $(cuda_sources:.cu=.ptx)
## What it shares with the library.
cuda_shared = \
    src/backend/host_sums.c \
    src/backend/mean_loss.c \
    src/core/moments.c \
    src/core/status.c
cuda_includes = $(cuda_headers) $(srcdir)/src/backend/backend.h $(srcdir)/src/backend/shoot_infs.h $(srcdir)/src/backend/target_logit.h $(srcdir)/src/backend/cpu/exact_kernels.inc \
    $(srcdir)/src/core/exactint.h $(srcdir)/src/core/moments.h $(srcdir)/src/core/px.h
EXTRA_DIST += $(cuda_headers) $(cuda_sources)

cuda_cppflags = -DOMPI_SKIP_MPICXX -I$(top_builddir) -I$(top_srcdir)/include -I$(top_srcdir)/src $(MPI_INCLUDES) -include $(top_builddir)/config.h
AM_V_NVCC = $(am__v_NVCC_@AM_V@)
am__v_NVCC_ = $(am__v_NVCC_@AM_DEFAULT_V@)
am__v_NVCC_0 = @echo "  NVCC    " $@;
am__v_NVCC_1 =

SUFFIXES = .cu .ptx
.cu.o:
	$(AM_V_NVCC)$(MKDIR_P) $(@D) && $(NVCC) $(cuda_cppflags) $(NVCC_FLAGS) -Xcompiler=-fPIC,-ffp-contract=off -c $< -o $@
.cu.ptx:
	$(AM_V_NVCC)$(MKDIR_P) $(@D) && $(NVCC) $(cuda_cppflags) -std=c++17 --extended-lambda -fmad=false -O3 -arch=compute_90 -ptx $< -o $@

if PFC_CUDA
$(cuda_objects): $(cuda_includes)
all-local: .libs/pfc_cuda.so
.libs/pfc_cuda.so: $(cuda_objects) $(cuda_shared)
	$(AM_V_NVCC)$(MKDIR_P) .libs && set -- && for f in $(cuda_shared); do set -- "$$@" "$(srcdir)/$$f"; done && \
	    $(NVCC) $(cuda_cppflags) -Xcompiler=-fPIC,-ffp-contract=off,-O2 -shared $(cuda_objects) "$$@" -o $@ $(CUDA_LIBS)
install-exec-local:
	$(MKDIR_P) $(DESTDIR)$(pkglibdir) && $(INSTALL_DATA) .libs/pfc_cuda.so $(DESTDIR)$(pkglibdir)/pfc_cuda.so
uninstall-local:
	rm -f $(DESTDIR)$(pkglibdir)/pfc_cuda.so
CLEANFILES += $(cuda_objects) $(cuda_ptx) .libs/pfc_cuda.so
check_DATA += $(cuda_ptx)
$(cuda_ptx): $(cuda_includes)
endif

## The same sources for the host (tests/cuda_host): logic and bits are tested without a GPU.
EXTRA_DIST += tests/cuda_host/cublas_v2.h tests/cuda_host/cuda_runtime.h
if PFC_CXX
check_DATA += tests/cuda_host/pfc_cuda.so
tests/cuda_host/pfc_cuda.so: $(cuda_sources) $(cuda_includes) $(cuda_shared) $(srcdir)/tests/cuda_host/cuda_runtime.h $(srcdir)/tests/cuda_host/cublas_v2.h
	$(AM_V_GEN)$(MKDIR_P) tests/cuda_host && set -- && for f in $(cuda_sources) $(cuda_shared); do set -- "$$@" "$(srcdir)/$$f"; done && \
	    $(CXX) -std=c++17 -O2 -g -fPIC -ffp-contract=off -Wall -Wextra $(PFC_SANITIZE_FLAGS) -shared \
	    -I$(top_srcdir)/tests/cuda_host $(cuda_cppflags) $(OPENBLAS_CFLAGS) -x c++ "$$@" -x none -o $@ $(OPENBLAS_LIBS)
CLEANFILES += tests/cuda_host/pfc_cuda.so
endif
