## Emulated ports: run --emulate, the rms error in goldens.
C_TESTS += tests/test_emulate
