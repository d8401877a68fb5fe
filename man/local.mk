# SPDX-License-Identifier: GPL-3.0-or-later
# Written by hand; tests/check-docs compares them with --help.
dist_man_MANS += man/sockcp.1 man/sockd-protocol.7 man/sockd.8 man/sockd.conf.5
