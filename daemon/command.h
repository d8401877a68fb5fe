/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The commands of sockd(8) beside serving: invite, clients, revoke, authorize,
 * fingerprint.  A daemon that runs sees what they change by itself. */
#ifndef SOCKD_COMMAND_H
#define SOCKD_COMMAND_H

#include "daemon/clients_file.h"
#include "daemon/config.h"

/* Runs the command of CONFIG, any but COMMAND_SERVE.  Data goes to stdout, all else to
 * stderr.  The exit status: 0; 2 what was asked makes no sense; 5 no such client, or
 * there is one already; 7 the state directory or stdout failed. */
int command_run(const struct config *config);

/* -- command_list.c -- */

/* Prints the clients of FILE and CONFIG, and the invitations of FILE that
 * are open at NOW_SEC; 0 or -ERR_…. */
int command_list(const struct clients_file *file, const struct config *config,
	int64_t now_sec) MUST_CHECK;

/* "2031-05-17T09:30:00Z" */
#define COMMAND_TIME_MAX 32
char *command_time(char out[COMMAND_TIME_MAX], int64_t sec);

/* The client of the configuration with this name; or NULL. */
const struct client *command_configured(const struct config *config, const char *name);

#endif
