/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/prefix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "os/clock.h"

#define READ_LEN (256u << 10)

int prefix_key(uint8_t out[STAGE_KEY_LEN], const char *identity, const char *path,
	const void *tag, size_t tag_len)
{
	uint8_t text[PATH_WIRE_MAX + 1024], digest[DIGEST_LEN];
	struct wcur w;
	wcur_init(&w, text, sizeof(text));
	wcur_str(&w, identity, strlen(identity));
	wcur_str(&w, path, strlen(path));
	wcur_str(&w, tag, tag_len);
	int len = wcur_finish(&w);
	if (len < 0)
		return -ERR_NAME_TOO_LONG;
	int err = digest_of(text, (size_t)len, digest);
	if (err == 0)
		memcpy(out, digest, STAGE_KEY_LEN);
	return err;
}

uint64_t prefix_usable(uint64_t have, uint64_t size)
{
	return have > size ? 0 : have - have % CHECKPOINT_INTERVAL;
}

/* One read(2) of the prefix into the digest; the count, 0 at the end of the file. */
static ssize_t digest_piece(
	struct digest *digest, int fd, uint8_t *buf, uint64_t pos, uint64_t len)
{
	ssize_t n;
	do
		n = pread(fd, buf, len - pos < READ_LEN ? (size_t)(len - pos) : READ_LEN,
			(off_t)pos);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -err_from_errno(errno);
	int err = digest_update(digest, buf, (size_t)n);
	return err < 0 ? err : n;
}

int prefix_digest(struct digest *digest, int fd, uint64_t len, struct channel *channel)
{
	int err = digest_start(digest);
	if (err < 0 || len == 0)
		return err;
	uint8_t *buf = malloc(READ_LEN);
	if (!buf)
		return -ERR_RESOURCE;
	int64_t noted_ms = clock_now_ms();
	for (uint64_t pos = 0; err == 0 && pos < len;) {
		ssize_t n = digest_piece(digest, fd, buf, pos, len);
		if (n <= 0) {
			err = n < 0 ? (int)n : -ERR_CHANGED;
			break;
		}
		pos += (uint64_t)n;
		int64_t now_ms = clock_now_ms();
		if (now_ms - noted_ms >= NOTE_INTERVAL_MS) {
			noted_ms = now_ms;
			err = channel_send_note(channel, pos);
		}
	}
	free(buf);
	return err;
}

int prefix_send_proof(struct channel *c, uint32_t id, const struct digest *digest)
{
	struct msg_proof m;
	int err = digest_peek(digest, m.digest);
	if (err < 0)
		return err;
	struct wcur w;
	channel_begin(c, &w);
	msg_proof_encode(&w, &m);
	return channel_end(c, &w, MSG_PROOF, id);
}
