//! Labvisor's `lab_trace_ring`: VM exits as the hypervisor saw them, in the trace's own layout. A kernel
//! thread moves them into the trace, so that both sides of an exit stand side by side.
//!
//! Words of the ring: 0 bytes produced, 1 bytes consumed (ours), 2 records dropped; records begin at
//! byte 64 and wrap.

use super::kernel_call;
use crate::drivers::dma::DmaBuffer;
use crate::{proc, time, trace};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use trace_record::record::RECORD_MAX;
use trace_record::{Class, Payload, Reader};

const PAGES: usize = 64;
const DATA_WORD: usize = 8;
const PERIOD: Duration = Duration::from_millis(20);

pub(super) fn start() {
    let Some(mut vmm) = kernel_call::vmm() else {
        return;
    };
    if matches!(vmm.lookup(kernel_call::LABVISOR_CALL), Ok(Some(_))) {
        proc::spawn_kernel_thread("exits", run);
    }
}

fn run() {
    let Some(buffer) = DmaBuffer::new(PAGES) else {
        crate::println!("exits: no memory for the ring");
        return;
    };
    let Some(mut vmm) = kernel_call::vmm() else {
        return;
    };
    let Ok(Some(number)) = vmm.lookup(kernel_call::LABVISOR_CALL) else {
        return;
    };
    // The two calls that take a buffer have the same arguments.
    if vmm
        .log_attach(number, buffer.phys().as_u64(), buffer.size() as u64)
        .is_err()
    {
        return;
    }
    let words = buffer.as_words();
    let mut reader = Reader::new();
    let mut dropped = 0;
    loop {
        move_records(words, &mut reader);
        let now_dropped = words[2].load(Ordering::Acquire);
        if now_dropped != dropped {
            trace::emit_as(
                Class::Exit,
                &Payload::Dropped {
                    count: now_dropped.wrapping_sub(dropped),
                },
            );
            dropped = now_dropped;
        }
        let _ = time::sleep_until(time::now() + PERIOD);
    }
}

/// Takes what was produced. Records are whole words, so the copy goes word by word.
fn move_records(words: &[AtomicU64], reader: &mut Reader) {
    let data = &words[DATA_WORD..];
    let produced = words[0].load(Ordering::Acquire);
    let mut consumed = words[1].load(Ordering::Relaxed);
    let unread = produced.wrapping_sub(consumed);
    if unread > 8 * data.len() as u64 || !unread.is_multiple_of(8) {
        // Never true for a sound producer; go on behind whatever this was.
        words[1].store(produced, Ordering::Release);
        return;
    }
    let mut piece = Vec::with_capacity(RECORD_MAX);
    while consumed != produced {
        piece.clear();
        while consumed != produced && piece.len() < RECORD_MAX {
            let word = data[(consumed / 8) as usize % data.len()].load(Ordering::Acquire);
            piece.extend_from_slice(&word.to_le_bytes());
            consumed += 8;
        }
        words[1].store(consumed, Ordering::Release);
        reader.push(&piece);
        while let Some(record) = reader.next_record() {
            match record {
                Ok(record) if matches!(record.payload, Payload::Exit(_)) => trace::forward(&record),
                Ok(_) | Err(_) => {}
            }
        }
    }
}
