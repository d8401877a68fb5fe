/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/tag.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/path.h"
#include "crypto/digest.h"
#include "os/fd.h"

/* What tells this machine from others; the length. */
static size_t machine_identity(char *out, size_t cap)
{
	FD_OWNED fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : fd_read_full(fd, out, cap);
	if (n > 0)
		return (size_t)n;
	if (gethostname(out, cap) < 0)
		return 0;
	out[cap - 1] = '\0';
	return strlen(out);
}

void tag_of_source(uint8_t out[MSG_TAG_LEN], const char *local, const char *path)
{
	uint8_t text[PATH_WIRE_MAX * 2], digest[DIGEST_LEN] = {0};
	char machine[64];
	char *absolute = realpath(local, NULL);
	const char *top = absolute ? absolute : local;
	struct wcur w;
	wcur_init(&w, text, sizeof(text));
	wcur_str(&w, machine, machine_identity(machine, sizeof(machine)));
	wcur_str(&w, top, strlen(top));
	wcur_str(&w, path, strlen(path));
	int len = wcur_finish(&w);
	if (len < 0 || digest_of(text, (size_t)len, digest) < 0)
		memset(digest, 0, sizeof(digest));
	memcpy(out, digest, MSG_TAG_LEN);
	free(absolute);
}
