/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The file "clients" of the state directory, in memory: sections [client NAME] and
 * [invite NAME] with the keys of a client (daemon/client.h), the latter with
 * secret-sha256 (of secret_hash, in hexadecimal) and expires (seconds since 1970).
 *
 * No name stands twice, no fingerprint, and no secret.  It is replaced as a whole, by
 * whoever holds the store's lock (os/store.h) since before he read it.  One thread.
 */
#ifndef SOCKD_CLIENTS_FILE_H
#define SOCKD_CLIENTS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypto/secret.h"
#include "daemon/client.h"
#include "daemon/ini.h"

#define CLIENTS_FILE_NAME "clients"
#define CLIENTS_FILE_MAX  10000 /* sections */

/* A client, or somebody who may become one. */
struct clients_entry {
	struct client *client; /* owned reference: what is granted, or will be */
	bool is_invite;        /* the rest is of an invitation */
	uint8_t secret_hash[SECRET_HASH_LEN];
	int64_t expires_sec; /* since 1970; it counts as long as this is to come */
	unsigned line;       /* in the file, for complaints; 0: none */
};

/* Empty when all is zero. */
struct clients_file {
	struct clients_entry *entries; /* owned; in the order of the file */
	size_t count, cap;
};

/* Each fills *OUT, which must be empty, or leaves it so.  -ERR_USAGE with *ERROR_OUT when
 * the text makes no sense; -ERR_RESOURCE (with *ERROR_OUT, too). */
int clients_file_parse(struct clients_file *out, const char *text, size_t len,
	struct ini_error *error_out) MUST_CHECK;
/* The file of the store DIRFD; one that is not there is empty.  Also what store_read
 * returns. */
int clients_file_read(
	struct clients_file *out, int dirfd, struct ini_error *error_out) MUST_CHECK;

/* What an error of the store means here; static. */
const char *clients_file_why(int err);

/* What clients_file_parse makes the same of, for the caller to free.  -ERR_USAGE with
 * *ERROR_OUT when an entry cannot be written so that it reads back the same. */
int clients_file_format(const struct clients_file *f, char **out, size_t *len_out,
	struct ini_error *error_out) MUST_CHECK;
/* Replaces the file of the store DIRFD; on disk when it returns.  What has expired by
 * NOW_SEC goes, from F too.  Also what store_write returns. */
int clients_file_write(struct clients_file *f, int dirfd, int64_t now_sec,
	struct ini_error *error_out) MUST_CHECK;

/* Whether nothing stands twice that may not; -ERR_USAGE with words. */
int clients_file_check(const struct clients_file *f, struct ini_error *error) MUST_CHECK;

void clients_file_fini(struct clients_file *f); /* CLEANUP; F is empty then */

/* The entry of NAME, or that of the client with this fingerprint; or NULL.  Valid until
 * the next change. */
struct clients_entry *clients_file_find(const struct clients_file *f, const char *name);
struct clients_entry *clients_file_find_fingerprint(
	const struct clients_file *f, const uint8_t fp[FINGERPRINT_LEN]);
/* The invitation of the secret with this hash that has not expired; or NULL.  All are
 * compared, each in constant time. */
struct clients_entry *clients_file_find_invite(const struct clients_file *f,
	const uint8_t hash[SECRET_HASH_LEN], int64_t now_sec);

/* At the end, whatever there is; takes over the reference of ENTRY on success.  0,
 * -ERR_RESOURCE, -ERR_TOO_LARGE. */
int clients_file_append(
	struct clients_file *f, const struct clients_entry *entry) MUST_CHECK;
/* In place of the entry of the same name, or at the end; as above. */
int clients_file_set(
	struct clients_file *f, const struct clients_entry *entry) MUST_CHECK;
void clients_file_remove(struct clients_file *f, struct clients_entry *entry);

#endif
