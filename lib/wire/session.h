/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What may be said when: sockd-protocol(7), "States".
 *
 * The protocol as a table of message x state x speaker, with the right that
 * a request needs on its row.  Both sides run the same automaton over what
 * they receive; what is not in the table ends the connection with an ERROR
 * that names the message and the state.  Pure; one thread per struct.
 */
#ifndef SOCKD_WIRE_SESSION_H
#define SOCKD_WIRE_SESSION_H

#include <stdint.h>

#include "base/compiler.h"

enum role { ROLE_CLIENT, ROLE_SERVER };

enum right {
	RIGHT_NONE = 0,
	RIGHT_READ = 1u << 0,
	RIGHT_LIST = 1u << 1,
	RIGHT_CREATE = 1u << 2,
	RIGHT_WRITE = 1u << 3,
	RIGHT_DELETE = 1u << 4,
};

/* Any one of these and a client may know whether a name exists.  One with create alone
 * may not: it has a letter box. */
#define RIGHTS_SEE (RIGHT_READ | RIGHT_LIST | RIGHT_WRITE)

/* What the receiving end waits for. */
enum session_state {
	SESSION_NEW,   /* the peer's HELLO */
	SESSION_READY, /* server: a request; client: an answer */
	SESSION_FILE,  /* server: FILE, after PUT */
	SESSION_DATA,  /* DATA, CHECK, END or ABORT of the file under way */
	SESSION_PROOF, /* PROOF, after GET with an offset (server) or OFFER (client) */
	SESSION_STATES,
};

struct session {
	enum role role; /* of this end */
	enum session_state state;
	uint32_t id;     /* of the file or proof under way */
	uint32_t rights; /* server: granted, a set of enum right */
};

void session_init(struct session *s, enum role role, uint32_t rights);

/*
 * Whether a message of TYPE with ID may arrive now; moves the state on when
 * it may.  0; -ERR_PROTOCOL when the table does not have it;
 * -ERR_DENIED when the row needs a right that was not granted (the state has moved on all
 * the same, so that a refused PUT is drained like any failed one). A GET whose offset is
 * not 0, and an OFFER of something, are followed by session_expect_proof.
 */
int session_admit(struct session *s, uint8_t type, uint32_t id) MUST_CHECK;

/* After a GET or OFFER that announced one: PROOF with this id is next. */
void session_expect_proof(struct session *s, uint32_t id);

const char *session_state_name(enum session_state state);

#endif
