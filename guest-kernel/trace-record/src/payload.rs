//! What the records say, typed.

use crate::bytes::{Take, put_string};
use crate::kind::Kind;
use alloc::borrow::Cow;
use alloc::vec::Vec;

/// Longest payload in bytes: a record has at most 4096 with its head of 24.
pub const PAYLOAD_MAX: usize = 4096 - 24;
/// Longest text or frame in a payload; longer ones are cut.
pub const TEXT_MAX: usize = 2048;

/// Flags in [`Probe::flags`]: it ran in ring 3.
pub const PROBE_RING3: u8 = 1;
/// Flags in [`Probe::flags`]: acknowledged by the server before it ran.
pub const PROBE_WRITE_AHEAD: u8 = 2;
/// Flags in [`Probe::flags`]: interrupts were off; no heartbeat is due meanwhile.
pub const PROBE_INTERRUPTS_OFF: u8 = 4;
/// Flags in [`Probe::flags`]: the kernel's own hypercall, not a program's.
pub const PROBE_KERNEL: u8 = 8;

/// Code about to run, with the registers that matter to most instructions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Probe<'a> {
    /// `PROBE_*`.
    pub flags: u8,
    /// Timed samples.
    pub count: u32,
    /// Executions in each sample.
    pub inner: u32,
    /// rax, rbx, rcx, rdx at the start.
    pub registers: [u64; 4],
    /// The code, at most 256 bytes.
    pub code: Cow<'a, [u8]>,
}

/// What came of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProbeAnswer {
    /// Sequence number of the request, same CPU numbering.
    pub request: u32,
    /// Exception vector, or `u32::MAX`.
    pub vector: u32,
    /// Error code of the exception.
    pub error_code: u64,
    /// rax, rbx, rcx, rdx at the end.
    pub registers: [u64; 4],
    /// Executions that finished.
    pub executions: u64,
    /// Fewest ticks of a sample, 0 if none finished.
    pub min_ticks: u64,
    /// Ticks of all samples together.
    pub total_ticks: u64,
    /// RIP at the end minus the start of the code.
    pub rip_offset: i64,
}

/// A VM exit as the hypervisor saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Exit {
    /// Exit code (AMD APM vol. 2 appendix C).
    pub code: u64,
    /// EXITINFO1.
    pub info1: u64,
    /// EXITINFO2.
    pub info2: u64,
    /// RIP of the guest.
    pub rip: u64,
    /// rax of the guest when it exited.
    pub rax: u64,
    /// Ticks the hypervisor took.
    pub ticks: u64,
}

/// A record's payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload<'a> {
    /// Time of day at the record's TSC, in nanoseconds since 1970.
    ClockPair {
        /// Nanoseconds since 1970.
        time_ns: u64,
    },
    /// Records lost since the last such record.
    Dropped {
        /// How many.
        count: u64,
    },
    /// The kernel's last words.
    Panic {
        /// Message.
        text: Cow<'a, [u8]>,
    },
    /// Code is about to run.
    ProbeRequest(Probe<'a>),
    /// It ran.
    ProbeAnswer(ProbeAnswer),
    /// A process faulted.
    PageFault {
        /// CR2.
        address: u64,
        /// RIP.
        rip: u64,
        /// Error code.
        error_code: u64,
    },
    /// A doorbell was written.
    VirtioNotify {
        /// Queue index.
        queue: u16,
    },
    /// A device was reset.
    VirtioReset {
        /// Why.
        text: Cow<'a, [u8]>,
    },
    /// An interrupt arrived.
    Interrupt {
        /// Vector.
        vector: u8,
    },
    /// A remote operation begins.
    RemoteRequest {
        /// Operation number of the protocol.
        operation: u8,
        /// Path or handle, for people.
        text: Cow<'a, [u8]>,
    },
    /// A remote operation ended.
    RemoteAnswer {
        /// Sequence number of the request record.
        request: u32,
        /// 0 or -Errno.
        status: i32,
        /// Bytes moved.
        bytes: u64,
    },
    /// The CPU goes from one process to another (0: idle).
    Switch {
        /// Pid that stops.
        from: u16,
        /// Pid that goes on.
        to: u16,
    },
    /// An experiment says something.
    Event {
        /// Its words.
        text: Cow<'a, [u8]>,
    },
    /// Text from the hypervisor's log.
    VmmLog {
        /// Its words, untrusted.
        text: Cow<'a, [u8]>,
    },
    /// A VM exit.
    Exit(Exit),
    /// A frame.
    Packet {
        /// Whether the guest sent it.
        sent: bool,
        /// Its length on the wire in bytes.
        wire_len: u32,
        /// Its bytes, cut at [`TEXT_MAX`].
        frame: Cow<'a, [u8]>,
    },
}

fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(TEXT_MAX)]
}

fn put_registers(out: &mut Vec<u8>, registers: &[u64; 4]) {
    for register in registers {
        out.extend_from_slice(&register.to_le_bytes());
    }
}

fn take_registers(take: &mut Take<'_>) -> Option<[u64; 4]> {
    Some([take.u64()?, take.u64()?, take.u64()?, take.u64()?])
}

impl Payload<'_> {
    /// The same with bytes of its own, to keep.
    pub fn into_owned(self) -> Payload<'static> {
        fn own(bytes: Cow<'_, [u8]>) -> Cow<'static, [u8]> {
            Cow::Owned(bytes.into_owned())
        }
        match self {
            Self::ClockPair { time_ns } => Payload::ClockPair { time_ns },
            Self::Dropped { count } => Payload::Dropped { count },
            Self::Panic { text } => Payload::Panic { text: own(text) },
            Self::ProbeRequest(Probe {
                flags,
                count,
                inner,
                registers,
                code,
            }) => Payload::ProbeRequest(Probe {
                flags,
                count,
                inner,
                registers,
                code: own(code),
            }),
            Self::ProbeAnswer(answer) => Payload::ProbeAnswer(answer),
            Self::PageFault {
                address,
                rip,
                error_code,
            } => Payload::PageFault {
                address,
                rip,
                error_code,
            },
            Self::VirtioNotify { queue } => Payload::VirtioNotify { queue },
            Self::VirtioReset { text } => Payload::VirtioReset { text: own(text) },
            Self::Interrupt { vector } => Payload::Interrupt { vector },
            Self::RemoteRequest { operation, text } => Payload::RemoteRequest {
                operation,
                text: own(text),
            },
            Self::RemoteAnswer {
                request,
                status,
                bytes,
            } => Payload::RemoteAnswer {
                request,
                status,
                bytes,
            },
            Self::Switch { from, to } => Payload::Switch { from, to },
            Self::Event { text } => Payload::Event { text: own(text) },
            Self::VmmLog { text } => Payload::VmmLog { text: own(text) },
            Self::Exit(exit) => Payload::Exit(exit),
            Self::Packet {
                sent,
                wire_len,
                frame,
            } => Payload::Packet {
                sent,
                wire_len,
                frame: own(frame),
            },
        }
    }
}

impl<'a> Payload<'a> {
    /// The kind that says this.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::ClockPair { .. } => Kind::ClockPair,
            Self::Dropped { .. } => Kind::Dropped,
            Self::Panic { .. } => Kind::Panic,
            Self::ProbeRequest(_) => Kind::ProbeRequest,
            Self::ProbeAnswer(_) => Kind::ProbeAnswer,
            Self::PageFault { .. } => Kind::PageFault,
            Self::VirtioNotify { .. } => Kind::VirtioNotify,
            Self::VirtioReset { .. } => Kind::VirtioReset,
            Self::Interrupt { .. } => Kind::Interrupt,
            Self::RemoteRequest { .. } => Kind::RemoteRequest,
            Self::RemoteAnswer { .. } => Kind::RemoteAnswer,
            Self::Switch { .. } => Kind::Switch,
            Self::Event { .. } => Kind::Event,
            Self::VmmLog { .. } => Kind::VmmLog,
            Self::Exit(_) => Kind::Exit,
            Self::Packet { .. } => Kind::Packet,
        }
    }

    /// The class it belongs to. A probe's depends on its code, see [`crate::record::probe_class`].
    pub fn class(&self) -> crate::Class {
        use crate::Class;
        match self {
            Self::ClockPair { .. } | Self::Dropped { .. } | Self::Panic { .. } => Class::Meta,
            Self::ProbeRequest(probe) => crate::record::probe_class(&probe.code),
            Self::ProbeAnswer(_) => Class::Code,
            Self::PageFault { .. } => Class::PageFault,
            Self::VirtioNotify { .. } | Self::VirtioReset { .. } => Class::Virtio,
            Self::Interrupt { .. } => Class::Interrupt,
            Self::RemoteRequest { .. } | Self::RemoteAnswer { .. } => Class::Remote,
            Self::Switch { .. } => Class::Sched,
            Self::Event { .. } => Class::Experiment,
            Self::VmmLog { .. } => Class::VmmLog,
            Self::Exit(_) => Class::Exit,
            Self::Packet { .. } => Class::Packet,
        }
    }

    /// Appends the payload without padding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::ClockPair { time_ns } => out.extend_from_slice(&time_ns.to_le_bytes()),
            Self::Dropped { count } => out.extend_from_slice(&count.to_le_bytes()),
            Self::Panic { text }
            | Self::VirtioReset { text }
            | Self::Event { text }
            | Self::VmmLog { text } => {
                put_string(out, cut(text));
            }
            Self::ProbeRequest(probe) => {
                out.extend_from_slice(&[probe.flags, 0]);
                let code = &probe.code[..probe.code.len().min(256)];
                out.extend_from_slice(&(code.len() as u16).to_le_bytes());
                out.extend_from_slice(&probe.count.to_le_bytes());
                out.extend_from_slice(&probe.inner.to_le_bytes());
                out.extend_from_slice(&[0; 4]);
                put_registers(out, &probe.registers);
                out.extend_from_slice(code);
            }
            Self::ProbeAnswer(answer) => {
                out.extend_from_slice(&answer.request.to_le_bytes());
                out.extend_from_slice(&answer.vector.to_le_bytes());
                out.extend_from_slice(&answer.error_code.to_le_bytes());
                put_registers(out, &answer.registers);
                for value in [
                    answer.executions,
                    answer.min_ticks,
                    answer.total_ticks,
                    answer.rip_offset as u64,
                ] {
                    out.extend_from_slice(&value.to_le_bytes());
                }
            }
            Self::PageFault {
                address,
                rip,
                error_code,
            } => {
                for value in [address, rip, error_code] {
                    out.extend_from_slice(&value.to_le_bytes());
                }
            }
            Self::VirtioNotify { queue } => out.extend_from_slice(&queue.to_le_bytes()),
            Self::Interrupt { vector } => out.push(*vector),
            Self::RemoteRequest { operation, text } => {
                out.push(*operation);
                put_string(out, cut(text));
            }
            Self::RemoteAnswer {
                request,
                status,
                bytes,
            } => {
                out.extend_from_slice(&request.to_le_bytes());
                out.extend_from_slice(&status.to_le_bytes());
                out.extend_from_slice(&bytes.to_le_bytes());
            }
            Self::Switch { from, to } => {
                out.extend_from_slice(&from.to_le_bytes());
                out.extend_from_slice(&to.to_le_bytes());
            }
            Self::Exit(exit) => {
                for value in [
                    exit.code, exit.info1, exit.info2, exit.rip, exit.rax, exit.ticks,
                ] {
                    out.extend_from_slice(&value.to_le_bytes());
                }
            }
            Self::Packet {
                sent,
                wire_len,
                frame,
            } => {
                out.extend_from_slice(&[u8::from(*sent), 0]);
                put_string(out, cut(frame));
                out.extend_from_slice(&wire_len.to_le_bytes());
            }
        }
    }

    /// Decodes a payload (padding allowed behind it); `None` if it is too short.
    pub fn decode(kind: Kind, bytes: &'a [u8]) -> Option<Self> {
        let mut take = Take(bytes);
        let take = &mut take;
        Some(match kind {
            Kind::ClockPair => Self::ClockPair {
                time_ns: take.u64()?,
            },
            Kind::Dropped => Self::Dropped { count: take.u64()? },
            Kind::Panic => Self::Panic {
                text: Cow::Borrowed(take.string()?),
            },
            Kind::ProbeRequest => {
                let flags = take.u8()?;
                take.u8()?;
                let code_len = usize::from(take.u16()?);
                let (count, inner) = (take.u32()?, take.u32()?);
                take.u32()?;
                let registers = take_registers(take)?;
                Self::ProbeRequest(Probe {
                    flags,
                    count,
                    inner,
                    registers,
                    code: Cow::Borrowed(take.bytes(code_len)?),
                })
            }
            Kind::ProbeAnswer => Self::ProbeAnswer(ProbeAnswer {
                request: take.u32()?,
                vector: take.u32()?,
                error_code: take.u64()?,
                registers: take_registers(take)?,
                executions: take.u64()?,
                min_ticks: take.u64()?,
                total_ticks: take.u64()?,
                rip_offset: take.u64()? as i64,
            }),
            Kind::PageFault => Self::PageFault {
                address: take.u64()?,
                rip: take.u64()?,
                error_code: take.u64()?,
            },
            Kind::VirtioNotify => Self::VirtioNotify { queue: take.u16()? },
            Kind::VirtioReset => Self::VirtioReset {
                text: Cow::Borrowed(take.string()?),
            },
            Kind::Interrupt => Self::Interrupt { vector: take.u8()? },
            Kind::RemoteRequest => Self::RemoteRequest {
                operation: take.u8()?,
                text: Cow::Borrowed(take.string()?),
            },
            Kind::RemoteAnswer => Self::RemoteAnswer {
                request: take.u32()?,
                status: take.u32()? as i32,
                bytes: take.u64()?,
            },
            Kind::Switch => Self::Switch {
                from: take.u16()?,
                to: take.u16()?,
            },
            Kind::Event => Self::Event {
                text: Cow::Borrowed(take.string()?),
            },
            Kind::VmmLog => Self::VmmLog {
                text: Cow::Borrowed(take.string()?),
            },
            Kind::Exit => Self::Exit(Exit {
                code: take.u64()?,
                info1: take.u64()?,
                info2: take.u64()?,
                rip: take.u64()?,
                rax: take.u64()?,
                ticks: take.u64()?,
            }),
            Kind::Packet => {
                let sent = take.u8()? != 0;
                take.u8()?;
                let frame = Cow::Borrowed(take.string()?);
                Self::Packet {
                    sent,
                    wire_len: take.u32()?,
                    frame,
                }
            }
        })
    }
}
