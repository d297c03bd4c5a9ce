//! The text form of a record: one line, control bytes escaped.

use crate::payload::{PROBE_INTERRUPTS_OFF, PROBE_KERNEL, PROBE_RING3, PROBE_WRITE_AHEAD};
use crate::{Payload, Record};
use alloc::string::String;
use core::fmt::{self, Write};

/// Untrusted bytes as printable text: printable ASCII and valid UTF-8 letters stay, a newline at
/// the end is dropped, everything else becomes `\n`, `\t` or `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\\' => out.push_str("\\\\"),
                // C0, DEL, C1 and the bidirectional controls that can reorder a terminal line.
                letter
                    if letter.is_control()
                        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
                {
                    let _ = write!(out, "\\x{:02x}", u32::from(letter));
                }
                letter => out.push(letter),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meta = &self.meta;
        let side = if meta.cpu >= crate::record::CPU_HYPERVISOR {
            'h'
        } else {
            'c'
        };
        let cpu = meta.cpu & !crate::record::CPU_HYPERVISOR;
        write!(
            f,
            "{:14} {side}{cpu} p{:<4} #{} {:<10} {}",
            meta.tsc,
            meta.pid,
            meta.sequence,
            self.class.name(),
            self.payload
        )
    }
}

impl fmt::Display for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockPair { time_ns } => write!(
                f,
                "clock {}.{:09} s since 1970",
                time_ns / 1_000_000_000,
                time_ns % 1_000_000_000
            ),
            Self::Dropped { count } => write!(f, "dropped {count} records"),
            Self::Panic { text } => write!(f, "panic {}", escape(text)),
            Self::ProbeRequest(probe) => {
                let [rax, rbx, rcx, rdx] = probe.registers;
                write!(
                    f,
                    "request ring{}",
                    if probe.flags & PROBE_RING3 != 0 { 3 } else { 0 }
                )?;
                for (bit, word) in [
                    (PROBE_WRITE_AHEAD, " write-ahead"),
                    (PROBE_INTERRUPTS_OFF, " interrupts-off"),
                    (PROBE_KERNEL, " kernel"),
                ] {
                    if probe.flags & bit != 0 {
                        f.write_str(word)?;
                    }
                }
                write!(
                    f,
                    " {}x{} rax={rax:#x} rbx={rbx:#x} rcx={rcx:#x} rdx={rdx:#x} code=",
                    probe.count, probe.inner
                )?;
                for byte in probe.code.iter().take(16) {
                    write!(f, "{byte:02x}")?;
                }
                if probe.code.len() > 16 {
                    write!(f, "..({})", probe.code.len())?;
                }
                Ok(())
            }
            Self::ProbeAnswer(answer) => {
                let [rax, rbx, rcx, rdx] = answer.registers;
                write!(f, "answer to #{}", answer.request)?;
                if answer.vector == u32::MAX {
                    write!(f, " done")?;
                } else {
                    write!(
                        f,
                        " vector {} error {:#x}",
                        answer.vector, answer.error_code
                    )?;
                }
                write!(
                    f,
                    " at +{} rax={rax:#x} rbx={rbx:#x} rcx={rcx:#x} rdx={rdx:#x} ran {} min {} ticks",
                    answer.rip_offset, answer.executions, answer.min_ticks
                )
            }
            Self::PageFault {
                address,
                rip,
                error_code,
            } => write!(
                f,
                "fault at {address:#x} rip {rip:#x} error {error_code:#x}"
            ),
            Self::VirtioNotify { queue } => write!(f, "notify queue {queue}"),
            Self::VirtioReset { text } => write!(f, "reset {}", escape(text)),
            Self::Interrupt { vector } => write!(f, "irq vector {vector}"),
            Self::RemoteRequest { operation, text } => {
                write!(f, "remote op {operation} {}", escape(text))
            }
            Self::RemoteAnswer {
                request,
                status,
                bytes,
            } => write!(
                f,
                "remote-answer to #{request} status {status} {bytes} bytes"
            ),
            Self::Switch { from, to } => write!(f, "switch {from} to {to}"),
            Self::Event { text } => write!(f, "event {}", escape(text)),
            Self::VmmLog { text } => write!(f, "log {}", escape(text)),
            Self::Exit(exit) => write!(
                f,
                "exit {:#x} info1 {:#x} info2 {:#x} rip {:#x} rax {:#x} took {} ticks",
                exit.code, exit.info1, exit.info2, exit.rip, exit.rax, exit.ticks
            ),
            Self::Packet { sent, wire_len, .. } => write!(
                f,
                "packet {} {wire_len} bytes",
                if *sent { "sent" } else { "received" }
            ),
        }
    }
}
