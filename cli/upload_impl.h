/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inside of uploads, for upload.c (the pipeline), upload_send.c (one item on its way
 * out) and upload_answer.c (what the server says of it).
 */
#ifndef SOCKCP_UPLOAD_IMPL_H
#define SOCKCP_UPLOAD_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/path.h"
#include "cli/upload.h"
#include "crypto/digest.h"
#include "transfer/channel.h"
#include "transfer/sender.h"

/* Items remembered at the most, a power of two: a slot is found by its id. */
#define SLOTS_MAX 1024
#define FLUSH_ID  UINT32_MAX
/* Room for what the user would call an item. */
#define NAME_CAP (PATH_WIRE_MAX + 4096)

enum slot_state { SLOT_NEW, SLOT_ASKED, SLOT_SENT, SLOT_AGAIN, SLOT_DONE };

struct upload_slot {
	enum slot_state state;
	enum upload_kind kind;
	uint32_t id;
	struct upload_tree *tree; /* borrowed */
	char *path;               /* owned; its memory is used again for the next item */
	size_t path_cap;
	unsigned tries; /* how often wrong bytes were answered */
	bool resent;    /* an earlier connection may have finished it */
	/* ASK and its answer */
	uint32_t asked; /* a set of ASK_… */
	bool answered;
	struct msg_offer offer;
	bool proved;
	struct msg_proof proof;
	/* the file as it was sent */
	uint64_t resumed_from;
	uint64_t best; /* the furthest that any connection came */
	struct sent sent;
	int failed;  /* our own -ERR_… after which we aborted; the answer follows */
	int refused; /* the server's, while we were still sending */
};

struct uploads {
	const struct job *job; /* borrowed */
	struct digest *digest; /* owned */
	struct upload_slot slots[SLOTS_MAX];
	uint64_t capacity;           /* of slots, as the server's depth allows */
	uint64_t first;              /* the oldest item that is not done */
	uint64_t next;               /* the next to be sent */
	uint64_t end;                /* behind the last one added */
	struct upload_slot *sending; /* the file being sent, or NULL */
	bool flushing;               /* FLUSH was not answered yet */
};

static inline struct channel *upload_channel(const struct uploads *u)
{
	return u->job->peer->channel;
}

/* -- upload_answer.c ------------------------------------------------------ */

/* Reads the next answer, and acts on it. */
int upload_wait_answer(struct uploads *u) MUST_CHECK;
/* The channel's readable hook: takes the answers that are there, without waiting. */
int upload_take_answers(void *uploads) MUST_CHECK;

/* -- upload_send.c -------------------------------------------------------- */

/* Sends one item, in whatever state of being asked about it is.  0, also when the item
 * failed and that was said; or the error of the connection. */
int upload_send(struct uploads *u, struct upload_slot *s) MUST_CHECK;
/* With -u or -N the question about a small file goes out long before its data. */
int upload_ask_ahead(struct uploads *u, struct upload_slot *s) MUST_CHECK;

/* -- upload.c ------------------------------------------------------------- */

/* Standard input: read once, without a size. */
bool upload_is_stream(const struct upload_slot *s);
/* What the user would call it. */
const char *upload_name(const struct upload_slot *s, char *buf, size_t cap);

/* The two ends of an item: told to the user, and DONE. */
void upload_fail(struct uploads *u, struct upload_slot *s, enum side side, int err,
	const char *detail);
void upload_succeed(struct uploads *u, struct upload_slot *s, enum outcome outcome,
	enum durability durability);

#endif
