// The ways into the kernel and out of it: traps, interrupts, system calls, the context switch.
// Offsets are asserted in trap.rs and cpu.rs.

    .set GS_USER_RSP, 8                     // PerCpu::user_rsp
    .set GS_KERNEL_RSP, 16                  // PerCpu::kernel_rsp
    .set USER_DATA, 0x1b
    .set USER_CODE, 0x23
    .set MSR_GS_BASE, 0xc0000101
    .set FRAME_CS, 18 * 8                   // TrapFrame::cs
    .set FRAME_SIZE, 22 * 8
    .set STUB_RFLAGS, 4 * 8                 // TrapFrame::rflags before the registers are saved
    .set RFLAGS_IF, 1 << 9
    .set FIRST_INTERRUPT, 32                // vectors below are exceptions
    .set FORGET_VECTOR, 0xf0                // no interrupt of anybody's

    .text

    .macro save_registers
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    .endm

    .macro restore_registers
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    .endm

// A user's AC flag would switch SMAP off for the kernel. (`clac` does not exist on every CPU.)
    .macro clear_ac
    pushfq
    andl $~(1 << 18), (%rsp)
    popfq
    .endm

// One 16-byte stub a vector. The CPU pushes an error code for 8, 10-14, 17, 21, 29 and 30.
// Vectors 1, 2, 8 and 18 have a stack of their own (IST) and can arrive anywhere, even between a
// `syscall` and its swapgs.
    .balign 16
    .global trap_stubs
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    pushq $0
    .endif
    .if vector < 128
    pushq $vector
    .else
    .byte 0x68                              // push imm32: the assembler's imm8 would be negative
    .long vector
    .endif
    .if (vector == 1) || (vector == 2) || (vector == 8) || (vector == 18)
    jmp ist_entry
    .else
    jmp trap_entry
    .endif
    .set vector, vector + 1
    .endr

    .balign 16
    .type trap_entry, @function
trap_entry:
    testl $RFLAGS_IF, STUB_RFLAGS(%rsp)
    jz 6f
    cmpq $FIRST_INTERRUPT, (%rsp)
    jb 5f
    int $FORGET_VECTOR                      // see below
5:  cld
    save_registers
    testb $3, FRAME_CS(%rsp)
    jz 1f
    swapgs
    clear_ac
    xorl %ebp, %ebp                         // a user's rbp is no link of our backtrace
1:  movq %rsp, %rdi
    call trap_handler

    .global trap_return
trap_return:
    testb $3, FRAME_CS(%rsp)
    jz 1f
    swapgs
1:  restore_registers
    addq $16, %rsp                          // vector, error code
    iretq
    // Interrupts were off. An exception may come then, an interrupt may not. One that does is a
    // repetition, which neither interrupt controller knows of: forgotten here, without an end of
    // interrupt, before it touches GS or anything a lock protects.
    // Seen on BitVisor in QEMU 7.2's TCG (`-d int,in_asm`): QEMU's `vmrun` delivers the event that
    // the hypervisor injects, but leaves its vector in `exception_index`. If QEMU's own thread wants
    // the CPU back (a key at the serial line is enough) before the next exit or exception, it
    // delivers the vector again, whatever IF says; seen even between `syscall` and its swapgs, where
    // rsp is the user's and nothing can be saved. So every interrupt begins with an exception:
    // FORGET_VECTOR does nothing, but makes QEMU forget the other vector.
6:  cmpq $FIRST_INTERRUPT, (%rsp)
    jb 5b
    cmpq $FORGET_VECTOR, (%rsp)
    je 7f
    lock incq repeated_interrupts(%rip)
7:  addq $16, %rsp
    iretq
    .size trap_entry, . - trap_entry

    .type ist_entry, @function
ist_entry:
    cld
    save_registers
    testb $3, FRAME_CS(%rsp)
    jz 2f
    // From user mode: go on on the process's stack, so that the handler may sleep or exit.
    swapgs
    clear_ac
    xorl %ebp, %ebp
    movq %rsp, %rsi
    movq %gs:GS_KERNEL_RSP, %rdi
    subq $FRAME_SIZE, %rdi
    movq %rdi, %rsp
    movl $(FRAME_SIZE / 8), %ecx
    rep movsq
    movq %rsp, %rdi
    call trap_handler
    jmp trap_return
2:  // From the kernel: GS may still, or already again, be the user's. Kernel addresses are negative.
    movl $MSR_GS_BASE, %ecx
    rdmsr
    xorl %ebx, %ebx
    testl %edx, %edx
    js 3f
    swapgs
    incl %ebx
3:  movq %rsp, %rdi
    call trap_handler
    testl %ebx, %ebx
    jz 4f
    swapgs
4:  restore_registers
    addq $16, %rsp
    iretq
    .size ist_entry, . - ist_entry

// `syscall`: rip in rcx, rflags in r11, interrupts off (SFMASK), the user's stack still in rsp.
    .balign 16
    .global syscall_entry
    .type syscall_entry, @function
syscall_entry:
    swapgs
    movq %rsp, %gs:GS_USER_RSP
    movq %gs:GS_KERNEL_RSP, %rsp
    pushq $USER_DATA
    pushq %gs:GS_USER_RSP
    pushq %r11
    pushq $USER_CODE
    pushq %rcx
    pushq $0
    pushq $256                              // no vector: a system call
    save_registers
    xorl %ebp, %ebp
    movq %rsp, %rdi
    call syscall_handler                    // al = 1: sysret is safe and enough
    testb %al, %al
    jz trap_return
    restore_registers
    movq 2 * 8(%rsp), %rcx                  // rip
    movq 4 * 8(%rsp), %r11                  // rflags
    movq 5 * 8(%rsp), %rsp
    swapgs
    sysretq
    .size syscall_entry, . - syscall_entry

// context_switch(rdi: place for the old stack pointer, rsi: new stack pointer)
    .balign 16
    .global context_switch
    .type context_switch, @function
context_switch:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
    .size context_switch, . - context_switch

// First run of a forked process: above lies a TrapFrame.
    .global process_start
    .type process_start, @function
process_start:
    call first_run
    jmp trap_return
    .size process_start, . - process_start

// First run of a kernel thread: entry in rbx.
    .global thread_start
    .type thread_start, @function
thread_start:
    call first_run
    sti
    call *%rbx
    call thread_finished
    ud2
    .size thread_start, . - thread_start

// enter_user(rdi: TrapFrame): leaves the kernel for good with these registers.
    .global enter_user
    .type enter_user, @function
enter_user:
    cli
    movq %rdi, %rsp
    jmp trap_return
    .size enter_user, . - enter_user
