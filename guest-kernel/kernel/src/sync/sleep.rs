//! Sleep lock: for long critical sections in processes; waiting gives the CPU away.
#![expect(unsafe_code, reason = "shared mutable state behind a lock")]

use super::{SpinLock, WaitQueue};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

/// A lock that may be held while sleeping. Never taken in interrupt handlers.
pub struct SleepLock<T> {
    held: SpinLock<bool>,
    waiters: WaitQueue,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a guard, and one guard exists at a time (`held`).
unsafe impl<T: Send> Sync for SleepLock<T> {}

impl<T> SleepLock<T> {
    /// A free lock.
    pub const fn new(name: &'static str, value: T) -> Self {
        Self {
            held: SpinLock::new(name, false),
            waiters: WaitQueue::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Sleeps until the lock is free; a killed process waits like any other.
    pub fn lock(&self) -> SleepGuard<'_, T> {
        let mut held = self.held.lock();
        while *held {
            held = self.waiters.wait_uninterruptible(held);
        }
        *held = true;
        SleepGuard { lock: self }
    }
}

/// Access to the value until dropped.
pub struct SleepGuard<'a, T> {
    lock: &'a SleepLock<T>,
}

impl<T> Deref for SleepGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while `held` is true on its behalf.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SleepGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SleepGuard<'_, T> {
    fn drop(&mut self) {
        *self.lock.held.lock() = false;
        self.lock.waiters.wake_all();
    }
}
