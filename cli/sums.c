/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/sums.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "os/clock.h"
#include "os/fd.h"

struct sums {
	const char *name; /* borrowed until sums_free */
	char *temp;       /* owned: the name until it is committed, then NULL */
	FILE *file;       /* owned */
	int error;        /* the first -ERR_… of sums_add, or 0 */
};

/* The letter that stands behind a backslash for C, or 0: coreutils 9, print_filename. */
static char escape_letter(char c)
{
	switch (c) {
	case '\\':
		return '\\';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	default:
		return 0;
	}
}

void sums_print(FILE *out, const uint8_t digest[DIGEST_LEN], const char *name)
{
	char hex[2 * DIGEST_LEN + 1];
	bool plain = name[strcspn(name, "\\\n\r")] == '\0';

	fprintf(out, "%s%s  ", plain ? "" : "\\", text_hex(hex, digest, DIGEST_LEN));
	for (; *name != '\0'; name++) {
		char letter = escape_letter(*name);

		if (letter != 0)
			putc('\\', out);
		putc(letter != 0 ? letter : *name, out);
	}
	putc('\n', out);
}

/* rename(2) would put a file in the place of /dev/null, or of a link to the real one. */
static int target_check(const char *name)
{
	struct stat st;

	if (lstat(name, &st) < 0)
		return errno == ENOENT ? 0 : -err_from_errno(errno);
	if (S_ISDIR(st.st_mode))
		return -ERR_IS_DIR;
	return S_ISREG(st.st_mode) ? 0 : -ERR_NOT_REGULAR;
}

/* Beside the name, so that it can be renamed to it; not mkstemp, which would take the
 * readers away that the umask gives. */
static int temp_open(struct sums *s)
{
	uint64_t unique;
	int err = random_bytes(&unique, sizeof(unique));
	int fd;

	if (err < 0)
		return err;
	if (asprintf(&s->temp, "%s.%016" PRIx64, s->name, unique) < 0) {
		s->temp = NULL;
		return -ERR_RESOURCE;
	}
	fd = open(s->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0) {
		err = -err_from_errno(errno);
		free(s->temp);
		s->temp = NULL;
		return err;
	}
	s->file = fdopen(fd, "w");
	if (!s->file)
		fd_close(fd);
	return s->file ? 0 : -ERR_RESOURCE;
}

int sums_open(struct sums **out, const char *name)
{
	struct sums *s;
	int err = target_check(name);

	if (err < 0)
		return err;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ERR_RESOURCE;
	s->name = name;
	err = temp_open(s);
	if (err < 0) {
		sums_free(s);
		return err;
	}
	*out = s;
	return 0;
}

void sums_add(struct sums *s, const uint8_t digest[DIGEST_LEN], const char *name)
{
	sums_print(s->file, digest, name);
	if (s->error == 0 && ferror(s->file))
		s->error = -err_from_errno(errno);
}

/* The new name is on disk when its directory is. */
static int parent_sync(const char *name)
{
	const char *slash = strrchr(name, '/');
	size_t len = slash == name ? 1 : slash ? (size_t)(slash - name) : 0;
	char *parent = len > 0 ? strndup(name, len) : strdup(".");
	FD_OWNED fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int err = fd < 0 || fsync(fd) < 0 ? -err_from_errno(errno) : 0;

	free(parent);
	return err;
}

int sums_commit(struct sums *s)
{
	if (s->error < 0)
		return s->error;
	if (fflush(s->file) != 0 || fsync(fileno(s->file)) < 0 ||
		rename(s->temp, s->name) < 0)
		return -err_from_errno(errno);
	free(s->temp);
	s->temp = NULL;
	return parent_sync(s->name);
}

void sums_free(struct sums *s)
{
	if (!s)
		return;
	if (s->file)
		fclose(s->file);
	if (s->temp)
		unlink(s->temp);
	free(s->temp);
	free(s);
}
