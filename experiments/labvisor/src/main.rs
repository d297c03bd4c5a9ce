//! Labvisor, from GRUB's jump to the guest's exits.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod guest;
#[cfg(target_os = "none")]
mod hw;
#[cfg(target_os = "none")]
mod start;

#[cfg(target_os = "none")]
use start::start;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("labvisor is started by GRUB; build it for x86_64-unknown-none");
}
