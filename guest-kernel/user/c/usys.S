# Generated from guest-kernel/abi by guest-kernel/user/ulib/tests/c_header.rs: do not edit.
# The fourth argument travels in r10, since `syscall` takes rcx. Results -4095 to -1 are errors.
# The names are weak, so that a program may have functions of its own by these names.
.text

result:
    cmp $-4095, %rax
    jae 1f
    ret
1:
    neg %eax
    mov %eax, errno(%rip)
    mov $-1, %rax
    ret

.weak fork
fork:
    mov $1, %eax
    syscall
    jmp result

.weak exit
exit:
    mov $2, %eax
    syscall
    jmp result

.weak wait
wait:
    mov $3, %eax
    syscall
    jmp result

.weak pipe
pipe:
    mov $4, %eax
    syscall
    jmp result

.weak read
read:
    mov $5, %eax
    syscall
    jmp result

.weak kill
kill:
    mov $6, %eax
    syscall
    jmp result

.weak exec
exec:
    mov $7, %eax
    syscall
    jmp result

.weak fstat
fstat:
    mov $8, %eax
    syscall
    jmp result

.weak chdir
chdir:
    mov $9, %eax
    syscall
    jmp result

.weak dup
dup:
    mov $10, %eax
    syscall
    jmp result

.weak getpid
getpid:
    mov $11, %eax
    syscall
    jmp result

.weak sbrk
sbrk:
    mov $12, %eax
    syscall
    jmp result

.weak sleep
sleep:
    mov $13, %eax
    syscall
    jmp result

.weak uptime
uptime:
    mov $14, %eax
    syscall
    jmp result

.weak open
open:
    mov $15, %eax
    syscall
    jmp result

.weak write
write:
    mov $16, %eax
    syscall
    jmp result

.weak mknod
mknod:
    mov $17, %eax
    syscall
    jmp result

.weak unlink
unlink:
    mov $18, %eax
    syscall
    jmp result

.weak link
link:
    mov $19, %eax
    syscall
    jmp result

.weak mkdir
mkdir:
    mov $20, %eax
    syscall
    jmp result

.weak close
close:
    mov $21, %eax
    syscall
    jmp result

.weak socket
socket:
    mov $22, %eax
    syscall
    jmp result

.weak bind
bind:
    mov %rcx, %r10
    mov $23, %eax
    syscall
    jmp result

.weak listen
listen:
    mov $24, %eax
    syscall
    jmp result

.weak connect
connect:
    mov %rcx, %r10
    mov $25, %eax
    syscall
    jmp result

.weak accept
accept:
    mov %rcx, %r10
    mov $26, %eax
    syscall
    jmp result

.weak select
select:
    mov %rcx, %r10
    mov $27, %eax
    syscall
    jmp result

.weak send
send:
    mov %rcx, %r10
    mov $28, %eax
    syscall
    jmp result

.weak recv
recv:
    mov %rcx, %r10
    mov $29, %eax
    syscall
    jmp result

.weak seek
seek:
    mov $30, %eax
    syscall
    jmp result

.weak sendto
sendto:
    mov %rcx, %r10
    mov $31, %eax
    syscall
    jmp result

.weak recvfrom
recvfrom:
    mov %rcx, %r10
    mov $32, %eax
    syscall
    jmp result

.weak getsockname
getsockname:
    mov %rcx, %r10
    mov $33, %eax
    syscall
    jmp result

.weak getpeername
getpeername:
    mov %rcx, %r10
    mov $34, %eax
    syscall
    jmp result

.weak shutdown
shutdown:
    mov $35, %eax
    syscall
    jmp result

.weak netinfo
netinfo:
    mov $36, %eax
    syscall
    jmp result

.weak resolve
resolve:
    mov $37, %eax
    syscall
    jmp result

.weak setsockopt
setsockopt:
    mov $38, %eax
    syscall
    jmp result

.weak rename
rename:
    mov $50, %eax
    syscall
    jmp result

.weak readdir
readdir:
    mov $51, %eax
    syscall
    jmp result

.weak ftruncate
ftruncate:
    mov $52, %eax
    syscall
    jmp result

.weak fsync
fsync:
    mov $53, %eax
    syscall
    jmp result

.weak probe
probe:
    mov %rcx, %r10
    mov $70, %eax
    syscall
    jmp result

.weak tracectl
tracectl:
    mov $71, %eax
    syscall
    jmp result

.weak traceevent
traceevent:
    mov $72, %eax
    syscall
    jmp result

.weak gettime
gettime:
    mov $80, %eax
    syscall
    jmp result

.weak ps
ps:
    mov $81, %eax
    syscall
    jmp result

.weak meminfo
meminfo:
    mov $82, %eax
    syscall
    jmp result

.weak getconf
getconf:
    mov $83, %eax
    syscall
    jmp result

.weak ttymode
ttymode:
    mov $84, %eax
    syscall
    jmp result

.weak klog
klog:
    mov $85, %eax
    syscall
    jmp result

.weak poweroff
poweroff:
    mov $86, %eax
    syscall
    jmp result

.weak yield_
yield_:
    mov $87, %eax
    syscall
    jmp result

.weak errno
.bss
.align 4
errno:
    .zero 4

.section .note.GNU-stack, "", @progbits
