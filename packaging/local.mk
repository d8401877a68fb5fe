# SPDX-License-Identifier: GPL-3.0-or-later
EXTRA_DIST += \
	packaging/README \
	packaging/debian/changelog \
	packaging/debian/control \
	packaging/debian/copyright \
	packaging/debian/rules \
	packaging/debian/sockcp.install \
	packaging/debian/sockcp.manpages \
	packaging/debian/sockd.docs \
	packaging/debian/sockd.install \
	packaging/debian/sockd.manpages \
	packaging/debian/source/format
