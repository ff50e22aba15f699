/* Only in sanitizer builds: plugins that Open MPI has unloaded would be "unknown module" to the leak checker, and no suppression would match. */
int dlclose(void *handle);

int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
