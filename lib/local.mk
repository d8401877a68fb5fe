# SPDX-License-Identifier: GPL-3.0-or-later
# What both programs need, floor by floor; tests/check-floors holds them apart.
noinst_LIBRARIES += libsockd.a
libsockd_a_CPPFLAGS = $(AM_CPPFLAGS) $(LIBCRYPTO_CFLAGS) $(ZLIB_CFLAGS)
libsockd_a_SOURCES = \
	lib/base/compiler.h \
	lib/base/err.c lib/base/err.h \
	lib/base/path.c lib/base/path.h \
	lib/base/text.c lib/base/text.h \
	lib/wire/cursor.c lib/wire/cursor.h \
	lib/wire/frame.c lib/wire/frame.h \
	lib/wire/msg.c lib/wire/msg.h \
	lib/wire/session.c lib/wire/session.h \
	lib/os/beneath.c lib/os/beneath.h \
	lib/os/clock.c lib/os/clock.h \
	lib/os/fd.c lib/os/fd.h \
	lib/os/link.c lib/os/link.h \
	lib/os/resolve.c lib/os/resolve.h \
	lib/os/sock.c lib/os/sock.h \
	lib/os/stage.c lib/os/stage.h \
	lib/os/walk.c lib/os/walk.h \
	lib/crypto/digest.c lib/crypto/digest.h \
	lib/transfer/attr.c lib/transfer/attr.h \
	lib/transfer/batch.c lib/transfer/batch.h \
	lib/transfer/channel.c lib/transfer/channel.h \
	lib/transfer/prefix.c lib/transfer/prefix.h \
	lib/transfer/receiver.c lib/transfer/receiver.h \
	lib/transfer/sender.c lib/transfer/sender.h \
	lib/transfer/source.c lib/transfer/source.h \
	lib/transfer/throttle.c lib/transfer/throttle.h

LIBSOCKD = libsockd.a $(LIBCRYPTO_LIBS) $(ZLIB_LIBS)
