//! Error numbers, Linux's values. The kernel returns `-Errno` in `rax`; -4095..-1 are errors.

macro_rules! errnos {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        /// An error number with Linux's value.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i32)]
        pub enum Errno {
            $(#[doc = $text] $name = $value,)*
        }

        impl Errno {
            /// All error numbers, ascending.
            pub const ALL: &'static [Errno] = &[$(Errno::$name,)*];

            /// The symbolic name, as in `ENOENT`.
            pub const fn name(self) -> &'static str {
                match self { $(Errno::$name => stringify!($name),)* }
            }

            /// A sentence for people, lower case, without a full stop.
            pub const fn text(self) -> &'static str {
                match self { $(Errno::$name => $text,)* }
            }

            /// The error with this positive number.
            pub const fn from_number(number: i32) -> Option<Errno> {
                match number { $($value => Some(Errno::$name),)* _ => None }
            }
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such file or directory";
    ESRCH = 3, "no such process";
    EINTR = 4, "interrupted";
    EIO = 5, "input/output error";
    ENXIO = 6, "no such device or address";
    E2BIG = 7, "argument list too long";
    ENOEXEC = 8, "not an executable this kernel can load";
    EBADF = 9, "bad file descriptor";
    ECHILD = 10, "no child processes";
    EAGAIN = 11, "resource temporarily unavailable";
    ENOMEM = 12, "out of memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "device or resource busy";
    EEXIST = 17, "file exists";
    EXDEV = 18, "link across file systems";
    ENODEV = 19, "no such device";
    ENOTDIR = 20, "not a directory";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    ENFILE = 23, "too many open files in the system";
    EMFILE = 24, "too many open files in this process";
    EFBIG = 27, "file too large";
    ENOSPC = 28, "no space left on device";
    ESPIPE = 29, "not seekable";
    EROFS = 30, "read-only file system";
    EMLINK = 31, "too many links";
    EPIPE = 32, "broken pipe";
    ERANGE = 34, "result too large";
    ENAMETOOLONG = 36, "file name too long";
    ENOSYS = 38, "no such system call";
    ENOTEMPTY = 39, "directory not empty";
    EPROTO = 71, "protocol error";
    EOVERFLOW = 75, "value too large";
    ENOTSOCK = 88, "not a socket";
    EDESTADDRREQ = 89, "destination address required";
    EMSGSIZE = 90, "message too long";
    EPROTOTYPE = 91, "wrong protocol type for socket";
    ENOPROTOOPT = 92, "protocol option not available";
    EPROTONOSUPPORT = 93, "protocol not supported";
    EOPNOTSUPP = 95, "operation not supported";
    EAFNOSUPPORT = 97, "address family not supported";
    EADDRINUSE = 98, "address already in use";
    EADDRNOTAVAIL = 99, "cannot assign requested address";
    ENETDOWN = 100, "network is down";
    ENETUNREACH = 101, "network is unreachable";
    ECONNABORTED = 103, "connection aborted";
    ECONNRESET = 104, "connection reset by peer";
    ENOBUFS = 105, "no buffer space available";
    EISCONN = 106, "already connected";
    ENOTCONN = 107, "not connected";
    ETIMEDOUT = 110, "timed out";
    ECONNREFUSED = 111, "connection refused";
    EHOSTUNREACH = 113, "no route to host";
    EALREADY = 114, "already in progress";
    EINPROGRESS = 115, "in progress";
    ESTALE = 116, "stale file handle";
    EDQUOT = 122, "quota exceeded";
}

impl Errno {
    /// The positive number.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// What the kernel puts into `rax` for this result.
    pub const fn to_raw(result: Result<usize, Errno>) -> isize {
        match result {
            Ok(value) => value as isize,
            Err(errno) => -(errno as i32 as isize),
        }
    }

    /// The meaning of `rax` after a system call. An error number this table lacks reads as EIO.
    pub const fn from_result(raw: isize) -> Result<usize, Errno> {
        if raw >= -4095 && raw < 0 {
            match Errno::from_number(-raw as i32) {
                Some(errno) => Err(errno),
                None => Err(Errno::EIO),
            }
        } else {
            Ok(raw as usize)
        }
    }
}

impl core::fmt::Display for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({})", self.text(), self.name())
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_way_through_rax() {
        for &errno in Errno::ALL {
            let raw = Errno::to_raw(Err(errno));
            assert_eq!(Errno::from_result(raw), Err(errno));
        }
        assert_eq!(Errno::from_result(0), Ok(0));
        assert_eq!(Errno::from_result(-4096), Ok(-4096isize as usize));
    }

    #[test]
    fn values_are_linux_values() {
        assert_eq!(Errno::ENOENT.number(), 2);
        assert_eq!(Errno::ENOSYS.number(), 38);
        assert_eq!(Errno::ECONNREFUSED.number(), 111);
    }
}
