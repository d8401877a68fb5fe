/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/systemd.h"

#include <config.h> /* the one of configure, not ours */

#ifdef HAVE_LIBSYSTEMD

#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "base/err.h"

#define STATUS_INTERVAL_MS 1000

int systemd_sockets(int *first_out)
{
	int count = sd_listen_fds(1);

	if (count < 0)
		return -err_from_errno(-count);
	*first_out = SD_LISTEN_FDS_START;
	return count;
}

void systemd_ready(void)
{
	sd_notify(0, "READY=1\nSTATUS=0 connections, 0 transfers");
}

void systemd_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

void systemd_beat_init(struct systemd_beat *b, int64_t now_ms)
{
	uint64_t usec = 0;

	*b = (struct systemd_beat){
		.listened = getenv("NOTIFY_SOCKET") != NULL,
		.alive_ms = now_ms,
		.status_ms = now_ms,
	};
	if (sd_watchdog_enabled(0, &usec) > 0)
		b->watchdog_ms = (int64_t)(usec / 1000 / 2);
}

static int64_t status_beat(
	struct systemd_beat *b, unsigned connections, unsigned transfers, int64_t now_ms)
{
	bool changed = b->connections != connections || b->transfers != transfers;

	if (changed && now_ms - b->status_ms < STATUS_INTERVAL_MS)
		return b->status_ms + STATUS_INTERVAL_MS;
	if (changed) {
		sd_notifyf(
			0, "STATUS=%u connections, %u transfers", connections, transfers);
		b->connections = connections;
		b->transfers = transfers;
		b->status_ms = now_ms;
	}
	/* Transfers begin and end without waking us. */
	return connections > 0 ? now_ms + STATUS_INTERVAL_MS : INT64_MAX;
}

static int64_t watchdog_beat(struct systemd_beat *b, int64_t now_ms)
{
	if (b->watchdog_ms == 0)
		return INT64_MAX;
	if (now_ms - b->alive_ms >= b->watchdog_ms) {
		sd_notify(0, "WATCHDOG=1");
		b->alive_ms = now_ms;
	}
	return b->alive_ms + b->watchdog_ms;
}

int64_t systemd_beat(
	struct systemd_beat *b, unsigned connections, unsigned transfers, int64_t now_ms)
{
	int64_t status_ms, watchdog_ms;

	if (!b->listened)
		return INT64_MAX;
	status_ms = status_beat(b, connections, transfers, now_ms);
	watchdog_ms = watchdog_beat(b, now_ms);
	return status_ms < watchdog_ms ? status_ms : watchdog_ms;
}

#else

int systemd_sockets(int *first_out)
{
	(void)first_out;
	return 0;
}

void systemd_ready(void)
{
}

void systemd_stopping(void)
{
}

void systemd_beat_init(struct systemd_beat *b, int64_t now_ms)
{
	(void)now_ms;
	*b = (struct systemd_beat){.listened = false};
}

int64_t systemd_beat(
	struct systemd_beat *b, unsigned connections, unsigned transfers, int64_t now_ms)
{
	(void)b;
	(void)connections;
	(void)transfers;
	(void)now_ms;
	return INT64_MAX;
}

#endif
