# SPDX-License-Identifier: GPL-3.0-or-later
# All but main is a library, for the unit tests.
sbin_PROGRAMS += sockd
sockd_SOURCES = daemon/main.c
sockd_LDADD = $(LIBDAEMON)

noinst_LIBRARIES += libdaemon.a
libdaemon_a_CPPFLAGS = $(AM_CPPFLAGS) $(LIBSYSTEMD_CFLAGS)
libdaemon_a_SOURCES = \
	daemon/accept.c daemon/accept.h \
	daemon/claim.c daemon/claim.h \
	daemon/config.c daemon/config.h \
	daemon/conn.c daemon/conn.h \
	daemon/get.c \
	daemon/list.c \
	daemon/listen.c daemon/listen.h \
	daemon/log.c daemon/log.h \
	daemon/put.c \
	daemon/server.c daemon/server.h \
	daemon/sweep.c daemon/sweep.h \
	daemon/systemd.c daemon/systemd.h \
	daemon/table.c daemon/table.h \
	daemon/tree.c

LIBDAEMON = libdaemon.a $(LIBSOCKD) $(LIBSYSTEMD_LIBS)
