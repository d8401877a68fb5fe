# SPDX-License-Identifier: GPL-3.0-or-later
# All but main is a library, for the unit tests.
bin_PROGRAMS += sockcp
sockcp_SOURCES = cli/main.c
sockcp_LDADD = $(LIBCLI)

noinst_LIBRARIES += libcli.a
libcli_a_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
libcli_a_SOURCES = \
	cli/ask.c cli/ask.h \
	cli/count.c cli/count.h \
	cli/download.c cli/download.h cli/download_impl.h \
	cli/download_file.c cli/download_tree.c \
	cli/events.c cli/events.h \
	cli/get.c \
	cli/job.h \
	cli/join.c cli/join.h \
	cli/known.c cli/known.h \
	cli/listing.c cli/listing.h \
	cli/options.c cli/options.h \
	cli/peer.c cli/peer.h \
	cli/progress.c cli/progress.h \
	cli/put.c \
	cli/query.c cli/query.h \
	cli/report.c cli/report.h \
	cli/request.c cli/request.h \
	cli/sums.c cli/sums.h \
	cli/tag.c cli/tag.h \
	cli/trust.c cli/trust.h \
	cli/upload.c cli/upload.h cli/upload_impl.h \
	cli/upload_answer.c cli/upload_send.c \
	cli/verdict.c cli/verdict.h

LIBCLI = libcli.a $(LIBSOCKD) $(JANSSON_LIBS)
