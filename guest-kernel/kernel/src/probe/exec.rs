//! The operation EXEC.

use super::{Fields, map_window, record_request, window_address};
use crate::arch::cpu::{self, IrqGuard};
use crate::arch::probe::{self as machine, Outcome, Plan, Shadow};
use crate::{proc, trace};
use abi::Errno;
use abi::probe::{
    CODE_MAX, COUNT_MAX, ExecResponse, FLAG_INTERRUPTS_OFF, FLAG_MOV_SS_SHADOW, FLAG_RELOAD,
    FLAG_RING3, FLAG_SINGLE_STEP, FLAG_STI_SHADOW, FLAG_WRITE_AHEAD, FLAGS_ALL, INTERRUPTS_OFF_MAX,
    NO_VECTOR, PTE_NO_EXECUTE, PTE_PRESENT, PTE_USER, PTE_WRITE, Registers, STATUS_DONE,
    STATUS_FAULT, WINDOW_PAGES,
};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use trace_record::Payload;
use trace_record::payload::{
    PROBE_INTERRUPTS_OFF, PROBE_RING3, PROBE_WRITE_AHEAD, Probe, ProbeAnswer,
};

/// Window pages of the kernel's own: see `abi::probe::WINDOW_EXTRA`. The first is `memory`'s scratch page.
const RING3_CODE: u64 = WINDOW_PAGES + 2;

struct Request {
    registers: Registers,
    count: u32,
    inner: u32,
    flags: u32,
    warm_up: u32,
    code: Vec<u8>,
}

fn parse(bytes: &[u8]) -> Result<Request, Errno> {
    let mut fields = Fields(bytes);
    let mut r = [0; 17];
    for register in &mut r {
        *register = fields.u64()?;
    }
    let registers = Registers {
        rax: r[0],
        rbx: r[1],
        rcx: r[2],
        rdx: r[3],
        rsi: r[4],
        rdi: r[5],
        rbp: r[6],
        rsp: r[7],
        r8: r[8],
        r9: r[9],
        r10: r[10],
        r11: r[11],
        r12: r[12],
        r13: r[13],
        r14: r[14],
        r15: r[15],
        rflags: r[16],
    };
    let (count, inner, flags) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (code_len, warm_up, _reserved) = (fields.u32()? as usize, fields.u32()?, fields.u32()?);
    let code = fields.rest();
    let valid = (1..=COUNT_MAX).contains(&count)
        && inner >= 1
        && warm_up <= COUNT_MAX
        && flags & !FLAGS_ALL == 0
        && (1..=CODE_MAX).contains(&code_len)
        && code.len() == CODE_MAX
        && (flags & FLAG_STI_SHADOW == 0 || flags & (FLAG_MOV_SS_SHADOW | FLAG_RING3) == 0)
        && (flags & FLAG_MOV_SS_SHADOW == 0 || flags & FLAG_RING3 == 0)
        && (flags & FLAG_INTERRUPTS_OFF == 0 || u64::from(inner) <= INTERRUPTS_OFF_MAX);
    if !valid {
        return Err(Errno::EINVAL);
    }
    Ok(Request {
        registers,
        count,
        inner,
        flags,
        warm_up,
        code: code[..code_len].to_vec(),
    })
}

fn trace_flags(flags: u32) -> u8 {
    [
        (FLAG_RING3, PROBE_RING3),
        (FLAG_WRITE_AHEAD, PROBE_WRITE_AHEAD),
        (FLAG_INTERRUPTS_OFF, PROBE_INTERRUPTS_OFF),
    ]
    .into_iter()
    .filter(|(flag, _)| flags & flag != 0)
    .fold(0, |sum, (_, bit)| sum | bit)
}

fn four(registers: &Registers) -> [u64; 4] {
    [registers.rax, registers.rbx, registers.rcx, registers.rdx]
}

pub(super) fn exec(request: &[u8], room: usize) -> Result<Vec<u8>, Errno> {
    let request = parse(request)?;
    let needed = size_of::<ExecResponse>() + 8 * request.count as usize;
    if room < needed {
        return Err(Errno::ENOBUFS);
    }
    let mut ticks = Vec::new();
    ticks
        .try_reserve_exact(request.count as usize)
        .map_err(|_| Errno::ENOMEM)?;
    let probe = Payload::ProbeRequest(Probe {
        flags: trace_flags(request.flags),
        count: request.count,
        inner: request.inner,
        registers: four(&request.registers),
        code: Cow::Borrowed(&request.code),
    });
    let class = probe.class();
    let sequence = record_request(&probe, request.flags & FLAG_WRITE_AHEAD != 0)?;
    let (last, total) = repeat(&request, &mut ticks)?;
    if let Some(sequence) = sequence {
        let answer = ProbeAnswer {
            request: sequence,
            vector: last.fault.map_or(NO_VECTOR, |fault| fault.vector),
            error_code: last.fault.map_or(0, |fault| fault.error_code),
            registers: four(&last.registers),
            executions: total.executions,
            min_ticks: ticks.iter().copied().min().unwrap_or(0),
            total_ticks: ticks.iter().sum(),
            rip_offset: last.rip_offset,
        };
        trace::emit_as(class, &Payload::ProbeAnswer(answer));
    }
    Ok(respond(&last, &total, &ticks))
}

#[derive(Default)]
struct Total {
    executions: u64,
    interrupts: u64,
    debug_exceptions: u32,
    first_debug_offset: i64,
}

/// Runs warm-up and samples; between two of them others may run. Stops at the first fault.
fn repeat(request: &Request, ticks: &mut Vec<u64>) -> Result<(Outcome, Total), Errno> {
    let mut registers = request.registers;
    let mut total = Total::default();
    let samples = request.warm_up + request.count;
    let mut sample = 0;
    loop {
        let outcome = once(request, &registers)?;
        total.executions += outcome.executions;
        total.interrupts += outcome.interrupts;
        if total.debug_exceptions == 0 {
            total.first_debug_offset = outcome.first_debug_offset;
        }
        total.debug_exceptions = total
            .debug_exceptions
            .saturating_add(outcome.debug_exceptions);
        if let (Some(elapsed), true) = (outcome.ticks, sample >= request.warm_up) {
            ticks.push(elapsed);
        }
        sample += 1;
        if outcome.fault.is_some() || sample == samples {
            return Ok((outcome, total));
        }
        if request.flags & FLAG_RELOAD == 0 {
            registers = outcome.registers;
        }
        if proc::is_killed() {
            return Err(Errno::EINTR);
        }
    }
}

fn once(request: &Request, registers: &Registers) -> Result<Outcome, Errno> {
    // Pinned to this CPU while its area is mapped for ring 3.
    let guard = IrqGuard::new();
    let ring3 = if request.flags & FLAG_RING3 != 0 {
        Some(map_for_ring3(cpu::number())?)
    } else {
        None
    };
    let plan = Plan {
        registers,
        code: &request.code,
        inner: request.inner,
        reload: request.flags & FLAG_RELOAD != 0,
        interrupts: request.flags & FLAG_INTERRUPTS_OFF == 0,
        single_step: request.flags & FLAG_SINGLE_STEP != 0,
        shadow: match (
            request.flags & FLAG_STI_SHADOW != 0,
            request.flags & FLAG_MOV_SS_SHADOW != 0,
        ) {
            (true, _) => Shadow::Sti,
            (_, true) => Shadow::MovSs,
            _ => Shadow::None,
        },
        ring3,
    };
    let outcome = machine::run(&plan).ok_or(Errno::ENOMEM);
    drop(guard);
    outcome
}

fn map_for_ring3(cpu: usize) -> Result<u64, Errno> {
    let [code, data, stack] = machine::user_pages(cpu).ok_or(Errno::ENOMEM)?;
    let user = PTE_PRESENT | PTE_USER;
    map_window(RING3_CODE, code.address().as_u64() | user)?;
    map_window(
        RING3_CODE + 1,
        data.address().as_u64() | user | PTE_WRITE | PTE_NO_EXECUTE,
    )?;
    map_window(
        RING3_CODE + 2,
        stack.address().as_u64() | user | PTE_WRITE | PTE_NO_EXECUTE,
    )?;
    Ok(window_address(RING3_CODE))
}

fn respond(last: &Outcome, total: &Total, ticks: &[u64]) -> Vec<u8> {
    let r = &last.registers;
    let mut out = Vec::with_capacity(size_of::<ExecResponse>() + 8 * ticks.len());
    let registers = [
        r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11, r.r12,
        r.r13, r.r14, r.r15, r.rflags,
    ];
    for register in registers {
        out.extend_from_slice(&register.to_le_bytes());
    }
    let (status, vector) = last.fault.map_or((STATUS_DONE, NO_VECTOR), |fault| {
        (STATUS_FAULT, fault.vector)
    });
    out.extend_from_slice(&status.to_le_bytes());
    out.extend_from_slice(&vector.to_le_bytes());
    out.extend_from_slice(&last.fault.map_or(0, |fault| fault.error_code).to_le_bytes());
    out.extend_from_slice(&last.fault.map_or(0, |fault| fault.cr2).to_le_bytes());
    out.extend_from_slice(&last.rip_offset.to_le_bytes());
    out.extend_from_slice(&(ticks.len() as u32).to_le_bytes());
    out.extend_from_slice(&total.debug_exceptions.to_le_bytes());
    out.extend_from_slice(&total.first_debug_offset.to_le_bytes());
    out.extend_from_slice(&total.interrupts.to_le_bytes());
    out.extend_from_slice(&total.executions.to_le_bytes());
    debug_assert!(
        out.len() == size_of::<ExecResponse>(),
        "layout of ExecResponse"
    );
    for sample in ticks {
        out.extend_from_slice(&sample.to_le_bytes());
    }
    out
}
