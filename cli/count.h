/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How much there is to move, counted beside the transfer so that an end can be
 * foreseen: a thread of its own, which looks at local trees itself and asks
 * for remote ones on a connection of its own.  It runs only while somebody
 * watches, and its failure is nobody's: the totals just stay unknown.
 */
#ifndef SOCKCP_COUNT_H
#define SOCKCP_COUNT_H

#include "cli/job.h"

struct count;

/* JOB is borrowed until count_stop.  NULL when nobody wants to know, or without a thread.
 */
struct count *count_start(const struct job *job);
/* Tells the thread to stop, and joins it. */
void count_stop(struct count *c);

#endif
