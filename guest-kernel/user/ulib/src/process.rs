//! Processes: this one, children, and commands to run.

use crate::error::{Error, Result};
use crate::io::{AsFd, OwnedFd};
use crate::sys::{self, Fd};
use abi::Errno;
use alloc_crate::string::String;
use alloc_crate::vec::Vec;

/// Exit status of a child whose program could not be executed.
pub const EXIT_NO_PROGRAM: i32 = 127;

/// Ends this process.
pub fn exit(status: i32) -> ! {
    sys::exit(status)
}

/// Own process id.
pub fn id() -> i32 {
    sys::getpid()
}

/// A child process. Dropping it does not wait.
#[derive(Debug)]
pub struct Child {
    pid: i32,
}

impl Child {
    /// Its process id.
    pub fn id(&self) -> i32 {
        self.pid
    }

    /// Kills it.
    pub fn kill(&self) -> Result<()> {
        Ok(sys::kill(self.pid)?)
    }

    /// Waits for it; the status of other children that end before is lost, as with xv6's `wait`.
    pub fn wait(self) -> Result<i32> {
        loop {
            let (pid, status) = sys::wait()?;
            if pid == self.pid {
                return Ok(status);
            }
        }
    }
}

/// Clones this process and runs `child` in the copy, which ends with what it returns.
pub fn fork(child: impl FnOnce() -> i32) -> Result<Child> {
    match sys::fork()? {
        None => sys::exit(child()),
        Some(pid) => Ok(Child { pid }),
    }
}

/// Where a program of this name may be: as it is if it holds a slash, else in the root directory,
/// among the boot modules, and in the current directory.
pub fn places(program: &str) -> Vec<String> {
    if program.contains('/') {
        return alloc_crate::vec![String::from(program)];
    }
    ["/", "/boot/", ""]
        .iter()
        .map(|folder| alloc_crate::format!("{folder}{program}"))
        .collect()
}

/// Replaces this program, looking in all [`places`]; returns only on failure.
pub fn exec(program: &str, arguments: &[&str]) -> Errno {
    for place in places(program) {
        match sys::exec(&place, arguments) {
            Errno::ENOENT => continue,
            errno => return errno,
        }
    }
    Errno::ENOENT
}

/// A program to run as a child.
#[derive(Debug)]
pub struct Command {
    words: Vec<String>,
    redirections: Vec<(Fd, OwnedFd)>,
}

impl Command {
    /// Will run the program; see [`places`].
    pub fn new(program: &str) -> Self {
        Self {
            words: alloc_crate::vec![String::from(program)],
            redirections: Vec::new(),
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: &str) -> Self {
        self.words.push(String::from(argument));
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.words
            .extend(arguments.iter().map(|&argument| String::from(argument)));
        self
    }

    /// Standard input of the child.
    pub fn stdin(self, from: OwnedFd) -> Self {
        self.redirect(crate::io::STDIN, from)
    }

    /// Standard output of the child.
    pub fn stdout(self, to: OwnedFd) -> Self {
        self.redirect(crate::io::STDOUT, to)
    }

    /// Standard error of the child.
    pub fn stderr(self, to: OwnedFd) -> Self {
        self.redirect(crate::io::STDERR, to)
    }

    fn redirect(mut self, fd: Fd, to: OwnedFd) -> Self {
        self.redirections.push((fd, to));
        self
    }

    /// Starts it. A program that cannot be executed ends with [`EXIT_NO_PROGRAM`] and a message.
    pub fn spawn(self) -> Result<Child> {
        fork(|| {
            for (fd, to) in self.redirections {
                if replace(fd, to).is_err() {
                    return EXIT_NO_PROGRAM;
                }
            }
            let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
            let errno = exec(words[0], &words);
            crate::eprintln!("{}", Error::new(words[0], errno));
            EXIT_NO_PROGRAM
        })
    }

    /// Runs it to its end; the exit status.
    pub fn status(self) -> Result<i32> {
        self.spawn()?.wait()
    }

    /// Runs it to its end; what it wrote on standard output, and the exit status.
    pub fn output(self) -> Result<(Vec<u8>, i32)> {
        let (mut reader, writer) = crate::io::pipe()?;
        let child = self.stdout(writer).spawn()?;
        let mut bytes = Vec::new();
        crate::io::Read::read_to_end(&mut reader, &mut bytes)?;
        Ok((bytes, child.wait()?))
    }
}

/// Makes descriptor `fd` the open file `with`. `dup` takes the lowest free number, so all lower ones
/// must be open; they are in programs that `init` started.
pub fn replace(fd: Fd, with: OwnedFd) -> Result<()> {
    if with.fd() == fd {
        with.into_raw();
        return Ok(());
    }
    let _ = sys::close(fd);
    let got = with.try_clone()?;
    if got.fd() != fd {
        return Err(Error::new("descriptor", Errno::EBADF));
    }
    got.into_raw();
    Ok(())
}
