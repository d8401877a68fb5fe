/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lets Criterion run under ThreadSanitizer.  Criterion passes the results of
 * its test processes through memory that it maps at an address of rand_r's
 * choice between 0x200000000000 and 0x5fffff000000.  ThreadSanitizer ends a
 * program that maps memory where its shadow is, and leaves of that range only
 * 0x550000000000 to 0x568000000000.  So rand_r is replaced by one whose
 * results, taken as page numbers above 0x200000000000 and counted in units
 * of 16 MiB, all fall in between.
 */
#include <stdlib.h>

#define FIRST 0x360000u
#define COUNT 0x8000u

int rand_r(unsigned *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return (int)(FIRST + (*seed >> 8) % COUNT);
}
