## Emulated ports: run --emulate, the rms error in goldens.
C_TESTS += tests/test_emulate
SCRIPT_TESTS += tests/driver_emulate.sh
EXTRA_DIST += tests/emulated_ports.py
