//! How the server says no: an error number, a reason, and a value.

use protocol::{Errno, Reason, Refusal};

/// A refused request.
pub type Refused = (Errno, Refusal);

/// With a reason.
pub fn because(errno: Errno, reason: Reason) -> Refused {
    (errno, Refusal { reason, value: 0 })
}

/// With a reason and its number.
pub fn because_of(errno: Errno, reason: Reason, value: u64) -> Refused {
    (errno, Refusal { reason, value })
}

/// What the operating system said.
pub fn system(errno: rustix::io::Errno) -> Refused {
    let reason = match errno {
        rustix::io::Errno::LOOP => Reason::Symlink,
        _ => Reason::System,
    };
    because(Errno(errno.raw_os_error()), reason)
}
