/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/config.h"
#include "daemon/log.h"
#include "daemon/server.h"

int main(int argc, char **argv)
{
	struct config config;
	int status;

	log_init();
	if (config_parse(argc, argv, &config, &status) == PARSED_EXIT)
		return status;
	return config.check ? server_check(&config) : server_run(&config);
}
