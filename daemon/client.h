/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What one client may do: a [client NAME] section of sockd.conf(5), or of the file
 * "clients" in the state directory.  Frozen after it was made and counted: any thread
 * may hold a reference.
 */
#ifndef SOCKD_CLIENT_H
#define SOCKD_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypto/identity.h"
#include "wire/session.h"

#define CLIENT_NAME_MAX 64

struct client {
	unsigned refs; /* atomic */
	char name[CLIENT_NAME_MAX + 1];
	bool has_fingerprint;
	uint8_t fingerprint[FINGERPRINT_LEN];
	uint32_t rights;      /* set of enum right */
	char *path;           /* owned, wire form: its root below ours; "" is the root */
	uint64_t quota_bytes; /* below its root; 0: none */
	uint64_t quota_files; /* files, links and directories below its root; 0: none */
	uint32_t max_connections; /* at a time; 0: as many as there are */
	uint64_t limit; /* bytes per second, all its connections together; 0: none */
};

/* A client without any right.  NAME: 1 … CLIENT_NAME_MAX of [A-Za-z0-9._@-], not
 * beginning with '-' or '.'; else *WHY_OUT says so.  0, -ERR_USAGE, -ERR_RESOURCE. */
int client_new(struct client **out, const char *name, const char **why_out) MUST_CHECK;
/* Another with the same fields, without the fingerprint.  0 or -ERR_RESOURCE. */
int client_copy(struct client **out, const struct client *c) MUST_CHECK;
struct client *client_get(struct client *c);
void client_put(struct client *c); /* NULL is fine */

/*
 * Sets the KEY of a section (sockd.conf(5): fingerprint, rights, path, quota-bytes,
 * quota-files, max-connections, limit) while nobody else knows of C.  -ERR_USAGE with
 * *WHY_OUT (static) what VALUE has to be, or NULL when there is no such key.
 */
int client_set(struct client *c, const char *key, const char *value,
	const char **why_out) MUST_CHECK;

/* Whether both may do the same (references and fingerprints apart). */
bool client_is_equal(const struct client *a, const struct client *b);

/* "read,list,write"; -ERR_USAGE for an unknown word, an empty one, one that comes twice.
 * The word "none" stands alone. */
int rights_parse(const char *text, uint32_t *out) MUST_CHECK;
#define RIGHTS_TEXT_MAX 40
char *rights_format(char out[RIGHTS_TEXT_MAX], uint32_t rights);

#endif
