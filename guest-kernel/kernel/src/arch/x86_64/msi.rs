//! Message-signalled interrupts: a device writes a vector number to the local APIC's address
//! (AMD64 Architecture Programmer's Manual volume 2, section 16.11).
//!
//! They are edge-triggered and nobody else's, so nothing has to be masked.

use crate::arch::apic;
use crate::sync::SpinLock;

/// First vector for messages.
pub const FIRST_VECTOR: u8 = 0x30;
/// Last vector for messages.
pub const LAST_VECTOR: u8 = 0x37;
const VECTORS: usize = (LAST_VECTOR - FIRST_VECTOR + 1) as usize;
/// Messages go here; the destination's APIC id is in bits 12 to 19.
const ADDRESS: u64 = 0xfee0_0000;

/// Runs with interrupts off.
pub type Handler = fn(vector: u8);

static HANDLERS: SpinLock<[Option<Handler>; VECTORS]> = SpinLock::new("msi", [None; VECTORS]);

/// What a device has to write, and where, to interrupt this CPU.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Physical address.
    pub address: u64,
    /// Value.
    pub data: u32,
}

/// Takes a vector for a handler; None when all are taken.
pub fn register(handler: Handler) -> Option<Message> {
    let mut handlers = HANDLERS.lock();
    let index = handlers.iter().position(Option::is_none)?;
    handlers[index] = Some(handler);
    Some(Message {
        address: ADDRESS | u64::from(apic::id()) << 12,
        data: u32::from(FIRST_VECTOR) + index as u32,
    })
}

/// Called by the trap code.
pub(super) fn dispatch(vector: u8) {
    let handler = HANDLERS.lock()[usize::from(vector - FIRST_VECTOR)];
    if let Some(handler) = handler {
        handler(vector);
    }
    apic::end_of_interrupt();
}
