//! Virtqueues with their buffers: the part of a virtio driver that shares memory with the device.
//!
//! Each ring owns one buffer per descriptor. A buffer is either ours ([`Ring::bytes`] and
//! [`Ring::bytes_mut`] reach it) or lent to the device, and the only record of which is which is our
//! own [`TokenTable`]: what the device says is checked against it before virtio-drivers sees it.
#![expect(unsafe_code, reason = "buffers lent to a device")]

use super::DmaBuffer;
use crate::mm::PhysAddr;
use crate::mm::layout::{DIRECT_MAP, PAGE_SIZE};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};
use kcore::net::tokens::{Lie, TokenTable, frame_len};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use virtio_drivers::{BufferDirection, Error, Hal};

/// Bytes of a buffer: a header and the largest frame, and no buffer crosses a page.
pub const BUFFER_LEN: usize = 2048;

/// How virtio-drivers gets memory.
pub struct KernelHal;

// SAFETY: `dma_alloc` returns whole zeroed pages nobody else has, mapped for ever in the direct map,
// until `dma_dealloc` takes them back; `share` is only called by `Ring` with parts of a `DmaBuffer`.
unsafe impl Hal for KernelHal {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (u64, NonNull<u8>) {
        // virtio-drivers reads address 0 as "no memory".
        let Some(buffer) = DmaBuffer::new(pages) else {
            return (0, NonNull::dangling());
        };
        let pointer = NonNull::new(buffer.as_ptr()).expect("the direct map is not at 0");
        (buffer.into_raw().0.as_u64(), pointer)
    }

    unsafe fn dma_dealloc(physical: u64, _pointer: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: the caller promises that the pair came from `dma_alloc`, that is from `into_raw`.
        drop(unsafe { DmaBuffer::from_raw(PhysAddr::new(physical), pages) });
        0
    }

    unsafe fn mmio_phys_to_virt(_physical: u64, _size: usize) -> NonNull<u8> {
        unreachable!("our transport maps its own registers")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> u64 {
        // Only parts of a `DmaBuffer` come here, and those are in the direct map.
        buffer.as_ptr().cast::<u8>() as u64 - DIRECT_MAP
    }

    unsafe fn unshare(_physical: u64, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

/// A transport that remembers where it told the device to write what it is done with.
pub trait SetUp: Transport {
    /// Physical address of the used ring of the queue that was set up last.
    fn used_ring(&self) -> PhysAddr;
}

/// A virtqueue of `SIZE` single-descriptor buffers.
pub struct Ring<const SIZE: usize> {
    queue: VirtQueue<KernelHal, SIZE>,
    /// Where the index is that the device writes, in the used ring of `queue`.
    used_index: u64,
    /// Used buffers taken, counted as the device counts them.
    taken: u16,
    memory: DmaBuffer,
    lent: TokenTable<SIZE>,
    free: Vec<u16>,
}

/// A buffer that is ours, not the device's.
#[derive(Debug)]
pub struct Buffer(u16);

impl<const SIZE: usize> Ring<SIZE> {
    /// Sets up queue `index` of the device. In a box from the start: kernel stacks are small.
    #[inline(never)]
    pub fn boxed(transport: &mut impl SetUp, index: u16) -> Result<Box<Self>, Error> {
        let pages = (SIZE * BUFFER_LEN).div_ceil(PAGE_SIZE as usize);
        let queue = VirtQueue::new(transport, index, false, false)?;
        // Flags, then the index, both u16 (Virtual I/O Device 1.2, section 2.7.8).
        let used_index = DIRECT_MAP + transport.used_ring().as_u64() + 2;
        Ok(Box::new(Self {
            queue,
            used_index,
            taken: 0,
            memory: DmaBuffer::new(pages).ok_or(Error::DmaError)?,
            lent: TokenTable::default(),
            free: (0..SIZE as u16).rev().collect(),
        }))
    }

    /// A buffer to fill or to lend; None if the device has them all.
    pub fn take_free(&mut self) -> Option<Buffer> {
        self.free.pop().map(Buffer)
    }

    /// Puts a buffer aside.
    pub fn put_free(&mut self, buffer: Buffer) {
        self.free.push(buffer.0);
    }

    /// Whether there is a buffer to take.
    pub fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Buffers to take.
    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Buffers the device has.
    pub fn lent(&self) -> usize {
        self.lent.lent()
    }

    fn pointer(&self, buffer: &Buffer) -> *mut u8 {
        let offset = usize::from(buffer.0) * BUFFER_LEN;
        assert!(
            offset + BUFFER_LEN <= self.memory.size(),
            "a buffer of this ring"
        );
        self.memory.as_ptr().wrapping_add(offset)
    }

    /// The buffer's bytes.
    pub fn bytes(&self, buffer: &Buffer) -> &[u8] {
        // SAFETY: inside `memory` (asserted), initialised, and not lent: a `Buffer` exists only for
        // buffers that are ours.
        unsafe { core::slice::from_raw_parts(self.pointer(buffer), BUFFER_LEN) }
    }

    /// The buffer's bytes.
    pub fn bytes_mut(&mut self, buffer: &Buffer) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the ring is borrowed mutably, so no other slice of it exists.
        unsafe { core::slice::from_raw_parts_mut(self.pointer(buffer), BUFFER_LEN) }
    }

    /// Lends the buffer to the device to write into.
    pub fn lend_empty(&mut self, buffer: Buffer) -> Result<(), Error> {
        let pointer = self.pointer(&buffer);
        // SAFETY: the buffer was ours and nobody has a slice of it; it lives as long as the ring, whose
        // owner resets the device first; from here on `lent` has it, so no slice is made of it until
        // the device gives it back.
        let token = unsafe {
            let slice = core::slice::from_raw_parts_mut(pointer, BUFFER_LEN);
            self.queue.add(&[], &mut [slice])
        };
        self.note_lent(token, buffer)
    }

    /// Lends the first `len` bytes of the buffer to the device to read.
    pub fn lend_filled(&mut self, buffer: Buffer, len: usize) -> Result<(), Error> {
        let pointer = self.pointer(&buffer);
        // SAFETY: as in `lend_empty`; `len` is cut to the buffer.
        let token = unsafe {
            let slice = core::slice::from_raw_parts(pointer, len.min(BUFFER_LEN));
            self.queue.add(&[slice], &mut [])
        };
        self.note_lent(token, buffer)
    }

    fn note_lent(&mut self, token: Result<u16, Error>, buffer: Buffer) -> Result<(), Error> {
        match token {
            Ok(token) => {
                assert!(
                    self.lent.lend(token, buffer.0),
                    "the queue gave out a token twice"
                );
                Ok(())
            }
            Err(error) => {
                self.free.push(buffer.0);
                Err(error)
            }
        }
    }

    fn read_used_index(&self) -> u16 {
        // SAFETY: (1) the used ring is in pages that `dma_alloc` gave to `queue`, which lives as long as we do, at the
        // address that `queue` itself passed to the transport; (2) the direct map reaches them; (3) the index is a u16
        // at offset 2 of a structure aligned to 4; (4) the device writes it, so the read is volatile.
        unsafe { (self.used_index as *const u16).read_volatile() }
    }

    /// Whether the device says that it is done with a buffer.
    pub fn has_used(&self) -> bool {
        self.queue.can_pop()
    }

    /// Takes back a buffer the device wrote into, with the length it claims after `header` bytes.
    pub fn take_written(&mut self, header: usize) -> Result<Option<(Buffer, usize)>, Lie> {
        let Some((buffer, claimed)) = self.take_used(Owner::Device)? else {
            return Ok(None);
        };
        match frame_len(claimed, header, BUFFER_LEN) {
            Ok(len) => Ok(Some((buffer, len))),
            Err(lie) => {
                self.put_free(buffer);
                Err(lie)
            }
        }
    }

    /// Takes back all buffers the device has read.
    pub fn reap_read(&mut self) -> Result<usize, Lie> {
        let mut count = 0;
        while let Some((buffer, _)) = self.take_used(Owner::Driver)? {
            self.put_free(buffer);
            count += 1;
        }
        Ok(count)
    }

    fn take_used(&mut self, filled_by: Owner) -> Result<Option<(Buffer, u32)>, Lie> {
        if self.lent.done(self.read_used_index(), self.taken)? == 0 {
            return Ok(None);
        }
        let Some(token) = self.queue.peek_used() else {
            return Ok(None);
        };
        let buffer = Buffer(self.lent.check(token)?);
        let pointer = self.pointer(&buffer);
        // SAFETY: the token is out on loan for exactly this buffer (checked in our own table), so these
        // are the bytes it was added with; nobody has a slice of a lent buffer.
        let popped = unsafe {
            match filled_by {
                Owner::Device => {
                    let slice = core::slice::from_raw_parts_mut(pointer, BUFFER_LEN);
                    self.queue.pop_used(token, &[], &mut [slice])
                }
                Owner::Driver => {
                    let slice = core::slice::from_raw_parts(pointer, BUFFER_LEN);
                    self.queue.pop_used(token, &[slice], &mut [])
                }
            }
        };
        match popped {
            Ok(claimed) => {
                self.taken = self.taken.wrapping_add(1);
                self.lent.give_back(token)?;
                Ok(Some((buffer, claimed)))
            }
            // The device changed the ring between our two looks at it.
            Err(_) => Err(Lie::TokenNotLent(token)),
        }
    }

    /// Whether the device wants to hear of new buffers. The fence orders our write of the available
    /// index before the read of the device's flag; without it both sides may miss each other.
    pub fn wants_notify(&self) -> bool {
        fence(Ordering::SeqCst);
        self.queue.should_notify()
    }

    /// Asks the device to interrupt for used buffers, or not to.
    pub fn set_interrupts(&mut self, wanted: Interrupts) {
        self.queue.set_dev_notify(wanted == Interrupts::Wanted);
        fence(Ordering::SeqCst);
    }
}

/// Who filled the buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Device,
    Driver,
}

/// Whether used buffers should interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupts {
    /// Yes.
    Wanted,
    /// Somebody looks anyway.
    Unwanted,
}
