#!/bin/bash
# Shows band at work: a recorded attack is played into a log, and the attackers'
# packets stop arriving. Everything happens in network namespaces that end with
# this script; nothing of the host is touched.
set -euo pipefail

if [ -z "${BAND_DEMO:-}" ]; then
	as=()
	[ "$(id -u)" = 0 ] || as=(sudo)
	exec "${as[@]}" env BAND_DEMO=1 unshare --net --mount --pid --fork --kill-child --mount-proc "$0"
fi
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*" | sed "s|$dir|DIR|g"; "$@" | sed "s|$dir|DIR|g"; }

# A second host, on the other end of a cable.
unshare --net sleep infinity &
host=$!
outside() { nsenter --target "$host" --net "$@"; }
until [ "$(readlink /proc/$host/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
ip link set lo up
ip link add demo0 type veth peer name demo1 netns "$host"
ip address add 203.0.113.10/24 dev demo0
ip link set demo0 up
ip route add 198.51.100.0/24 dev demo0
outside ip address add 203.0.113.52/24 dev demo1
outside ip address add 198.51.100.70/32 dev demo1
outside ip link set demo1 up

# What arrives at the SIP port, counted where an application would see it.
nft -f - <<-'EOF'
	table inet application {
		set arrived { type ipv4_addr; flags dynamic; counter; }
		chain input {
			type filter hook input priority filter;
			udp dport 5060 update @arrived { ip saddr }
		}
	}
EOF
arrived() {
	nft flush set inet application arrived
	outside ip route replace 203.0.113.10/32 dev demo1 src "$1"
	for _ in 1 2 3 4 5; do
		outside bash -c 'echo REGISTER >/dev/udp/203.0.113.10/5060' || true
	done
	count=$(nft list set inet application arrived | sed -n "s/.*$1 counter packets \([0-9]*\).*/\1/p")
	echo "5 packets from $1 to port 5060: ${count:-0} arrived"
}

mkdir -p "$dir/etc/jails.d"
for jail in freeswitch freeswitch-acl; do
	cat >"$dir/etc/jails.d/$jail.toml" <<-EOF
		[[source]]
		file = "$dir/freeswitch.log"
	EOF
done
: >"$dir/freeswitch.log"
band=(./bin/band --config "$dir/etc" --state "$dir/lib" --socket "$dir/band.sock")
banctl=(./bin/banctl --config "$dir/etc" --socket "$dir/band.sock")

say "band starts, with the shipped FreeSWITCH jail"
"${band[@]}" 2>"$dir/band.log" &
daemon=$!
until "${banctl[@]}" status >/dev/null 2>&1; do
	kill -0 "$daemon" 2>/dev/null || { cat "$dir/band.log"; exit 1; }
	sleep 0.05
done
arrived 198.51.100.70
arrived 203.0.113.52

say "A recorded attack is written to the log, as if it happened now"
sed "s/^....-..-.. ..:..:..\......./$(date '+%F %T.%6N')/" testdata/freeswitch/01_basic.guard.log >>"$dir/freeswitch.log"
grep -m1 'SIP auth failure' "$dir/freeswitch.log"
until [ "$("${banctl[@]}" list --json | grep -c '"unit"')" -ge 6 ]; do sleep 0.05; done
run "${banctl[@]}" list

say "The kernel drops them by itself, whether band runs or not"
run nft list set inet band freeswitch-ip4
run nft list set inet band freeswitch-ip6-64
arrived 198.51.100.70
say "The honest phone that mistyped once is not banned"
arrived 203.0.113.52

say "band is killed; the bans stay, and it resumes where it was"
kill -9 "$daemon"
wait "$daemon" 2>/dev/null || true
arrived 198.51.100.70
"${band[@]}" 2>>"$dir/band.log" &
daemon=$!
until "${banctl[@]}" status >/dev/null 2>&1; do sleep 0.05; done
run "${banctl[@]}" show 198.51.100.70

say "And lifted by hand"
run "${banctl[@]}" unban 198.51.100.70
arrived 198.51.100.70
run "${banctl[@]}" status

kill "$daemon"
wait "$daemon" 2>/dev/null || true
kill "$host"
say "That was all; nothing of it is left."
