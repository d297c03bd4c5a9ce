//! `lab_trace_ring`: a ring in the guest's memory that takes a record of every exit, in the
//! trace's own layout, so that the guest can put both sides of an exit side by side.
//!
//! RBX is the ring's physical address, RCX its size; 0 detaches. RAX takes 1 when it is
//! attached, else 0. For the guest's kernel only. Layout, little-endian:
//!
//! | offset | field | written by |
//! |---|---|---|
//! | 0 | u64 bytes produced since the ring was attached | labvisor |
//! | 8 | u64 bytes consumed | guest |
//! | 16 | u64 records dropped because the ring was full | labvisor |
//! | 64 | the ring of bytes, up to the last multiple of 8 | labvisor |
//!
//! A record may wrap around the ring's end. There is one producer and one consumer.

use alloc::vec::Vec;

use trace_record::{Payload, RecordMeta, encode_record};

use super::Vmm;
use crate::defects::{self, Defect};
use crate::guest_memory::GuestMemory;
use crate::machine::Machine;
use crate::vcpu::Vcpu;

const PRODUCED: u64 = 0;
const CONSUMED: u64 = 8;
const DROPPED: u64 = 16;
const DATA: u64 = 64;
const SMALLEST: u64 = 4096;

/// The attached ring.
pub struct Ring {
    base: u64,
    length: u64,
    produced: u64,
    dropped: u64,
    sequence: u32,
}

impl Ring {
    fn attach(m: &mut dyn Machine, memory: &GuestMemory, base: u64, size: u64) -> Option<Self> {
        if size < SMALLEST || !memory.is_ram(base, size) {
            return None;
        }
        m.write(base, &[0; DATA as usize]);
        Some(Self {
            base,
            length: (size - DATA) / 8 * 8,
            produced: 0,
            dropped: 0,
            sequence: 0,
        })
    }

    fn record(&mut self, m: &mut dyn Machine, exit: trace_record::payload::Exit) {
        let meta = RecordMeta {
            tsc: m.ticks(),
            sequence: self.sequence,
            cpu: trace_record::record::CPU_HYPERVISOR,
            ..RecordMeta::default()
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        encode_record(&meta, &Payload::Exit(exit), &mut bytes);

        let mut consumed = [0; 8];
        m.read(self.base + CONSUMED, &mut consumed);
        let unread = self.produced.wrapping_sub(u64::from_le_bytes(consumed));
        let full = unread.saturating_add(bytes.len() as u64) > self.length;
        if full && !defects::planted(Defect::TraceOverruns) {
            self.dropped += 1;
            m.write(self.base + DROPPED, &self.dropped.to_le_bytes());
            return;
        }
        let at = self.produced % self.length;
        let first = if defects::planted(Defect::TraceWrapMissed) {
            bytes.len()
        } else {
            bytes.len().min((self.length - at) as usize)
        };
        m.write(self.base + DATA + at, &bytes[..first]);
        m.write(self.base + DATA, &bytes[first..]);
        self.produced += bytes.len() as u64;
        m.write(self.base + PRODUCED, &self.produced.to_le_bytes());
    }
}

impl Vmm {
    pub(super) fn lab_trace_ring(&mut self, vcpu: &mut Vcpu, m: &mut dyn Machine) {
        let base = vcpu.registers.rbx;
        let size = vcpu.registers.rcx;
        if vcpu.is_user() {
            vcpu.vmcb.save.rax = 0;
            return;
        }
        self.ring = Ring::attach(m, &self.memory, base, size);
        vcpu.vmcb.save.rax = u64::from(self.ring.is_some());
    }

    /// Puts `exit` into the ring, if there is one.
    pub(super) fn record(&mut self, m: &mut dyn Machine, exit: trace_record::payload::Exit) {
        if let Some(ring) = &mut self.ring {
            ring.record(m, exit);
        }
    }
}
