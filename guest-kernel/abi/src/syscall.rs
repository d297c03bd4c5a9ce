//! The system call table. Numbers 1 to 21 are xv6-riscv's; 22 to 30 the seed paper's; the rest ours.
//!
//! The number goes into `rax`, arguments into `rdi`, `rsi`, `rdx`, `r10`, `r8`, `r9`; `syscall`
//! clobbers `rcx` and `r11`; the result is in `rax` (see [`crate::Errno::from_result`]).

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscall {
    /// What goes into `rax`.
    pub number: usize,
    /// Name, as in C.
    pub name: &'static str,
    /// Number of arguments, 0 to 6.
    pub arguments: usize,
    /// Prototype for the C header.
    pub prototype: &'static str,
}

/// Hands the table to another macro: `abi::with_syscalls!(callback)` expands to
/// `callback! { 1 fork(0) "int fork(void)"; ... }`.
#[macro_export]
macro_rules! with_syscalls {
    ($callback:ident) => {
        $callback! {
            1 fork(0) "int fork(void)";
            2 exit(1) "int exit(int status)";
            3 wait(1) "int wait(int *status)";
            4 pipe(1) "int pipe(int *fds)";
            5 read(3) "int read(int fd, void *buf, int n)";
            6 kill(1) "int kill(int pid)";
            7 exec(2) "int exec(const char *path, char **argv)";
            8 fstat(2) "int fstat(int fd, struct stat *st)";
            9 chdir(1) "int chdir(const char *path)";
            10 dup(1) "int dup(int fd)";
            11 getpid(0) "int getpid(void)";
            12 sbrk(1) "char *sbrk(int n)";
            13 sleep(1) "int sleep(int ticks)";
            14 uptime(0) "int uptime(void)";
            15 open(2) "int open(const char *path, int mode)";
            16 write(3) "int write(int fd, const void *buf, int n)";
            17 mknod(3) "int mknod(const char *path, short major, short minor)";
            18 unlink(1) "int unlink(const char *path)";
            19 link(2) "int link(const char *old_path, const char *new_path)";
            20 mkdir(1) "int mkdir(const char *path)";
            21 close(1) "int close(int fd)";
            22 socket(3) "int socket(int family, int type, int protocol)";
            23 bind(4) "int bind(int fd, const void *addr, int port, int addrlen)";
            24 listen(1) "int listen(int fd)";
            25 connect(4) "int connect(int fd, const void *addr, int port, int addrlen)";
            26 accept(4) "int accept(int fd, void *addr, int *port, int addrlen)";
            27 select(5) "int select(int max, fd_set *readfds, fd_set *writefds, fd_set *exceptfds, struct timeval *timeout)";
            28 send(4) "int send(int fd, const void *buf, int len, int flags)";
            29 recv(4) "int recv(int fd, void *buf, int len, int flags)";
            30 seek(2) "long seek(int fd, long offset)";
            31 sendto(6) "int sendto(int fd, const void *buf, int len, int flags, const void *addr, int port)";
            32 recvfrom(6) "int recvfrom(int fd, void *buf, int len, int flags, void *addr, int *port)";
            33 getsockname(4) "int getsockname(int fd, void *addr, int *port, int addrlen)";
            34 getpeername(4) "int getpeername(int fd, void *addr, int *port, int addrlen)";
            35 shutdown(2) "int shutdown(int fd, int how)";
            36 netinfo(3) "int netinfo(int what, void *buf, int len)";
            37 resolve(3) "int resolve(const char *name, void *addrs, int len)";
            38 setsockopt(3) "int setsockopt(int fd, int option, long value)";
            50 rename(2) "int rename(const char *old_path, const char *new_path)";
            51 readdir(3) "int readdir(int fd, struct dirent *entries, int count)";
            52 ftruncate(2) "int ftruncate(int fd, long length)";
            53 fsync(1) "int fsync(int fd)";
            70 probe(5) "long probe(int op, const void *request, unsigned long request_len, void *response, unsigned long response_len)";
            71 tracectl(3) "long tracectl(int op, unsigned long argument, void *out)";
            72 traceevent(2) "int traceevent(const void *payload, unsigned long len)";
            80 gettime(2) "int gettime(int clock, struct timespec *time)";
            81 ps(2) "int ps(struct procinfo *list, int count)";
            82 meminfo(1) "int meminfo(struct meminfo *info)";
            83 getconf(3) "int getconf(const char *key, char *value, int len)";
            84 ttymode(2) "int ttymode(int fd, int mode)";
            85 klog(3) "int klog(char *buf, int len, unsigned long offset)";
            86 poweroff(1) "int poweroff(int status)";
            87 yield_(0) "int yield_(void)";
        }
    };
}

macro_rules! table {
    ($($number:literal $name:ident($arguments:literal) $prototype:literal;)*) => {
        /// All calls, ascending by number.
        pub const TABLE: &[Syscall] = &[$(Syscall {
            number: $number,
            name: stringify!($name),
            arguments: $arguments,
            prototype: $prototype,
        },)*];

        /// Numbers as constants, for example `number::fork`.
        #[expect(non_upper_case_globals, reason = "a constant has the name of its call")]
        pub mod number {
            $(#[doc = $prototype] pub const $name: usize = $number;)*
        }
    };
}

with_syscalls!(table);

/// The row with this number.
pub fn by_number(number: usize) -> Option<&'static Syscall> {
    TABLE.iter().find(|call| call.number == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_prototypes_name_their_call() {
        assert!(TABLE.windows(2).all(|pair| pair[0].number < pair[1].number));
        for call in TABLE {
            let (head, arguments) = call
                .prototype
                .split_once('(')
                .expect("a prototype has a parenthesis");
            assert!(head.ends_with(call.name), "{}", call.prototype);
            let count = if arguments == "void)" {
                0
            } else {
                arguments.split(',').count()
            };
            assert_eq!(count, call.arguments, "{}", call.prototype);
        }
    }

    #[test]
    fn xv6_and_paper_numbers_are_pinned() {
        let pinned = [
            (1, "fork"),
            (7, "exec"),
            (12, "sbrk"),
            (15, "open"),
            (21, "close"),
            (22, "socket"),
            (26, "accept"),
            (27, "select"),
            (30, "seek"),
        ];
        for (number, name) in pinned {
            assert_eq!(by_number(number).map(|call| call.name), Some(name));
        }
    }
}
