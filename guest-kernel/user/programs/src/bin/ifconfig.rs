//! ifconfig: show the network interface.
#![no_std]
#![no_main]
use ulib::abi::net::{ADDRESS_OWN, ADDRESS_ROUTER, InterfaceAddress};
use ulib::net::{IpAddr, Ipv4Addr};
use ulib::prelude::*;

ulib::main!(
    main,
    "ifconfig\nShow the network interface and its counters."
);

fn main() -> Result<()> {
    let net = sys::interface()?;
    let mut addresses = [InterfaceAddress::default(); 16];
    let count = sys::addresses(&mut addresses)?;
    let mac: Vec<String> = net.mac.iter().map(|byte| format!("{byte:02x}")).collect();
    println!(
        "net0     {} mtu {} {}",
        mac.join(":"),
        net.mtu,
        if net.up == 1 { "up" } else { "down" }
    );
    println!(
        "address  {}/{}",
        Ipv4Addr::from(net.address),
        net.prefix_len
    );
    for address in &addresses[..count] {
        let shown = ulib::net::canonical(address.address);
        match (shown, address.role) {
            (IpAddr::V6(_), ADDRESS_OWN) => println!("address  {shown}/{}", address.prefix_len),
            (IpAddr::V6(_), ADDRESS_ROUTER) => println!("router   {shown}"),
            _ => {}
        }
    }
    println!("gateway  {}", Ipv4Addr::from(net.gateway));
    println!("dns      {}", Ipv4Addr::from(net.dns));
    if net.lease_seconds > 0 {
        println!("lease    {} s left", net.lease_seconds);
    }
    println!(
        "received {} frames, {} bytes, {} dropped",
        net.rx_frames, net.rx_bytes, net.rx_dropped
    );
    println!(
        "sent     {} frames, {} bytes, {} dropped",
        net.tx_frames, net.tx_bytes, net.tx_dropped
    );
    println!(
        "device   {} interrupts, {} doorbells, {} ISR reads, {} lies",
        net.interrupts, net.notifies, net.isr_reads, net.device_errors
    );
    Ok(())
}
