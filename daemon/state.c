/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/state.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "crypto/tls.h"
#include "daemon/log.h"
#include "os/fd.h"
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

static bool is_same(int a, int b)
{
	struct stat x, y;
	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* Upwards, until the root of the file system is its own parent. */
bool state_is_served(int root_fd, int dir_fd)
{
	FD_OWNED at = openat(dir_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	while (at >= 0 && !is_same(at, root_fd)) {
		int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		bool top = up < 0 || is_same(up, at);
		fd_close(at);
		at = up;
		if (top)
			return false;
	}
	return at >= 0;
}

static int identity_fail(const struct config *config, int err)
{
	const char *file = config->identity;
	log_line(LOG_LEVEL_ERR, "cannot use the identity %s%s%s: %s",
		file ? file : config->state_dir, file ? "" : "/",
		file ? "" : STATE_IDENTITY,
		err == -ERR_ACCESS
			? "it has to be ours, and nobody else may read it: chmod 600"
			: err_text(err));
	return err;
}

static int identity_read(const struct config *config, int state_fd, struct identity **out)
{
	return config->identity ? identity_load(AT_FDCWD, config->identity, out)
				: identity_load(state_fd, STATE_IDENTITY, out);
}

int state_identity(
	const struct config *config, int state_fd, bool make, struct identity **out)
{
	int err = make && !config->identity
			  ? identity_ensure(state_fd, STATE_IDENTITY, "sockd", out)
			  : identity_read(config, state_fd, out);
	return err < 0 ? identity_fail(config, err) : 0;
}

int state_check(const struct config *config, int state_fd)
{
	struct identity *id = NULL;
	int err = identity_read(config, state_fd, &id);
	if (err == -ERR_NOT_FOUND && !config->identity)
		return 0;
	if (err < 0)
		return identity_fail(config, err);
	identity_free(id);
	return 0;
}

int state_tls(const struct config *config, int state_fd, bool make,
	struct tls_context **out, uint8_t fp_out[FINGERPRINT_LEN])
{
	struct identity *id = NULL;
	int err = state_identity(config, state_fd, make, &id);
	if (err < 0)
		return err;
	memcpy(fp_out, identity_fingerprint(id), FINGERPRINT_LEN);
	err = tls_context_new(out, ROLE_SERVER, id, NULL);
	identity_free(id);
	if (err < 0)
		log_line(LOG_LEVEL_ERR, "cannot use TLS: %s", err_text(err));
	return err;
}

void state_announce(const uint8_t fp[FINGERPRINT_LEN])
{
	char text[FINGERPRINT_TEXT_MAX];
	log_line(LOG_LEVEL_NOTICE, "identity %s", fingerprint_format(text, fp));
}
