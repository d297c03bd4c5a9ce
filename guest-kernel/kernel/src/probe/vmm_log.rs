//! The hypervisor's log: a kernel thread reads what `log_set_buf` delivers, makes trace records of it
//! and keeps the last part for programs.

use super::kernel_call;
use crate::drivers::dma::DmaBuffer;
use crate::sync::SpinLock;
use crate::{proc, time, trace};
use ::hypercall::{LogBuild, LogReader};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;
use trace_record::Payload;

/// Pages of the buffer the hypervisor writes.
const BUFFER_PAGES: usize = 16;
/// Bytes kept for programs that ask.
const KEPT: usize = 64 * 1024;
/// How often the buffer is read.
const PERIOD: Duration = Duration::from_millis(100);
/// Longest line in one record.
const LINE_MAX: usize = 256;

struct Kept {
    text: VecDeque<u8>,
    dropped: u64,
}

static KEPT_TEXT: SpinLock<Kept> = SpinLock::new(
    "vmm log",
    Kept {
        text: VecDeque::new(),
        dropped: 0,
    },
);

pub(super) fn start() {
    let Some(mut vmm) = kernel_call::vmm() else {
        return;
    };
    if matches!(vmm.lookup(c"log_set_buf"), Ok(Some(_))) {
        KEPT_TEXT.lock().text.reserve_exact(KEPT);
        proc::spawn_kernel_thread("vmmlog", run);
    }
}

/// Takes up to `room` bytes of what the hypervisor logged since the last time.
pub(super) fn take(room: usize) -> Vec<u8> {
    let mut kept = KEPT_TEXT.lock();
    let len = room.min(kept.text.len());
    kept.text.drain(..len).collect()
}

fn run() {
    let Some(buffer) = DmaBuffer::new(BUFFER_PAGES) else {
        crate::println!("vmmlog: no memory for the buffer");
        return;
    };
    let Some(mut vmm) = kernel_call::vmm() else {
        return;
    };
    let Ok(Some(number)) = vmm.lookup(c"log_set_buf") else {
        return;
    };
    let (header, ring) = buffer.as_log();
    let mut reader = LogReader::new(header, ring);
    if vmm
        .log_attach(number, buffer.phys().as_u64(), buffer.size() as u64)
        .is_err()
    {
        return;
    }
    let (mut line, mut lost) = (Vec::with_capacity(LINE_MAX), 0);
    let mut chunk = [0; 512];
    let mut build = LogBuild::Unknown;
    // Runs until the machine stops: the hypervisor writes for ever, so the buffer stays too.
    loop {
        let len = reader.read(&mut chunk);
        if reader.build() != build {
            build = reader.build();
            trace::emit(&Payload::Event {
                text: alloc::format!("vmm log header: {build:?} build")
                    .as_bytes()
                    .into(),
            });
        }
        if reader.lost() != lost {
            let text = alloc::format!(
                "vmm log: {} characters overwritten unread",
                reader.lost() - lost
            );
            lost = reader.lost();
            trace::emit(&Payload::Event {
                text: text.as_bytes().into(),
            });
        }
        if len == 0 {
            // A line that did not end for a whole period is passed on as it is.
            flush_line(&mut line);
            let _ = time::sleep_until(time::now() + PERIOD);
            continue;
        }
        keep(&chunk[..len]);
        for &byte in &chunk[..len] {
            line.push(byte);
            if byte == b'\n' || line.len() == LINE_MAX {
                flush_line(&mut line);
            }
        }
    }
}

fn flush_line(line: &mut Vec<u8>) {
    if !line.is_empty() {
        trace::emit(&Payload::VmmLog {
            text: line.as_slice().into(),
        });
        line.clear();
    }
}

fn keep(bytes: &[u8]) {
    let mut kept = KEPT_TEXT.lock();
    for &byte in bytes {
        if kept.text.len() == KEPT {
            kept.text.pop_front();
            kept.dropped += 1;
        }
        kept.text.push_back(byte);
    }
}
