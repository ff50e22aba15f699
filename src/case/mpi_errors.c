/* mpi_errors.c: an MPI call that fails on one rank alone ends them all: the others may wait for that rank for ever.
 *
 * HDF5 asks for errors to be returned on the communicators it duplicates and then cleans up by collective calls that the other ranks never reach. So
 * MPI_Comm_set_errhandler is defined here, over MPI's own (MPI's profiling interface), and keeps the handler that ends the program. */
#include "case/internal.h"

#include <stdarg.h>

static MPI_Errhandler ending = MPI_ERRHANDLER_NULL;
static bool gentle; /* errors of files are returned */

static void end_all(int code)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int size = 0, rank = -1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Error_string(code, text, &size);
    fprintf(stderr, "pfc_ref: rank %d: MPI failed: %s\n", rank, text);
    pfc_temporary_unlink_all();
    MPI_Abort(MPI_COMM_WORLD, PFC_EXIT_RUNTIME);
}

static void comm_failed(MPI_Comm *comm, int *code, ...)
{
    (void)comm;
    end_all(*code);
}

static void file_failed(MPI_File *file, int *code, ...)
{
    (void)file;
    if (!gentle) end_all(*code);
}

void pfc_mpi_errors_end_all(void)
{
    MPI_Errhandler of_files;
    MPI_Comm_create_errhandler(comm_failed, &ending);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, ending);
    MPI_File_create_errhandler(file_failed, &of_files);
    MPI_File_set_errhandler(MPI_FILE_NULL, of_files); /* all that will be opened */
    MPI_Errhandler_free(&of_files);
}

void pfc_mpi_file_errors_return(bool yes) { gentle = yes; }

int MPI_Comm_set_errhandler(MPI_Comm comm, MPI_Errhandler handler)
{
    MPI_Errhandler now;
    if (ending != MPI_ERRHANDLER_NULL && handler == MPI_ERRORS_RETURN && PMPI_Comm_get_errhandler(comm, &now) == MPI_SUCCESS) {
        bool ours = now == ending;
        PMPI_Errhandler_free(&now);
        if (ours) return MPI_SUCCESS;
    }
    return PMPI_Comm_set_errhandler(comm, handler);
}
