/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <criterion/criterion.h>

#include "base/err.h"
#include "wire/msg.h"
#include "wire/session.h"

#define RIGHTS_ALL (RIGHT_READ | RIGHT_LIST | RIGHT_CREATE | RIGHT_WRITE | RIGHT_DELETE)

enum { CURRENT = 7, OTHER = 8 };

/* Which ids a message may carry, as a set. */
enum { WITH_0 = 1, WITH_CURRENT = 2, WITH_OTHER = 4, WITH_REQUEST = 6, WITH_ANY = 7 };

/* All that may be received, written out from the manual, not from the code. */
static const struct legal {
	enum role role; /* of the receiver */
	enum session_state state;
	uint8_t type;
	unsigned ids;
	enum session_state next;
} legals[] = {
	{ROLE_SERVER, SESSION_NEW, MSG_HELLO, WITH_0, SESSION_READY},
	{ROLE_SERVER, SESSION_NEW, MSG_ERROR, WITH_0, SESSION_NEW},

	{ROLE_SERVER, SESSION_READY, MSG_ERROR, WITH_0, SESSION_READY},
	{ROLE_SERVER, SESSION_READY, MSG_NOTE, WITH_ANY, SESSION_READY},
	{ROLE_SERVER, SESSION_READY, MSG_ASK, WITH_REQUEST, SESSION_READY},
	{ROLE_SERVER, SESSION_READY, MSG_PUT, WITH_REQUEST, SESSION_FILE},
	{ROLE_SERVER, SESSION_READY, MSG_GET, WITH_REQUEST, SESSION_READY},
	{ROLE_SERVER, SESSION_READY, MSG_LIST, WITH_REQUEST, SESSION_READY},
	{ROLE_SERVER, SESSION_READY, MSG_NEXT, WITH_REQUEST, SESSION_READY},
	{ROLE_SERVER, SESSION_READY, MSG_MKDIR, WITH_REQUEST, SESSION_READY},
	{ROLE_SERVER, SESSION_READY, MSG_LINK, WITH_REQUEST, SESSION_READY},
	{ROLE_SERVER, SESSION_READY, MSG_ATTR, WITH_REQUEST, SESSION_READY},
	{ROLE_SERVER, SESSION_READY, MSG_FLUSH, WITH_REQUEST, SESSION_READY},
	{ROLE_SERVER, SESSION_READY, MSG_STAT, WITH_REQUEST, SESSION_READY},
	{ROLE_SERVER, SESSION_READY, MSG_JOIN, WITH_REQUEST, SESSION_READY},

	{ROLE_SERVER, SESSION_FILE, MSG_ERROR, WITH_0, SESSION_FILE},
	{ROLE_SERVER, SESSION_FILE, MSG_NOTE, WITH_ANY, SESSION_FILE},
	{ROLE_SERVER, SESSION_FILE, MSG_FILE, WITH_CURRENT, SESSION_DATA},
	{ROLE_SERVER, SESSION_FILE, MSG_ABORT, WITH_CURRENT, SESSION_READY},

	{ROLE_SERVER, SESSION_DATA, MSG_ERROR, WITH_0, SESSION_DATA},
	{ROLE_SERVER, SESSION_DATA, MSG_NOTE, WITH_ANY, SESSION_DATA},
	{ROLE_SERVER, SESSION_DATA, MSG_DATA, WITH_CURRENT, SESSION_DATA},
	{ROLE_SERVER, SESSION_DATA, MSG_HOLE, WITH_CURRENT, SESSION_DATA},
	{ROLE_SERVER, SESSION_DATA, MSG_CHECK, WITH_CURRENT, SESSION_DATA},
	{ROLE_SERVER, SESSION_DATA, MSG_END, WITH_CURRENT, SESSION_READY},
	{ROLE_SERVER, SESSION_DATA, MSG_ABORT, WITH_CURRENT, SESSION_READY},

	{ROLE_SERVER, SESSION_PROOF, MSG_ERROR, WITH_0, SESSION_PROOF},
	{ROLE_SERVER, SESSION_PROOF, MSG_NOTE, WITH_ANY, SESSION_PROOF},
	{ROLE_SERVER, SESSION_PROOF, MSG_PROOF, WITH_CURRENT, SESSION_READY},

	{ROLE_CLIENT, SESSION_NEW, MSG_HELLO, WITH_0, SESSION_READY},
	{ROLE_CLIENT, SESSION_NEW, MSG_ERROR, WITH_0, SESSION_NEW},

	{ROLE_CLIENT, SESSION_READY, MSG_ERROR, WITH_ANY, SESSION_READY},
	{ROLE_CLIENT, SESSION_READY, MSG_NOTE, WITH_ANY, SESSION_READY},
	{ROLE_CLIENT, SESSION_READY, MSG_FILE, WITH_REQUEST, SESSION_DATA},
	{ROLE_CLIENT, SESSION_READY, MSG_OFFER, WITH_REQUEST, SESSION_READY},
	{ROLE_CLIENT, SESSION_READY, MSG_DONE, WITH_REQUEST, SESSION_READY},
	{ROLE_CLIENT, SESSION_READY, MSG_OK, WITH_REQUEST, SESSION_READY},
	{ROLE_CLIENT, SESSION_READY, MSG_ENTRY, WITH_REQUEST, SESSION_READY},
	{ROLE_CLIENT, SESSION_READY, MSG_LISTED, WITH_REQUEST, SESSION_READY},

	/* A client has no state FILE: what can arrive there arrives anywhere. */
	{ROLE_CLIENT, SESSION_FILE, MSG_ERROR, WITH_0, SESSION_FILE},
	{ROLE_CLIENT, SESSION_FILE, MSG_NOTE, WITH_ANY, SESSION_FILE},
	{ROLE_CLIENT, SESSION_FILE, MSG_ABORT, WITH_CURRENT, SESSION_READY},

	{ROLE_CLIENT, SESSION_DATA, MSG_ERROR, WITH_0, SESSION_DATA},
	{ROLE_CLIENT, SESSION_DATA, MSG_NOTE, WITH_ANY, SESSION_DATA},
	{ROLE_CLIENT, SESSION_DATA, MSG_DATA, WITH_CURRENT, SESSION_DATA},
	{ROLE_CLIENT, SESSION_DATA, MSG_HOLE, WITH_CURRENT, SESSION_DATA},
	{ROLE_CLIENT, SESSION_DATA, MSG_CHECK, WITH_CURRENT, SESSION_DATA},
	{ROLE_CLIENT, SESSION_DATA, MSG_END, WITH_CURRENT, SESSION_READY},
	{ROLE_CLIENT, SESSION_DATA, MSG_ABORT, WITH_CURRENT, SESSION_READY},

	{ROLE_CLIENT, SESSION_PROOF, MSG_ERROR, WITH_0, SESSION_PROOF},
	{ROLE_CLIENT, SESSION_PROOF, MSG_NOTE, WITH_ANY, SESSION_PROOF},
	{ROLE_CLIENT, SESSION_PROOF, MSG_PROOF, WITH_CURRENT, SESSION_READY},
};

static const struct legal *legal_find(
	const struct session *s, uint8_t type, unsigned with)
{
	for (size_t i = 0; i < ARRAY_LEN(legals); i++)
		if (legals[i].role == s->role && legals[i].state == s->state &&
			legals[i].type == type && (legals[i].ids & with))
			return &legals[i];
	return NULL;
}

static void check_cell(
	enum role role, enum session_state state, uint8_t type, unsigned with)
{
	uint32_t id = with == WITH_0 ? 0 : with == WITH_CURRENT ? CURRENT : OTHER;
	struct session s;

	session_init(&s, role, RIGHTS_ALL);
	s.state = state;
	s.id = CURRENT;
	const struct legal *legal = legal_find(&s, type, with);
	int err = session_admit(&s, type, id);
	cr_assert_eq(err, legal ? 0 : -ERR_PROTOCOL, "%s (%u) of %u in %s to %d",
		msg_name(type), type, id, session_state_name(state), role);
	cr_assert_eq(s.state, legal ? legal->next : state, "%s in %s", msg_name(type),
		session_state_name(state));
}

Test(session, admits_what_is_in_the_table_and_nothing_else)
{
	for (int role = ROLE_CLIENT; role <= ROLE_SERVER; role++)
		for (int state = 0; state < SESSION_STATES; state++)
			for (unsigned type = 0; type <= UINT8_MAX; type++)
				for (unsigned with = WITH_0; with <= WITH_OTHER;
					with *= 2)
					check_cell((enum role)role,
						(enum session_state)state, (uint8_t)type,
						with);
}

static const struct {
	uint8_t type;
	uint32_t enough; /* any one of these; 0: none is needed */
} needs[] = {
	{MSG_ASK, RIGHT_CREATE | RIGHT_WRITE},
	{MSG_PUT, RIGHT_CREATE | RIGHT_WRITE},
	{MSG_GET, RIGHT_READ},
	{MSG_LIST, RIGHT_LIST},
	{MSG_NEXT, RIGHT_LIST},
	{MSG_MKDIR, RIGHT_CREATE | RIGHT_WRITE},
	{MSG_LINK, RIGHT_CREATE | RIGHT_WRITE},
	{MSG_ATTR, RIGHT_WRITE},
	{MSG_STAT, RIGHT_READ | RIGHT_LIST | RIGHT_WRITE},
	{MSG_FLUSH, 0},
	{MSG_JOIN, 0},
};

Test(session, each_request_needs_its_right)
{
	for (size_t i = 0; i < ARRAY_LEN(needs); i++)
		for (uint32_t rights = 0; rights <= RIGHTS_ALL; rights++) {
			bool granted = !needs[i].enough || (rights & needs[i].enough);
			struct session s;

			session_init(&s, ROLE_SERVER, rights);
			cr_assert_eq(session_admit(&s, MSG_HELLO, 0), 0);
			cr_assert_eq(session_admit(&s, needs[i].type, 1),
				granted ? 0 : -ERR_DENIED, "%s with %x",
				msg_name(needs[i].type), rights);
		}
}

Test(session, no_right_turns_denied_into_a_protocol_error)
{
	struct session s;

	session_init(&s, ROLE_SERVER, RIGHT_NONE);
	cr_assert_eq(session_admit(&s, MSG_PUT, 1), -ERR_PROTOCOL, "before HELLO");
}

Test(session, refused_put_is_drained)
{
	struct session s;

	session_init(&s, ROLE_SERVER, RIGHT_READ);
	cr_assert_eq(session_admit(&s, MSG_HELLO, 0), 0);
	cr_assert_eq(session_admit(&s, MSG_PUT, 3), -ERR_DENIED);
	cr_assert_eq(session_admit(&s, MSG_FILE, 4), -ERR_PROTOCOL);
	cr_assert_eq(session_admit(&s, MSG_FILE, 3), 0);
	cr_assert_eq(session_admit(&s, MSG_DATA, 3), 0);
	cr_assert_eq(session_admit(&s, MSG_DATA, 4), -ERR_PROTOCOL);
	cr_assert_eq(session_admit(&s, MSG_CHECK, 3), 0);
	cr_assert_eq(session_admit(&s, MSG_END, 3), 0);
	cr_assert_eq(session_admit(&s, MSG_DATA, 3), -ERR_PROTOCOL, "after END");
	cr_assert_eq(session_admit(&s, MSG_GET, 4), 0);
}

Test(session, notes_do_not_move_the_file_under_way)
{
	struct session s;

	session_init(&s, ROLE_SERVER, RIGHT_WRITE);
	cr_assert_eq(session_admit(&s, MSG_HELLO, 0), 0);
	cr_assert_eq(session_admit(&s, MSG_PUT, 3), 0);
	cr_assert_eq(session_admit(&s, MSG_NOTE, 9), 0);
	cr_assert_eq(session_admit(&s, MSG_FILE, 3), 0);
	cr_assert_eq(session_admit(&s, MSG_NOTE, 9), 0);
	cr_assert_eq(session_admit(&s, MSG_DATA, 3), 0);
}

Test(session, proof_follows_only_an_announced_offset)
{
	struct session s;

	session_init(&s, ROLE_SERVER, RIGHT_READ);
	cr_assert_eq(session_admit(&s, MSG_HELLO, 0), 0);
	cr_assert_eq(session_admit(&s, MSG_GET, 3), 0);
	cr_assert_eq(session_admit(&s, MSG_PROOF, 3), -ERR_PROTOCOL);
	session_expect_proof(&s, 3);
	cr_assert_eq(session_admit(&s, MSG_GET, 4), -ERR_PROTOCOL);
	cr_assert_eq(session_admit(&s, MSG_PROOF, 4), -ERR_PROTOCOL);
	cr_assert_eq(session_admit(&s, MSG_PROOF, 3), 0);
	cr_assert_eq(s.state, SESSION_READY);
}

Test(session, client_receives_a_file)
{
	struct session s;

	session_init(&s, ROLE_CLIENT, RIGHT_NONE);
	cr_assert_eq(session_admit(&s, MSG_HELLO, 0), 0);
	cr_assert_eq(session_admit(&s, MSG_OFFER, 1), 0);
	session_expect_proof(&s, 1);
	cr_assert_eq(session_admit(&s, MSG_DONE, 1), -ERR_PROTOCOL);
	cr_assert_eq(session_admit(&s, MSG_PROOF, 1), 0);
	cr_assert_eq(session_admit(&s, MSG_FILE, 2), 0);
	cr_assert_eq(session_admit(&s, MSG_DATA, 1), -ERR_PROTOCOL);
	cr_assert_eq(session_admit(&s, MSG_DATA, 2), 0);
	cr_assert_eq(session_admit(&s, MSG_ABORT, 2), 0);
	cr_assert_eq(session_admit(&s, MSG_ERROR, 3), 0);
}

Test(session, states_have_names)
{
	cr_assert_str_eq(session_state_name(SESSION_NEW), "new");
	cr_assert_str_eq(session_state_name(SESSION_READY), "ready");
	cr_assert_str_eq(session_state_name(SESSION_FILE), "file");
	cr_assert_str_eq(session_state_name(SESSION_DATA), "data");
	cr_assert_str_eq(session_state_name(SESSION_PROOF), "proof");
}
