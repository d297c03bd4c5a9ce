// First instructions of every CPU but the boot CPU: real mode at a page below 1 MiB, where `smp.rs`
// copies everything between trampoline_start and trampoline_end, with the parameters filled in.

    .set AT, 0x8000                         // smp.rs: TRAMPOLINE

    .section .rodata.trampoline, "a"
    .balign 16
    .global trampoline_start
    .global trampoline_parameters
    .global trampoline_end
    .code16
trampoline_start:
    cli
    cld
    xorl %eax, %eax
    movw %ax, %ds
    xchgl %eax, AT + (trampoline_claim - trampoline_start)
    testl %eax, %eax
    jz 2f                                   // no place, or another CPU has it
    lgdtl AT + (ap_gdt_pointer - trampoline_start)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $8, $(AT + (ap_protected - trampoline_start))
2:  hlt
    jmp 2b

    .code32
ap_protected:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %ss
    movl %cr4, %eax
    orl $(1 << 5), %eax                     // PAE
    movl %eax, %cr4
    movl AT + (trampoline_parameters - trampoline_start), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx                  // EFER: LME, NXE
    rdmsr
    orl $((1 << 8) | (1 << 11)), %eax
    wrmsr
    movl %cr0, %eax
    andl $~((1 << 2) | (1 << 29) | (1 << 30)), %eax     // EM off, caches on
    orl $((1 << 31) | (1 << 16) | (1 << 1)), %eax       // PG, WP, MP
    movl %eax, %cr0
    ljmpl $24, $(AT + (ap_long - trampoline_start))

    .code64
ap_long:
    movq AT + (trampoline_parameters - trampoline_start) + 8, %rsp
    movq AT + (trampoline_parameters - trampoline_start) + 16, %rdi
    movabsq $secondary_main, %rax
    xorl %ebp, %ebp
    call *%rax
1:  hlt
    jmp 1b

    .balign 8
ap_gdt:
    .quad 0
    .quad 0x00cf9a000000ffff                // 32-bit code
    .quad 0x00cf92000000ffff                // data
    .quad 0x00af9a000000ffff                // 64-bit code
ap_gdt_pointer:
    .short 31
    .long AT + (ap_gdt - trampoline_start)

    .balign 8
trampoline_parameters:                      // smp.rs: ROOT, STACK, NUMBER, CLAIM
    .quad 0                                 // page-table root
    .quad 0                                 // stack pointer
    .quad 0                                 // CPU number
trampoline_claim:
    .quad 0                                 // 1: a place is offered
trampoline_end:
    .text
