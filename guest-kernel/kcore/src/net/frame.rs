//! What a frame says, as far as it matters before smoltcp sees it or after smoltcp made it.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

const ETHERTYPE: core::ops::Range<usize> = 12..14;
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// Bytes of an IPv6 header (RFC 8200 section 3).
const IPV6_HEADER_LEN: usize = 40;
const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
/// Types of ICMPv6 messages (RFC 4861 section 4).
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOR_SOLICITATION: u8 = 135;
/// Where a router advertisement's options begin (RFC 4861 section 4.2), in bytes.
const ADVERTISEMENT_OPTIONS: usize = 16;
/// The option that tells a prefix (RFC 4861 section 4.6.2), and where its length and itself are in it.
const PREFIX_INFORMATION: u8 = 3;
const PREFIX_LEN: usize = 2;
const PREFIX: core::ops::Range<usize> = 16..32;

/// Where a frame about to be sent really goes.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Destination {
    Elsewhere,
    Ourselves,
    /// It asks who has one of our own addresses: this is the answer.
    AnswerToOurselves(Vec<u8>),
}

pub(super) fn for_ourselves(frame: &[u8], mac: [u8; 6], own: &[IpAddr]) -> Destination {
    if frame.get(..6) == Some(&mac) {
        return Destination::Ourselves;
    }
    // An ARP request (RFC 826): Ethernet header 14, then operation at 6, sender at 8, target
    // address at 24.
    let arp = match frame.get(ETHERTYPE) {
        Some(kind) if kind == ARP => frame.get(14..42),
        _ => None,
    };
    match arp {
        Some(arp) if arp[6..8] == [0, 1] && is_own(own, &arp[24..28]) => {
            Destination::AnswerToOurselves(arp_reply(arp, mac))
        }
        Some(_) => Destination::Elsewhere,
        None => match solicited(frame) {
            Some((asker, target)) if own.contains(&target.into()) => {
                Destination::AnswerToOurselves(neighbor_advertisement(asker, target, mac))
            }
            _ => Destination::Elsewhere,
        },
    }
}

fn arp_reply(request: &[u8], mac: [u8; 6]) -> Vec<u8> {
    let mut answer = Vec::with_capacity(42);
    answer.extend_from_slice(&mac);
    answer.extend_from_slice(&mac);
    answer.extend_from_slice(&ARP);
    answer.extend_from_slice(&request[..6]);
    answer.extend_from_slice(&[0, 2]);
    answer.extend_from_slice(&mac);
    answer.extend_from_slice(&request[24..28]);
    answer.extend_from_slice(&mac);
    answer.extend_from_slice(&request[14..18]);
    answer
}

/// Who asks for whose hardware address, in a neighbor solicitation (RFC 4861 section 4.3).
fn solicited(frame: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let message = icmpv6(frame)?;
    if *message.first()? != NEIGHBOR_SOLICITATION {
        return None;
    }
    let asker: [u8; 16] = frame.get(22..38)?.try_into().ok()?;
    let target: [u8; 16] = message.get(8..24)?.try_into().ok()?;
    Some((asker.into(), target.into()))
}

/// "That address is at this hardware address" (RFC 4861 section 4.4), as a frame to ourselves.
fn neighbor_advertisement(asker: Ipv6Addr, target: Ipv6Addr, mac: [u8; 6]) -> Vec<u8> {
    let hardware = EthernetAddress(mac);
    let advert = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
        target_addr: target,
        lladdr: Some(hardware.into()),
    });
    let packet = Ipv6Repr {
        src_addr: target,
        dst_addr: asker,
        next_header: IpProtocol::Icmpv6,
        payload_len: advert.buffer_len(),
        hop_limit: 255,
    };
    let ethernet = EthernetRepr {
        src_addr: hardware,
        dst_addr: hardware,
        ethertype: EthernetProtocol::Ipv6,
    };
    let mut frame = vec![0; 14 + IPV6_HEADER_LEN + advert.buffer_len()];
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut frame));
    packet.emit(&mut Ipv6Packet::new_unchecked(&mut frame[14..]));
    advert.emit(
        &target,
        &asker,
        &mut Icmpv6Packet::new_unchecked(&mut frame[14 + IPV6_HEADER_LEN..]),
        &ChecksumCapabilities::default(),
    );
    frame
}

fn is_own(own: &[IpAddr], target: &[u8]) -> bool {
    own.iter()
        .any(|own| matches!(own, IpAddr::V4(own) if own.octets() == target))
}

/// Whether a frame from the card may be shown to smoltcp. Not credible are: loopback addresses
/// (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3), our own address as the sender, IPv4 addresses
/// mapped into IPv6, and router advertisements with a prefix that smoltcp panics on.
pub(super) fn is_credible(frame: &[u8], own: &[IpAddr]) -> bool {
    let (from, to) = match frame.get(ETHERTYPE) {
        // RFC 826: an ARP packet of IPv4 has its sender's address at 14, the target's at 24.
        Some(kind) if kind == ARP => (address_v4(frame, 28), address_v4(frame, 38)),
        Some(kind) if kind == IPV4 => (address_v4(frame, 26), address_v4(frame, 30)),
        Some(kind) if kind == IPV6 => (address_v6(frame, 22), address_v6(frame, 38)),
        _ => return true,
    };
    let is_mapped = |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    let strange = [from, to]
        .iter()
        .flatten()
        .any(|address| address.is_loopback() || is_mapped(address));
    let is_ours = from.is_some_and(|from| own.contains(&from));
    !strange && !is_ours && !icmpv6(frame).is_some_and(advertises_nonsense)
}

fn address_v4(frame: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: [u8; 4] = frame.get(at..at + 4)?.try_into().ok()?;
    Some(bytes.into())
}

fn address_v6(frame: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: [u8; 16] = frame.get(at..at + 16)?.try_into().ok()?;
    Some(bytes.into())
}

/// Whether this is a router advertisement of a multicast prefix, or of one with more bits than an
/// address has.
fn advertises_nonsense(message: &[u8]) -> bool {
    if message.first() != Some(&ROUTER_ADVERTISEMENT) {
        return false;
    }
    let mut rest = message.get(ADVERTISEMENT_OPTIONS..).unwrap_or(&[]);
    while let [kind, units, ..] = *rest {
        // An option's length is in units of 8 bytes; 0 makes the message invalid.
        let Some((option, after)) = rest.split_at_checked(usize::from(units) * 8) else {
            return false;
        };
        if units == 0 {
            return false;
        }
        if kind == PREFIX_INFORMATION
            && let Some(prefix) = option.get(PREFIX)
            && (prefix[0] == 0xff || option[PREFIX_LEN] > 128)
        {
            return true;
        }
        rest = after;
    }
    false
}

/// What follows the IPv6 header of a frame and any hop-by-hop options (RFC 8200 section 4.3), if it
/// is of that protocol.
fn ipv6_payload(frame: &[u8], protocol: u8) -> Option<&[u8]> {
    let packet = frame.get(14..)?;
    if frame.get(ETHERTYPE)? != IPV6 {
        return None;
    }
    let (mut next, mut rest) = (*packet.get(6)?, packet.get(IPV6_HEADER_LEN..)?);
    while next == HOP_BY_HOP {
        let len = 8 * (1 + usize::from(*rest.get(1)?));
        (next, rest) = (rest[0], rest.get(len..)?);
    }
    (next == protocol).then_some(rest)
}

/// The ICMPv6 message in a frame.
fn icmpv6(frame: &[u8]) -> Option<&[u8]> {
    ipv6_payload(frame, ICMPV6)
}

/// The TCP header in a frame: IPv6 without extension headers, or IPv4 and not a later fragment.
fn tcp_header(frame: &[u8]) -> Option<&[u8]> {
    if let Some(tcp) = ipv6_payload(frame, TCP) {
        return Some(tcp);
    }
    if frame.get(ETHERTYPE)? != IPV4 {
        return None;
    }
    let ip = frame.get(14..)?;
    let header = usize::from(*ip.first()? & 0x0f) * 4;
    let later_fragment = ip.get(6)? & 0x1f != 0 || *ip.get(7)? != 0;
    if *ip.get(9)? != TCP || later_fragment {
        return None;
    }
    ip.get(header..)
}

/// Source and destination port of a TCP segment in a frame.
pub fn tcp_ports(frame: &[u8]) -> Option<(u16, u16)> {
    let tcp = tcp_header(frame)?;
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    Some((port(0)?, port(2)?))
}

/// The port a frame asks a TCP connection of: SYN without ACK or RST.
pub(super) fn tcp_syn_port(frame: &[u8]) -> Option<u16> {
    let flags = *tcp_header(frame)?.get(13)?;
    (flags & 0x16 == 0x02).then_some(tcp_ports(frame)?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn arp_request(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend_from_slice(&MAC);
        frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend_from_slice(&MAC);
        frame.extend_from_slice(&sender);
        frame.extend_from_slice(&[0; 6]);
        frame.extend_from_slice(&target);
        frame
    }

    #[test]
    fn questions_about_ourselves_are_answered_here() {
        let own = [[10, 0, 2, 15], [127, 0, 0, 1]].map(IpAddr::from);
        let request = arp_request([10, 0, 2, 15], [127, 0, 0, 1]);
        let Destination::AnswerToOurselves(answer) = for_ourselves(&request, MAC, &own) else {
            panic!("127.0.0.1 is ours");
        };
        assert_eq!(answer.len(), 42);
        assert_eq!(answer[20..22], [0, 2]);
        assert_eq!(answer[22..28], MAC);
        assert_eq!(answer[28..32], [127, 0, 0, 1]);
        assert_eq!(answer[38..42], [10, 0, 2, 15]);
        let elsewhere = arp_request([10, 0, 2, 15], [10, 0, 2, 2]);
        assert_eq!(for_ourselves(&elsewhere, MAC, &own), Destination::Elsewhere);
        let own_address = arp_request([10, 0, 2, 15], [10, 0, 2, 15]);
        assert_ne!(
            for_ourselves(&own_address, MAC, &own),
            Destination::Elsewhere
        );
    }

    #[test]
    fn frames_with_our_own_address_are_looped() {
        let mut frame = vec![0; 60];
        frame[..6].copy_from_slice(&MAC);
        assert_eq!(for_ourselves(&frame, MAC, &[]), Destination::Ourselves);
        assert_eq!(for_ourselves(&[0; 5], MAC, &[]), Destination::Elsewhere);
        assert_eq!(for_ourselves(&[], MAC, &[]), Destination::Elsewhere);
    }

    #[test]
    fn only_a_connection_request_is_one() {
        let mut frame = vec![0; 14 + 20 + 20];
        frame[12..14].copy_from_slice(&IPV4);
        frame[14] = 0x45;
        frame[14 + 9] = 6;
        frame[14 + 20 + 2..14 + 20 + 4].copy_from_slice(&8080u16.to_be_bytes());
        frame[14 + 20 + 13] = 0x02;
        assert_eq!(tcp_syn_port(&frame), Some(8080));
        for (at, value) in [
            (14 + 20 + 13, 0x12),
            (14 + 20 + 13, 0x10),
            (14 + 9, 17),
            (14 + 7, 1),
            (13, 6),
        ] {
            let mut other = frame.clone();
            other[at] = value;
            assert_eq!(tcp_syn_port(&other), None, "byte {at}");
        }
        for len in 0..14 + 20 + 14 {
            assert_eq!(tcp_syn_port(&frame[..len]), None, "cut to {len}");
        }
    }
}
