/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "base/err.h"
#include "cli/count.h"
#include "cli/join.h"
#include "cli/job.h"
#include "cli/options.h"
#include "cli/peer.h"
#include "cli/report.h"
#include "os/fd.h"
#include "os/sock.h"
#include "os/thread.h"

/* A descriptor that becomes readable when we are told to stop; there is no handler. */
static int open_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* A deep tree holds a descriptor per level. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

enum side job_side(int err)
{
	return err_is_connection(err) ? SIDE_CONNECTION : SIDE_LOCAL;
}

static int run_job(const struct job *job)
{
	int err = peer_connect(job->peer);
	if (err < 0)
		return err;
	report_start(job->report, job->req->host);
	if (job->req->command == COMMAND_JOIN)
		return join_run(job);
	struct count *count = count_start(job);
	err = job->req->command == COMMAND_PUT ? put_run(job) : get_run(job);
	count_stop(count);
	return err;
}

/* What ended the job; where it is about the server, with its name. */
static void report_end(struct report *report, const struct options *opts,
	const struct request *req, int err, const char *why)
{
	char server[SOCK_HOST_MAX + 16];
	snprintf(server, sizeof(server), "%s port %u", req->host, opts->port);
	bool named = err == -ERR_CONNECT || err == -ERR_RESOLVE || err == -ERR_DENIED;
	report_failure(report, NULL, job_side(err), err,
		why && *why ? why
		: named     ? server
			    : NULL);
}

static int run(const struct options *opts, const struct request *req)
{
	mode_t mask = umask(0);
	umask(mask);
	FD_OWNED stop_fd = open_signals();
	if (stop_fd < 0) {
		fputs("sockcp: cannot watch for signals: out of descriptors\n", stderr);
		return EXIT_LOCAL;
	}
	struct report *report = NULL;
	struct peer peer;
	int err = report_new(&report, opts, req);
	if (err < 0)
		return report_status(SIDE_LOCAL, err); /* the reason has been said */
	err = peer_init(&peer, opts, report, req->host, stop_fd);
	struct job job = {.opts = opts,
		.req = req,
		.report = report,
		.peer = &peer,
		.umask = mask,
		.processors = thread_processors()};
	if (err == 0)
		err = run_job(&job);
	/* These two were reported where they arose. */
	if (err < 0 && err != -ERR_USAGE && err != -ERR_UNTRUSTED)
		report_end(report, opts, req, err, peer_why(&peer));
	peer_fini(&peer);
	int status = report_finish(report);
	report_free(report);
	return status;
}

int main(int argc, char **argv)
{
	struct options opts;
	struct request req;
	int status;
	/* Only for the width of names on the terminal: numbers stay as they are. */
	setlocale(LC_CTYPE, "");
	if (options_parse(argc, argv, &opts, &req, &status) == PARSED_EXIT)
		return status;
	raise_descriptor_limit();
	status = run(&opts, &req);
	request_fini(&req);
	return status;
}
