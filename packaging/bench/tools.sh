#!/bin/sh
# Installs what make bench-peers uses: fail2ban, which is compared and is not to run
# by itself, nftables, iproute2, gnuplot, which draws, and perf.
set -eu
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
if ! command -v apt-get >/dev/null; then
	echo "install fail2ban, nft (nftables), ip (iproute2), gnuplot and perf, then try again" >&2
	exit 1
fi
if ! command -v fail2ban-server >/dev/null && command -v systemctl >/dev/null; then
	trap '$sudo systemctl unmask -q fail2ban' EXIT
	$sudo systemctl mask -q fail2ban # else its package starts it
fi
install="$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends"
$sudo apt-get update -q
$install fail2ban nftables iproute2 gnuplot-nox linux-perf
# With it fail2ban is woken by the kernel, and polls without.
$install python3-pyinotify || true
