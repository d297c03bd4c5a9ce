//! Time: the TSC is the clock, the local APIC's timer the alarm.

use crate::arch::{apic, cpu};
use crate::proc::sched;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

/// The slice a process runs before others get their turn, and the longest time between two interrupts.
const SLICE_NS: u64 = 10_000_000;
/// No interrupt is asked for sooner than this.
const SHORTEST_NS: u64 = 20_000;

static TSC_HZ: AtomicU64 = AtomicU64::new(1_000_000_000);
/// Nanoseconds for each tick of the TSC, times 2^32.
static NS_PER_TICK: AtomicU64 = AtomicU64::new(1 << 32);
static BOOT_TSC: AtomicU64 = AtomicU64::new(0);
static BOOT_WALL_NS: AtomicU64 = AtomicU64::new(0);

/// A point on the monotonic clock, nanoseconds since boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant(pub u64);

impl core::ops::Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl core::ops::Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Calibrates the clocks and reads the battery clock.
pub fn init() {
    let hz = apic::calibrate().max(1_000_000);
    TSC_HZ.store(hz, Ordering::Relaxed);
    NS_PER_TICK.store(
        ((1_000_000_000u128 << 32) / u128::from(hz)) as u64,
        Ordering::Relaxed,
    );
    BOOT_WALL_NS.store(
        crate::drivers::rtc::read_unix_seconds() * 1_000_000_000,
        Ordering::Relaxed,
    );
    BOOT_TSC.store(read_tsc(), Ordering::Relaxed);
}

/// The time stamp counter.
pub fn read_tsc() -> u64 {
    cpu::read_tsc()
}

/// Its frequency in Hz.
pub fn tsc_hz() -> u64 {
    TSC_HZ.load(Ordering::Relaxed)
}

/// Time since boot.
pub fn now() -> Instant {
    let ticks = read_tsc().saturating_sub(BOOT_TSC.load(Ordering::Relaxed));
    Instant(((u128::from(ticks) * u128::from(NS_PER_TICK.load(Ordering::Relaxed))) >> 32) as u64)
}

/// Nanoseconds since 1970.
pub fn wall_ns() -> u64 {
    BOOT_WALL_NS.load(Ordering::Relaxed) + now().0
}

/// Sleeps to a point in time; Err if killed.
pub fn sleep_until(deadline: Instant) -> Result<(), crate::sync::Interrupted> {
    while now() < deadline {
        if sched::park(&[], Some(deadline), sched::Interruptible::Yes, || {})
            == crate::sync::WaitResult::Killed
        {
            return Err(crate::sync::Interrupted);
        }
    }
    Ok(())
}

/// Lets the timer interrupt this CPU when the next deadline or the end of the slice comes.
pub fn arm() {
    let now = now().0;
    let next = sched::next_deadline().min(now + SLICE_NS);
    apic::arm_timer(next.saturating_sub(now).max(SHORTEST_NS));
}

/// The timer interrupt.
pub fn tick() {
    sched::wake_expired(now());
    cpu::this().reschedule.store(true, Ordering::Relaxed);
    arm();
}
