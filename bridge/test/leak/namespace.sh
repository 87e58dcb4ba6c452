#!/bin/sh
# Runs a command in a network of its own: loopback works, and everything else (names are asked for at 192.0.2.53) goes out
# by one interface that leads nowhere and counts packets. To be run in new network and mount namespaces:
#
#     unshare --net --mount namespace.sh COMMAND ... (its last argument becomes the interface's name)
#
# Exit code 66: the kernel or the privileges do not allow it.
resolver=$(mktemp)
echo "nameserver 192.0.2.53" > "$resolver"
no_ipv6() { # its own router solicitations are not the command's
  for name in out0 in0; do echo 1 > /proc/sys/net/ipv6/conf/$name/disable_ipv6 || return 0; done
}
{
  ip link set lo up &&
    ip link add out0 type veth peer name in0 &&
    no_ipv6 &&
    ip link set in0 up &&
    ip link set out0 arp off up &&
    ip addr add 192.0.2.1/24 dev out0 &&
    ip route add default dev out0 &&
    mount --bind "$resolver" /etc/resolv.conf
} >&2 || exit 66
rm "$resolver"
exec "$@" out0
