//! Sleeping.

use crate::sys;
use abi::Errno;
use abi::info::TICKS_PER_SECOND;
use abi::net::TimeVal;
use core::time::Duration;

/// Sleeps at least so long; a kernel without `select` sleeps whole ticks.
pub fn sleep(duration: Duration) {
    let timeout = TimeVal {
        seconds: duration.as_secs() as i64,
        microseconds: i64::from(duration.subsec_micros()),
    };
    if sys::select(0, None, None, None, Some(timeout)) == Err(Errno::ENOSYS) {
        let tick_ms = 1000 / u128::from(TICKS_PER_SECOND);
        let _ = sys::sleep(duration.as_millis().div_ceil(tick_ms) as u32);
    }
}

/// Lets others run.
pub fn yield_now() {
    sys::yield_now();
}
