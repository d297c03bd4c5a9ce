//! Emulated instructions give what the processor gives on plain memory.

use super::guest::{CODE, DATA, DEVICE, Guest};
use crate::vcpu::bits;

/// The device's queue_select and queue_size, a 32-bit register pair that keeps what is written
/// to its low half.
const SELECT: u64 = 0x16;

fn flags(g: &Guest) -> u64 {
    g.vcpu.vmcb.save.rflags & 0x8d5
}

#[test]
fn moves_of_every_width() {
    super::run("", |g| {
        g.set_register(SELECT, 2, 1);
        // MOVZX RAX, WORD [RDI]; MOVSX EAX, BYTE [RDI]; MOV AH, [RDI]; MOV R9W, [RDI].
        for (code, before, after) in [
            (&b"\x48\x0f\xb7\x07"[..], u64::MAX, 1),
            (b"\x0f\xbe\x07", u64::MAX, 1),
            (b"\x8a\x27", 0xaabb_ccdd, 0xaabb_01dd),
            (b"\x66\x8b\x07", 0xaabb_ccdd, 0xaabb_0001),
        ] {
            g.vcpu.save().rax = before;
            g.device(code, SELECT).unwrap();
            assert_eq!(g.vcpu.vmcb.save.rax, after, "{code:x?}");
            assert_eq!(g.moved(), code.len() as u64);
        }
    });
}

#[test]
fn arithmetic_sets_the_flags() {
    super::run("", |g| {
        for (code, select, after, expected) in [
            // ADD WORD [RDI], 7FFFh: overflow, sign, adjust, parity.
            (&b"\x66\x81\x07\xff\x7f"[..], 1, 0x8000, 0x894),
            // SUB WORD [RDI], 1: zero, parity.
            (b"\x66\x83\x2f\x01", 1, 0, 0x044),
            // NEG WORD [RDI]: carry, sign, adjust, parity.
            (b"\x66\xf7\x1f", 1, 0xffff, 0x095),
            // CMP WORD [RDI], 2: as above, nothing stored.
            (b"\x66\x83\x3f\x02", 1, 1, 0x095),
            // XOR WORD [RDI], 3.
            (b"\x66\x83\x37\x03", 1, 2, 0x000),
        ] {
            g.set_register(SELECT, 2, select);
            g.vcpu.save().rflags = 2;
            g.device(code, SELECT).unwrap();
            assert_eq!(flags(g), expected, "{code:x?}");
            assert_eq!(g.register(SELECT) & 0xffff, after, "{code:x?}");
        }
    });
}

#[test]
fn strings_go_repetition_by_repetition() {
    super::run("", |g| {
        // REP MOVSB from the MAC address to the data page, downwards.
        g.vcpu.save().rflags |= bits::RFLAGS_DF;
        g.vcpu.registers.rsi = DEVICE + 0x305;
        g.vcpu.registers.rdi = DATA + 5;
        g.vcpu.registers.rcx = 6;
        let address = g.window() + 0x305;
        for left in (0..6).rev() {
            g.exit(b"\xf3\xa4", 0x400, 4, address).unwrap();
            assert_eq!(g.vcpu.registers.rcx, left);
            assert_eq!(g.moved(), if left == 0 { 2 } else { 0 });
        }
        assert_eq!(g.get(DATA) & 0xffff_ffff_ffff, 0x0100_6261_6c02);
        assert_eq!(g.vcpu.registers.rdi, DATA - 1);
    });
}

#[test]
fn a_fault_of_the_other_operand_is_the_guests() {
    super::run("", |g| {
        // MOVSD to the unmapped page behind the data page.
        g.vcpu.registers.rsi = DEVICE;
        g.vcpu.registers.rdi = DATA + 4096;
        let address = g.window();
        g.exit(b"\xa5", 0x400, 4, address).unwrap();
        assert_eq!(g.injected(), Some((14, 2)));
        assert_eq!(g.vcpu.vmcb.save.cr2, DATA + 4096);
        assert_eq!(g.vcpu.vmcb.save.rip, CODE);
    });
}

#[test]
fn ins_and_outs_on_the_hidden_console() {
    super::run("", |g| {
        g.vcpu.registers.rdi = DATA;
        g.vcpu.registers.rcx = 2;
        let ins = 0x3fd << 16 | 1 << 4 | 0b1101;
        for left in [1, 0] {
            g.exit(b"\xf3\x6c", 0x7b, ins, CODE + 2).unwrap();
            assert_eq!(g.vcpu.registers.rcx, left);
        }
        assert_eq!(g.get(DATA), 0xffff);
        assert_eq!(g.moved(), 2);
        // INSB into a page that is not there: #PF, and the device was not asked.
        g.vcpu.registers.rdi = DATA + 4096;
        g.exit(b"\x6c", 0x7b, 0x3fd << 16 | 1 << 4 | 0b101, CODE + 1)
            .unwrap();
        assert_eq!(g.injected(), Some((14, 2)));
    });
}
