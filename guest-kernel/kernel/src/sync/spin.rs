//! Spin lock: interrupts are off on this CPU while one is held.
#![expect(unsafe_code, reason = "shared mutable state behind a lock")]

use crate::arch::cpu::{self, IrqGuard};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicUsize, Ordering};

const FREE: usize = 0;

/// A lock for short critical sections, usable in interrupt handlers.
pub struct SpinLock<T> {
    name: &'static str,
    /// `FREE`, or the number of the holding CPU plus one.
    holder: AtomicUsize,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a guard, and one guard exists at a time (`holder`).
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// A free lock. The name appears in a panic.
    pub const fn new(name: &'static str, value: T) -> Self {
        Self {
            name,
            holder: AtomicUsize::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> SpinGuard<'_, T> {
        let irq = IrqGuard::new();
        let own = cpu::number() + 1;
        while self
            .holder
            .compare_exchange_weak(FREE, own, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            assert!(
                self.holder.load(Ordering::Relaxed) != own,
                "lock {} taken twice on one CPU",
                self.name
            );
            core::hint::spin_loop();
        }
        SpinGuard {
            lock: self,
            _irq: irq,
        }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        let irq = IrqGuard::new();
        let own = cpu::number() + 1;
        self.holder
            .compare_exchange(FREE, own, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        Some(SpinGuard {
            lock: self,
            _irq: irq,
        })
    }

    /// The guard of a lock that this CPU holds although no guard exists: the scheduler passes process
    /// locks from one flow of control to another.
    ///
    /// Panics if this CPU does not hold the lock.
    pub(crate) fn adopt(&self) -> SpinGuard<'_, T> {
        assert!(
            self.holder.load(Ordering::Relaxed) == cpu::number() + 1,
            "lock {} is not held here",
            self.name
        );
        SpinGuard {
            lock: self,
            _irq: IrqGuard::adopt(),
        }
    }
}

/// Access to the value until dropped.
pub struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    // Dropped after `drop` below released the lock, so interrupts come back last.
    _irq: IrqGuard,
}

impl<'a, T> SpinGuard<'a, T> {
    /// The lock behind the guard.
    pub fn lock(&self) -> &'a SpinLock<T> {
        self.lock
    }

    /// Keeps the lock held without a guard; `SpinLock::adopt` on this CPU makes one again.
    pub(crate) fn leak(self) {
        core::mem::forget(self);
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard proves that this CPU holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard proves that this CPU holds the lock, and is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.holder.store(FREE, Ordering::Release);
    }
}
