//! What the guest's network card is plugged into.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::relay::{Relay, Side};
use crate::text::escape_commas;

/// QEMU's name of the host's side of the card.
const NETDEV: &str = "net0";

/// QEMU's name of what is behind a relay.
const FAR: &str = "far";

/// What the card is plugged into.
#[derive(Clone, Debug, Default)]
pub enum Network {
    /// QEMU's own network: DHCP, a name server, the host's loopback as 10.0.2.2, everything else by the host's address.
    #[default]
    User,
    /// QEMU's own network at the far end of this relay, the guest at the near one.
    UserBehind(Arc<Relay>),
    /// This end of a relay, at whose other end somebody else is.
    Wire(Arc<Relay>, Side),
    /// A tap device of the host.
    Tap(Tap),
    /// A tap device of the host at the far end of this relay, the guest at the near one.
    TapBehind(Arc<Relay>, Tap),
}

impl Network {
    /// Whether the guest reaches the host's loopback (as 10.0.2.2), where the file server is.
    #[must_use]
    pub fn reaches_loopback(&self) -> bool {
        matches!(self, Network::User | Network::UserBehind(_))
    }

    /// The relay, where there is one.
    #[must_use]
    pub fn relay(&self) -> Option<&Relay> {
        match self {
            Network::UserBehind(relay) | Network::Wire(relay, _) | Network::TapBehind(relay, _) => {
                Some(relay)
            }
            Network::User | Network::Tap(_) => None,
        }
    }

    /// The arguments for a card of this model and properties (`model[,property=value]...`).
    pub(crate) fn arguments(&self, card: &str, forwards: &[Forward]) -> Vec<OsString> {
        let mut arguments = Vec::new();
        let mut netdev = |value: OsString| arguments.extend(["-netdev".into(), value]);
        let mut card = format!("{card},netdev={NETDEV}");
        match self {
            Network::User => netdev(user(NETDEV, forwards)),
            Network::UserBehind(relay) => behind(relay, user(FAR, forwards), &mut netdev),
            Network::Wire(relay, side) => netdev(stream(NETDEV, &relay.socket(*side))),
            Network::Tap(tap) => netdev(tap.netdev(NETDEV)),
            Network::TapBehind(relay, tap) => behind(relay, tap.netdev(FAR), &mut netdev),
        }
        if let Network::Tap(tap) | Network::TapBehind(_, tap) = self {
            card += &format!(",mac={}", tap.guest_mac);
        }
        arguments.extend(["-device".into(), card.into()]);
        arguments
    }
}

/// The guest at the near end of a relay and the device `far`, named [`FAR`], at the other.
fn behind(relay: &Relay, far: OsString, netdev: &mut impl FnMut(OsString)) {
    netdev(stream(NETDEV, &relay.socket(Side::Near)));
    // A hub of two ports is a cable between that device and its end of the relay.
    netdev(far);
    netdev(stream("relay", &relay.socket(Side::Far)));
    netdev(format!("hubport,id=hub0,hubid=0,netdev={FAR}").into());
    netdev("hubport,id=hub1,hubid=0,netdev=relay".into());
}

fn user(id: &str, forwards: &[Forward]) -> OsString {
    let forwards = forwards.iter().map(|forward| {
        format!(
            ",hostfwd={}:127.0.0.1:{}-:{}",
            forward.protocol, forward.host, forward.guest
        )
    });
    format!("user,id={id}{}", forwards.collect::<String>()).into()
}

fn stream(id: &str, socket: &Path) -> OsString {
    let mut value = OsString::from(format!(
        "stream,id={id},server=off,addr.type=unix,addr.path="
    ));
    value.push(escape_commas(socket));
    value
}

/// What a forwarded port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A host port that leads to a port of the guest: `8080:80`, `5353:53/udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// What it speaks.
    pub protocol: Protocol,
    /// On the host's loopback.
    pub host: u16,
    /// In the guest.
    pub guest: u16,
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "`{}` is no pair of ports: HOST:GUEST as in 8080:80, or 5353:53/udp",
                text.escape_debug()
            )
        };
        let (ports, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(wrong()),
        };
        let (host, guest) = ports.split_once(':').ok_or_else(wrong)?;
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(wrong()),
        };
        Ok(Forward {
            protocol,
            host: port(host)?,
            guest: port(guest)?,
        })
    }
}

/// A tap device that exists, and the hardware address that a guest on it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    name: String,
    guest_mac: String,
}

impl Tap {
    /// The tap device called `name`, in this process's network namespace.
    ///
    /// # Errors
    /// When there is none; says how to make one.
    pub fn find(name: &str) -> Result<Tap> {
        Tap::find_in(Path::new("/sys/class/net"), name)
    }

    /// The value of `-netdev` for this device as QEMU's `id`.
    fn netdev(&self, id: &str) -> OsString {
        let name = &self.name;
        format!("tap,id={id},ifname={name},script=no,downscript=no").into()
    }

    fn find_in(devices: &Path, name: &str) -> Result<Tap> {
        /// `IFF_TAP` in a tun device's flags (Linux's if_tun.h).
        const IFF_TAP: u32 = 2;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // The kernel's limit is IFNAMSIZ, 16 with its NUL.
        let sane = (1..=15).contains(&name.len())
            && name.bytes().all(plain)
            && !matches!(name, "." | "..");
        if !sane {
            bail!("`{}` is no name of a tap device", name.escape_debug());
        }
        let read = |file: &str| std::fs::read_to_string(devices.join(name).join(file));
        let flags = read("tun_flags")
            .ok()
            .and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok());
        match flags {
            Some(flags) if flags & IFF_TAP != 0 => {}
            _ => bail!(
                "there is no tap device `{name}` here; these commands make one with the address 192.168.77.1 for the host:\n  \
                 sudo ip tuntap add dev {name} mode tap user \"$USER\"\n  \
                 sudo ip addr add 192.168.77.1/24 dev {name}\n  \
                 sudo ip link set {name} up\n\
                 then give the guest its own with `--set ip=192.168.77.2/24`"
            ),
        }
        // A tap's own address is random, so guests on one bridge differ; 52:54:00 is QEMU's prefix.
        let own = read("address").with_context(|| format!("cannot read the address of {name}"))?;
        let tail = own.trim().get(8..).unwrap_or(":12:34:56").to_owned();
        Ok(Tap {
            name: name.to_owned(),
            guest_mac: format!("52:54:00{tail}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Faults;

    fn line(network: &Network, forwards: &[Forward]) -> String {
        let arguments = network.arguments("virtio-net-pci", forwards);
        let words: Vec<_> = arguments
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        words.join(" ")
    }

    #[test]
    fn published_ports_are_on_the_loopback_only() {
        let forwards = ["8080:80".parse().unwrap(), "5353:53/udp".parse().unwrap()];
        assert_eq!(
            line(&Network::User, &forwards),
            "-netdev user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:127.0.0.1:5353-:53 \
             -device virtio-net-pci,netdev=net0"
        );
    }

    #[test]
    fn behind_a_relay_the_ports_stay_with_qemus_network() {
        let relay = Arc::new(Relay::start(Faults::default()).unwrap());
        let near = relay.socket(Side::Near).display().to_string();
        let line = line(
            &Network::UserBehind(relay),
            &["8080:80/tcp".parse().unwrap()],
        );
        assert!(
            line.starts_with(&format!(
                "-netdev stream,id=net0,server=off,addr.type=unix,addr.path={near} "
            )),
            "{line}"
        );
        assert!(
            line.contains("-netdev user,id=far,hostfwd=tcp:127.0.0.1:8080-:80 "),
            "{line}"
        );
    }

    #[test]
    fn behind_a_relay_a_tap_keeps_its_address() {
        let relay = Arc::new(Relay::start(Faults::default()).unwrap());
        let tap = Tap {
            name: "tap0".into(),
            guest_mac: "52:54:00:aa:bb:cc".into(),
        };
        let line = line(&Network::TapBehind(relay, tap), &[]);
        assert!(
            line.contains("-netdev tap,id=far,ifname=tap0,script=no,downscript=no "),
            "{line}"
        );
        assert!(
            line.ends_with("-device virtio-net-pci,netdev=net0,mac=52:54:00:aa:bb:cc"),
            "{line}"
        );
    }

    #[test]
    fn what_is_no_pair_of_ports_is_refused() {
        for text in [
            "", "80", "0:80", "80:0", "65536:1", "1:2:3", "1:2/icmp", "a:b", "1:2/",
        ] {
            let error = text.parse::<Forward>().unwrap_err();
            assert!(error.contains("8080:80"), "{text}: {error}");
        }
    }

    #[test]
    fn a_tap_must_exist_and_be_one() {
        let devices = tempfile::tempdir().unwrap();
        let device = |name: &str, flags: &str| {
            let folder = devices.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("tun_flags"), flags).unwrap();
            std::fs::write(folder.join("address"), "fe:11:22:aa:bb:cc\n").unwrap();
        };
        device("tap0", "0x1002\n");
        device("tun0", "0x1001\n");
        std::fs::create_dir(devices.path().join("eth0")).unwrap();
        let tap = Tap::find_in(devices.path(), "tap0").unwrap();
        assert_eq!(
            line(&Network::Tap(tap), &[]),
            "-netdev tap,id=net0,ifname=tap0,script=no,downscript=no \
             -device virtio-net-pci,netdev=net0,mac=52:54:00:aa:bb:cc"
        );
        for name in ["tap1", "tun0", "eth0"] {
            let error = Tap::find_in(devices.path(), name).unwrap_err().to_string();
            assert!(
                error.contains(&format!("ip tuntap add dev {name} mode tap")),
                "{error}"
            );
        }
        for name in ["", "..", "a,b", "a/b", "sixteen-letters-"] {
            let error = Tap::find_in(devices.path(), name).unwrap_err().to_string();
            assert!(error.contains("no name"), "{error}");
        }
    }
}
