# SPDX-License-Identifier: GPL-3.0-or-later
# All but main is a library, for the unit tests.
sbin_PROGRAMS += sockd
sockd_SOURCES = daemon/main.c
sockd_LDADD = $(LIBDAEMON)

noinst_LIBRARIES += libdaemon.a
libdaemon_a_CPPFLAGS = $(AM_CPPFLAGS) $(LIBSYSTEMD_CFLAGS) $(INIH_CFLAGS) $(LIBSECCOMP_CFLAGS)
libdaemon_a_SOURCES = \
	daemon/accept.c daemon/accept.h \
	daemon/account.c daemon/account.h \
	daemon/ask.c \
	daemon/claim.c daemon/claim.h \
	daemon/client.c daemon/client.h \
	daemon/clients_file.c daemon/clients_file.h daemon/clients_text.c \
	daemon/clients_view.c daemon/clients_view.h \
	daemon/command.c daemon/command.h daemon/command_list.c \
	daemon/config.c daemon/config.h daemon/config_impl.h \
	daemon/config_args.c daemon/config_file.c daemon/config_set.c daemon/config_table.c \
	daemon/conn.c daemon/conn.h \
	daemon/get.c \
	daemon/greet.c \
	daemon/guard.c daemon/guard.h \
	daemon/ini.c daemon/ini.h \
	daemon/join.c \
	daemon/list.c \
	daemon/listen.c daemon/listen.h \
	daemon/log.c daemon/log.h \
	daemon/put.c \
	daemon/registry.c daemon/registry.h \
	daemon/room.c daemon/room.h \
	daemon/reload.c \
	daemon/seccomp.c daemon/seccomp.h \
	daemon/server.c daemon/server.h daemon/server_impl.h \
	daemon/state.c daemon/state.h \
	daemon/sweep.c daemon/sweep.h \
	daemon/systemd.c daemon/systemd.h \
	daemon/table.c daemon/table.h \
	daemon/tally.c daemon/tally.h \
	daemon/tree.c

LIBDAEMON = libdaemon.a $(LIBSOCKD) $(LIBSYSTEMD_LIBS) $(INIH_LIBS) $(LIBSECCOMP_LIBS)
