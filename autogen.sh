#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes ./configure from configure.ac, in a git checkout.
set -e
cd "$(dirname "$0")"
exec autoreconf --install --force "$@"
