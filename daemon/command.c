/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "crypto/secret.h"
#include "daemon/log.h"
#include "daemon/state.h"
#include "os/fd.h"
#include "os/store.h"

/* Exit statuses, as those of sockcp(1). */
enum { STATUS_OK = 0, STATUS_USAGE = 2, STATUS_NAME = 5, STATUS_LOCAL = 7 };

/* One command under way. */
struct work {
	const struct config *config; /* borrowed */
	int state_fd;                /* owned */
	int64_t now_sec;             /* since 1970 */
	struct clients_file file;    /* owned */
};

/* -- the file of clients -- */

static void complain(const struct work *w, const struct ini_error *error)
{
	char dir[1024], line[16] = "";
	const char *path = w->config->state_dir;

	if (error->line > 0)
		snprintf(line, sizeof(line), ":%u", error->line);
	log_line(LOG_LEVEL_ERR, "%s/" CLIENTS_FILE_NAME "%s: %s",
		text_escape(dir, sizeof(dir), path, strlen(path)), line, error->why);
}

static int file_read(struct work *w)
{
	struct ini_error error;
	int err = clients_file_read(&w->file, w->state_fd, &error);

	if (err < 0)
		complain(w, &error);
	return err;
}

static int file_write(struct work *w)
{
	struct ini_error error;
	int err = clients_file_write(&w->file, w->state_fd, w->now_sec, &error);

	if (err < 0)
		complain(w, &error);
	return err;
}

static int lock_failed(int err)
{
	log_line(LOG_LEVEL_ERR, "cannot lock the state directory: %s",
		err == -ERR_BUSY
			? "another sockd holds its file \"lock\"; look for one that "
			  "hangs, and try again"
			: err_text(err));
	return STATUS_LOCAL;
}

static int write_status(int err)
{
	if (err == 0)
		return STATUS_OK;
	return err == -ERR_USAGE ? STATUS_USAGE : STATUS_LOCAL;
}

static void hint_rights(const struct client *granted)
{
	if (granted->rights == RIGHT_NONE)
		log_line(LOG_LEVEL_WARNING,
			"%s will have no rights: --rights=LIST gives some",
			granted->name);
}

/* Puts ENTRY, whose reference is borrowed, in the file. */
static int entry_write(struct work *w, const struct clients_entry *entry)
{
	struct clients_entry own = *entry;

	own.client = client_get(entry->client);
	int err = clients_file_set(&w->file, &own);
	if (err < 0) {
		client_put(own.client);
		log_line(LOG_LEVEL_ERR, "%s cannot be added: %s", entry->client->name,
			err_text(err));
		return STATUS_LOCAL;
	}
	hint_rights(entry->client);
	return write_status(file_write(w));
}

/* What the configuration says counts before what we could write. */
static bool is_configured(const struct work *w)
{
	const struct config *c = w->config;

	if (!command_configured(c, c->name))
		return false;
	log_line(LOG_LEVEL_ERR, "%s is a client in %s: change its section there", c->name,
		c->file);
	return true;
}

/* The server's fingerprint; says so when its identity was made just now, since a daemon
 * that looks elsewhere would be somebody else. */
static int identity_get(struct work *w, uint8_t fp_out[FINGERPRINT_LEN])
{
	const struct config *c = w->config;
	bool is_new = !c->identity && faccessat(w->state_fd, STATE_IDENTITY, F_OK, 0) < 0;
	struct identity *id;

	if (state_identity(c, w->state_fd, true, &id) < 0)
		return STATUS_LOCAL;
	memcpy(fp_out, identity_fingerprint(id), FINGERPRINT_LEN);
	identity_free(id);
	if (is_new)
		log_line(LOG_LEVEL_NOTICE,
			"made a new identity for the server with --state-dir=%s; a "
			"daemon that runs already has another: give its --state-dir or "
			"--config",
			c->state_dir);
	return STATUS_OK;
}

/* -- invite -- */

/* A secret that is in ENTRY as a hash only, and in CODE. */
static int invite_make(
	struct work *w, struct clients_entry *entry, struct invite_code *code)
{
	int err = secret_make(code->secret);

	if (err == 0)
		err = secret_hash(code->secret, entry->secret_hash);
	if (err < 0) {
		log_line(LOG_LEVEL_ERR, "cannot make a secret: %s", err_text(err));
		return STATUS_LOCAL;
	}
	entry->client = w->config->granted;
	entry->is_invite = true;
	entry->expires_sec = w->now_sec + w->config->expires_sec;
	return STATUS_OK;
}

static int invite_write(struct work *w, const struct clients_entry *entry)
{
	const char *name = w->config->name;
	FD_OWNED lock = store_lock(w->state_fd);

	if (lock < 0)
		return lock_failed(lock);
	if (file_read(w) < 0)
		return STATUS_LOCAL;
	const struct clients_entry *old = clients_file_find(&w->file, name);
	if (old && !old->is_invite) {
		log_line(LOG_LEVEL_ERR,
			"%s is a client already; to invite another machine by this name, "
			"sockd revoke %s comes first",
			name, name);
		return STATUS_NAME;
	}
	bool replaces = old && old->expires_sec > w->now_sec;
	int status = entry_write(w, entry);
	if (status == STATUS_OK && replaces)
		log_line(LOG_LEVEL_NOTICE,
			"an earlier invitation for %s no longer counts", name);
	return status;
}

/* Past stdio, whose buffer would keep it. */
static int code_print(const struct invite_code *code)
{
	char text[CODE_TEXT_MAX + 1];
	int err = code_format(text, code);

	if (err == 0) {
		size_t len = strlen(text);
		text[len] = '\n';
		err = fd_write_full(STDOUT_FILENO, text, len + 1);
	}
	secret_wipe(text, sizeof(text));
	if (err < 0)
		log_line(LOG_LEVEL_ERR, "the code could not be printed: %s; invite again",
			err_text(err));
	return err < 0 ? STATUS_LOCAL : STATUS_OK;
}

static int invite_finish(const struct work *w, const struct clients_entry *entry,
	const struct invite_code *code)
{
	char expires[COMMAND_TIME_MAX];
	int status = code_print(code);

	if (status == STATUS_OK)
		log_line(LOG_LEVEL_NOTICE,
			"this code makes one machine the client %s, until %s; there: "
			"sockcp [-P PORT] join HOST CODE",
			w->config->name, command_time(expires, entry->expires_sec));
	return status;
}

static int invite_run(struct work *w)
{
	struct clients_entry entry = {0};
	struct invite_code code;

	if (is_configured(w))
		return STATUS_NAME;
	int status = identity_get(w, code.server);
	if (status == STATUS_OK)
		status = invite_make(w, &entry, &code);
	if (status == STATUS_OK)
		status = invite_write(w, &entry);
	if (status == STATUS_OK)
		status = invite_finish(w, &entry, &code);
	secret_wipe(&code, sizeof(code));
	return status;
}

/* -- the others -- */

static int clients_run(struct work *w)
{
	if (file_read(w) < 0)
		return STATUS_LOCAL;
	int err = command_list(&w->file, w->config, w->now_sec);
	if (err < 0)
		log_line(LOG_LEVEL_ERR, "the clients could not be printed: %s",
			err_text(err));
	return err < 0 ? STATUS_LOCAL : STATUS_OK;
}

static int revoke_run(struct work *w)
{
	const char *name = w->config->name;
	FD_OWNED lock = store_lock(w->state_fd);

	if (lock < 0)
		return lock_failed(lock);
	if (file_read(w) < 0)
		return STATUS_LOCAL;
	struct clients_entry *entry = clients_file_find(&w->file, name);
	if (!entry) {
		if (!is_configured(w))
			log_line(LOG_LEVEL_ERR, "%s is no client and not invited", name);
		return STATUS_NAME;
	}
	clients_file_remove(&w->file, entry);
	int status = write_status(file_write(w));
	return status == STATUS_OK && is_configured(w) ? STATUS_NAME : status;
}

/* Whose the fingerprint of the new client is already; or NULL. */
static const struct client *fingerprint_owner(
	const struct work *w, const struct client *granted)
{
	const struct config *c = w->config;
	const struct clients_entry *e =
		clients_file_find_fingerprint(&w->file, granted->fingerprint);

	if (e && strcmp(e->client->name, granted->name) != 0)
		return e->client;
	for (size_t i = 0; i < c->client_count; i++)
		if (c->clients[i]->has_fingerprint &&
			memcmp(c->clients[i]->fingerprint, granted->fingerprint,
				FINGERPRINT_LEN) == 0)
			return c->clients[i];
	return NULL;
}

/* What became of BEFORE, the entry that had the name. */
static void authorize_tell(const struct clients_entry *before, const char *name)
{
	char fp[FINGERPRINT_TEXT_MAX];

	if (before->is_invite)
		log_line(
			LOG_LEVEL_NOTICE, "the invitation for %s no longer counts", name);
	else
		log_line(LOG_LEVEL_NOTICE,
			"replaced %s, who was %s; what was not said anew stays", name,
			fingerprint_format(fp, before->client->fingerprint));
}

/* What GRANTED says, on top of what OLD could do: a client does not get more rights than
 * it had because nobody spoke of them. */
static int grant_over(
	const struct config *c, const struct client *old, struct client **out)
{
	const char *why;
	int err = client_copy(out, old);

	if (err < 0)
		return err;
	for (size_t i = 0; err == 0 && i < c->given_count; i++)
		err = client_set(*out, c->given_keys[i], c->given_values[i], &why);
	memcpy((*out)->fingerprint, c->granted->fingerprint, FINGERPRINT_LEN);
	(*out)->has_fingerprint = true;
	return err;
}

static int authorize_run(struct work *w)
{
	struct clients_entry entry = {.client = w->config->granted};
	FD_OWNED lock = store_lock(w->state_fd);

	if (lock < 0)
		return lock_failed(lock);
	if (is_configured(w))
		return STATUS_NAME;
	if (file_read(w) < 0)
		return STATUS_LOCAL;
	const struct client *owner = fingerprint_owner(w, entry.client);
	if (owner) {
		log_line(LOG_LEVEL_ERR,
			"this fingerprint is that of the client %s: sockd revoke %s "
			"comes first%s",
			owner->name, owner->name,
			command_configured(w->config, owner->name)
				? ", or rather a change of its section in --config"
				: "");
		return STATUS_NAME;
	}
	const struct clients_entry *old = clients_file_find(&w->file, entry.client->name);
	struct clients_entry before = old ? *old : (struct clients_entry){0};
	struct client *merged = NULL;
	int status = STATUS_OK;
	if (old)
		client_get(before.client);
	if (old && !old->is_invite) {
		if (grant_over(w->config, old->client, &merged) < 0)
			status = STATUS_LOCAL;
		entry.client = merged;
	}
	if (status == STATUS_OK)
		status = entry_write(w, &entry);
	if (status == STATUS_OK && before.client)
		authorize_tell(&before, entry.client->name);
	client_put(before.client);
	client_put(merged);
	return status;
}

static int fingerprint_run(struct work *w)
{
	char text[FINGERPRINT_TEXT_MAX];
	uint8_t fp[FINGERPRINT_LEN];
	int status = identity_get(w, fp);

	if (status != STATUS_OK)
		return status;
	if (puts(fingerprint_format(text, fp)) >= 0 && fflush(stdout) == 0)
		return STATUS_OK;
	log_line(LOG_LEVEL_ERR, "the fingerprint could not be printed: %s",
		err_text(err_from_errno(errno)));
	return STATUS_LOCAL;
}

int command_run(const struct config *config)
{
	static int (*const runs[])(struct work * w) = {
		[COMMAND_INVITE] = invite_run,
		[COMMAND_CLIENTS] = clients_run,
		[COMMAND_REVOKE] = revoke_run,
		[COMMAND_AUTHORIZE] = authorize_run,
		[COMMAND_FINGERPRINT] = fingerprint_run,
	};
	struct work w = {.config = config, .now_sec = time(NULL)};

	log_plain();
	w.state_fd = state_open(config);
	if (w.state_fd < 0)
		return STATUS_LOCAL;
	int status = runs[config->command](&w);
	clients_file_fini(&w.file);
	fd_close(w.state_fd);
	return status;
}
