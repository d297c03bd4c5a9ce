# Start of a C program: the kernel enters with argc in rdi and argv in rsi.
.section .text.start, "ax"
.global _start
_start:
    xor %ebp, %ebp
    and $-16, %rsp
    call main
    mov %eax, %edi
    call exit
    ud2
.section .note.GNU-stack, "", @progbits
