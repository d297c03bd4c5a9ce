// The kernel's first instructions: from the boot loader's 32-bit world to 64-bit Rust.
//
// Multiboot2 (specification 2.0, section 3.3): eax = 36d76289h, ebx = physical address of the
// information structure, protected mode, paging off, interrupts off.
// PVH (Xen, docs/misc/pvh.pandoc): the same with ebx = physical address of the start information, eax
// undefined; the note below names the entry. QEMU's `-kernel` starts us so.

    .set KERNEL_BASE, 0xffffffff80000000

    .section .multiboot2, "a"
    .balign 8
header:
    .long 0xe85250d6                        // magic
    .long 0                                 // architecture: i386
    .long header_end - header
    .long -(0xe85250d6 + (header_end - header))
    .balign 8
    .short 6, 0                             // tag: align modules to pages
    .long 8
    .balign 8
    .short 0, 0                             // end tag
    .long 8
header_end:

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18                          // sizes of name and value; XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_start

    .section .boot.text, "ax"
    .code32
pvh_start:
    movl $0x336ec578, %eax                  // the start information's own magic
    .global _start
_start:
    cli
    cld
    movl %eax, %esi                         // magic: cpuid and wrmsr below leave esi alone
    movl $boot_stack_top, %esp

    // Long mode is the one thing we cannot do without.
    movl $0x80000000, %eax
    pushl %ebx
    cpuid
    cmpl $0x80000001, %eax
    jb no_long_mode
    movl $0x80000001, %eax
    cpuid
    popl %ebx
    testl $(1 << 29), %edx
    jz no_long_mode

    // Four page directories of 2 MiB pages: the first 4 GiB.
    movl $boot_pd, %edi
    movl $0x83, %eax                        // present, writable, large
    movl $2048, %ecx
1:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $0x200000, %eax
    addl $8, %edi
    decl %ecx
    jnz 1b

    // The low pointer table holds the four directories; the high one the first of them at entry 510.
    movl $(boot_pd + 0x0003), boot_pdpt_low
    movl $(boot_pd + 0x1003), boot_pdpt_low + 8
    movl $(boot_pd + 0x2003), boot_pdpt_low + 16
    movl $(boot_pd + 0x3003), boot_pdpt_low + 24
    movl $(boot_pd + 0x0003), boot_pdpt_high + 510 * 8
    movl $(boot_pdpt_low + 3), boot_pml4                // identity
    movl $(boot_pdpt_low + 3), boot_pml4 + 256 * 8      // direct map
    movl $(boot_pdpt_high + 3), boot_pml4 + 511 * 8     // kernel

    movl %cr4, %eax
    orl $(1 << 5), %eax                     // PAE
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx                  // EFER: LME and, for the final tables, NXE
    rdmsr
    orl $((1 << 8) | (1 << 11)), %eax
    wrmsr
    movl %cr0, %eax
    andl $~((1 << 2) | (1 << 29) | (1 << 30)), %eax     // EM off, caches on
    orl $((1 << 31) | (1 << 16) | (1 << 1) | 1), %eax   // PG, WP, MP, PE
    movl %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $8, $long_mode

no_long_mode:
    movl $0xb8000, %edi                     // the one message without a console: VGA text
    movl $0x4f344f36, (%edi)                // "64"
    movl $0x4f3f4f3f, 4(%edi)               // "??"
2:  hlt
    jmp 2b

    .code64
long_mode:
    xorl %eax, %eax
    movw %ax, %ss
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movabsq $boot_stack_high, %rsp
    xorl %ebp, %ebp
    movl %esi, %edi                         // first argument: magic
    movl %ebx, %esi                         // second: information structure
    movabsq $kernel_main, %rax
    call *%rax
3:  hlt
    jmp 3b

    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff                // 64-bit code
    .quad 0x00cf92000000ffff                // data
boot_gdt_pointer:
    .short 23
    .long boot_gdt

    .section .boot.tables, "aw"
    .balign 4096
boot_pml4:      .skip 4096
boot_pdpt_low:  .skip 4096
boot_pdpt_high: .skip 4096
boot_pd:        .skip 4 * 4096
    .skip 64
boot_stack_top:

    .section .bss.boot_stack, "aw", @nobits
    .balign 4096
    .skip 16 * 4096
boot_stack_high:
