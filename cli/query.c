/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/query.h"

#include <string.h>

#include "base/err.h"

#define QUERY_ID UINT32_MAX

static int send_stat(struct channel *c, const char *path)
{
	struct msg_stat m = {.path = {path, strlen(path)}};
	struct wcur w;
	channel_begin(c, &w);
	msg_stat_encode(&w, &m);
	return channel_end(c, &w, MSG_STAT, QUERY_ID);
}

/* Reads the answer: 1, with the server's verdict in *RESULT. */
static int read_answer(struct channel *c, struct remote_stat *out, int *result)
{
	struct channel_msg m;
	int err = channel_read(c, &m);
	if (err < 0)
		return err;
	if (m.id != QUERY_ID)
		return -ERR_PROTOCOL;
	struct msg_error e;
	struct msg_entry entry;
	switch (m.type) {
	case MSG_ERROR:
		err = msg_error_decode(&e, m.payload, m.len);
		*result = -(int)e.code;
		return err < 0 ? err : 1;
	case MSG_ENTRY:
		err = msg_entry_decode(&entry, m.payload, m.len);
		if (err < 0 || entry.path.len != 0)
			return -ERR_PROTOCOL;
		*out = (struct remote_stat){
			entry.kind, entry.size, entry.mode, entry.mtime};
		*result = 0;
		return 1;
	default:
		return -ERR_PROTOCOL;
	}
}

int query_stat(struct peer *p, const char *path, struct remote_stat *out)
{
	for (;;) {
		int result = -ERR_PROTOCOL;
		int err = send_stat(p->channel, path);
		if (err == 0)
			err = read_answer(p->channel, out, &result);
		if (err == 1)
			return result;
		err = peer_reconnect(p, err);
		if (err < 0)
			return err;
	}
}
