// Stands in for the file of this name of xv6-riscv, so that its user programs build for x86-64.
// What they use of it: the page size, the end of user addresses, and the stack pointer.
#ifndef HVLAB_RISCV_H
#define HVLAB_RISCV_H

#define PGSIZE 4096
#define PGROUNDUP(size) (((size) + PGSIZE - 1) & ~(PGSIZE - 1))
#define PGROUNDDOWN(address) ((address) & ~(PGSIZE - 1))

// First address behind the lower half, which is not canonical.
#define MAXVA (1UL << 47)

static inline uint64
r_sp(void)
{
  uint64 pointer;
  __asm__ volatile("mov %%rsp, %0" : "=r"(pointer));
  return pointer;
}

#endif
