// Generated from guest-kernel/abi by guest-kernel/user/ulib/tests/c_header.rs: do not edit.
#ifndef HVLAB_H
#define HVLAB_H

// The call that failed last; calls return -1 then.
extern int errno;

#define EPERM 1 // operation not permitted
#define ENOENT 2 // no such file or directory
#define ESRCH 3 // no such process
#define EINTR 4 // interrupted
#define EIO 5 // input/output error
#define ENXIO 6 // no such device or address
#define E2BIG 7 // argument list too long
#define ENOEXEC 8 // not an executable this kernel can load
#define EBADF 9 // bad file descriptor
#define ECHILD 10 // no child processes
#define EAGAIN 11 // resource temporarily unavailable
#define ENOMEM 12 // out of memory
#define EACCES 13 // permission denied
#define EFAULT 14 // bad address
#define EBUSY 16 // device or resource busy
#define EEXIST 17 // file exists
#define EXDEV 18 // link across file systems
#define ENODEV 19 // no such device
#define ENOTDIR 20 // not a directory
#define EISDIR 21 // is a directory
#define EINVAL 22 // invalid argument
#define ENFILE 23 // too many open files in the system
#define EMFILE 24 // too many open files in this process
#define EFBIG 27 // file too large
#define ENOSPC 28 // no space left on device
#define ESPIPE 29 // not seekable
#define EROFS 30 // read-only file system
#define EMLINK 31 // too many links
#define EPIPE 32 // broken pipe
#define ERANGE 34 // result too large
#define ENAMETOOLONG 36 // file name too long
#define ENOSYS 38 // no such system call
#define ENOTEMPTY 39 // directory not empty
#define EPROTO 71 // protocol error
#define EOVERFLOW 75 // value too large
#define ENOTSOCK 88 // not a socket
#define EDESTADDRREQ 89 // destination address required
#define EMSGSIZE 90 // message too long
#define EPROTOTYPE 91 // wrong protocol type for socket
#define ENOPROTOOPT 92 // protocol option not available
#define EPROTONOSUPPORT 93 // protocol not supported
#define EOPNOTSUPP 95 // operation not supported
#define EAFNOSUPPORT 97 // address family not supported
#define EADDRINUSE 98 // address already in use
#define EADDRNOTAVAIL 99 // cannot assign requested address
#define ENETDOWN 100 // network is down
#define ENETUNREACH 101 // network is unreachable
#define ECONNABORTED 103 // connection aborted
#define ECONNRESET 104 // connection reset by peer
#define ENOBUFS 105 // no buffer space available
#define EISCONN 106 // already connected
#define ENOTCONN 107 // not connected
#define ETIMEDOUT 110 // timed out
#define ECONNREFUSED 111 // connection refused
#define EHOSTUNREACH 113 // no route to host
#define EALREADY 114 // already in progress
#define EINPROGRESS 115 // in progress
#define ESTALE 116 // stale file handle
#define EDQUOT 122 // quota exceeded

#define O_RDONLY 0x0
#define O_WRONLY 0x1
#define O_RDWR 0x2
#define O_CREATE 0x200
#define O_TRUNC 0x400
#define O_APPEND 0x800
#define O_EXCL 0x1000
#define O_NONBLOCK 0x2000
#define T_DIR 1
#define T_FILE 2
#define T_DEVICE 3
#define T_SOCKET 4
#define T_PIPE 5
#define TTY_LINE 0
#define TTY_RAW 1
#define PATH_MAX 1023
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define IPPROTO_ICMP 1
#define IPPROTO_ICMPV6 58
#define MSG_DONTWAIT 64
#define MSG_PEEK 2
#define SHUT_RD 0
#define SHUT_WR 1
#define SHUT_RDWR 2
#define SO_KEEPALIVE_MS 1
#define SO_NODELAY 2
#define FD_SETSIZE 256
#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1
#define CLOCK_TSC 2
#define TICKS_PER_SECOND 10

struct stat {
  int dev;
  unsigned int ino;
  short type;
  short nlink;
  unsigned int pad;
  unsigned long size;
};
_Static_assert(sizeof(struct stat) == 24, "stat");
_Static_assert(__builtin_offsetof(struct stat, dev) == 0, "stat.dev");
_Static_assert(__builtin_offsetof(struct stat, ino) == 4, "stat.ino");
_Static_assert(__builtin_offsetof(struct stat, type) == 8, "stat.type");
_Static_assert(__builtin_offsetof(struct stat, nlink) == 10, "stat.nlink");
_Static_assert(__builtin_offsetof(struct stat, pad) == 12, "stat.pad");
_Static_assert(__builtin_offsetof(struct stat, size) == 16, "stat.size");

struct dirent {
  unsigned long ino;
  unsigned long size;
  short type;
  unsigned short name_len;
  unsigned int reserved;
  char name[256];
};
_Static_assert(sizeof(struct dirent) == 280, "dirent");
_Static_assert(__builtin_offsetof(struct dirent, ino) == 0, "dirent.ino");
_Static_assert(__builtin_offsetof(struct dirent, size) == 8, "dirent.size");
_Static_assert(__builtin_offsetof(struct dirent, type) == 16, "dirent.type");
_Static_assert(__builtin_offsetof(struct dirent, name_len) == 18, "dirent.name_len");
_Static_assert(__builtin_offsetof(struct dirent, reserved) == 20, "dirent.reserved");
_Static_assert(__builtin_offsetof(struct dirent, name) == 24, "dirent.name");

struct fd_set {
  unsigned long bits[4];
};
_Static_assert(sizeof(struct fd_set) == 32, "fd_set");
_Static_assert(__builtin_offsetof(struct fd_set, bits) == 0, "fd_set.bits");

struct timeval {
  long tv_sec;
  long tv_usec;
};
_Static_assert(sizeof(struct timeval) == 16, "timeval");
_Static_assert(__builtin_offsetof(struct timeval, tv_sec) == 0, "timeval.tv_sec");
_Static_assert(__builtin_offsetof(struct timeval, tv_usec) == 8, "timeval.tv_usec");

struct timespec {
  long tv_sec;
  long tv_nsec;
};
_Static_assert(sizeof(struct timespec) == 16, "timespec");
_Static_assert(__builtin_offsetof(struct timespec, tv_sec) == 0, "timespec.tv_sec");
_Static_assert(__builtin_offsetof(struct timespec, tv_nsec) == 8, "timespec.tv_nsec");

struct procinfo {
  unsigned int pid;
  unsigned int parent;
  unsigned char state;
  unsigned char kernel;
  unsigned short cpu;
  unsigned int pages;
  unsigned long cpu_ns;
  char name[32];
  unsigned long reserved;
};
_Static_assert(sizeof(struct procinfo) == 64, "procinfo");
_Static_assert(__builtin_offsetof(struct procinfo, pid) == 0, "procinfo.pid");
_Static_assert(__builtin_offsetof(struct procinfo, parent) == 4, "procinfo.parent");
_Static_assert(__builtin_offsetof(struct procinfo, state) == 8, "procinfo.state");
_Static_assert(__builtin_offsetof(struct procinfo, kernel) == 9, "procinfo.kernel");
_Static_assert(__builtin_offsetof(struct procinfo, cpu) == 10, "procinfo.cpu");
_Static_assert(__builtin_offsetof(struct procinfo, pages) == 12, "procinfo.pages");
_Static_assert(__builtin_offsetof(struct procinfo, cpu_ns) == 16, "procinfo.cpu_ns");
_Static_assert(__builtin_offsetof(struct procinfo, name) == 24, "procinfo.name");
_Static_assert(__builtin_offsetof(struct procinfo, reserved) == 56, "procinfo.reserved");

struct meminfo {
  unsigned long total_pages;
  unsigned long free_pages;
  unsigned long heap_used;
  unsigned long heap_size;
  unsigned long open_files;
  unsigned long processes;
  unsigned long cpus;
  unsigned long failed_allocations;
};
_Static_assert(sizeof(struct meminfo) == 64, "meminfo");
_Static_assert(__builtin_offsetof(struct meminfo, total_pages) == 0, "meminfo.total_pages");
_Static_assert(__builtin_offsetof(struct meminfo, free_pages) == 8, "meminfo.free_pages");
_Static_assert(__builtin_offsetof(struct meminfo, heap_used) == 16, "meminfo.heap_used");
_Static_assert(__builtin_offsetof(struct meminfo, heap_size) == 24, "meminfo.heap_size");
_Static_assert(__builtin_offsetof(struct meminfo, open_files) == 32, "meminfo.open_files");
_Static_assert(__builtin_offsetof(struct meminfo, processes) == 40, "meminfo.processes");
_Static_assert(__builtin_offsetof(struct meminfo, cpus) == 48, "meminfo.cpus");
_Static_assert(__builtin_offsetof(struct meminfo, failed_allocations) == 56, "meminfo.failed_allocations");

typedef struct fd_set fd_set;
#define FD_SET(fd, set) ((set)->bits[(fd) / 64] |= 1UL << ((fd) % 64))
#define FD_ISSET(fd, set) (((set)->bits[(fd) / 64] >> ((fd) % 64)) & 1)

int fork(void); // 1
int exit(int status) __attribute__((noreturn)); // 2
int wait(int *status); // 3
int pipe(int *fds); // 4
int read(int fd, void *buf, int n); // 5
int kill(int pid); // 6
int exec(const char *path, char **argv); // 7
int fstat(int fd, struct stat *st); // 8
int chdir(const char *path); // 9
int dup(int fd); // 10
int getpid(void); // 11
char *sbrk(int n); // 12
int sleep(int ticks); // 13
int uptime(void); // 14
int open(const char *path, int mode); // 15
int write(int fd, const void *buf, int n); // 16
int mknod(const char *path, short major, short minor); // 17
int unlink(const char *path); // 18
int link(const char *old_path, const char *new_path); // 19
int mkdir(const char *path); // 20
int close(int fd); // 21
int socket(int family, int type, int protocol); // 22
int bind(int fd, const void *addr, int port, int addrlen); // 23
int listen(int fd); // 24
int connect(int fd, const void *addr, int port, int addrlen); // 25
int accept(int fd, void *addr, int *port, int addrlen); // 26
int select(int max, fd_set *readfds, fd_set *writefds, fd_set *exceptfds, struct timeval *timeout); // 27
int send(int fd, const void *buf, int len, int flags); // 28
int recv(int fd, void *buf, int len, int flags); // 29
long seek(int fd, long offset); // 30
int sendto(int fd, const void *buf, int len, int flags, const void *addr, int port); // 31
int recvfrom(int fd, void *buf, int len, int flags, void *addr, int *port); // 32
int getsockname(int fd, void *addr, int *port, int addrlen); // 33
int getpeername(int fd, void *addr, int *port, int addrlen); // 34
int shutdown(int fd, int how); // 35
int netinfo(int what, void *buf, int len); // 36
int resolve(const char *name, void *addrs, int len); // 37
int setsockopt(int fd, int option, long value); // 38
int rename(const char *old_path, const char *new_path); // 50
int readdir(int fd, struct dirent *entries, int count); // 51
int ftruncate(int fd, long length); // 52
int fsync(int fd); // 53
long probe(int op, const void *request, unsigned long request_len, void *response, unsigned long response_len); // 70
long tracectl(int op, unsigned long argument, void *out); // 71
int traceevent(const void *payload, unsigned long len); // 72
int gettime(int clock, struct timespec *time); // 80
int ps(struct procinfo *list, int count); // 81
int meminfo(struct meminfo *info); // 82
int getconf(const char *key, char *value, int len); // 83
int ttymode(int fd, int mode); // 84
int klog(char *buf, int len, unsigned long offset); // 85
int poweroff(int status); // 86
int yield_(void); // 87

#endif
