//! The network device: one check for each defect, by a driver that does it wrong.

use super::Check;
use super::guest::{CODE, DATA, Guest, HIDDEN};
use crate::exits::Stop;
use crate::vcpu::bits;

const RECEIVE: u64 = 0;
const TRANSMIT: u64 = 1;
/// Rings and buffers of queue n.
const RINGS: u64 = 0x10_0000;
const SIZE: u64 = 8;
const NEXT: u64 = 1;
const WRITE: u64 = 2;
const NEEDS_RESET: u64 = 64;

const fn descriptors(queue: u64) -> u64 {
    RINGS + 0x4000 * queue
}

const fn available(queue: u64) -> u64 {
    descriptors(queue) + 0x1000
}

const fn used(queue: u64) -> u64 {
    descriptors(queue) + 0x2000
}

const fn buffer(queue: u64) -> u64 {
    descriptors(queue) + 0x3000
}

/// Features, rings, and everything but DRIVER_OK.
fn set_up(g: &mut Guest) {
    g.set_register(0x14, 1, 0);
    g.set_register(0x14, 1, 3);
    g.set_register(0x08, 4, 1);
    g.set_register(0x0c, 4, 1);
    g.set_register(0x14, 1, 8);
    for queue in [RECEIVE, TRANSMIT] {
        g.set_register(0x16, 2, queue);
        g.set_register(0x18, 2, SIZE);
        g.set_register(0x20, 8, descriptors(queue));
        g.set_register(0x28, 8, available(queue));
        g.set_register(0x30, 8, used(queue));
        g.set_register(0x1c, 2, 1);
    }
}

fn ready(g: &mut Guest) {
    set_up(g);
    g.set_register(0x14, 1, 4);
}

fn describe(
    g: &mut Guest,
    queue: u64,
    index: u64,
    address: u64,
    length: u64,
    flags: u64,
    next: u64,
) {
    let at = descriptors(queue) + 16 * index;
    g.put(at, address);
    g.put(at + 8, length | flags << 32 | next << 48);
}

/// Makes the chain at `head` available.
fn offer(g: &mut Guest, queue: u64, head: u64) {
    let index = g.get(available(queue) + 2) & 0xffff;
    let slot = available(queue) + 4 + 2 * (index % SIZE);
    let word = g.get(slot) & !0xffff | head;
    g.put(slot, word);
    let word = g.get(available(queue) + 2) & !0xffff | (index + 1);
    g.put(available(queue) + 2, word);
}

/// Sends 100 bytes, of which the last 88 are 42h.
fn send(g: &mut Guest) {
    for at in 0..11 {
        g.put(buffer(TRANSMIT) + 12 + 8 * at, 0x4242_4242_4242_4242);
    }
    describe(g, TRANSMIT, 0, buffer(TRANSMIT), 100, 0, 0);
    offer(g, TRANSMIT, 0);
    g.set_register(0x100, 2, TRANSMIT);
}

fn receive_into(g: &mut Guest, address: u64, length: u64, flags: u64) {
    describe(g, RECEIVE, 0, address, length, flags, 0);
    offer(g, RECEIVE, 0);
}

fn used_index(g: &Guest, queue: u64) -> u64 {
    g.get(used(queue) + 2) & 0xffff
}

fn used_length(g: &Guest, queue: u64) -> u64 {
    g.get(used(queue) + 8) & 0xffff_ffff
}

fn status(g: &mut Guest) -> u64 {
    g.register(0x14) & 0xff
}

fn broken(g: &mut Guest) -> bool {
    status(g) & NEEDS_RESET != 0
}

pub(super) const CHECKS: &[Check] = &[
    ("stale-register-bytes", |g| {
        g.register(0x300);
        g.register(0x500) == 0
    }),
    ("reset-keeps-queues", |g| {
        ready(g);
        receive_into(g, buffer(RECEIVE), 2048, WRITE);
        g.set_register(0x14, 1, 0);
        send(g);
        g.register(0x200);
        used_index(g, TRANSMIT) == 0 && used_index(g, RECEIVE) == 0
    }),
    ("features-unchecked", |g| {
        g.set_register(0x14, 1, 0);
        g.set_register(0x0c, 4, 1 << 20);
        g.set_register(0x14, 1, 8);
        status(g) & 8 == 0
    }),
    ("moves-before-driver-ok", |g| {
        set_up(g);
        send(g);
        used_index(g, TRANSMIT) == 0
    }),
    ("queue-enable-ignored", |g| {
        ready(g);
        g.set_register(0x16, 2, TRANSMIT);
        g.set_register(0x1c, 2, 0);
        send(g);
        used_index(g, TRANSMIT) == 0
    }),
    ("send-reads-hidden", |g| {
        ready(g);
        describe(g, TRANSMIT, 0, buffer(TRANSMIT), 12, NEXT, 1);
        describe(g, TRANSMIT, 1, HIDDEN, 64, 0, 0);
        offer(g, TRANSMIT, 0);
        g.set_register(0x100, 2, TRANSMIT);
        receive_into(g, buffer(RECEIVE), 2048, WRITE);
        g.register(0x200);
        used_index(g, RECEIVE) == 1 && g.get(buffer(RECEIVE) + 12) == 0
    }),
    ("receive-into-hidden", |g| {
        ready(g);
        send(g);
        let before = g.get(HIDDEN + 16);
        receive_into(g, HIDDEN, 2048, WRITE);
        g.register(0x200);
        g.get(HIDDEN + 16) == before && broken(g)
    }),
    ("receive-ignores-length", |g| {
        ready(g);
        send(g);
        receive_into(g, buffer(RECEIVE), 20, WRITE);
        g.register(0x200);
        used_length(g, RECEIVE) == 20 && g.get(buffer(RECEIVE) + 24) == 0
    }),
    ("used-length-wrong", |g| {
        ready(g);
        send(g);
        receive_into(g, buffer(RECEIVE), 2048, WRITE);
        g.register(0x200);
        used_length(g, RECEIVE) == 100 && g.get(buffer(RECEIVE) + 12) & 0xff == 0x42
    }),
    ("available-jump-accepted", |g| {
        ready(g);
        describe(g, TRANSMIT, 0, buffer(TRANSMIT), 100, 0, 0);
        g.put(available(TRANSMIT), 1000 << 16);
        g.set_register(0x100, 2, TRANSMIT);
        used_index(g, TRANSMIT) == 0 && broken(g)
    }),
    ("descriptor-index-unchecked", |g| {
        ready(g);
        describe(g, TRANSMIT, SIZE, buffer(TRANSMIT), 100, 0, 0);
        offer(g, TRANSMIT, SIZE);
        g.set_register(0x100, 2, TRANSMIT);
        used_index(g, TRANSMIT) == 0 && broken(g)
    }),
    ("packet-tail-lost", |g| {
        ready(g);
        describe(g, TRANSMIT, 0, buffer(TRANSMIT), 99, 0, 0);
        offer(g, TRANSMIT, 0);
        g.set_register(0x100, 2, TRANSMIT);
        receive_into(g, buffer(RECEIVE), 2048, WRITE);
        g.register(0x200);
        used_length(g, RECEIVE) == 99
    }),
    ("multicast-mac", |g| g.register(0x300) & 1 == 0),
    ("queue-index-panics", |g| {
        ready(g);
        offer(g, TRANSMIT, SIZE);
        g.vcpu.save().rax = TRANSMIT;
        g.device(b"\x66\x89\x07", 0x100).is_ok()
    }),
    ("queue-size-unchecked", |g| {
        g.set_register(0x16, 2, 0);
        g.set_register(0x18, 2, 48);
        g.register(0x18) & 0xffff == 256
    }),
    ("notify-any-queue", |g| {
        ready(g);
        describe(g, TRANSMIT, 0, buffer(TRANSMIT), 100, 0, 0);
        offer(g, TRANSMIT, 0);
        g.set_register(0x100, 2, 7);
        used_index(g, TRANSMIT) == 0
    }),
    ("status-replaced", |g| {
        g.set_register(0x14, 1, 3);
        g.set_register(0x14, 1, 8);
        status(g) == 11
    }),
    ("direction-ignored", |g| {
        ready(g);
        send(g);
        receive_into(g, buffer(RECEIVE), 2048, 0);
        g.register(0x200);
        g.get(buffer(RECEIVE) + 12) == 0 && broken(g)
    }),
];

#[test]
fn a_circle_of_descriptors_breaks_the_queue() {
    super::run("", |g| {
        ready(g);
        describe(g, TRANSMIT, 0, buffer(TRANSMIT), 0, NEXT, 0);
        offer(g, TRANSMIT, 0);
        g.set_register(0x100, 2, TRANSMIT);
        assert!(broken(g));
    });
}

#[test]
fn packets_move_when_the_isr_is_read_and_only_then() {
    super::run("", |g| {
        ready(g);
        receive_into(g, buffer(RECEIVE), 2048, WRITE);
        send(g);
        assert_eq!(used_index(g, TRANSMIT), 1);
        assert_eq!(used_index(g, RECEIVE), 0);
        assert_eq!(g.register(0x200) & 0xff, 1);
        assert_eq!(used_index(g, RECEIVE), 1);
        assert_eq!(g.register(0x200) & 0xff, 0);
    });
}

#[test]
fn the_device_is_found_by_pci() {
    super::run("", |g| {
        assert_eq!(g.config(0), 0x1000_1af4);
        assert_eq!(g.config(0x18), 0xc000_0000);
        g.set_config(0x18, 0xffff_ffff);
        assert_eq!(g.config(0x18), 0xffff_f000);
        assert_eq!(g.window(), 0);
        // Common configuration, notification (multiplier 0), ISR, device configuration.
        let mut at = g.config(0x34) & 0xff;
        let mut kinds = std::vec::Vec::new();
        while at != 0 {
            let head = g.config(at as u32);
            assert_eq!(head & 0xff, 9);
            kinds.push((
                head >> 24,
                g.config(at as u32 + 8),
                g.config(at as u32 + 12),
            ));
            at = head >> 8 & 0xff;
        }
        assert_eq!(
            kinds,
            [(1, 0, 56), (2, 0x100, 2), (3, 0x200, 4), (4, 0x300, 64)]
        );
        assert_eq!(g.config(0x90), 0);
    });
}

#[test]
fn odd_accesses_do_no_harm() {
    super::run("", |g| {
        g.set_register(0x1a, 2, 0);
        assert_eq!(g.register(0x1a) & 0xffff, 0xffff);
        // MOVUPS is not carried out.
        assert_eq!(g.device(b"\x0f\x11\x07", 0x14), Ok(()));
        assert_eq!(g.injected(), Some((6, 0)));
        g.exit(b"\x88\x07", 0x400, 7, HIDDEN).unwrap();
    });
}

/// What ends in a panic with a quirk, and only with it.
#[test]
fn bitvisors_traps_are_there_on_demand() {
    type Trap = fn(&mut Guest) -> Result<(), Stop>;
    let traps: &[(&str, Trap)] = &[
        ("msix-vector-panics", |g| g.device(b"\x66\x89\x07", 0x1a)),
        ("odd-instruction-panics", |g| {
            g.device(b"\x0f\x11\x07", 0x14)
        }),
        ("hidden-write-panics", |g| {
            g.exit(b"\x88\x07", 0x400, 7, HIDDEN)
        }),
        ("bad-queue-panics", |g| {
            ready(g);
            send(g);
            receive_into(g, HIDDEN, 2048, WRITE);
            g.device(b"\x8b\x07", 0x200)
        }),
        ("log-in-hidden-panics", |g| {
            g.vcpu.save().rax = 2;
            g.vcpu.registers.rbx = HIDDEN;
            g.vcpu.registers.rcx = 4096;
            g.exit(b"\x0f\x01\xd9", 0x81, 0, 0)
        }),
        ("apic-over-hidden-panics", |g| {
            g.vcpu.save().rax = HIDDEN | 0x900;
            g.vcpu.registers.rcx = 0x1b;
            g.exit(b"\x0f\x30", 0x7c, 1, 0)
        }),
        ("string-fault-panics", |g| {
            g.vcpu.registers.rdi = DATA + 4096;
            g.exit(b"\x6c", 0x7b, 0x3f8 << 16 | 1 << 4 | 1 << 2 | 1, CODE + 1)
        }),
        ("triple-fault-panics", |g| g.exit(b"\x90", 0x7f, 0, 0)),
    ];
    for (id, trap) in traps {
        let clean = super::run("", trap);
        assert!(!matches!(clean, Err(Stop::Panic(_))), "{id} without it");
        let with = super::run(&std::format!("quirk={id}"), trap);
        assert!(matches!(with, Err(Stop::Panic(_))), "{id}");
    }
    super::run("quirk=efer-reserved-taken", |g| {
        assert!(g.wrmsr(0xc000_0080, 1 << 63));
        assert_eq!(g.vcpu.vmcb.save.efer >> 63, 1);
    });
    super::run("quirk=interrupt-repeated", |g| {
        g.vcpu.save().rflags &= !bits::RFLAGS_IF;
        let repeated = (0..16)
            .filter(|_| {
                g.cpuid(0);
                g.injected() == Some((0x20, 0))
            })
            .count();
        assert_eq!(repeated, 2);
        g.vcpu.save().rflags |= bits::RFLAGS_IF;
        for _ in 0..16 {
            g.cpuid(0);
            assert_eq!(g.injected(), None);
        }
    });
    super::run("quirk=log-header-and", |g| {
        g.vcpu.save().rax = 2;
        g.vcpu.registers.rbx = RINGS;
        g.vcpu.registers.rcx = 4096;
        g.exit(b"\x0f\x01\xd9", 0x81, 0, 0).unwrap();
        assert_eq!(g.get(RINGS) & 0xffff_ffff, 0);
    });
}
