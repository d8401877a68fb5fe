/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The tests of test_transfer.c again, with a reader ahead of the sender and a writer
 * behind the receiver. */
#define SUITE    transfer_parallel
#define PARALLEL true

#include "test_transfer.c"
