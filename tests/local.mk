# SPDX-License-Identifier: GPL-3.0-or-later
# See tests/README.  Every test speaks TAP, and runs under tests/run-test.
unit_tests = \
	tests/unit/test_account \
	tests/unit/test_batch \
	tests/unit/test_beneath \
	tests/unit/test_channel \
	tests/unit/test_channel_wait \
	tests/unit/test_claim \
	tests/unit/test_client \
	tests/unit/test_clients_file \
	tests/unit/test_config \
	tests/unit/test_config_file \
	tests/unit/test_cursor \
	tests/unit/test_digest \
	tests/unit/test_err \
	tests/unit/test_fd \
	tests/unit/test_frame \
	tests/unit/test_guard \
	tests/unit/test_identity \
	tests/unit/test_identity_load \
	tests/unit/test_known \
	tests/unit/test_landlock \
	tests/unit/test_ini \
	tests/unit/test_link \
	tests/unit/test_listing \
	tests/unit/test_msg \
	tests/unit/test_options \
	tests/unit/test_path \
	tests/unit/test_prefix \
	tests/unit/test_progress \
	tests/unit/test_receiver \
	tests/unit/test_registry \
	tests/unit/test_report \
	tests/unit/test_ring \
	tests/unit/test_seccomp \
	tests/unit/test_secret \
	tests/unit/test_session \
	tests/unit/test_sock \
	tests/unit/test_stage \
	tests/unit/test_store \
	tests/unit/test_sums \
	tests/unit/test_sweep \
	tests/unit/test_text \
	tests/unit/test_throttle \
	tests/unit/test_tls \
	tests/unit/test_transfer \
	tests/unit/test_transfer_parallel \
	tests/unit/test_trust \
	tests/unit/test_walk

if HAVE_CRITERION
check_PROGRAMS += $(unit_tests)
TESTS += $(unit_tests)
endif

# A unit test is linked with the libraries and, where it says so, with a program's
# own part.
LDADD = $(tsan_shim) $(LIBSOCKD) $(CRITERION_LIBS)
cli_test_ldadd = $(tsan_shim) $(LIBCLI) $(CRITERION_LIBS)
daemon_test_ldadd = $(tsan_shim) $(LIBDAEMON) $(CRITERION_LIBS)
tests_unit_test_account_LDADD = $(daemon_test_ldadd)
tests_unit_test_claim_LDADD = $(daemon_test_ldadd)
tests_unit_test_client_LDADD = $(daemon_test_ldadd)
tests_unit_test_clients_file_LDADD = $(daemon_test_ldadd)
tests_unit_test_config_LDADD = $(daemon_test_ldadd)
tests_unit_test_config_file_LDADD = $(daemon_test_ldadd)
tests_unit_test_guard_LDADD = $(daemon_test_ldadd)
tests_unit_test_ini_LDADD = $(daemon_test_ldadd)
tests_unit_test_known_LDADD = $(cli_test_ldadd)
tests_unit_test_listing_LDADD = $(cli_test_ldadd)
tests_unit_test_options_LDADD = $(cli_test_ldadd)
tests_unit_test_progress_LDADD = $(cli_test_ldadd)
tests_unit_test_registry_LDADD = $(daemon_test_ldadd)
tests_unit_test_report_LDADD = $(cli_test_ldadd)
tests_unit_test_sums_LDADD = $(cli_test_ldadd)
tests_unit_test_seccomp_LDADD = $(daemon_test_ldadd)
tests_unit_test_trust_LDADD = $(cli_test_ldadd)
tests_unit_test_identity_CPPFLAGS = $(AM_CPPFLAGS) $(LIBCRYPTO_CFLAGS)
tests_unit_test_identity_load_CPPFLAGS = $(AM_CPPFLAGS) $(LIBCRYPTO_CFLAGS)
tests_unit_test_msg_CPPFLAGS = $(AM_CPPFLAGS) -DTEST_SRCDIR='"$(abs_top_srcdir)"'
if SANITIZE_THREAD
# As an object: from an archive, libtsan's own rand_r would be preferred.
tsan_shim = tests/unit/tsan_shim.$(OBJEXT)
check_LIBRARIES += libtsan_shim.a
libtsan_shim_a_SOURCES = tests/unit/tsan_shim.c
endif

source_tests = tests/check-floors tests/check-docs tests/check-constant-time
if HAVE_MEMCHECK_H
check_PROGRAMS += tests/unit/secret_taint
tests_unit_secret_taint_LDADD = $(LIBSOCKD)
endif
if HARDENED
source_tests += tests/check-hardening
endif
if INSTALL_UNIT
source_tests += tests/check-unit
endif
TESTS += $(source_tests)

e2e_tests = \
	tests/e2e/breaches.py \
	tests/e2e/confine.py \
	tests/e2e/hostile_names.py \
	tests/e2e/identities.py \
	tests/e2e/config.py \
	tests/e2e/costs.py \
	tests/e2e/hostile_client.py \
	tests/e2e/hostile_server.py \
	tests/e2e/limits.py \
	tests/e2e/names.py \
	tests/e2e/network.py \
	tests/e2e/options.py \
	tests/e2e/overtls.py \
	tests/e2e/progress.py \
	tests/e2e/races.py \
	tests/e2e/resume.py \
	tests/e2e/rules.py \
	tests/e2e/secondimpl.py \
	tests/e2e/secondtls.py \
	tests/e2e/server.py \
	tests/e2e/sparse.py \
	tests/e2e/transfer.py \
	tests/e2e/trees.py \
	tests/e2e/trust.py
TESTS += $(e2e_tests)
fault_tests = \
	tests/e2e/faultsweep.py \
	tests/e2e/killsweep.py \
	tests/e2e/powercut.py \
	tests/e2e/testssl.py
if HARDENED
# In the plain build, whose system calls are all its own.
TESTS += $(fault_tests)
if INSTALL_UNIT
# The unit's sandbox does not let a sanitizer do its work.
TESTS += tests/e2e/systemd.py
endif
endif

EXTRA_DIST += \
	tests/README tests/run-test tests/tap.py \
	tests/check-constant-time tests/check-docs tests/check-floors tests/check-hardening tests/check-unit \
	$(e2e_tests) $(fault_tests) \
	tests/e2e/clientacts.py tests/e2e/clienttls.py tests/e2e/hostile.py \
	tests/e2e/serveracts.py tests/e2e/servertls.py tests/e2e/servertrees.py \
	tests/e2e/audit.py tests/e2e/naive.c tests/e2e/naive.py \
	tests/e2e/faults.c tests/e2e/faults.py tests/e2e/harness.py tests/e2e/peers.py tests/e2e/spec.py tests/e2e/spectls.py tests/e2e/systemd.py \
	tests/unit/capture.h tests/unit/pair.h tests/unit/prints.h tests/unit/scratch.h \
	tests/vectors/messages.txt

TEST_EXTENSIONS = .py
LOG_COMPILER = $(top_srcdir)/tests/run-test
PY_LOG_COMPILER = $(LOG_COMPILER)
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
PY_LOG_DRIVER = $(LOG_DRIVER)
AM_TESTS_ENVIRONMENT = \
	export CC='$(CC)' SOCKD='$(abs_top_builddir)/sockd' SOCKCP='$(abs_top_builddir)/sockcp' \
		SOCKD_VERSION='$(PACKAGE_VERSION)' \
		SOCKD_SRCDIR='$(abs_top_srcdir)' SOCKD_BUILDDIR='$(abs_top_builddir)' \
		SOCKD_SBINDIR='$(sbindir)' SOCKD_BINDIR='$(bindir)' \
		SOCKD_UNITDIR='$(systemdsystemunitdir)' PYTHONDONTWRITEBYTECODE=1;

# The tests that take long, too, and the long forms of the others.
check-long: all
	SOCKD_TEST_LONG=1 $(MAKE) $(AM_MAKEFLAGS) check

# Built before the tests run, so that what is missing is said first.
check_DATA += check-needs
check-needs:
	@:
if !HAVE_CRITERION
	@echo "The unit tests need Criterion (Debian: libcriterion-dev);" \
		"install it and run configure again." >&2; exit 1
endif
if !HAVE_PYTHON
	@echo "The tests need /usr/bin/python3 (Debian: python3);" \
		"install it and run configure again." >&2; exit 1
endif

.PHONY: check-long check-needs
