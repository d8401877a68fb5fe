# SPDX-License-Identifier: GPL-3.0-or-later
# How fast it is beside others: bench.py, and a short form of it as a test.
check_PROGRAMS += tests/bench/limit
tests_bench_limit_LDADD = $(LIBSOCKD)
TESTS += tests/bench/quick.py
EXTRA_DIST += \
	tests/bench/bench.py tests/bench/peers.py tests/bench/quick.py tests/bench/table.py

# BENCHFLAGS=--write-readme puts the result into README; --help tells the others.
bench: all tests/bench/limit$(EXEEXT)
	$(AM_TESTS_ENVIRONMENT) $(srcdir)/tests/bench/bench.py $(BENCHFLAGS)

.PHONY: bench
