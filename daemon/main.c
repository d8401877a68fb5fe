/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/command.h"
#include "daemon/config.h"
#include "daemon/log.h"
#include "daemon/server.h"

int main(int argc, char **argv)
{
	struct config *config;
	int status;

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
