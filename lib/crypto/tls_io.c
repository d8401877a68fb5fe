/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/tls_io.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"

/* So much is asked of the kernel at a time: some 15 records. */
#define READ_AHEAD (256 << 10)

void tls_io_fini(struct tls_io *io)
{
	free(io->in);
	free(io->out);
	io->in = io->out = NULL;
}

bool tls_io_has_input(const struct tls_io *io)
{
	return io->in_pos < io->in_len;
}

bool tls_io_has_unsent(const struct tls_io *io)
{
	return io->out_pos < io->out_len;
}

int tls_io_flush(struct tls_io *io)
{
	while (io->out_pos < io->out_len) {
		ssize_t n = send(io->fd, io->out + io->out_pos, io->out_len - io->out_pos,
			MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0)
			io->out_pos += (size_t)n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return -ERR_AGAIN;
		else if (errno != EINTR)
			return -err_from_socket(errno);
	}
	io->out_pos = io->out_len = 0;
	return 0;
}

void tls_io_relax(struct tls_io *io)
{
	if (!tls_io_has_input(io)) {
		free(io->in);
		io->in = NULL;
	}
	if (!tls_io_has_unsent(io)) {
		free(io->out);
		io->out = NULL;
		io->out_cap = 0;
	}
}

/* -- What OpenSSL calls ------------------------------------------------------ */

/* More records: how many bytes, 0 at the end of the stream, -1 with errno. */
static ssize_t receive(struct tls_io *io)
{
	ssize_t n;
	if (!io->in && !(io->in = malloc(READ_AHEAD))) {
		errno = ENOMEM;
		return -1;
	}
	do
		n = recv(io->fd, io->in, READ_AHEAD, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		io->in_pos = 0;
		io->in_len = (size_t)n;
	}
	return n;
}

static int bio_read(BIO *bio, char *bytes, size_t len, size_t *read_out)
{
	struct tls_io *io = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	if (!tls_io_has_input(io)) {
		ssize_t n = receive(io);
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			BIO_set_retry_read(bio);
		if (n == 0)
			errno = 0;
		if (n <= 0)
			return 0;
	}
	if (len > io->in_len - io->in_pos)
		len = io->in_len - io->in_pos;
	memcpy(bytes, io->in + io->in_pos, len);
	io->in_pos += len;
	*read_out = len;
	return 1;
}

static bool reserve(struct tls_io *io, size_t len)
{
	size_t cap = io->out_cap ? io->out_cap : TLS_WRITE_BATCH + TLS_WRITE_BATCH / 16;
	uint8_t *bigger;
	if (io->out_cap - io->out_len >= len)
		return true;
	while (cap - io->out_len < len)
		cap *= 2;
	bigger = realloc(io->out, cap);
	if (!bigger)
		return false;
	io->out = bigger;
	io->out_cap = cap;
	return true;
}

static int bio_write(BIO *bio, const char *bytes, size_t len, size_t *written_out)
{
	struct tls_io *io = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	if (!reserve(io, len))
		return 0;
	memcpy(io->out + io->out_len, bytes, len);
	io->out_len += len;
	*written_out = len;
	return 1;
}

static long bio_ctrl(BIO *bio, int what, long unused, void *unused_too)
{
	(void)bio;
	(void)unused;
	(void)unused_too;
	return what == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method; /* frozen after method_make */

static void method_make(void)
{
	method = BIO_meth_new(
		BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "records by the dozen");
	if (method) {
		BIO_meth_set_read_ex(method, bio_read);
		BIO_meth_set_write_ex(method, bio_write);
		BIO_meth_set_ctrl(method, bio_ctrl);
	}
}

BIO *tls_io_bio(struct tls_io *io)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, method_make);
	BIO *bio = method ? BIO_new(method) : NULL;
	if (bio) {
		BIO_set_data(bio, io);
		BIO_set_init(bio, 1);
	}
	return bio;
}
