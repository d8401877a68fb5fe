# SPDX-License-Identifier: GPL-3.0-or-later
# Made here and not by configure: only make knows what $(sbindir) comes to.
EXTRA_DIST += systemd/sockd.service.in
CLEANFILES += systemd/sockd.service
if INSTALL_UNIT
nodist_systemdsystemunit_DATA = systemd/sockd.service
endif

systemd/sockd.service: systemd/sockd.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) systemd && \
	sed 's|@sbindir[@]|$(sbindir)|' $(srcdir)/systemd/sockd.service.in >$@.tmp && \
	mv $@.tmp $@
