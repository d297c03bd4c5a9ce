//! One check for each defect of the processor, memory and hypercall groups.

use std::string::String;
use std::vec;

use super::Check;
use super::guest::{CODE, DATA, Guest, HIDDEN, RAM, READ_ONLY, SUPERVISOR, TABLE};
use crate::machine::Machine;
use crate::vcpu::bits;

const DBGSH: u64 = 1;
const LOG_SET_BUF: u64 = 2;
const GET_STATUS: u64 = 3;
const TRACE_RING: u64 = 4;
const MINUS_ONE: u64 = u64::MAX;

fn user(guest: &mut Guest) {
    guest.vcpu.save().cpl = 3;
}

/// Makes labvisor print a line of its log.
fn print(guest: &mut Guest) {
    let last = guest.vmm.log.text().count();
    guest.set_register(0x14, 1, 0);
    assert!(guest.vmm.log.text().count() > last);
}

fn log_header(guest: &Guest, base: u64) -> u64 {
    guest.get(base) & 0xffff_ffff
}

/// Presses a key and returns what the shell printed until it wants the next.
fn key(guest: &mut Guest, key: u8) -> String {
    let mut printed = String::new();
    let mut pressed = false;
    let mut answer = MINUS_ONE;
    loop {
        let told = guest.call(DBGSH, answer, 0);
        answer = MINUS_ONE;
        match told {
            MINUS_ONE => {}
            0 if pressed => return printed,
            0 => {
                pressed = true;
                answer = key.into();
            }
            character => {
                printed.push(character as u8 as char);
                answer = 0;
            }
        }
    }
}

/// The guest's page is writable memory whose last bytes are followed by an unmapped page.
fn status_across_the_end(guest: &mut Guest) -> bool {
    let start = DATA + 4096 - 16;
    let refused = guest.call(GET_STATUS, start, 4096) == 1;
    refused && guest.get(start) == 0
}

fn status_length(guest: &mut Guest) -> u64 {
    guest.call(GET_STATUS, DATA, 0);
    guest.vcpu.registers.rcx
}

pub(super) const CHECKS: &[Check] = &[
    ("number-truncated", |g| {
        g.call(1 << 32 | DBGSH, MINUS_ONE, 0) == 0
    }),
    ("unknown-number-kept", |g| g.call(127, 0, 0) == 0),
    ("hypercall-clobbers-rdx", |g| {
        g.vcpu.registers.rdx = 77;
        g.call(127, 0, 0);
        g.vcpu.registers.rdx == 77
    }),
    ("name-fault-injected", |g| {
        g.m.write(DATA + 4093, b"dbg");
        g.call(0, DATA + 4093, 0) == 0 && g.injected().is_none()
    }),
    ("name-fault-ends", |g| {
        g.m.write(DATA + 4091, b"dbgsh");
        g.call(0, DATA + 4091, 0) == 0
    }),
    ("name-length-unchecked", |g| {
        let mut name = [b'A'; 300];
        name[..5].copy_from_slice(b"dbgsh");
        g.number(&name) == 0
    }),
    ("name-prefix-matches", |g| {
        g.number(b"dbgsh") == DBGSH && g.number(b"dbgshell") == 0
    }),
    ("supervisor-walk", |g| {
        g.m.write(SUPERVISOR, b"dbgsh\0");
        let kernel = g.call(0, SUPERVISOR, 0) == DBGSH;
        user(g);
        kernel && g.call(0, SUPERVISOR, 0) == 0
    }),
    ("non-canonical-accepted", |g| {
        g.m.write(DATA, b"dbgsh\0");
        g.call(0, DATA | 1 << 63, 0) == 0
    }),
    ("partial-write", status_across_the_end),
    ("status-size-ignored", |g| {
        let short = status_length(g) - 1;
        g.call(GET_STATUS, DATA, short) == 1 && g.get(DATA) == 0
    }),
    ("write-ignores-read-only", |g| {
        g.call(GET_STATUS, READ_ONLY, 4096) == 1 && g.get(READ_ONLY) == 0
    }),
    ("dirty-bit-missed", |g| {
        g.call(GET_STATUS, DATA, 4096) == 0 && g.get(TABLE + 8 * (DATA / 4096)) & 0x60 == 0x60
    }),
    ("log-size-unchecked", |g| {
        g.call(LOG_SET_BUF, DATA, 4);
        print(g);
        g.get(DATA) == 0
    }),
    ("log-size-truncated", |g| {
        g.call(LOG_SET_BUF, DATA, 1 << 32 | 0x1000);
        print(g);
        g.get(DATA) == 0
    }),
    ("log-wrap-missed", |g| {
        g.call(LOG_SET_BUF, DATA, 12);
        print(g);
        log_header(g, DATA) != 0 && g.get(DATA + 16) == 0
    }),
    ("log-header-and", |g| {
        g.call(LOG_SET_BUF, DATA, 4096);
        let before = log_header(g, DATA);
        print(g);
        before > 1 && log_header(g, DATA) > before
    }),
    ("log-detach-ignored", |g| {
        g.call(LOG_SET_BUF, DATA, 4096);
        g.call(LOG_SET_BUF, 0, 0);
        let before = log_header(g, DATA);
        print(g);
        log_header(g, DATA) == before
    }),
    ("log-from-user", |g| {
        user(g);
        g.call(LOG_SET_BUF, DATA, 4096);
        g.get(DATA) == 0
    }),
    ("shell-from-user", |g| {
        user(g);
        (0..3).all(|_| g.call(DBGSH, MINUS_ONE, 0) == MINUS_ONE)
    }),
    ("shell-result-not-extended", |g| {
        let first = g.call(DBGSH, MINUS_ONE, 0);
        first == MINUS_ONE && g.call(DBGSH, MINUS_ONE, 0) == u64::from(b'>')
    }),
    ("shell-line-endless", |g| {
        let shown: usize = (0..120).map(|_| key(g, b'a').len()).sum();
        shown < 110
    }),
    ("shell-key-twice", |g| key(g, b'a') == "> a"),
    ("exits-uncounted", |g| {
        g.cpuid(0);
        g.call(GET_STATUS, DATA, 4096);
        let text: String = (0..200)
            .map(|at| (g.get(DATA + at) as u8) as char)
            .collect();
        text.contains("exits.cpuid: 1 ")
    }),
    ("efer-features-unchecked", |g| {
        let efer = g.rdmsr(0xc000_0080).unwrap();
        !g.wrmsr(0xc000_0080, efer | 1 << 14)
    }),
    ("fetch-needs-next-page", |g| {
        // The last byte of a page whose neighbour is absent.
        let last = DATA + 4095;
        g.m.write(last, b"\x6c");
        g.vcpu.save().rip = last;
        g.vcpu.registers.rdi = DATA;
        g.vcpu.registers.rdx = 0x3f8;
        g.vcpu.control().exit_code = 0x7b;
        g.vcpu.control().exit_info_1 = 0x3f8 << 16 | 1 << 4 | 0b101;
        g.vmm.handle(&mut g.vcpu, &mut g.m).unwrap();
        g.vcpu.registers.rdi == DATA + 1
    }),
    ("emulation-knows-ram-only", |g| {
        // OUTSB and INSB with an operand where another device is, on the port of a third one's configuration.
        g.m.port_out(0xcf8, 4, 1 << 31);
        g.put(TABLE + 8 * (DATA / 4096), 0xb000_0000 | 7);
        g.vcpu.registers.rsi = DATA;
        g.vcpu.registers.rdi = DATA + 8;
        g.vcpu.registers.rdx = 0xcfc;
        let out = 0xcfc << 16 | 1 << 4 | 0b100;
        g.exit(b"\x6e", 0x7b, out, CODE + 1).unwrap();
        g.exit(b"\x6c", 0x7b, out | 1, CODE + 1).unwrap();
        let ports_own = vec![0xfc];
        g.m.ports == [(0xcfc, 1, 0xee)] && g.m.devices == [(0xb000_0008, ports_own)]
    }),
    ("string-bar-ignored", |g| {
        g.set_config(0x18, 0xc000_0000);
        g.put(DATA, 0xd000_0000);
        g.vcpu.registers.rsi = DATA;
        g.vcpu.registers.rdx = 0xcfc;
        g.exit(b"\x6f", 0x7b, 0xcfc << 16 | 4 << 4 | 0b100, CODE + 1)
            .unwrap();
        g.window() == 0xd000_0000
    }),
    ("svm-bit-shown", |g| g.cpuid(0x8000_0001)[2] & 1 << 2 == 0),
    ("svm-leaf-shown", |g| g.cpuid(0x8000_000a) == [0; 4]),
    ("svme-settable", |g| {
        let efer = g.rdmsr(0xc000_0080).unwrap();
        !g.wrmsr(0xc000_0080, efer | bits::EFER_SVME)
    }),
    ("svme-reads-set", |g| {
        g.rdmsr(0xc000_0080).unwrap() & bits::EFER_SVME == 0
    }),
    ("svm-instructions-skipped", |g| {
        g.exit(b"\x0f\x01\xd8", 0x80, 0, 0).unwrap();
        g.injected() == Some((6, 0)) && g.moved() == 0
    }),
    ("vm-cr-reads-enabled", |g| {
        g.rdmsr(0xc001_0114) == Some(0x18)
    }),
    ("host-save-shown", |g| g.rdmsr(0xc001_0117).is_none()),
    ("unknown-msr-reads-zero", |g| g.rdmsr(0x4000_0000).is_none()),
    ("efer-reserved-ignored", |g| {
        let efer = g.rdmsr(0xc000_0080).unwrap();
        !g.wrmsr(0xc000_0080, efer | 1 << 63)
    }),
    ("lme-cleared-silently", |g| {
        let efer = g.rdmsr(0xc000_0080).unwrap();
        !g.wrmsr(0xc000_0080, efer & !bits::EFER_LME)
    }),
    ("outer-hypervisor-shown", |g| {
        g.cpuid(0x4000_0000) == g.cpuid(0xd) && g.cpuid(0x4000_0000)[1] != 0xabab
    }),
    ("osxsave-stale", |g| {
        let off = g.cpuid(1)[2];
        g.vcpu.save().cr4 |= bits::CR4_OSXSAVE;
        let on = g.cpuid(1)[2];
        off & 1 << 27 == 0 && on & 1 << 27 != 0
    }),
    ("cpuid-upper-halves-kept", |g| {
        g.vcpu.registers.rdx = u64::MAX;
        g.cpuid(0)[3] == 3
    }),
    ("hidden-readable", |g| g.seen(HIDDEN + 4096) == 0),
    ("zero-page-writable", |g| {
        let (_, rights) = g.vmm.nested.lookup(HIDDEN).unwrap();
        rights & 2 == 0
    }),
    ("last-hidden-page-missed", |g| g.seen(RAM - 8) == 0),
    ("hidden-is-ram", |g| {
        g.m.write(HIDDEN, b"dbgsh\0");
        g.call(0, HIDDEN, 0) == 0
    }),
    ("apic-over-hidden", |g| {
        g.wrmsr(0x1b, 0xfee0_0900) && !g.wrmsr(0x1b, HIDDEN | 0x900)
    }),
    ("prefixes-ignored", |g| {
        g.vcpu.save().rax = 127;
        g.exit(b"\x66\xf2\x48\x0f\x01\xd9", 0x81, 0, 0).unwrap();
        g.moved() == 6
    }),
    ("single-step-lost", |g| {
        g.vcpu.save().rflags |= bits::RFLAGS_TF;
        g.cpuid(0);
        g.injected() == Some((1, 0)) && g.vcpu.vmcb.save.dr6 & bits::DR6_BS != 0
    }),
    ("error-code-lost", |g| {
        g.exit(b"\x8e\xd8", 0x4d, 0x18, 0).unwrap();
        g.injected() == Some((13, 0x18))
    }),
    ("double-fault-missed", |g| {
        g.vcpu.control().exit_int_info = 1 << 31 | 3 << 8 | 14;
        g.exit(b"\x90", 0x4d, 0x18, 0).unwrap();
        g.injected() == Some((8, 0))
    }),
    ("io-first-port-decides", |g| {
        let seen = g.port_in(0x3f6, 4);
        g.port_out(0x3f6, 4, 0x4433_2211);
        let written = [(0x3f6, 1, 0x11), (0x3f7, 1, 0x22)];
        seen == 0xffff_f7f6 && g.m.ports == written
    }),
    ("console-readable", |g| g.port_in(0x3fd, 1) & 0xff == 0xff),
    ("in-keeps-upper-half", |g| {
        g.port_in(0x3f8, 4) == 0xffff_ffff
    }),
    ("bar-over-hidden", |g| {
        g.set_config(0x18, HIDDEN);
        g.set_config(0x18, 0xc000_0000);
        g.seen(HIDDEN) == 0
    }),
    ("bar-over-ram", |g| {
        g.set_config(0x18, 0x10_0000);
        g.vmm.nested.lookup(0x10_0000).is_some()
    }),
    ("bar-move-ignored", |g| {
        g.set_config(0x18, 0xd000_0000);
        g.vcpu.vmcb.control.tlb_control == 1 && g.window() == 0xd000_0000
    }),
    ("name-read-again", |g| {
        let mut cost = |name: &[u8]| {
            let start = g.m.ticks.get();
            g.number(name);
            g.m.ticks.get() - start
        };
        let (short, long) = (cost(&[b'x'; 10]), cost(&[b'x'; 200]));
        long < 40 * short
    }),
    ("exit-time-hidden", |g| {
        g.cpuid(0);
        g.vcpu.vmcb.control.tsc_offset == 0
    }),
    ("exit-time-hidden-twice", |g| {
        let before = g.rdmsr(0x10).unwrap();
        for _ in 0..10 {
            g.cpuid(0);
        }
        g.rdmsr(0x10).unwrap() > before
    }),
    ("tsc-msr-without-offset", |g| {
        g.vcpu.control().tsc_offset = 1 << 50;
        g.rdmsr(0x10).unwrap() >= 1 << 50
    }),
    ("tsc-write-lost", |g| {
        g.wrmsr(0x10, 1 << 50);
        g.rdmsr(0x10).unwrap() >= 1 << 50
    }),
    ("tsc-adjust-apart", |g| {
        let before = g.rdmsr(0x3b).unwrap();
        g.wrmsr(0x10, 1 << 50);
        let written = g.rdmsr(0x3b).unwrap();
        let offset = g.vcpu.vmcb.control.tsc_offset;
        g.wrmsr(0x3b, 0);
        before == 0 && written == offset && g.vcpu.vmcb.control.tsc_offset == 0
    }),
    ("rdmsr-upper-halves-kept", |g| {
        g.vcpu.save().rax = u64::MAX;
        g.vcpu.registers.rdx = u64::MAX;
        g.rdmsr(0xc000_0080);
        g.vcpu.vmcb.save.rax >> 32 == 0 && g.vcpu.registers.rdx >> 32 == 0
    }),
    ("apic-reserved-taken", |g| !g.wrmsr(0x1b, 0xfee0_0901)),
    ("reserved-bits-ignored", |g| {
        // Bit 20 lies inside a 2 MiB page's offset.
        let entry = g.get(0x3008);
        g.put(0x3008, entry | 1 << 20);
        g.m.write(2 << 20, b"dbgsh\0");
        g.call(0, 2 << 20, 0) == 0
    }),
    ("smap-ignored", |g| {
        g.vcpu.save().cr4 |= bits::CR4_SMAP;
        let without = g.number(b"dbgsh");
        g.vcpu.save().rflags |= bits::RFLAGS_AC;
        without == 0 && g.number(b"dbgsh") == DBGSH
    }),
    ("large-page-offset", |g| {
        let address = (2 << 20) + 0x5000;
        g.m.write(address, b"dbgsh\0");
        g.call(0, address, 0) == DBGSH
    }),
    ("msr-fault-is-ud", |g| {
        g.rdmsr(0x4000_0000);
        g.injected() == Some((13, 0))
    }),
    ("fault-rip-advanced", |g| {
        g.rdmsr(0x4000_0000).is_none() && g.moved() == 0
    }),
    ("phantom-functions", |g| g.config(0x100) == 0xffff_ffff),
    ("pci-ids-writable", |g| {
        g.set_config(0, 0x1234_5678);
        g.config(0) == 0x1000_1af4
    }),
    ("bar-size-wrong", |g| {
        g.set_config(0x18, 0xffff_ffff);
        g.config(0x18) == 0xffff_f000
    }),
    ("long-name-panics", |g| {
        g.m.write(DATA, &[b'x'; 300]);
        g.vcpu.save().rax = 0;
        g.vcpu.registers.rbx = DATA;
        g.exit(b"\x0f\x01\xd9", 0x81, 0, 0).is_ok()
    }),
    ("invlpga-panics", |g| {
        g.exit(b"\x0f\x01\xdf", 0x7a, 0, 0).is_ok() && g.injected() == Some((6, 0))
    }),
    ("lock-left-held", |g| {
        let bad = g.call(0, DATA + 4096, 0);
        bad == 0 && g.number(b"dbgsh") == DBGSH
    }),
    ("repeat-zero-moves", |g| {
        g.vcpu.registers.rdi = DATA;
        g.vcpu.registers.rcx = 0;
        let ins = 0x3fd << 16 | 1 << 4 | 0b1101;
        g.exit(b"\xf3\x6c", 0x7b, ins, CODE + 2).unwrap();
        g.get(DATA) == 0 && g.vcpu.registers.rcx == 0 && g.moved() == 2
    }),
    ("foreign-call-taken", |g| {
        g.vcpu.vmcb.control.intercept_exceptions == 1 << 13
    }),
    ("cpuid-stale", |g| {
        let before = g.cpuid(0x20);
        g.cpuid(0);
        g.cpuid(0x20) == before
    }),
    ("tsc-adjust-refused", |g| {
        g.cpuid(7)[1] & 2 != 0 && g.rdmsr(0x3b).is_some()
    }),
    ("gp-rip-advanced", |g| {
        g.exit(b"\x8e\xd8", 0x4d, 0, 0).unwrap();
        g.moved() == 0
    }),
    ("string-fault-is-gp", |g| {
        g.vcpu.registers.rdi = DATA + 4096;
        let ins = 0x3fd << 16 | 1 << 4 | 0b101;
        g.exit(b"\x6c", 0x7b, ins, CODE + 1).unwrap();
        g.injected() == Some((14, 2))
    }),
    ("number-index-panics", |g| {
        g.vcpu.save().rax = TRACE_RING + 1;
        g.exit(b"\x0f\x01\xd9", 0x81, 0, 0).is_ok()
    }),
    ("msr-index-panics", |g| {
        g.vcpu.registers.rcx = 0xc003_0000;
        g.exit(b"\x0f\x32", 0x7c, 0, 0).is_ok()
    }),
    ("cpuid-range-panics", |g| {
        g.vcpu.save().rax = 0xc000_0000;
        g.exit(b"\x0f\xa2", 0x72, 0, 0).is_ok()
    }),
    ("port-straddle-panics", |g| {
        let straddle = 0x3f6 << 16 | 4 << 4 | 1;
        g.exit(b"\xed", 0x7b, straddle, CODE + 1).is_ok()
    }),
    ("status-end-overflows", |g| {
        g.vcpu.save().rax = GET_STATUS;
        g.vcpu.registers.rbx = DATA;
        g.vcpu.registers.rcx = MINUS_ONE;
        g.exit(b"\x0f\x01\xd9", 0x81, 0, 0).is_ok()
    }),
    ("exit-state-left", |g| {
        g.call(TRACE_RING + 1, 0, 0);
        g.exit(b"\xec", 0x7b, 0x3f8 << 16 | 1 << 4 | 1, CODE + 1)
            .is_ok()
    }),
    ("table-fault-code-nested", |g| {
        g.put(0x3008, HIDDEN | 7); // the second 2 MiB
        g.vcpu.registers.rdi = 2 << 20;
        g.exit(b"\x8b\x07", 0x400, 6 | 1 << 33, HIDDEN).unwrap();
        g.injected() == Some((14, 0))
    }),
    ("trace-overruns", |g| {
        const RING: u64 = 0x10_0000;
        let attached = g.call(TRACE_RING, RING, 4096) == 1;
        for _ in 0..100 {
            g.cpuid(0);
        }
        let (produced, dropped) = (g.get(RING), g.get(RING + 16));
        let whole = (4096 - 64) / 72;
        attached && produced == whole * 72 && dropped == 101 - whole
    }),
    ("trace-wrap-missed", |g| {
        const RING: u64 = 0x10_0000;
        g.call(TRACE_RING, RING, 4096 + 40);
        for _ in 0..60 {
            g.cpuid(0);
            g.put(RING + 8, g.get(RING));
        }
        (0..4).all(|n| g.get(RING + 4096 + 40 + 8 * n) == 0)
    }),
];

/// Things that no defect is about.
#[test]
fn the_map_of_functions_is_found_by_name() {
    super::run("", |g| {
        assert_eq!(g.number(b"get_vmmcall_number"), 0);
        assert_eq!(g.number(b"log_set_buf"), LOG_SET_BUF);
        assert_eq!(g.number(b"get_status"), GET_STATUS);
        assert_eq!(g.number(b"lab_trace_ring"), TRACE_RING);
        assert_eq!(g.number(b""), 0);
        assert_eq!(g.number(b"boot"), 0);
        assert_eq!(g.moved(), 3);
    });
}

#[test]
fn the_shell_answers() {
    super::run("defect=svm-bit-shown", |g| {
        let text: String = b"planted\n".iter().map(|typed| key(g, *typed)).collect();
        assert!(text.contains("svm-bit-shown"), "{text:?}");
    });
}

#[test]
fn what_the_guest_is_refused_is_never_a_stop() {
    super::run("", |g| {
        // Jump into a hole, page tables in hidden memory, a shutdown.
        assert_eq!(g.exit(b"\x90", 0x400, 0x14 | 1 << 32, HIDDEN), Ok(()));
        assert_eq!(g.injected(), Some((13, 0)));
        g.put(0x3008, HIDDEN | 7); // the second 2 MiB
        g.vcpu.registers.rdi = 2 << 20;
        assert_eq!(g.exit(b"\x89\x07", 0x400, 6 | 1 << 33, HIDDEN), Ok(()));
        assert_eq!(g.injected(), Some((14, 2)));
        assert_eq!(
            g.exit(b"\x90", 0x7f, 0, 0),
            Err(crate::exits::Stop::TripleFault)
        );
    });
}
