//! The battery clock, read once at boot (Motorola MC146818A data sheet).

use crate::arch::port::CMOS;

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const UPDATING: u8 = 0x80;
const BINARY: u8 = 0x04;
const HOURS_24: u8 = 0x02;
const PM: u8 = 0x80;

fn register(index: u8) -> u8 {
    CMOS.write(0, index);
    CMOS.read(1)
}

fn sample() -> [u8; 6] {
    while register(STATUS_A) & UPDATING != 0 {
        core::hint::spin_loop();
    }
    [SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR].map(register)
}

/// Seconds since 1970, UTC.
pub fn read_unix_seconds() -> u64 {
    // Twice the same: no update ran in between.
    let mut fields = sample();
    loop {
        let again = sample();
        if again == fields {
            break;
        }
        fields = again;
    }
    let format = register(STATUS_B);
    let pm = fields[2] & PM != 0 && format & HOURS_24 == 0;
    fields[2] &= !PM;
    if format & BINARY == 0 {
        fields = fields.map(|value| (value >> 4) * 10 + (value & 0x0f));
    }
    let [second, minute, mut hour, day, month, year] = fields.map(u64::from);
    if format & HOURS_24 == 0 {
        hour = hour % 12 + if pm { 12 } else { 0 };
    }
    ((days_since_1970(2000 + year, month, day) * 24 + hour) * 60 + minute) * 60 + second
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: years start in March, so that leap days come last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day.max(1) - 1;
    days - 719_468
}
