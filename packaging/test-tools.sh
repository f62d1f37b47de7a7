#!/bin/sh
# Installs what the demo and the tests use: nftables, iproute2, mmdebstrap, which
# makes a small Debian for the tests of the unit, systemd's journald and the header
# of its library, and, for the race detector, a C compiler.
set -eu
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
if command -v apt-get >/dev/null; then
	$sudo apt-get update -q
	DEBIAN_FRONTEND=noninteractive $sudo apt-get install -qy --no-install-recommends nftables iproute2 gcc libc6-dev iputils-ping mmdebstrap debian-archive-keyring systemd libsystemd-dev
elif command -v dnf >/dev/null; then
	$sudo dnf install -y nftables iproute gcc iputils mmdebstrap debian-keyring systemd systemd-devel
else
	echo "install nft (nftables), ip (iproute2), ping, mmdebstrap, systemd with the header sd-journal.h, and gcc, then try again" >&2
	exit 1
fi
