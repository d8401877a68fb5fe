/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <malloc.h>

#include "daemon/command.h"
#include "daemon/config.h"
#include "daemon/log.h"
#include "daemon/server.h"

/* Larger blocks, such as the buffers of a connection, are given back when they are freed:
 * mallopt(3) would keep them for the next, after the first. */
#define GIVE_BACK_MIN (128 * 1024)

int main(int argc, char **argv)
{
	struct config *config;
	int status;

	mallopt(M_MMAP_THRESHOLD, GIVE_BACK_MIN);
	log_init();
	if (config_parse(argc, argv, &config, &status) == PARSED_EXIT)
		return status;
	if (config->check)
		status = server_check(config);
	else if (config->command != COMMAND_SERVE)
		status = command_run(config);
	else
		status = server_run(config);
	config_put(config);
	return status;
}
