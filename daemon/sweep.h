/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A thread that removes partials nobody came back for, below the root and below the
 * roots of the clients: at the start, then every hour.  sweep_start and sweep_stop are
 * the main thread's.
 */
#ifndef SOCKD_SWEEP_H
#define SOCKD_SWEEP_H

#include <stdint.h>

#include "base/compiler.h"

struct registry;
struct sweep;

/* ROOT and REGISTRY (NULL: no clients) are borrowed until sweep_stop; AGE_SEC is how long
 * a partial is kept.  0 or -ERR_RESOURCE. */
int sweep_start(struct sweep **out, int root, struct registry *registry,
	int64_t age_sec) MUST_CHECK;
void sweep_stop(struct sweep *s); /* NULL is fine */

#endif
