//! Interrupt lines 0 to 15: who handles them, masking.
//!
//! For level-triggered lines use the deferred pattern: the handler masks its line and wakes a
//! thread; the thread talks to the device and unmasks.

use crate::arch::pic;
use crate::sync::SpinLock;

/// Vector of line 0.
pub const FIRST_VECTOR: u8 = 0x20;
/// Vector of line 15.
pub const LAST_VECTOR: u8 = 0x2f;
/// Number of lines.
const LINES: usize = 16;
/// Devices that may share a line.
const SHARERS: usize = 4;

/// So many interrupts in a row without an owner are a device gone mad.
const STORM: u32 = 10_000;

/// Runs with interrupts off; returns whether the interrupt was its device's.
pub type Handler = fn() -> bool;

#[derive(Clone, Copy)]
struct Line {
    handlers: [Option<(&'static str, Handler)>; SHARERS],
    /// Interrupts in a row that nobody claimed.
    unclaimed: u32,
}

static TABLE: SpinLock<[Line; LINES]> = SpinLock::new(
    "irq",
    [Line {
        handlers: [None; SHARERS],
        unclaimed: 0,
    }; LINES],
);

/// Adds a handler and unmasks the line. False if the line is taken by too many.
pub fn register(line: u8, name: &'static str, handler: Handler) -> bool {
    {
        let mut table = TABLE.lock();
        let Some(entry) = table.get_mut(usize::from(line)) else {
            return false;
        };
        let Some(free) = entry.handlers.iter_mut().find(|slot| slot.is_none()) else {
            return false;
        };
        *free = Some((name, handler));
    }
    unmask(line);
    true
}

/// Stops a line. Callable from its handler.
pub fn mask(line: u8) {
    pic::set_masked(line, true);
}

/// Lets a line interrupt again.
pub fn unmask(line: u8) {
    pic::set_masked(line, false);
}

/// Called by the trap code.
pub(super) fn dispatch(line: u8) {
    if pic::is_spurious(line) {
        return;
    }
    let handlers = TABLE.lock()[usize::from(line)].handlers;
    let claimed = handlers
        .iter()
        .flatten()
        .fold(false, |claimed, (_, handler)| handler() | claimed);
    let unclaimed = {
        let entry = &mut TABLE.lock()[usize::from(line)];
        entry.unclaimed = if claimed { 0 } else { entry.unclaimed + 1 };
        entry.unclaimed
    };
    if unclaimed == STORM {
        mask(line);
        crate::println!("irq {line}: masked, {STORM} interrupts in a row that no device owns");
    }
    pic::end_of_interrupt(line);
}
