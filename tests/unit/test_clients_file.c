/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/clients_file.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "os/store.h"
#include "scratch.h"

#define FP_A "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define FP_B "SHA256:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"
#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HOSH "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static int parse(struct clients_file *f, const char *text, struct ini_error *error)
{
	*error = (struct ini_error){0};
	return clients_file_parse(f, text, strlen(text), error);
}

static void fails(const char *text, unsigned line, const char *why)
{
	struct clients_file f = {0};
	struct ini_error error;

	cr_assert_eq(parse(&f, text, &error), -ERR_USAGE, "%s", text);
	cr_assert_eq(error.line, line, "%u: %s in:\n%s", error.line, error.why, text);
	cr_assert_not_null(strstr(error.why, why), "%s in:\n%s", error.why, text);
	cr_assert_eq(f.count, 0);
}

static struct clients_file parsed(const char *text)
{
	struct clients_file f = {0};
	struct ini_error error;

	cr_assert_eq(parse(&f, text, &error), 0, "%u: %s", error.line, error.why);
	return f;
}

/* A client NAME whose fingerprint is made of FILL. */
static struct clients_entry entry_make(const char *name, uint8_t fill)
{
	struct clients_entry e = {0};
	const char *why;

	cr_assert_eq(client_new(&e.client, name, &why), 0);
	memset(e.client->fingerprint, fill, FINGERPRINT_LEN);
	e.client->has_fingerprint = true;
	return e;
}

static struct clients_entry invite_make(const char *name, uint8_t fill, int64_t expires)
{
	struct clients_entry e = entry_make(name, 0);

	e.client->has_fingerprint = false;
	e.is_invite = true;
	memset(e.secret_hash, fill, SECRET_HASH_LEN);
	e.expires_sec = expires;
	return e;
}

static void add(struct clients_file *f, struct clients_entry e)
{
	cr_assert_eq(clients_file_append(f, &e), 0);
}

Test(clients_file, reads_clients_and_invitations)
{
	struct clients_file f CLEANUP(clients_file_fini) =
		parsed("# a comment\n"
		       "[client bob]\nfingerprint = " FP_A "\nrights = read,list\n"
		       "path = in box\nquota-bytes = 1K\nquota-files = 2\n"
		       "max-connections = 3\nlimit = 4\n"
		       "[invite carol]\nsecret-sha256 = " HASH "\nexpires = 1700000000\n"
		       "rights = create\n");

	cr_assert_eq(f.count, 2);
	const struct clients_entry *bob = clients_file_find(&f, "bob");
	cr_assert(bob && !bob->is_invite && bob->client->has_fingerprint);
	cr_assert_eq(bob->client->rights, RIGHT_READ | RIGHT_LIST);
	cr_assert_str_eq(bob->client->path, "in box");
	cr_assert(bob->client->quota_bytes == 1024 && bob->client->quota_files == 2);
	cr_assert(bob->client->max_connections == 3 && bob->client->limit == 4);
	const struct clients_entry *carol = clients_file_find(&f, "carol");
	cr_assert(carol && carol->is_invite && !carol->client->has_fingerprint);
	cr_assert_eq(carol->client->rights, RIGHT_CREATE);
	cr_assert_eq(carol->expires_sec, 1700000000);
	cr_assert(carol->secret_hash[0] == 0x01 && carol->secret_hash[31] == 0xef);
	cr_assert_null(clients_file_find(&f, "dave"));
	cr_assert_eq(clients_file_find_fingerprint(&f, bob->client->fingerprint), bob);
	cr_assert_null(clients_file_find_fingerprint(&f, carol->secret_hash));
}

Test(clients_file, an_empty_file_knows_nobody)
{
	struct clients_file f = parsed("");

	cr_assert_eq(f.count, 0);
	clients_file_fini(&f);
}

Test(clients_file, says_file_and_line_of_what_it_does_not_know)
{
	fails("rights = read\n", 1, "first");
	fails("[server x]\n", 1, "unknown section [server x]");
	fails("[client]\n", 1, "unknown section");
	fails("[clientbob]\n", 1, "unknown section");
	fails("\n[\033]\n", 2, "unknown section [\\x1b]");
	fails("[client bob]\nright = read\n", 2, "unknown key right");
	fails("[client bob]\n\033 = read\n", 2, "unknown key \\x1b");
	fails("[client bob]\nrights = reed\n", 2, "rights: ");
	fails("[client bob]\npath = ../x\n", 2, "path: ");
	fails("[client bob]\nfingerprint = x\n", 2, "fingerprint: ");
	fails("[client bob]\nrights = read\nlimit = 1\nrights = list\n", 4,
		"given twice");
	fails("[client bo b]\n", 1, "letters");
	fails("[client -b]\n", 1, "begin");
	fails("[client bob]\nexpires = 1\n", 2, "has no expires");
	fails("[invite bob]\nfingerprint = " FP_A "\n", 2, "has no fingerprint");
	fails("[invite bob]\nsecret-sha256 = 12\n", 2, "64 hexadecimal");
	fails("[invite bob]\nexpires = -1\n", 2, "1970");
	fails("[invite bob]\nexpires = 9223372036854775808\n", 2, "1970");
}

Test(clients_file, a_section_has_what_it_must)
{
	fails("[client bob]\nrights = read\n\n[client carol]\n", 1,
		"bob has no fingerprint");
	fails("\n[client bob]\n", 2, "bob has no fingerprint");
	fails("[invite bob]\nexpires = 1\n", 1, "bob has no secret-sha256");
	fails("[invite bob]\nsecret-sha256 = " HASH "\n", 1, "bob has no expires");
}

Test(clients_file, nothing_stands_twice)
{
	fails("[client bob]\nfingerprint = " FP_A "\n[client bob]\nfingerprint = " FP_B
	      "\n",
		3, "bob and bob have the same name");
	fails("[client bob]\nfingerprint = " FP_A "\n[invite bob]\nsecret-sha256 = " HASH
	      "\nexpires = 1\n",
		3, "the same name");
	fails("[client bob]\nfingerprint = " FP_A "\n[client carol]\nfingerprint = " FP_A
	      "\n",
		3, "the same fingerprint");
	fails("[invite bob]\nsecret-sha256 = " HASH "\nexpires = 1\n"
	      "[invite carol]\nsecret-sha256 = " HASH "\nexpires = 1\n",
		4, "the same secret");
	struct clients_file f =
		parsed("[invite bob]\nsecret-sha256 = " HASH "\nexpires = 1\n"
		       "[invite carol]\nsecret-sha256 = " HOSH "\nexpires = 1\n");
	clients_file_fini(&f);
}

/* F as text and back. */
static void reads_back(const struct clients_file *f)
{
	struct clients_file again = {0};
	struct ini_error error;
	size_t len;
	char *text;

	cr_assert_eq(clients_file_format(f, &text, &len, &error), 0, "%s", error.why);
	cr_assert_eq(len, strlen(text));
	cr_assert_eq(clients_file_parse(&again, text, len, &error), 0, "%s", error.why);
	cr_assert_eq(again.count, f->count);
	for (size_t i = 0; i < f->count; i++) {
		const struct clients_entry *a = &f->entries[i], *b = &again.entries[i];
		cr_assert(client_is_equal(a->client, b->client));
		cr_assert_eq(a->client->has_fingerprint, b->client->has_fingerprint);
		cr_assert_arr_eq(
			a->client->fingerprint, b->client->fingerprint, FINGERPRINT_LEN);
		cr_assert_eq(a->is_invite, b->is_invite);
		cr_assert_eq(a->expires_sec, b->expires_sec);
		cr_assert_arr_eq(a->secret_hash, b->secret_hash, SECRET_HASH_LEN);
	}
	clients_file_fini(&again);
	free(text);
}

Test(clients_file, what_is_written_reads_back)
{
	struct clients_file f CLEANUP(clients_file_fini) = {0};
	struct client *c;

	reads_back(&f);
	add(&f, entry_make("bob", 1));
	add(&f, invite_make("carol", 2, INT64_MAX));
	add(&f, entry_make("1234567890123456789012345678901234567890123456789012345678901"
			   "234",
			3));
	c = f.entries[0].client;
	c->rights = 31;
	c->quota_bytes = c->quota_files = c->limit = UINT64_MAX;
	c->max_connections = UINT32_MAX;
	free(c->path);
	c->path = strdup("a b/;c\"#\\ =[x]:\xff");
	reads_back(&f);
}

Test(clients_file, random_paths_read_back_or_are_refused, .timeout = 60)
{
	static const char alphabet[] = " ;#=:[]ab\t\n\r\v\"\\/\xef\xbb\xbf";
	const char *given = getenv("SOCKD_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
	unsigned written = 0, refused = 0;

	fprintf(stderr, "# SOCKD_TEST_SEED=%u\n", seed);
	srand(seed);
	for (int round = 0; round < 5000; round++) {
		struct clients_file f = {0};
		struct ini_error error = {0};
		char path[260], *text;
		size_t len = (size_t)rand() % (rand() % 10 ? 8 : sizeof(path));

		for (size_t i = 0; i < len; i++)
			path[i] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
		path[len] = '\0';
		add(&f, entry_make("bob", 1));
		free(f.entries[0].client->path);
		f.entries[0].client->path = strdup(path);
		int err = clients_file_format(&f, &text, &len, &error);
		if (err == 0) {
			free(text);
			reads_back(&f);
			written++;
		} else {
			cr_assert_eq(err, -ERR_USAGE);
			cr_assert_not_null(strstr(error.why, "the path of bob"));
			refused++;
		}
		clients_file_fini(&f);
	}
	cr_assert(written > 100 && refused > 100, "%u written, %u refused", written,
		refused);
}

Test(clients_file, what_would_not_read_back_is_not_written)
{
	static const char *const paths[] = {
		"a ;b", " a", "a ", ";a", "a\nrights = write", "a\r"};
	struct scratch dir;
	char text[64];

	scratch_init(&dir);
	scratch_file(dir.fd, "clients", "");
	cr_assert_eq(fchmodat(dir.fd, "clients", 0600, 0), 0);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct clients_file f = {0};
		struct ini_error error;

		add(&f, entry_make("bob", 1));
		free(f.entries[0].client->path);
		f.entries[0].client->path = strdup(paths[i]);
		cr_assert_eq(clients_file_write(&f, dir.fd, 0, &error), -ERR_USAGE, "%s",
			paths[i]);
		cr_assert_str_eq(scratch_read(dir.fd, "clients", text), "");
		clients_file_fini(&f);
	}
	scratch_fini(&dir);
}

Test(clients_file, a_file_and_what_has_expired)
{
	struct clients_file f = {0}, again = {0};
	struct ini_error error;
	struct scratch dir;

	scratch_init(&dir);
	cr_assert_eq(clients_file_read(&f, dir.fd, &error), 0, "there is none");
	cr_assert_eq(f.count, 0);
	add(&f, invite_make("old", 1, 99));
	add(&f, entry_make("bob", 1));
	add(&f, invite_make("now", 2, 100));
	add(&f, invite_make("open", 3, 101));
	cr_assert_eq(clients_file_write(&f, dir.fd, 100, &error), 0, "%s", error.why);
	cr_assert_eq(f.count, 2);
	cr_assert_eq(clients_file_read(&again, dir.fd, &error), 0, "%s", error.why);
	cr_assert_eq(again.count, 2);
	cr_assert_str_eq(again.entries[0].client->name, "bob");
	cr_assert_str_eq(again.entries[1].client->name, "open");
	cr_assert_eq(fchmodat(dir.fd, "clients", 0644, 0), 0);
	clients_file_fini(&again);
	cr_assert_eq(clients_file_read(&again, dir.fd, &error), -ERR_ACCESS);
	cr_assert_not_null(strstr(error.why, "chmod 600"), "%s", error.why);
	clients_file_fini(&f);
	scratch_fini(&dir);
}

Test(clients_file, set_replaces_by_name)
{
	struct clients_file f = {0};
	struct clients_entry e = invite_make("bob", 1, 100);

	add(&f, entry_make("ann", 9));
	cr_assert_eq(clients_file_set(&f, &e), 0);
	e = entry_make("bob", 1);
	cr_assert_eq(clients_file_set(&f, &e), 0);
	e = entry_make("carol", 2);
	cr_assert_eq(clients_file_set(&f, &e), 0);
	cr_assert_eq(f.count, 3);
	cr_assert_not(clients_file_find(&f, "bob")->is_invite);
	clients_file_remove(&f, clients_file_find(&f, "ann"));
	cr_assert_eq(f.count, 2);
	cr_assert_null(clients_file_find(&f, "ann"));
	cr_assert_str_eq(f.entries[1].client->name, "carol");
	clients_file_fini(&f);
}

Test(clients_file, finds_open_invitations_only)
{
	struct clients_file f = {0};
	uint8_t hash[SECRET_HASH_LEN];

	add(&f, invite_make("a", 1, 100));
	add(&f, invite_make("b", 2, 100));
	add(&f, entry_make("c", 3));
	for (uint8_t fill = 0; fill < 4; fill++) {
		memset(hash, fill, sizeof(hash));
		const struct clients_entry *e = clients_file_find_invite(&f, hash, 99);
		if (fill == 1 || fill == 2)
			cr_assert_eq(e, &f.entries[fill - 1]);
		else
			cr_assert_null(e);
		cr_assert_null(clients_file_find_invite(&f, hash, 100), "it has expired");
	}
	memset(hash, 1, sizeof(hash));
	hash[SECRET_HASH_LEN - 1] ^= 1;
	cr_assert_null(clients_file_find_invite(&f, hash, 0));
	clients_file_fini(&f);
}

/* As many as there may be, in little time, and not one more. */
Test(clients_file, bounded, .timeout = 60)
{
	struct clients_file f = {0}, again = {0};
	struct ini_error error;
	size_t len;
	char *text;

	for (unsigned i = 0; i < CLIENTS_FILE_MAX; i++) {
		char name[16];
		snprintf(name, sizeof(name), "c%u", i);
		struct clients_entry e = entry_make(name, 0);
		memcpy(e.client->fingerprint, &i, sizeof(i));
		add(&f, e);
	}
	struct clients_entry more = entry_make("more", 1);
	cr_assert_eq(clients_file_append(&f, &more), -ERR_TOO_LARGE);
	cr_assert_eq(clients_file_format(&f, &text, &len, &error), 0, "%s", error.why);
	cr_assert_eq(clients_file_parse(&again, text, len, &error), 0);
	cr_assert_eq(again.count, CLIENTS_FILE_MAX);
	clients_file_fini(&again);
	text = realloc(text, len + 32);
	cr_assert_not_null(text);
	memcpy(text + len, "[client more]\n", sizeof("[client more]\n"));
	cr_assert_eq(clients_file_parse(&again, text, strlen(text), &error), -ERR_USAGE);
	cr_assert_not_null(strstr(error.why, "more than"));
	free(text);
	client_put(more.client);
	clients_file_fini(&f);
}
