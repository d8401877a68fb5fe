/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/state.h"

#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "crypto/tls.h"
#include "daemon/log.h"
#include "os/store.h"

int state_open(const struct config *config)
{
	if (!config->state_dir) {
		log_line(LOG_LEVEL_ERR, "there is no home directory to keep keys in: say "
					"--state-dir=DIR");
		return -ERR_NOT_FOUND;
	}
	int fd = store_open(config->state_dir, config->state_dir_make);
	if (fd == -ERR_ACCESS)
		log_line(LOG_LEVEL_ERR,
			"--state-dir=%s: it has to be ours, and nobody else may write to "
			"it: chmod 700",
			config->state_dir);
	else if (fd < 0)
		log_line(LOG_LEVEL_ERR, "cannot open --state-dir=%s: %s",
			config->state_dir, err_text(fd));
	return fd;
}

int state_identity(const struct config *config, int state_fd, struct identity **out)
{
	const char *file = config->identity;
	int err = file ? identity_load(AT_FDCWD, file, out)
		       : identity_ensure(state_fd, STATE_IDENTITY, "sockd", out);
	if (err < 0)
		log_line(LOG_LEVEL_ERR, "cannot use the identity %s%s%s: %s",
			file ? file : config->state_dir, file ? "" : "/",
			file ? "" : STATE_IDENTITY,
			err == -ERR_ACCESS ? "nobody but its owner may read it: chmod 600"
					   : err_text(err));
	return err;
}

int state_tls(const struct config *config, int state_fd, struct tls_context **out,
	uint8_t fp_out[FINGERPRINT_LEN])
{
	struct identity *id = NULL;
	int err = state_identity(config, state_fd, &id);
	if (err < 0)
		return err;
	memcpy(fp_out, identity_fingerprint(id), FINGERPRINT_LEN);
	err = tls_context_new(out, ROLE_SERVER, id, NULL);
	identity_free(id);
	if (err < 0)
		log_line(LOG_LEVEL_ERR, "cannot use TLS: %s", err_text(err));
	return err;
}
