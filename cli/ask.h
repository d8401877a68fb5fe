/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A question on the terminal, which need not be where our input and output go. */
#ifndef SOCKCP_ASK_H
#define SOCKCP_ASK_H

#include <stdint.h>

#include "base/compiler.h"
#include "crypto/identity.h"

/*
 * Asks whether SERVER ("HOST:PORT", raw) is right to show FP.  1 for yes: the word, or
 * the fingerprint itself was typed.  0 for no, and for whoever gives no clear answer,
 * though asked again ASK_AGAIN_MAX times, or hangs up.  -ERR_NOT_FOUND when there is no
 * terminal; -ERR_INTERRUPTED when STOP_FD (or -1) became readable.
 */
int ask_fingerprint(
	const char *server, const uint8_t fp[FINGERPRINT_LEN], int stop_fd) MUST_CHECK;

#define ASK_AGAIN_MAX 3

#endif
