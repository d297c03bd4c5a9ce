//! The options of `hv run`, `hv shell` and `hv gdb` that say what the guest's network card is plugged into.

use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use harness::{Faults, Forward, MachineConfig, Network, Relay, Side, Tap};

use crate::access::Access;

/// The guest's network.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Lead a TCP port of this host's loopback into the guest, as in `--publish 8080:80`, or a UDP port with
    /// `5353:53/udp`; may be repeated.
    #[arg(long, value_name = "HOST:GUEST", conflicts_with = "net")]
    publish: Vec<Forward>,
    /// `user`, a network of its own on which this host's loopback is 10.0.2.2, or `tap:NAME`, a tap device of this
    /// host, by which other hosts and guests reach it; it takes an address by DHCP or `--set ip=A.B.C.D/LEN[,GATEWAY[,DNS]]`, and IPv6 ones from its router or `--set ip6=ADDRESS/LEN[,GATEWAY]` (`ip6=off`: none).
    #[arg(long, value_name = "NETWORK", default_value = "user")]
    net: Choice,
    /// Lose, double, reorder, damage and delay frames in each direction, as in
    /// `--net-faults drop=1%,double=1%,reorder=1%,corrupt=0.5%,delay=20ms,seed=7`.
    #[arg(long, value_name = "FAULTS")]
    net_faults: Option<Faults>,
}

#[derive(Clone, Debug)]
enum Choice {
    User,
    Tap(String),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("tap:") {
            Some(name) => Ok(Choice::Tap(name.to_owned())),
            None if text == "user" => Ok(Choice::User),
            None => Err("use `user` or `tap:NAME`".into()),
        }
    }
}

impl Options {
    /// Plugs the card in.
    ///
    /// # Errors
    /// When there is no such tap device.
    pub fn apply(&self, config: &mut MachineConfig) -> Result<()> {
        config.forwards.clone_from(&self.publish);
        config.network = match (&self.net, self.net_faults) {
            (Choice::Tap(name), None) => Network::Tap(Tap::find(name)?),
            (Choice::Tap(name), Some(faults)) => {
                Network::TapBehind(Arc::new(Relay::start(faults)?), Tap::find(name)?)
            }
            (Choice::User, Some(faults)) => Network::UserBehind(Arc::new(Relay::start(faults)?)),
            (Choice::User, None) => Network::User,
        };
        Ok(())
    }
}

/// A run cannot do without the file server.
///
/// # Errors
/// When the guest would not reach it.
pub fn must_reach_server(network: &Network, access: &Access) -> Result<()> {
    if !access.is_reached_from(network) {
        bail!(
            "a run's results travel to a file server on this host's loopback, which a guest on a tap device does not \
             reach: add `--listen IP --noise` with this host's address on the tap device"
        );
    }
    Ok(())
}

/// Says what a relay did to the frames.
pub fn tell(network: &Network) {
    let Some(relay) = network.relay() else { return };
    for (side, what) in [(Side::Near, "sent"), (Side::Far, "was sent")] {
        let counts = relay.counts(side);
        eprintln!(
            "hv: the guest {what} {} frames: {} lost, {} doubled, {} reordered, {} damaged, {} delayed",
            counts.frames,
            counts.dropped,
            counts.doubled,
            counts.reordered,
            counts.corrupted,
            counts.delayed
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_two_names() {
        assert!(matches!("user".parse(), Ok(Choice::User)));
        assert!(matches!("tap:tap0".parse(), Ok(Choice::Tap(name)) if name == "tap0"));
        for text in ["", "tap", "bridge:br0"] {
            assert!(text.parse::<Choice>().unwrap_err().contains("tap:NAME"));
        }
    }
}
