# The code of probe(2)'s EXEC. It is never run here: `probe.rs` copies everything from probe_blob to
# probe_blob_end into a page of its own, with a page for data behind it, and puts the caller's code at
# probe_code. All references are RIP-relative, so the copy finds its own data page. In ring 3 the same two
# pages are mapped for the user.
#
# Data page (offsets are asserted in probe.rs):
#   0   current registers: rax rbx rcx rdx rsi rdi rbp rsp r8-r15 rflags
#   136 requested registers, same order
#   272 executions left   280 reload from request   288 TSC at the start   296 TSC at the end
#   304 executions done   312 top of the probe's stack   320 kernel's stack pointer   328 where ring 0 returns to
#   336 1 in ring 3       344 selector of SS for the MOV SS shadow

.equ PROBE_DATA, probe_blob + 4096

.section .rodata.probe, "a", @progbits
.balign 16
.global probe_blob
probe_blob:
    lfence
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov [rip + PROBE_DATA + 288], rax
    lfence
probe_load:
    mov rbx, [rip + PROBE_DATA + 8]
    mov rcx, [rip + PROBE_DATA + 16]
    mov rdx, [rip + PROBE_DATA + 24]
    mov rsi, [rip + PROBE_DATA + 32]
    mov rdi, [rip + PROBE_DATA + 40]
    mov rbp, [rip + PROBE_DATA + 48]
    mov r8, [rip + PROBE_DATA + 64]
    mov r9, [rip + PROBE_DATA + 72]
    mov r10, [rip + PROBE_DATA + 80]
    mov r11, [rip + PROBE_DATA + 88]
    mov r12, [rip + PROBE_DATA + 96]
    mov r13, [rip + PROBE_DATA + 104]
    mov r14, [rip + PROBE_DATA + 112]
    mov r15, [rip + PROBE_DATA + 120]
    mov rax, [rip + PROBE_DATA + 0]
    push qword ptr [rip + PROBE_DATA + 128]
    popfq
    jmp probe_before
.global probe_exit
probe_exit:
    mov [rip + PROBE_DATA + 0], rax
    mov [rip + PROBE_DATA + 56], rsp
    mov rsp, [rip + PROBE_DATA + 312]
    pushfq
    pop qword ptr [rip + PROBE_DATA + 128]
    cld
    mov [rip + PROBE_DATA + 8], rbx
    mov [rip + PROBE_DATA + 16], rcx
    mov [rip + PROBE_DATA + 24], rdx
    mov [rip + PROBE_DATA + 32], rsi
    mov [rip + PROBE_DATA + 40], rdi
    mov [rip + PROBE_DATA + 48], rbp
    mov [rip + PROBE_DATA + 64], r8
    mov [rip + PROBE_DATA + 72], r9
    mov [rip + PROBE_DATA + 80], r10
    mov [rip + PROBE_DATA + 88], r11
    mov [rip + PROBE_DATA + 96], r12
    mov [rip + PROBE_DATA + 104], r13
    mov [rip + PROBE_DATA + 112], r14
    mov [rip + PROBE_DATA + 120], r15
    inc qword ptr [rip + PROBE_DATA + 304]
    dec qword ptr [rip + PROBE_DATA + 272]
    jz 1f
    cmp qword ptr [rip + PROBE_DATA + 280], 0
    je probe_load
    lea rsi, [rip + PROBE_DATA + 136]
    lea rdi, [rip + PROBE_DATA + 0]
    mov ecx, 17
    rep movsq
    jmp probe_load
1:  lfence
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov [rip + PROBE_DATA + 296], rax
    cmp qword ptr [rip + PROBE_DATA + 336], 0
    jne 2f
    cli
    mov rsp, [rip + PROBE_DATA + 320]
    jmp qword ptr [rip + PROBE_DATA + 328]
.global probe_finished
2:
probe_finished:
    # Ring 3: the handler of #UD knows this address.
    ud2
# The instruction of an interrupt shadow ends right before the caller's code.
.balign 16
.global probe_before
probe_before:
    .fill 8, 1, 0x90
.global probe_code
probe_code:
    # the caller's code, at most 256 bytes, then a jump to probe_exit
    .fill 264, 1, 0xcc
.global probe_blob_end
probe_blob_end:

# extern "sysv64" fn probe_enter(entry: rdi, stack: rsi, saved_rsp: rdx, ring3: rcx, flags: r8, data_rsp: r9)
# Saves the kernel's registers and starts the blob; returns when probe_resume runs.
.section .text.probe, "ax", @progbits
.global probe_enter
probe_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rdx], rsp
    mov [r9], rsp
    test rcx, rcx
    jnz 1f
    mov rsp, rsi
    test r8, 0x200
    jz 2f
    sti
2:  jmp rdi
1:  push {user_data}
    push rsi
    push r8
    push {user_code}
    push rdi
    swapgs
    iretq
# rsp as probe_enter saved it. Interrupts off, DF and AC clear, whatever the code left.
.global probe_resume
probe_resume:
    push 2
    popfq
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
