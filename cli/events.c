/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/events.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/*
 * jansson takes NULL for an object or value that could not be made and leaves
 * it out: without memory an event lacks members or is missing, and nothing
 * else happens.
 */

static void set_uint(json_t *event, const char *key, uint64_t value)
{
	json_object_set_new(event, key, json_integer((json_int_t)value));
}

static void set_size(json_t *event, const char *key, uint64_t size)
{
	if (size != MSG_SIZE_UNKNOWN)
		set_uint(event, key, size);
}

static void set_bool(json_t *event, const char *key, bool value)
{
	json_object_set_new(event, key, json_boolean(value));
}

/* TEXT is ours, or escaped: UTF-8. */
static void set_text(json_t *event, const char *key, const char *text)
{
	json_object_set_new(event, key, json_string(text));
}

static void set_escaped(json_t *event, const char *key, const char *raw)
{
	size_t len = strlen(raw);
	char *text = malloc(TEXT_ESCAPED_MAX(len));

	if (text)
		set_text(event, key, text_escape(text, TEXT_ESCAPED_MAX(len), raw, len));
	free(text);
}

static void set_hex(json_t *event, const char *key, const void *bytes, size_t len)
{
	char *hex = malloc(2 * len + 1);

	if (hex)
		set_text(event, key, text_hex(hex, bytes, len));
	free(hex);
}

static void set_path(json_t *event, const char *path)
{
	size_t len = strlen(path);

	if (text_is_utf8(path, len)) {
		set_text(event, "path", path);
		return;
	}
	set_escaped(event, "path", path);
	set_hex(event, "path_hex", path, len);
}

static json_t *event_new(const char *name)
{
	json_t *event = json_object();

	set_text(event, "event", name);
	return event;
}

/* As one string, since stderr has no buffer. */
static void event_put(FILE *out, json_t *event)
{
	char *text = json_dumps(event, JSON_COMPACT);

	if (text)
		fprintf(out, "%s\n", text);
	fflush(out);
	free(text);
	json_decref(event);
}

void event_start(FILE *out, enum command_id command, const char *server)
{
	static const char *const commands[] = {
		[COMMAND_PUT] = "put",
		[COMMAND_GET] = "get",
		[COMMAND_JOIN] = "join",
	};
	json_t *event = event_new("start");

	set_text(event, "command", commands[command]);
	set_escaped(event, "server", server);
	event_put(out, event);
}

void event_progress(FILE *out, const struct file_state *file, const struct tally *t)
{
	json_t *event = event_new("progress");

	if (file) {
		set_path(event, file->path);
		set_uint(event, "file_bytes", file->done);
		set_size(event, "file_size", file->size);
	}
	set_uint(event, "files", t->files);
	set_uint(event, "bytes", t->done);
	set_uint(event, "total_files", t->total_files);
	set_uint(event, "total_bytes", t->total_bytes);
	set_bool(event, "total_final", t->total_final);
	set_uint(event, "rate", t->rate);
	set_uint(event, "elapsed_ms", (uint64_t)t->elapsed_ms);
	event_put(out, event);
}

void event_file(FILE *out, const struct file_result *res)
{
	static const char *const outcomes[] = {
		[OUTCOME_MOVED] = "moved",
		[OUTCOME_SKIPPED] = "skipped",
		[OUTCOME_WOULD] = "would_move",
	};
	json_t *event = event_new("file");

	set_path(event, res->path);
	set_text(event, "outcome", outcomes[res->outcome]);
	set_size(event, "size", res->size);
	if (res->outcome == OUTCOME_MOVED) {
		set_uint(event, "resumed_from", res->resumed_from);
		set_hex(event, "sha256", res->digest, DIGEST_LEN);
		set_bool(event, "flushed", res->durability == DURABLE_DISK);
	}
	event_put(out, event);
}

void event_joined(FILE *out, const char *server, const char *self, const char *peer)
{
	json_t *event = event_new("joined");

	set_escaped(event, "server", server);
	set_text(event, "fingerprint", self);
	set_text(event, "server_fingerprint", peer);
	event_put(out, event);
}

void event_error(FILE *out, const char *path, enum side side, int code,
	const struct verdict *v, const char *detail)
{
	static const char *const sides[] = {
		[SIDE_LOCAL] = "local",
		[SIDE_SERVER] = "server",
		[SIDE_CONNECTION] = "connection",
	};
	json_t *event = event_new("error");

	if (path)
		set_path(event, path);
	set_text(event, "side", sides[side]);
	set_uint(event, "code", (uint64_t)abs(code));
	set_text(event, "message", v->why);
	if (detail)
		set_escaped(event, "detail", detail);
	if (v->advice)
		set_text(event, "advice", v->advice);
	set_uint(event, "status", (uint64_t)v->status);
	event_put(out, event);
}

void event_end(FILE *out, const struct tally *t, int status)
{
	json_t *event = event_new("end");

	set_uint(event, "status", (uint64_t)status);
	set_uint(event, "files", t->files);
	set_uint(event, "skipped", t->skipped);
	set_uint(event, "failed", t->failed);
	set_uint(event, "bytes", t->size);
	set_uint(event, "resumed", t->resumed);
	set_bool(event, "flushed", t->flushed);
	set_uint(event, "elapsed_ms", (uint64_t)t->elapsed_ms);
	event_put(out, event);
}
