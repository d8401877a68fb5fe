# SPDX-License-Identifier: GPL-3.0-or-later
# What both programs need, floor by floor; tests/check-floors holds them apart.
noinst_LIBRARIES += libsockd.a
libsockd_a_CPPFLAGS = $(AM_CPPFLAGS) $(LIBSSL_CFLAGS) $(LIBCRYPTO_CFLAGS) $(ZLIB_CFLAGS)
libsockd_a_SOURCES = \
	lib/base/compiler.h \
	lib/base/err.c lib/base/err.h \
	lib/base/path.c lib/base/path.h \
	lib/base/text.c lib/base/text.h \
	lib/wire/cursor.c lib/wire/cursor.h \
	lib/wire/frame.c lib/wire/frame.h \
	lib/wire/msg.c lib/wire/msg.h lib/wire/msg_impl.h lib/wire/msg_request.c \
	lib/wire/session.c lib/wire/session.h \
	lib/os/beneath.c lib/os/beneath.h \
	lib/os/clock.c lib/os/clock.h \
	lib/os/fd.c lib/os/fd.h \
	lib/os/landlock.c lib/os/landlock.h \
	lib/os/link.c lib/os/link.h \
	lib/os/resolve.c lib/os/resolve.h \
	lib/os/sock.c lib/os/sock.h \
	lib/os/stage.c lib/os/stage.h \
	lib/os/store.c lib/os/store.h \
	lib/os/thread.c lib/os/thread.h \
	lib/os/walk.c lib/os/walk.h \
	lib/crypto/digest.c lib/crypto/digest.h \
	lib/crypto/identity.c lib/crypto/identity.h lib/crypto/identity_impl.h \
	lib/crypto/identity_make.c \
	lib/crypto/secret.c lib/crypto/secret.h \
	lib/crypto/tls.c lib/crypto/tls.h \
	lib/crypto/tls_io.c lib/crypto/tls_io.h \
	lib/transfer/attr.c lib/transfer/attr.h \
	lib/transfer/batch.c lib/transfer/batch.h \
	lib/transfer/channel.c lib/transfer/channel.h \
	lib/transfer/line.c lib/transfer/line.h \
	lib/transfer/prefix.c lib/transfer/prefix.h \
	lib/transfer/reader.c lib/transfer/reader.h \
	lib/transfer/receiver.c lib/transfer/receiver.h \
	lib/transfer/ring.c lib/transfer/ring.h \
	lib/transfer/sender.c lib/transfer/sender.h \
	lib/transfer/source.c lib/transfer/source.h \
	lib/transfer/throttle.c lib/transfer/throttle.h \
	lib/transfer/writer.c lib/transfer/writer.h

LIBSOCKD = libsockd.a $(LIBSSL_LIBS) $(LIBCRYPTO_LIBS) $(ZLIB_LIBS)
