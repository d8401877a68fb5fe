/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What changes while the daemon runs: the configuration, and who may do what. */
#include "base/err.h"
#include "crypto/tls.h"
#include "daemon/guard.h"
#include "daemon/log.h"
#include "daemon/registry.h"
#include "daemon/server_impl.h"
#include "daemon/state.h"

static bool client_may_go_on(void *ctx, const struct client *client)
{
	const struct server *s = ctx;
	struct client *now;
	bool same;

	if (!client->has_fingerprint)
		return client_is_equal(client, s->config->anonymous);
	now = registry_find(s->registry, client->fingerprint);
	same = now && client_is_equal(now, client);
	client_put(now);
	return same;
}

static void client_was_ended(void *ctx, const struct client *client, unsigned count)
{
	(void)ctx;
	log_line(LOG_LEVEL_NOTICE,
		"client %s was revoked or changed: ended %u of its connections",
		client->name, count);
}

/* Ends the connections of those who may no longer do what they could when they came. What
 * could not be done is tried again at the next turn. */
static void server_revise(struct server *s, uint64_t version)
{
	s->revise = table_revise(&s->table, client_may_go_on, client_was_ended, s) < 0;
	if (!s->revise)
		s->registry_version = version;
	else
		log_line(LOG_LEVEL_ERR, "cannot look for clients that were revoked: %s",
			err_text(ERR_RESOURCE));
}

/* Another process, or one of our threads, has changed the list of clients. */
void server_look_at_clients(struct server *s)
{
	uint64_t version = registry_version(s->registry);

	if (version != s->registry_version)
		server_revise(s, version);
}

static void server_take_config(
	struct server *s, struct config *config, struct tls_context *tls)
{
	config_put(s->config);
	tls_context_free(s->tls);
	s->env.config = s->config = config;
	s->env.tls = s->tls = tls;
	guard_configure(s->guard, config->max_per_address, config->penalty_max_ms);
	server_revise(s, registry_version(s->registry));
}

/* All of it or nothing: whatever is wrong, the daemon goes on as it was. */
void server_reload(struct server *s)
{
	struct config *config = NULL;
	struct tls_context *tls = NULL;
	uint8_t fp[FINGERPRINT_LEN];
	int err = config_reload(s->config, &config);

	if (err == 0)
		err = state_tls(config, s->state_fd, false, &tls, fp);
	if (err == 0)
		err = registry_configure(s->registry, config);
	if (err < 0) {
		tls_context_free(tls);
		config_put(config);
		log_line(
			LOG_LEVEL_ERR, "not reloaded: the configuration stays as it was");
		return;
	}
	server_take_config(s, config, tls);
	state_announce(fp);
	log_line(LOG_LEVEL_NOTICE, "reloaded");
}
