//! The network: one card, one stack, one thread.
//!
//! The stack (`kcore::net::stack`) is behind one sleep lock. A system call enters it, does what it can,
//! and moves frames itself before it leaves, so that a reply does not wait for another thread. The
//! thread `net` does the rest: received frames, timers, the deferred interrupt, and a card that lied.
//!
//! Lock order: a remote session, then the stack, then events.

pub mod event;
mod info;
mod socket;
pub mod tap;

pub use info::{Answer, netinfo};
pub use socket::{resolve, socket};

use crate::arch::{irq, msi};
use crate::drivers::dma::virtio;
use crate::drivers::pci::{self, Function};
use crate::drivers::virtio_net::{self, Card, ProbeError, Pump, Receiver, Sender};
use crate::sync::{SleepGuard, SleepLock};
use crate::time::{self, Instant};
use crate::{println, proc, settings};
use alloc::format;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use core::time::Duration;
use event::{Event, SharedEvent};
use kcore::net::interrupt::{Deferred, Step};
use kcore::net::port::{NoCard, Port, Receive, Transmit};
use kcore::net::settings::{Address, Address6};
use kcore::net::stack::{Change, Moment, Polled, Stack};
use spin::Once;
use tap::FrameTap;

/// The thread looks after everything at least this often: a lost doorbell or interrupt costs no more.
const WATCH_PERIOD: Duration = Duration::from_millis(500);
/// A card that lied this often is switched off.
const RESETS_MAX: u64 = 8;
/// Received bytes a program may take before the peer hears of the room.
const UNANNOUNCED_MAX: usize = 32 * 1024;

/// This part of the kernel heap may be buffers of sockets.
const BUDGET_SHARE: usize = 2;

/// The kernel's stack.
pub type KernelStack = Stack<RxHalf, TxHalf, FrameTap, SharedEvent>;

static NET: Once<SleepLock<Net>> = Once::new();
/// Wakes the thread.
static WORK: Event = Event::new();
static DEFERRED: Deferred = Deferred::new();
/// The card's interrupt line, or `NO_LINE`.
static LINE: AtomicU8 = AtomicU8::new(NO_LINE);
const NO_LINE: u8 = 255;
static HAS_CARD: AtomicBool = AtomicBool::new(false);

/// The stack and what it stands on.
pub struct Net {
    /// Sockets.
    pub stack: KernelStack,
    card: Option<Arc<Card>>,
    /// When the thread will look next.
    armed: Moment,
    /// Received bytes taken since the stack was last polled.
    unannounced: usize,
}

/// The receiving half of a card, or of none.
pub enum RxHalf {
    /// virtio.
    Card(Receiver),
    /// No card.
    None(NoCard),
}

/// The sending half of a card, or of none.
pub enum TxHalf {
    /// virtio.
    Card(Sender),
    /// No card.
    None(NoCard),
}

impl Receive for RxHalf {
    fn ready(&mut self) -> bool {
        match self {
            Self::Card(card) => card.ready(),
            Self::None(none) => Receive::ready(none),
        }
    }
    fn take<R>(&mut self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Card(card) => card.take(f),
            Self::None(none) => none.take(f),
        }
    }
}

impl Transmit for TxHalf {
    fn ready(&mut self) -> bool {
        match self {
            Self::Card(card) => card.ready(),
            Self::None(none) => Transmit::ready(none),
        }
    }
    fn send<R>(&mut self, len: usize, f: impl FnOnce(&mut [u8]) -> (R, bool)) -> R {
        match self {
            Self::Card(card) => card.send(len, f),
            Self::None(none) => none.send(len, f),
        }
    }
}

/// The time as the stack wants it.
fn moment() -> Moment {
    Moment(time::now().0 / 1000)
}

/// Finds the card, sets the stack up, starts the thread.
pub fn init() {
    let (card, rx, tx, mac) = match find_card() {
        Some((card, rx, tx)) => {
            let mac = card.registers().mac();
            (Some(card), RxHalf::Card(rx), TxHalf::Card(tx), mac)
        }
        None => (
            None,
            RxHalf::None(NoCard),
            TxHalf::None(NoCard),
            [2, 0, 0, 0, 0, 1],
        ),
    };
    HAS_CARD.store(card.is_some(), Ordering::Relaxed);
    let (address, address6) = if card.is_some() {
        (settings::get().ip, settings::get().ip6)
    } else {
        (Address::Dhcp, Address6::Off)
    };
    let seed = time::read_tsc() ^ time::wall_ns().rotate_left(32);
    let budget = crate::mm::raw::heap_size() as usize / BUDGET_SHARE;
    let stack = Stack::new(
        Port::new(rx, tx, FrameTap, mac),
        address,
        address6,
        budget,
        seed,
        moment(),
    );
    NET.call_once(|| {
        SleepLock::new(
            "net",
            Net {
                stack,
                card,
                armed: Moment(0),
                unannounced: 0,
            },
        )
    });
    proc::spawn_kernel_thread("net", run);
}

/// Whether there is a card; without one only this machine can be reached.
pub fn has_card() -> bool {
    HAS_CARD.load(Ordering::Relaxed)
}

/// The stack, for a system call or a kernel thread. Panics before `init`.
pub fn lock() -> SleepGuard<'static, Net> {
    NET.get().expect("net::init ran").lock()
}

static TEST_DEVICE: Once<Option<pci::Bdf>> = Once::new();

/// The network card that the kernel leaves alone, for experiments with its rings.
pub fn test_device() -> Option<pci::Bdf> {
    TEST_DEVICE.get().copied().flatten()
}

fn find_card() -> Option<(Arc<Card>, Receiver, Sender)> {
    let wanted = settings::value("nic");
    let functions = pci::enumerate();
    let is_wanted = |function: &&Function| match wanted {
        Some(name) => TextIs(name).equals(format_args!("{}", function.bdf)),
        None => true,
    };
    let Some(function) = functions
        .iter()
        .filter(|function| virtio_net::is_net(function))
        .find(is_wanted)
    else {
        println!(
            "net: no virtio network card{}",
            if wanted.is_some() {
                " at the address in nic="
            } else {
                ""
            }
        );
        return None;
    };
    // The other card is the device under test: nobody drives it but probes.
    TEST_DEVICE.call_once(|| {
        functions
            .iter()
            .filter(|other| virtio_net::is_net(other) && other.bdf != function.bdf)
            .map(|other| other.bdf)
            .next_back()
    });
    match start_card(function) {
        Ok((card, rx, tx, interrupts)) => {
            println!(
                "net: {} {} {interrupts}",
                function.bdf,
                Mac(card.registers().mac())
            );
            Some((card, rx, tx))
        }
        Err(error) => {
            println!("net: {}: {error}; going on without it", function.bdf);
            None
        }
    }
}

/// How the card says that it has something.
enum Interrupts {
    /// MSI-X.
    Message(u32),
    /// Level-triggered, shared.
    Line(u8),
    /// It does not; the thread looks.
    None,
}

impl fmt::Display for Interrupts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(vector) => write!(f, "msi-x vector {vector:#x}"),
            Self::Line(line) => write!(f, "irq {line}"),
            Self::None => f.write_str("polled"),
        }
    }
}

fn start_card(
    function: &Function,
) -> Result<(Arc<Card>, Receiver, Sender, Interrupts), ProbeError> {
    let card = Card::probe(function)?;
    if settings::value("msix") != Some("off")
        && card.has_messages()
        && let Some(message) = msi::register(on_message)
        && card.use_message(message)
    {
        match card.start() {
            Ok((rx, tx)) => return Ok((card, rx, tx, Interrupts::Message(message.data))),
            Err(error) => println!("net: {}: {error}; using its interrupt line", function.bdf),
        }
    }
    card.use_line();
    let (rx, tx) = card.start()?;
    let line = function.interrupt_line;
    LINE.store(line, Ordering::Relaxed);
    if irq::register(line, "net", on_interrupt) {
        return Ok((card, rx, tx, Interrupts::Line(line)));
    }
    LINE.store(NO_LINE, Ordering::Relaxed);
    Ok((card, rx, tx, Interrupts::None))
}

/// Only masks and wakes: reading the ISR register here hangs guests of BitVisor.
fn on_interrupt() -> bool {
    let line = LINE.load(Ordering::Relaxed);
    irq::mask(line);
    tap::interrupted(irq::FIRST_VECTOR + line);
    if DEFERRED.on_interrupt() {
        WORK.signal();
    }
    true
}

/// A message needs no masking.
fn on_message(vector: u8) {
    tap::interrupted(vector);
    if DEFERRED.on_interrupt() {
        WORK.signal();
    }
}

/// The thread.
fn run() {
    loop {
        let seen = WORK.seen();
        let polled = {
            let mut net = lock();
            let polled = net.serve();
            net.armed = polled.deadline.unwrap_or(Moment(u64::MAX));
            polled
        };
        if let Some(change) = polled.change {
            tell(change);
        }
        if polled.more {
            crate::proc::sched::yield_now();
            continue;
        }
        let watch = time::now() + WATCH_PERIOD;
        let deadline = polled
            .deadline
            .map_or(watch, |at| Instant(at.0.saturating_mul(1000)).min(watch));
        WORK.wait_until(seen, Some(deadline));
    }
}

impl Net {
    /// Whatever the card and the clock want, interrupts included.
    fn serve(&mut self) -> Polled {
        let step = DEFERRED.next_step();
        let now = moment();
        if let RxHalf::Card(rx) = &mut self.stack.port_mut().rx {
            rx.set_interrupts(virtio::Interrupts::Unwanted);
            // Also without an interrupt: the watch period ended, or a timer did.
            rx.set_pump(Pump::Open);
        }
        let mut polled = self.poll(now);
        if let RxHalf::Card(rx) = &mut self.stack.port_mut().rx {
            polled.more |= rx.set_interrupts(virtio::Interrupts::Wanted);
            rx.set_pump(Pump::Closed);
        }
        let line = LINE.load(Ordering::Relaxed);
        if step == Step::ServeAndUnmask && line != NO_LINE {
            irq::unmask(line);
        }
        if let TxHalf::Card(tx) = &mut self.stack.port_mut().tx {
            tx.remind();
        }
        polled
    }

    /// Moves frames and keeps the timers, from any thread.
    fn poll(&mut self, now: Moment) -> Polled {
        self.unannounced = 0;
        let polled = self.stack.poll(now);
        let port = self.stack.port_mut();
        if let (RxHalf::Card(rx), TxHalf::Card(tx)) = (&mut port.rx, &mut port.tx) {
            tx.flush();
            rx.flush();
            if rx.lie().is_some() || tx.lie().is_some() {
                self.recover();
            }
        }
        polled
    }

    /// After a call changed a socket: sends what it has to say, and lets the thread know of new timers.
    pub fn push(&mut self) {
        let polled = self.poll(moment());
        let deadline = polled.deadline.unwrap_or(Moment(u64::MAX));
        if polled.more || deadline < self.armed {
            self.armed = deadline;
            WORK.signal();
        }
        if let Some(change) = polled.change {
            tell(change);
        }
    }

    /// After a program took received bytes: the peer hears of much new room at once, of little later.
    pub fn took(&mut self, len: usize) {
        self.unannounced += len;
        if self.unannounced >= UNANNOUNCED_MAX {
            self.push();
        }
    }

    /// Before a program sleeps for more bytes: the peer must know of all the room there is.
    pub fn before_sleep(&mut self) {
        if self.unannounced > 0 {
            self.push();
        }
    }

    /// The card told a lie: reset it, with fresh rings, or do without it.
    #[cold]
    #[inline(never)]
    fn recover(&mut self) {
        let Some(card) = self.card.clone() else {
            return;
        };
        let port = self.stack.port_mut();
        if let (RxHalf::Card(rx), TxHalf::Card(tx)) = (&port.rx, &port.tx) {
            for (lie, side) in [(rx.lie(), "receive"), (tx.lie(), "transmit")] {
                if let Some(lie) = lie {
                    let what = format!("{side} queue: {lie}");
                    println!("net: the card's {what}; resetting it");
                    tap::was_reset(&what);
                }
            }
        }
        let errors = card.counters.errors.fetch_add(1, Ordering::Relaxed) + 1;
        let restarted = if errors < RESETS_MAX {
            card.start()
        } else {
            Err(ProbeError::NoReset)
        };
        let (rx, tx) = restarted.unwrap_or_else(|error| {
            println!("net: switched the card off after {errors} resets: {error}");
            let _ = card.registers().reset();
            (Receiver::broken(Arc::clone(&card)), Sender::broken(card))
        });
        // The old rings go only now, after the reset.
        port.rx = RxHalf::Card(rx);
        port.tx = TxHalf::Card(tx);
    }
}

/// Says what happened to the interface. IPv6 addresses come when a router likes, in the middle of what somebody types: they go
/// to the log only.
fn tell(change: Change) {
    match change {
        Change::Up { .. } | Change::Down => println!("net: {}", Shown(change)),
        Change::Up6 { .. } | Change::Down6 { .. } => {
            crate::klog::note(format_args!("net: {}\n", Shown(change)));
        }
    }
}

/// A hardware address.
struct Mac([u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An IPv4 address.
pub(crate) struct Ip(pub [u8; 4]);

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

/// News about the interface, as a line.
struct Shown(Change);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Change::Down => f.write_str("address lost"),
            Change::Up6 {
                address,
                prefix_len,
            } => write!(f, "ipv6 address {address}/{prefix_len}"),
            Change::Down6 { address } => write!(f, "ipv6 address {address} lost"),
            Change::Up {
                address,
                prefix_len,
                gateway,
                dns,
            } => {
                write!(f, "address {}/{prefix_len}", Ip(address))?;
                if let Some(gateway) = gateway {
                    write!(f, " gateway {}", Ip(gateway))?;
                }
                match dns {
                    Some(dns) => write!(f, " dns {}", Ip(dns)),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Compares a text with something that can only be printed.
struct TextIs<'a>(&'a str);

impl TextIs<'_> {
    fn equals(mut self, printed: fmt::Arguments<'_>) -> bool {
        fmt::Write::write_fmt(&mut self, printed).is_ok() && self.0.is_empty()
    }
}

impl fmt::Write for TextIs<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
        Ok(())
    }
}
