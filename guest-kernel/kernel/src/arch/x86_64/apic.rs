//! Local APIC: timer, messages between CPUs (AMD64 manual volume 2, 3.44, chapter 16).

use crate::arch::port::{CONTROL_B, PIT};
use crate::drivers::mmio::Mmio;
use ::x86_64::PhysAddr;
use ::x86_64::registers::model_specific::Msr;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

/// Vector of the timer.
pub const TIMER_VECTOR: u8 = 0xe0;
/// Vector that wakes a CPU from `hlt`.
pub const WAKE_VECTOR: u8 = 0xe1;
/// Vector that stops a CPU for good.
pub const STOP_VECTOR: u8 = 0xe3;
/// Vector of interrupts that went away (lower four bits set, as old CPUs want).
const SPURIOUS_VECTOR: u8 = 0xff;

const REG_ID: usize = 0x20;
const REG_TPR: usize = 0x80;
const REG_EOI: usize = 0xb0;
const REG_SVR: usize = 0xf0;
const REG_ICR_LOW: usize = 0x300;
const REG_ICR_HIGH: usize = 0x310;
const REG_LVT_TIMER: usize = 0x320;
const REG_LVT_LINT0: usize = 0x350;
const REG_LVT_LINT1: usize = 0x360;
const REG_LVT_ERROR: usize = 0x370;
const REG_TIMER_INITIAL: usize = 0x380;
const REG_TIMER_CURRENT: usize = 0x390;
const REG_TIMER_DIVIDE: usize = 0x3e0;

const SVR_ENABLE: u32 = 1 << 8;
const LVT_MASKED: u32 = 1 << 16;
const LVT_EXTINT: u32 = 7 << 8;
const LVT_NMI: u32 = 4 << 8;
const ICR_PENDING: u32 = 1 << 12;
const ICR_ASSERT: u32 = 1 << 14;
const ICR_INIT: u32 = 5 << 8;
const ICR_STARTUP: u32 = 6 << 8;
/// Divide by 16: keeps the counter from running out while it is calibrated.
const DIVIDE_BY_16: u32 = 3;

static REGISTERS: Once<Mmio> = Once::new();
/// Timer counts a second.
static TIMER_HZ: AtomicU64 = AtomicU64::new(0);

fn registers() -> &'static Mmio {
    REGISTERS.get().expect("apic::init ran")
}

/// Maps the registers.
pub fn init() {
    const IA32_APIC_BASE: Msr = Msr::new(0x1b);
    let base = super::features::read_apic_base(IA32_APIC_BASE) & 0x000f_ffff_ffff_f000;
    REGISTERS.call_once(|| Mmio::map(PhysAddr::new(base), 0x1000));
    init_cpu(true);
}

/// Turns on the APIC of this CPU. Only the boot CPU takes the 8259's interrupts.
pub fn init_cpu(boot_cpu: bool) {
    let apic = registers();
    apic.write::<u32>(REG_TPR, 0);
    apic.write::<u32>(REG_LVT_TIMER, LVT_MASKED);
    apic.write::<u32>(
        REG_LVT_LINT0,
        if boot_cpu { LVT_EXTINT } else { LVT_MASKED },
    );
    apic.write::<u32>(REG_LVT_LINT1, LVT_NMI);
    apic.write::<u32>(REG_LVT_ERROR, LVT_MASKED);
    apic.write::<u32>(REG_SVR, SVR_ENABLE | u32::from(SPURIOUS_VECTOR));
    apic.write::<u32>(REG_TIMER_DIVIDE, DIVIDE_BY_16);
}

/// This CPU's id.
pub fn id() -> u32 {
    registers().read::<u32>(REG_ID) >> 24
}

/// Done with an interrupt of the APIC's own.
pub fn end_of_interrupt() {
    registers().write::<u32>(REG_EOI, 0);
}

/// One look at three clocks at once.
struct Sample {
    tsc: u64,
    timer: u32,
    /// Counts down.
    pit: u16,
}

/// Reads the clocks until nothing came in between: a host that takes the CPU away in the middle makes
/// the look long, and the shortest of several looks is taken.
fn sample() -> Sample {
    const LOOKS: usize = 16;
    let look = |_| {
        let before = crate::time::read_tsc();
        PIT.write(3, 0x80u8); // latch channel 2
        let timer = registers().read::<u32>(REG_TIMER_CURRENT);
        let after = crate::time::read_tsc();
        let low: u8 = PIT.read(2);
        let high: u8 = PIT.read(2);
        let pit = u16::from_le_bytes([low, high]);
        (
            after - before,
            Sample {
                tsc: before,
                timer,
                pit,
            },
        )
    };
    let shortest = (0..LOOKS).map(look).min_by_key(|(length, _)| *length);
    shortest.expect("several looks").1
}

/// Measures the timer and the TSC against the 8254; returns the TSC's frequency in Hz.
pub fn calibrate() -> u64 {
    const PIT_HZ: u64 = 1_193_182;
    const WINDOW: u16 = 24_000; // 20 ms, of the 55 ms the 8254 takes to run down
    const ATTEMPTS: usize = 20;
    let control: u8 = CONTROL_B.read(0);
    let mut measured = (1_000_000_000, 1_000_000_000);
    for _ in 0..ATTEMPTS {
        // Channel 2, mode 0 (interrupt on terminal count), low byte first; gate on, speaker off.
        CONTROL_B.write(0, (control & !0x02) | 0x01);
        PIT.write(3, 0xb0u8);
        PIT.write(2, 0xffu8);
        PIT.write(2, 0xffu8);
        registers().write::<u32>(REG_TIMER_INITIAL, u32::MAX);
        let start = sample();
        let mut end = sample();
        while start.pit.wrapping_sub(end.pit) < WINDOW && CONTROL_B.read::<u8>(0) & 0x20 == 0 {
            end = sample();
        }
        let ran_down = CONTROL_B.read::<u8>(0) & 0x20 != 0;
        let counts = u64::from(start.pit.wrapping_sub(end.pit)).max(1);
        measured = (
            (end.tsc - start.tsc) * PIT_HZ / counts,
            u64::from(start.timer - end.timer) * PIT_HZ / counts,
        );
        if !ran_down {
            break; // else the host was away for too long: again
        }
    }
    CONTROL_B.write(0, control);
    registers().write::<u32>(REG_TIMER_INITIAL, 0);
    TIMER_HZ.store(measured.1.max(1), Ordering::Relaxed);
    measured.0
}

/// Lets the timer interrupt this CPU once, after so many nanoseconds.
pub fn arm_timer(nanoseconds: u64) {
    let counts = (u128::from(nanoseconds) * u128::from(TIMER_HZ.load(Ordering::Relaxed))
        / 1_000_000_000) as u64;
    let apic = registers();
    apic.write::<u32>(REG_LVT_TIMER, u32::from(TIMER_VECTOR));
    apic.write::<u32>(
        REG_TIMER_INITIAL,
        counts.clamp(1, u64::from(u32::MAX)) as u32,
    );
}

fn send(apic_id: u32, low: u32) {
    let apic = registers();
    apic.write::<u32>(REG_ICR_HIGH, apic_id << 24);
    apic.write::<u32>(REG_ICR_LOW, low);
    while apic.read::<u32>(REG_ICR_LOW) & ICR_PENDING != 0 {
        core::hint::spin_loop();
    }
}

/// Sends an interrupt to another CPU. The caller has interrupts off (the register pair is shared).
pub fn send_interrupt(apic_id: u32, vector: u8) {
    send(apic_id, ICR_ASSERT | u32::from(vector));
}

/// Resets another CPU: INIT.
pub fn send_init(apic_id: u32) {
    send(apic_id, ICR_ASSERT | ICR_INIT);
}

/// Starts another CPU at `page * 4096` in real mode.
pub fn send_startup(apic_id: u32, page: u8) {
    send(apic_id, ICR_ASSERT | ICR_STARTUP | u32::from(page));
}
