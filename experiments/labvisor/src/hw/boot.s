# The way from GRUB to Rust: the Multiboot2 header (specification 3.1), and from 32-bit
# protected mode to long mode with the first 4 GiB mapped twice, at 0 and at OFFSET (the upper
# mapping ends at 2 GiB: it is the top of the address space).

    .section .multiboot2, "a"
    .balign 8
multiboot2_header:
    .long 0xe85250d6, 0, multiboot2_header_end - multiboot2_header
    .long -(0xe85250d6 + multiboot2_header_end - multiboot2_header)
    .word 6, 0                  # modules start at page boundaries
    .long 8
    .word 0, 0                  # end of tags
    .long 8
multiboot2_header_end:

    .section .boot.text, "ax"
    .code32
    .global boot_entry
boot_entry:
    cli
    cld
    mov esp, offset boot_stack_top
    mov edi, eax                # magic
    mov esi, ebx                # information structure

    # Four page directories of 2 MiB pages cover 4 GiB.
    mov ecx, 0
    mov eax, 0x83               # present, writable, large
2:
    mov [boot_pd + ecx * 8], eax
    mov dword ptr [boot_pd + ecx * 8 + 4], 0
    add eax, 0x200000
    inc ecx
    cmp ecx, 2048
    jne 2b
    mov eax, offset boot_pd + 3
    mov ecx, 0
3:
    mov [boot_pdpt + ecx * 8], eax
    add eax, 0x1000
    inc ecx
    cmp ecx, 4
    jne 3b
    mov dword ptr [boot_pdpt + 510 * 8], offset boot_pd + 3
    mov dword ptr [boot_pdpt + 511 * 8], offset boot_pd + 0x1003
    mov dword ptr [boot_pml4], offset boot_pdpt + 3
    mov dword ptr [boot_pml4 + 511 * 8], offset boot_pdpt + 3

    # Long mode (APM vol. 2, 14.6.1): PAE, CR3, EFER.LME and NXE, paging.
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900
    wrmsr
    mov eax, cr0
    or eax, 0x80010001          # paging, write protection, protected mode
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    ljmp 0x08, offset boot_long

    .code64
boot_long:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    mov rsp, offset stack_top
    xor ebp, ebp
    mov rax, offset labvisor_main
    call rax
    ud2

    .section .boot.data, "aw"
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff    # 64-bit code
    .quad 0x00cf93000000ffff    # data
boot_gdt_pointer:
    .word boot_gdt_pointer - boot_gdt - 1
    .long boot_gdt

    .section .boot.bss, "aw", @nobits
    .balign 4096
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_pd: .skip 4 * 4096
    .skip 256
boot_stack_top:

    .text
