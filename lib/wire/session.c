/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "wire/session.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "wire/msg.h"

enum {
	BY_CLIENT = 1u << ROLE_CLIENT,
	BY_SERVER = 1u << ROLE_SERVER,
	BY_BOTH = BY_CLIENT | BY_SERVER,
};

enum {
	IN_NEW = 1u << SESSION_NEW,
	IN_READY = 1u << SESSION_READY,
	IN_FILE = 1u << SESSION_FILE,
	IN_DATA = 1u << SESSION_DATA,
	IN_PROOF = 1u << SESSION_PROOF,
	IN_ALL = (1u << SESSION_STATES) - 1,
};

/* The next state of a message that changes none. */
#define STAY SESSION_STATES

#define MAY_PUT (RIGHT_CREATE | RIGHT_WRITE)

enum id_rule {
	ID_ANY,
	ID_ZERO,    /* it speaks of the connection */
	ID_REQUEST, /* not 0: it names a request */
	ID_CURRENT, /* the one of the file or proof under way */
};

struct row {
	uint8_t type; /* enum msg_type */
	uint8_t by;   /* who may say it */
	uint8_t in;   /* states of the receiver in which it may arrive */
	enum id_rule id;
	enum session_state next; /* or STAY */
	uint32_t rights; /* any one of them is enough; RIGHT_NONE: none is needed */
};

/* Columns, because a table is read down as well as across. */
/* clang-format off */
static const struct row rows[] = {
	/* type      by         in                 id          next           rights */

	/* the connection */
	{MSG_HELLO,  BY_BOTH,   IN_NEW,            ID_ZERO,    SESSION_READY, RIGHT_NONE},
	{MSG_ERROR,  BY_BOTH,   IN_ALL,            ID_ZERO,    STAY,          RIGHT_NONE},
	{MSG_NOTE,   BY_BOTH,   IN_ALL & ~IN_NEW,  ID_ANY,     STAY,          RIGHT_NONE},

	/* requests */
	{MSG_ASK,    BY_CLIENT, IN_READY,          ID_REQUEST, STAY,          MAY_PUT},
	{MSG_PUT,    BY_CLIENT, IN_READY,          ID_REQUEST, SESSION_FILE,  MAY_PUT},
	{MSG_GET,    BY_CLIENT, IN_READY,          ID_REQUEST, STAY,          RIGHT_READ},
	{MSG_LIST,   BY_CLIENT, IN_READY,          ID_REQUEST, STAY,          RIGHT_LIST},
	{MSG_NEXT,   BY_CLIENT, IN_READY,          ID_REQUEST, STAY,          RIGHT_LIST},
	{MSG_MKDIR,  BY_CLIENT, IN_READY,          ID_REQUEST, STAY,          MAY_PUT},
	{MSG_LINK,   BY_CLIENT, IN_READY,          ID_REQUEST, STAY,          MAY_PUT},
	{MSG_ATTR,   BY_CLIENT, IN_READY,          ID_REQUEST, STAY,          RIGHT_WRITE},
	{MSG_FLUSH,  BY_CLIENT, IN_READY,          ID_REQUEST, STAY,          RIGHT_NONE},
	{MSG_STAT,   BY_CLIENT, IN_READY,          ID_REQUEST, STAY,          RIGHTS_SEE},
	{MSG_JOIN,   BY_CLIENT, IN_READY,          ID_REQUEST, STAY,          RIGHT_NONE},

	/* a file: the one that PUT announced, or the answer to GET */
	{MSG_FILE,   BY_CLIENT, IN_FILE,           ID_CURRENT, SESSION_DATA,  RIGHT_NONE},
	{MSG_FILE,   BY_SERVER, IN_READY,          ID_REQUEST, SESSION_DATA,  RIGHT_NONE},
	{MSG_DATA,   BY_BOTH,   IN_DATA,           ID_CURRENT, STAY,          RIGHT_NONE},
	{MSG_HOLE,   BY_BOTH,   IN_DATA,           ID_CURRENT, STAY,          RIGHT_NONE},
	{MSG_CHECK,  BY_BOTH,   IN_DATA,           ID_CURRENT, STAY,          RIGHT_NONE},
	{MSG_END,    BY_BOTH,   IN_DATA,           ID_CURRENT, SESSION_READY, RIGHT_NONE},
	{MSG_ABORT,  BY_BOTH,   IN_FILE | IN_DATA, ID_CURRENT, SESSION_READY, RIGHT_NONE},
	{MSG_PROOF,  BY_BOTH,   IN_PROOF,          ID_CURRENT, SESSION_READY, RIGHT_NONE},

	/* answers */
	{MSG_ERROR,  BY_SERVER, IN_READY,          ID_REQUEST, STAY,          RIGHT_NONE},
	{MSG_OFFER,  BY_SERVER, IN_READY,          ID_REQUEST, STAY,          RIGHT_NONE},
	{MSG_DONE,   BY_SERVER, IN_READY,          ID_REQUEST, STAY,          RIGHT_NONE},
	{MSG_OK,     BY_SERVER, IN_READY,          ID_REQUEST, STAY,          RIGHT_NONE},
	{MSG_ENTRY,  BY_SERVER, IN_READY,          ID_REQUEST, STAY,          RIGHT_NONE},
	{MSG_LISTED, BY_SERVER, IN_READY,          ID_REQUEST, STAY,          RIGHT_NONE},
};
/* clang-format on */

void session_init(struct session *s, enum role role, uint32_t rights)
{
	*s = (struct session){.role = role, .state = SESSION_NEW, .rights = rights};
}

static bool id_is_right(const struct session *s, enum id_rule rule, uint32_t id)
{
	switch (rule) {
	case ID_ANY:
		return true;
	case ID_ZERO:
		return id == 0;
	case ID_REQUEST:
		return id != 0;
	case ID_CURRENT:
		return id == s->id;
	}
	return false;
}

static const struct row *row_find(const struct session *s, uint8_t type, uint32_t id)
{
	unsigned peer = s->role == ROLE_SERVER ? BY_CLIENT : BY_SERVER;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *row = &rows[i];
		if (row->type == type && (row->by & peer) && (row->in & 1u << s->state) &&
			id_is_right(s, row->id, id))
			return row;
	}
	return NULL;
}

int session_admit(struct session *s, uint8_t type, uint32_t id)
{
	const struct row *row = row_find(s, type, id);

	if (!row)
		return -ERR_PROTOCOL;
	if (row->id == ID_REQUEST)
		s->id = id;
	if (row->next != STAY)
		s->state = row->next;
	return row->rights && !(row->rights & s->rights) ? -ERR_DENIED : 0;
}

void session_expect_proof(struct session *s, uint32_t id)
{
	s->state = SESSION_PROOF;
	s->id = id;
}

const char *session_state_name(enum session_state state)
{
	static const char *const names[SESSION_STATES] = {
		[SESSION_NEW] = "new",
		[SESSION_READY] = "ready",
		[SESSION_FILE] = "file",
		[SESSION_DATA] = "data",
		[SESSION_PROOF] = "proof",
	};

	return names[state];
}
