## Tests of the checked backend.
