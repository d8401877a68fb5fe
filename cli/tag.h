/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SOCKCP_TAG_H
#define SOCKCP_TAG_H

#include <stdint.h>

#include "wire/msg.h"

/*
 * The name by which the server tells this source from others that go to the
 * same place: a digest over this machine's identity (machine-id(5), or its host name) and
 * the absolute path of LOCAL and of PATH below it.  The same in the next run; says
 * nothing to anyone else.  Zero when none can be made: then only the name tells.
 */
void tag_of_source(uint8_t out[MSG_TAG_LEN], const char *local, const char *path);

#endif
