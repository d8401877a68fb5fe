/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "cli/known.h"
#include "os/fd.h"

#define ANSWER_MAX 128
#define WORDS_MAX  (TEXT_ESCAPED_MAX(KNOWN_NAME_MAX) + 512)

struct terminal {
	int fd;      /* non-blocking: it is ours alone, opened anew */
	int stop_fd; /* borrowed, or -1 */
};

static int terminal_wait(const struct terminal *t, short events)
{
	struct pollfd fds[] = {
		{.fd = t->stop_fd, .events = POLLIN},
		{.fd = t->fd, .events = events},
	};

	while (poll(fds, ARRAY_LEN(fds), -1) < 0)
		if (errno != EINTR)
			return -ERR_RESOURCE;
	return fds[0].revents ? -ERR_INTERRUPTED : 0;
}

/* The user may hold the output back (^S), and interrupt us then. */
static int terminal_write(const struct terminal *t, const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		int err = terminal_wait(t, POLLOUT);
		if (err < 0)
			return err;
		ssize_t n = write(t->fd, text, len);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -ERR_NOT_FOUND;
		text += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* One line without its end, empty when it is too long to be an answer.  1; 0 when nothing
 * more will come; -ERR_…. */
static int terminal_read(const struct terminal *t, char line[ANSWER_MAX])
{
	size_t len = 0;

	for (;;) {
		char c;
		int err = terminal_wait(t, POLLIN);
		if (err < 0)
			return err;
		ssize_t n = read(t->fd, &c, 1);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return 0;
		if (n < 0)
			continue;
		if (c == '\n' || c == '\r') {
			line[len < ANSWER_MAX - 1 ? len : 0] = '\0';
			return 1;
		}
		if (len < ANSWER_MAX - 1)
			line[len++] = c;
	}
}

/* Without the blanks around it. */
static const char *trim(char *line)
{
	size_t len = strlen(line);

	while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		line[--len] = '\0';
	return line + strspn(line, " \t");
}

/* 1 yes, 0 no, -ERR_USAGE for anything else. */
static int answer_read(char *line, const char *fingerprint)
{
	const char *answer = trim(line);

	if (strcasecmp(answer, "yes") == 0 || strcmp(answer, fingerprint) == 0)
		return 1;
	return strcasecmp(answer, "no") == 0 ? 0 : -ERR_USAGE;
}

static int ask(const struct terminal *t, const char *words, const char *fingerprint)
{
	char line[ANSWER_MAX];
	int err = terminal_write(t, words);

	for (int again = 0; err == 0; again++) {
		err = terminal_read(t, line);
		if (err <= 0)
			break;
		err = answer_read(line, fingerprint);
		if (err != -ERR_USAGE)
			return err;
		if (again == ASK_AGAIN_MAX)
			return 0;
		err = terminal_write(
			t, "Type yes, no, or the fingerprint that is the right one: ");
	}
	/* The cursor stands behind the question; if it cannot be moved, no matter. */
	return write(t->fd, "\n", 1) == 1 || err < 0 ? err : 0;
}

int ask_fingerprint(const char *server, const uint8_t fp[FINGERPRINT_LEN], int stop_fd)
{
	FD_OWNED fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	struct terminal t = {.fd = fd, .stop_fd = stop_fd};
	char fingerprint[FINGERPRINT_TEXT_MAX], name[TEXT_ESCAPED_MAX(KNOWN_NAME_MAX)];
	char words[WORDS_MAX];

	if (fd < 0)
		return -ERR_NOT_FOUND;
	fingerprint_format(fingerprint, fp);
	snprintf(words, sizeof(words),
		"%s is a server that sockcp does not know yet.\n"
		"Its fingerprint is %s\n"
		"Compare that with what 'sockd fingerprint' prints on the server.\n"
		"Are they the same (yes, no, or the right fingerprint)? ",
		text_escape(name, sizeof(name), server, strlen(server)), fingerprint);
	/* What was typed before the question is no answer to it. */
	tcflush(fd, TCIFLUSH);
	return ask(&t, words, fingerprint);
}
