//! The network stack's logic without locks, threads or hardware: everything here takes the time
//! as an argument and runs on the host, where two stacks are wired together and their frames are
//! lost, doubled and reordered.
//!
//! - [`stack`]: smoltcp's interface, addresses, DHCP, DNS, and the table of sockets with POSIX
//!   errors; no call sleeps, a call that would have to answers EAGAIN;
//! - [`port`]: what smoltcp takes for its network card: a real card behind two small traits, and
//!   frames to ourselves, which no card sends back;
//! - [`frame`]: what of a frame is looked at outside smoltcp;
//! - [`tokens`]: what may come out of a virtio ring, kept apart from what the device says;
//! - [`interrupt`]: the deferred interrupt: mask in the handler, read and unmask in the thread;
//! - [`settings`]: `ip=` and `server=` of the kernel's command line.

pub mod frame;
pub mod interrupt;
pub mod port;
pub mod settings;
pub mod stack;
pub mod tokens;

#[cfg(test)]
mod lease_test;
#[cfg(test)]
mod stack6_test;
#[cfg(test)]
mod stack_test;
#[cfg(test)]
mod test_wire;
