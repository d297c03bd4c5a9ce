//! The handles of all sessions in one row of numbers.
//!
//! A server numbers the handles of each session anew: what an open file was called in a lost session may be another
//! file's name in the next. So callers get numbers that never come twice, behind all those of sessions before, and
//! a handle of a lost session is told from one of the present.

use crate::message::Operation;

/// Translates between the callers' numbers and the server's.
#[derive(Debug, Default)]
pub(super) struct Handles {
    // The callers' numbers up to this one are of lost sessions.
    lost: u32,
    // The highest that a caller has.
    highest: u32,
}

impl Handles {
    /// All handles so far mean nothing any more.
    pub(super) fn start_session(&mut self) {
        self.lost = self.highest;
    }

    /// The server's number; `None` for a handle of a lost session.
    pub(super) fn to_server(&self, handle: u32) -> Option<u32> {
        (self.lost == 0 || handle > self.lost).then(|| handle - self.lost)
    }

    /// Puts the server's numbers into the payload of a request; `None` if a handle is of a lost session.
    pub(super) fn ask(&self, operation: Operation, payload: &mut [u8]) -> Option<()> {
        for place in operation.handles() {
            let bytes = payload.get_mut(*place..)?.first_chunk_mut()?;
            *bytes = self.to_server(u32::from_le_bytes(*bytes))?.to_le_bytes();
        }
        Some(())
    }

    /// Puts the callers' number into the payload of a good reply; `None` if there are no more numbers.
    pub(super) fn answered(&mut self, operation: Operation, payload: &mut [u8]) -> Option<()> {
        if operation.gives_handle() {
            let bytes = payload.first_chunk_mut()?;
            let handle = self.lost.checked_add(u32::from_le_bytes(*bytes))?;
            self.highest = self.highest.max(handle);
            *bytes = handle.to_le_bytes();
        }
        Some(())
    }
}
