/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/trust.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/ask.h"
#include "cli/known.h"
#include "os/store.h"

#define DIRECTORY_MAX 4096
#define DETAIL_MAX    (DIRECTORY_MAX + SOCK_HOST_MAX + 1024)

/* One server that is being judged; all borrowed. */
struct judged {
	const struct options *opts;
	struct report *report;
	int dirfd;
	char name[KNOWN_NAME_MAX];
	const uint8_t *fp;
	char print[FINGERPRINT_TEXT_MAX]; /* of FP */
	const char *distrust;
};

/* -- Where it stands ------------------------------------------------------ */

static char directory[DIRECTORY_MAX]; /* written once; "" without a home */
static pthread_once_t directory_once = PTHREAD_ONCE_INIT;

static void directory_init(void)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	/* A relative path is to be ignored (XDG Base Directory Specification). */
	bool is_xdg = xdg && *xdg == '/';
	int len = is_xdg || (home && *home == '/')
			  ? snprintf(directory, sizeof(directory), "%s%s/sockd",
				    is_xdg ? xdg : home, is_xdg ? "" : "/.config")
			  : 0;

	if (len < 0 || (size_t)len >= sizeof(directory))
		directory[0] = '\0';
}

int trust_directory(void)
{
	pthread_once(&directory_once, directory_init);
	return *directory ? store_open(directory, true) : -ERR_NOT_FOUND;
}

const char *trust_directory_name(void)
{
	pthread_once(&directory_once, directory_init);
	return *directory ? directory : "~/.config/sockd";
}

/* -- What is said --------------------------------------------------------- */

/* SIDE_CONNECTION: about the server; SIDE_LOCAL: about our list of servers. */
PRINTF_LIKE(3, 4)
static int refuse(const struct judged *j, enum side side, const char *fmt, ...)
{
	char detail[DETAIL_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	report_failure(j->report, NULL, side, -ERR_UNTRUSTED, detail);
	return -ERR_UNTRUSTED;
}

static int refuse_changed(const struct judged *j, const struct known *known)
{
	char print[FINGERPRINT_TEXT_MAX];

	return refuse(j, SIDE_CONNECTION,
		"%s shows %s, but %s/" KNOWN_FILE ", line %zu, has %s: the server has a "
		"new key, or something else answers in its place; if the change is "
		"meant, remove that line",
		j->name, j->print, trust_directory_name(), known->line,
		fingerprint_format(print, known->fp));
}

/* known_hosts could not be read (or written). */
static int refuse_file(
	const struct judged *j, int err, const struct known *known, bool writing)
{
	const char *dir = trust_directory_name();

	if (err == -ERR_USAGE)
		return refuse(j, SIDE_LOCAL,
			"%s/" KNOWN_FILE ", line %zu, is not HOST:PORT and a "
			"fingerprint, or contradicts a line before",
			dir, known->line);
	if (writing)
		return refuse(j, SIDE_LOCAL,
			"%s/" KNOWN_FILE " cannot be written: %s; a server that --pin "
			"names need not be remembered",
			dir, err_text(err));
	return refuse(j, SIDE_LOCAL, "%s/" KNOWN_FILE " cannot be read: %s%s", dir,
		err_text(err),
		err == -ERR_ACCESS ? "; it has to be yours alone, mode 600" : "");
}

/* -- The decision --------------------------------------------------------- */

static int judged_init(struct judged *j, const struct options *opts,
	struct report *report, int dirfd, const char *host,
	const uint8_t fp[FINGERPRINT_LEN])
{
	*j = (struct judged){.opts = opts, .report = report, .dirfd = dirfd, .fp = fp};
	fingerprint_format(j->print, fp);
	if (known_name(j->name, host, opts->port) == 0)
		return 0;
	return refuse(j, SIDE_CONNECTION, "%s is no name that could be remembered", host);
}

static int remember(const struct judged *j)
{
	struct known known;
	int err = known_add(j->dirfd, j->name, j->fp, &known);

	if (err == 0)
		return 0;
	if (err != -ERR_EXISTS)
		return refuse_file(j, err, &known, true);
	refuse_changed(j, &known);
	return -ERR_EXISTS;
}

/* Nobody knows the server: somebody has to vouch for it. */
static int judge_new(const struct judged *j, int stop_fd)
{
	int said = j->opts->accept_new ? 1 : ask_fingerprint(j->name, j->fp, stop_fd);

	if (said == -ERR_INTERRUPTED)
		return said;
	if (said == -ERR_NOT_FOUND)
		return refuse(j, SIDE_CONNECTION,
			"%s is not known yet and shows %s, and there is no terminal to "
			"ask on; give --pin=FINGERPRINT, or --accept-new to take any",
			j->name, j->print);
	if (said <= 0)
		return refuse(j, SIDE_CONNECTION,
			"%s shows %s, to which you did not agree", j->name, j->print);
	if (remember(j) < 0)
		return -ERR_UNTRUSTED;
	report_note(j->report, "%s is known from now on as %s", j->name, j->print);
	return 0;
}

static int judge(const struct judged *j, int stop_fd)
{
	const struct options *opts = j->opts;
	char print[FINGERPRINT_TEXT_MAX];
	struct known known;
	int found = known_read(j->dirfd, j->name, &known);

	if (found < 0)
		return refuse_file(j, found, &known, false);
	if (found && memcmp(known.fp, j->fp, FINGERPRINT_LEN) != 0)
		return refuse_changed(j, &known);
	if (opts->has_pin && memcmp(opts->pin, j->fp, FINGERPRINT_LEN) != 0)
		return refuse(j, SIDE_CONNECTION, "%s shows %s, but %s was asked for",
			j->name, j->print, fingerprint_format(print, opts->pin));
	if (opts->ca && j->distrust)
		return refuse(j, SIDE_CONNECTION,
			"%s shows %s, for which --ca does not vouch: %s", j->name,
			j->print, j->distrust);
	if (found || opts->has_pin || opts->ca || !j->distrust)
		return 0;
	return judge_new(j, stop_fd);
}

int trust_check(const struct options *opts, struct report *report, int dirfd,
	const char *host, const uint8_t fp[FINGERPRINT_LEN], const char *distrust,
	int stop_fd)
{
	struct judged j;
	int err = judged_init(&j, opts, report, dirfd, host, fp);

	if (err < 0)
		return err;
	j.distrust = distrust;
	return judge(&j, stop_fd);
}

int trust_remember(const struct options *opts, struct report *report, int dirfd,
	const char *host, const uint8_t fp[FINGERPRINT_LEN])
{
	struct judged j;
	int err = judged_init(&j, opts, report, dirfd, host, fp);

	return err < 0 ? err : remember(&j);
}
