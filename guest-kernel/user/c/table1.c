// table1: the fifteen calls of the seed paper's table 1, with its prototypes, on local files, remote
// files and sockets, results and errors. Prints one line for each check; the status is the number of
// failures.

#include <hvlab.h>

static int failures;

static int
length(const char *text)
{
  int n = 0;
  while (text[n])
    n++;
  return n;
}

static void
print(const char *text)
{
  write(1, text, length(text));
}

static void
print_number(long number)
{
  char digits[24];
  int at = sizeof(digits) - 1;
  int negative = number < 0;

  digits[at] = 0;
  if (negative)
    number = -number;
  do {
    digits[--at] = '0' + number % 10;
    number /= 10;
  } while (number);
  if (negative)
    digits[--at] = '-';
  print(digits + at);
}

// Wants `got`, a call's result, to be `wanted`.
static void
result(const char *place, const char *what, long got, long wanted)
{
  print(got == wanted ? "PASS " : "FAIL ");
  print(place);
  print(" ");
  print(what);
  if (got != wanted) {
    failures++;
    print(": got ");
    print_number(got);
    print(", wanted ");
    print_number(wanted);
    print(", errno ");
    print_number(errno);
  }
  print("\n");
}

// Wants a call to have failed with this error.
static void
error(const char *place, const char *what, long got, int wanted)
{
  if (got == -1 && errno != wanted)
    got = -errno;
  result(place, what, got == -1 ? -wanted : got, -wanted);
}

// folder + "/" + name.
static const char *
path(const char *folder, const char *name)
{
  static char paths[4][128];
  static int next;
  char *to = paths[next++ % 4];
  char *start = to;

  while (*folder)
    *to++ = *folder++;
  *to++ = '/';
  while ((*to++ = *name++))
    ;
  return start;
}

static int
same(const char *a, const char *b, int n)
{
  while (n-- > 0)
    if (*a++ != *b++)
      return 0;
  return 1;
}

// open, read, write, close, seek, mkdir, unlink, select below a folder of either kind.
static void
files(const char *place, const char *folder)
{
  char buffer[32];
  fd_set readable = {{0}}, writable = {{0}};
  struct timeval at_once = {0, 0};
  int fd;

  error(place, "open of nothing", open(path(folder, "missing/x"), O_RDONLY), ENOENT);
  result(place, "mkdir", mkdir(folder), 0);
  error(place, "mkdir again", mkdir(folder), EEXIST);

  fd = open(path(folder, "f"), O_CREATE | O_RDWR);
  result(place, "open creates", fd >= 0, 1);
  result(place, "write", write(fd, "0123456789", 10), 10);
  result(place, "seek", seek(fd, 4), 4);
  result(place, "read after seek", read(fd, buffer, 3), 3);
  result(place, "what was read", same(buffer, "456", 3), 1);
  result(place, "seek to the start", seek(fd, 0), 0);
  result(place, "read all", read(fd, buffer, sizeof(buffer)), 10);
  result(place, "read at the end", read(fd, buffer, sizeof(buffer)), 0);
  error(place, "seek to -1", seek(fd, -1), EINVAL);
  FD_SET(fd, &readable);
  FD_SET(fd, &writable);
  result(place, "select", select(fd + 1, &readable, &writable, 0, &at_once), 2);
  error(place, "send on a file", send(fd, "x", 1, 0), ENOTSOCK);
  error(place, "recv on a file", recv(fd, buffer, 1, 0), ENOTSOCK);
  error(place, "bind of a file", bind(fd, "\0\0\0\0", 0, 4), ENOTSOCK);
  result(place, "close", close(fd), 0);
  error(place, "close again", close(fd), EBADF);
  error(place, "read when closed", read(fd, buffer, 1), EBADF);

  fd = open(path(folder, "f"), O_RDONLY);
  error(place, "write when read-only", write(fd, "x", 1), EBADF);
  result(place, "close", close(fd), 0);

  error(place, "unlink of a full directory", unlink(folder), ENOTEMPTY);
  error(place, "open of a directory for writing", open(folder, O_WRONLY), EISDIR);
  result(place, "unlink of the file", unlink(path(folder, "f")), 0);
  error(place, "unlink again", unlink(path(folder, "f")), ENOENT);
  result(place, "unlink of the directory", unlink(folder), 0);
}

static const char loopback[4] = {127, 0, 0, 1};

// The client's half; runs in a child.
static void
client(int port)
{
  char buffer[32];
  int fd = socket(AF_INET, SOCK_STREAM, 0);

  result("client", "connect", connect(fd, loopback, port, 4), 0);
  error("client", "connect again", connect(fd, loopback, port, 4), EISCONN);
  result("client", "send", send(fd, "hello", 5, 0), 5);
  result("client", "read", read(fd, buffer, sizeof(buffer)), 5);
  result("client", "what was read", same(buffer, "world", 5), 1);
  result("client", "read at the end", read(fd, buffer, sizeof(buffer)), 0);
  result("client", "close", close(fd), 0);
  exit(failures);
}

// socket, bind, listen, accept, connect, select, send, recv, read, write, close.
static void
sockets(void)
{
  const char *place = "socket";
  char buffer[32], address[4] = {0};
  fd_set readable = {{0}};
  struct timeval seconds = {10, 0};
  struct timeval at_once = {0, 0};
  int server, connection, port = 0, child, status = 0;

  error(place, "of family 77", socket(77, SOCK_STREAM, 0), EAFNOSUPPORT);
  server = socket(AF_INET, SOCK_STREAM, 0);
  result(place, "socket", server >= 0, 1);
  error(place, "accept before listen", accept(server, address, &port, 4), EINVAL);
  result(place, "bind", bind(server, loopback, 7101, 4), 0);
  result(place, "listen", listen(server), 0);
  error(place, "seek", seek(server, 0), ESPIPE);
  error(place, "connect of a listener to itself", connect(socket(AF_INET, SOCK_STREAM, 0), loopback, 7102, 4),
        ECONNREFUSED);
  FD_SET(server, &readable);
  result(place, "select without a client", select(server + 1, &readable, 0, 0, &at_once), 0);

  child = fork();
  if (child == 0)
    client(7101);
  FD_SET(server, &readable);
  result(place, "select with a client", select(server + 1, &readable, 0, 0, &seconds), 1);
  result(place, "its bit", FD_ISSET(server, &readable), 1);
  connection = accept(server, address, &port, 4);
  result(place, "accept", connection >= 0, 1);
  result(place, "the client's address", same(address, loopback, 4), 1);
  result(place, "the client's port", port > 0, 1);
  result(place, "recv with MSG_PEEK", recv(connection, buffer, sizeof(buffer), MSG_PEEK), 5);
  result(place, "recv", recv(connection, buffer, sizeof(buffer), 0), 5);
  result(place, "what was received", same(buffer, "hello", 5), 1);
  error(place, "recv with MSG_DONTWAIT", recv(connection, buffer, 1, MSG_DONTWAIT), EAGAIN);
  result(place, "write", write(connection, "world", 5), 5);
  result(place, "close of the connection", close(connection), 0);
  result(place, "close of the listener", close(server), 0);
  result(place, "wait for the client", wait(&status), child);
  result(place, "the client's failures", status, 0);
  error(place, "send when closed", send(connection, "x", 1, 0), EBADF);
}

int
main(int argc, char **argv)
{
  char server[64];

  if (argc > 1 && same(argv[1], "-h", 3)) {
    print("usage: table1\nExercise the calls of the seed paper's table 1 on files, remote files and sockets.\n");
    return 0;
  }
  files("local", "/table1.d");
  if (getconf("server", server, sizeof(server)) > 0)
    files("remote", "server:/home/table1.d");
  else
    print("SKIP remote: no server in the settings\n");
  sockets();
  print_number(failures);
  print(" failures\n");
  return failures;
}
