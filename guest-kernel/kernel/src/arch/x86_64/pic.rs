//! The pair of 8259 interrupt controllers (Intel 8259A data sheet 231468-003).
//!
//! They deliver through the boot CPU's LINT0 pin on every machine this kernel meets, BitVisor's
//! included, so that no interrupt routing has to be read from ACPI.

use crate::arch::irq::FIRST_VECTOR;
use crate::arch::port::{PIC_MASTER, PIC_SLAVE};
use crate::sync::SpinLock;

const COMMAND: u16 = 0;
const DATA: u16 = 1;
const END_OF_INTERRUPT: u8 = 0x20;
const READ_IN_SERVICE: u8 = 0x0b;
/// The slave hangs on this line of the master.
const CASCADE: u8 = 2;

/// Mask bits, lines 0 to 15.
static MASK: SpinLock<u16> = SpinLock::new("pic", !(1 << CASCADE));

/// Sets both up: vectors 20h to 2fh, everything masked but the cascade.
pub fn init() {
    let mask = MASK.lock();
    for (pic, vector, wiring) in [
        (PIC_MASTER, FIRST_VECTOR, 1 << CASCADE),
        (PIC_SLAVE, FIRST_VECTOR + 8, CASCADE),
    ] {
        pic.write(COMMAND, 0x11u8); // ICW1: edge, cascade, ICW4 follows
        pic.write(DATA, vector);
        pic.write(DATA, wiring);
        pic.write(DATA, 0x01u8); // ICW4: 8086 mode, normal EOI
    }
    write_mask(*mask);
}

fn write_mask(mask: u16) {
    PIC_MASTER.write(DATA, mask as u8);
    PIC_SLAVE.write(DATA, (mask >> 8) as u8);
}

/// Masks or unmasks a line.
pub(super) fn set_masked(line: u8, masked: bool) {
    let mut mask = MASK.lock();
    if masked {
        *mask |= 1 << line;
    } else {
        *mask &= !(1 << line);
    }
    write_mask(*mask);
}

/// Line 7 of either controller also stands for "the line went away": then its service bit is not set.
pub(super) fn is_spurious(line: u8) -> bool {
    let pic = match line {
        7 => PIC_MASTER,
        15 => PIC_SLAVE,
        _ => return false,
    };
    pic.write(COMMAND, READ_IN_SERVICE);
    let in_service: u8 = pic.read(COMMAND);
    let spurious = in_service & 0x80 == 0;
    if spurious && line == 15 {
        PIC_MASTER.write(COMMAND, END_OF_INTERRUPT); // the master saw a real interrupt on the cascade
    }
    spurious
}

/// The handler is done.
pub(super) fn end_of_interrupt(line: u8) {
    if line >= 8 {
        PIC_SLAVE.write(COMMAND, END_OF_INTERRUPT);
    }
    PIC_MASTER.write(COMMAND, END_OF_INTERRUPT);
}
