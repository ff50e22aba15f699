## explain: text, pages and pictures. `make pictures` draws those in doc/pictures again.
SCRIPT_TESTS += tests/driver_explain.sh
EXTRA_DIST += tests/explain_exchanges.txt tests/explain_pages.py
