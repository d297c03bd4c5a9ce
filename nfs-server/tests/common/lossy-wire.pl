# A wire that loses packets: a TUN device WIRE whose every packet comes back as if its receiver had sent it, except
# for LOSS in a thousand. A connection from 10.9.0.1 to 10.9.0.2 arrives at 10.9.0.1 from 10.9.0.2. The sums of IP and
# TCP do not change when the two addresses change places. Usage: perl lossy-wire.pl WIRE LOSS SEED
use strict;
my ($wire, $loss, $seed) = @ARGV;
srand($seed);
open(my $tun, '+<', '/dev/net/tun') or die "cannot open /dev/net/tun: $!\n";
# TUNSETIFF with struct ifreq { name, IFF_TUN | IFF_NO_PI } (linux/if_tun.h)
ioctl($tun, 0x400454ca, pack('a16 S x22', $wire, 0x1001)) or die "cannot make the device $wire: $!\n";
system("ip link set lo up && ip address add 10.9.0.1/24 dev $wire && ip link set $wire up") == 0 or die "cannot set $wire up\n";
$| = 1;
print "up\n";
while (sysread($tun, my $packet, 65536)) {
    next if ord($packet) >> 4 != 4 || rand(1000) < $loss;
    my ($from, $to) = (substr($packet, 12, 4), substr($packet, 16, 4));
    substr($packet, 12, 8) = $to . $from;
    syswrite($tun, $packet);
}
