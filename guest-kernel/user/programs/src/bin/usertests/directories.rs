//! Directories and the way along a path.

use crate::check::{
    Check, Named, Test, child, child_succeeds, fails, file, name, quick, refused, same, slow,
};
use crate::ensure;
use core::time::Duration;
use ulib::abi::OpenFlags;
use ulib::prelude::*;

pub const TESTS: &[Test] = &[
    quick("openiput", directory_opened_for_writing_while_removed),
    quick("exitiput", exit_in_a_removed_directory),
    quick("iput", leaving_a_removed_directory),
    quick("dirtest", in_and_out),
    quick("subdir", paths_of_all_kinds),
    quick("fourteen", long_names_are_cut),
    quick("rmdot", dots_stay),
    quick("dirfile", a_file_is_no_directory),
    quick("iref", empty_names),
    slow("bigdir", directory_with_indirect_blocks),
];

fn leaving_a_removed_directory() -> Check {
    fs::create_dir("d")?;
    env::set_current_dir("d")?;
    fs::remove_file("../d")?;
    refused(
        "a file in a removed directory",
        fs::File::create("x"),
        &[Errno::ENOENT],
    )?;
    env::set_current_dir("/")
}

fn exit_in_a_removed_directory() -> Check {
    child_succeeds("the child", || {
        fs::create_dir("d")?;
        env::set_current_dir("d")?;
        fs::remove_file("../d")
    })
}

fn directory_opened_for_writing_while_removed() -> Check {
    fs::create_dir("d")?;
    let opener = child(|| {
        let result = fs::File::with_flags("d", OpenFlags::RDWR);
        refused(
            "opening for writing",
            result,
            &[Errno::EISDIR, Errno::ENOENT],
        )
    })?;
    ulib::thread::sleep(Duration::from_millis(100));
    fs::remove_file("d")?;
    same("the opener", opener.wait()?, 0)
}

fn in_and_out() -> Check {
    fs::create_dir("d")?;
    env::set_current_dir("d")?;
    env::set_current_dir("..")?;
    fs::remove_file("d")
}

fn paths_of_all_kinds() -> Check {
    let create = OpenFlags::CREATE | OpenFlags::RDWR;
    let here = crate::runner::SCRATCH;
    fs::create_dir("dd")?;
    file("dd/ff", b"ff")?;
    refused(
        "removing a full directory",
        sys::unlink("dd"),
        &[Errno::ENOTEMPTY],
    )?;
    fs::create_dir(&format!("{here}/dd/dd"))?;
    file("dd/dd/ff", b"FF")?;
    same("up and down", fs::read("dd/dd/../ff")?.as_slice(), b"ff")?;
    fs::hard_link("dd/dd/ff", "dd/dd/gg")?;
    fs::remove_file("dd/dd/ff")?;
    refused(
        "the removed name",
        fs::File::open("dd/dd/ff"),
        &[Errno::ENOENT],
    )?;
    for path in [
        "dd",
        "dd/../../dd",
        "./..",
        here,
        "dd//./dd/..",
        "../../../",
        here,
    ] {
        env::set_current_dir(path)?;
    }
    same(
        "by the second name",
        fs::read("dd/dd/gg")?.as_slice(),
        b"FF",
    )?;

    let not_dir = [Errno::ENOTDIR];
    let missing = [Errno::ENOENT];
    let exists = [Errno::EEXIST];
    let is_dir = [Errno::EISDIR];
    refused(
        "creating below a file",
        sys::open("dd/ff/ff", create),
        &not_dir,
    )?;
    refused(
        "creating below nothing",
        sys::open("dd/xx/ff", create),
        &missing,
    )?;
    refused(
        "creating a directory",
        sys::open("dd", OpenFlags::CREATE),
        &[Errno::EISDIR, Errno::EEXIST],
    )?;
    refused(
        "directory read-write",
        sys::open("dd", OpenFlags::RDWR),
        &is_dir,
    )?;
    refused(
        "directory write-only",
        sys::open("dd", OpenFlags::WRONLY),
        &is_dir,
    )?;
    refused(
        "link from below a file",
        sys::link("dd/ff/ff", "dd/dd/xx"),
        &not_dir,
    )?;
    refused(
        "link from below nothing",
        sys::link("dd/xx/ff", "dd/dd/xx"),
        &missing,
    )?;
    refused("link onto a name", sys::link("dd/ff", "dd/dd/gg"), &exists)?;
    refused("mkdir below a file", sys::mkdir("dd/ff/ff"), &not_dir)?;
    refused("mkdir below nothing", sys::mkdir("dd/xx/ff"), &missing)?;
    refused("mkdir onto a name", sys::mkdir("dd/dd/gg"), &exists)?;
    refused("unlink below nothing", sys::unlink("dd/xx/ff"), &missing)?;
    refused("unlink below a file", sys::unlink("dd/ff/ff"), &not_dir)?;
    refused("chdir to a file", sys::chdir("dd/ff"), &not_dir)?;
    refused("chdir to nothing", sys::chdir("dd/xx"), &missing)?;

    fs::remove_file("dd/dd/gg")?;
    fs::remove_file("dd/ff")?;
    refused(
        "removing a full directory",
        sys::unlink("dd"),
        &[Errno::ENOTEMPTY],
    )?;
    fs::remove_file("dd/dd")?;
    fs::remove_file("dd")
}

fn long_names_are_cut() -> Check {
    let (fits, long) = ("12345678901234", "123456789012345");
    fs::create_dir(fits)?;
    fs::create_dir(&format!("{fits}/{long}"))?;
    file(&format!("{long}/{long}/{long}"), b"")?;
    fs::File::open(&format!("{fits}/{fits}/{fits}")).named("by names that fit")?;
    let result = sys::mkdir(&format!("{fits}/{fits}"));
    refused(
        "mkdir of a name that is there, cut",
        result,
        &[Errno::EEXIST],
    )?;
    let result = sys::mkdir(&format!("{long}/{fits}"));
    refused("mkdir below a cut name", result, &[Errno::EEXIST])?;
    fs::remove_file(&format!("{fits}/{fits}/{fits}"))?;
    fs::remove_file(&format!("{long}/{long}"))?;
    fs::remove_file(long)
}

fn dots_stay() -> Check {
    fs::create_dir("dots")?;
    env::set_current_dir("dots")?;
    let refusals = [Errno::EINVAL, Errno::ENOTEMPTY, Errno::EBUSY];
    refused("unlink of .", sys::unlink("."), &refusals)?;
    refused("unlink of ..", sys::unlink(".."), &refusals)?;
    env::set_current_dir("..")?;
    refused("unlink of dots/.", sys::unlink("dots/."), &refusals)?;
    refused("unlink of dots/..", sys::unlink("dots/.."), &refusals)?;
    refused("unlink of /", sys::unlink("/"), &refusals)?;
    fs::remove_file("dots")
}

fn a_file_is_no_directory() -> Check {
    file("f", b"")?;
    let not_dir = [Errno::ENOTDIR];
    refused("chdir", sys::chdir("f"), &not_dir)?;
    refused("open", sys::open("f/x", OpenFlags::RDONLY), &not_dir)?;
    refused("create", sys::open("f/x", OpenFlags::CREATE), &not_dir)?;
    refused("mkdir", sys::mkdir("f/x"), &not_dir)?;
    refused("unlink", sys::unlink("f/x"), &not_dir)?;
    refused("link", sys::link("/echo", "f/x"), &not_dir)?;
    fs::remove_file("f")?;
    refused(
        "opening . read-write",
        sys::open(".", OpenFlags::RDWR),
        &[Errno::EISDIR],
    )?;
    let directory = fs::File::open(".")?;
    let fd = ulib::io::AsFd::fd(&directory);
    fails("writing to .", sys::write(fd, b"x"))
}

fn empty_names() -> Check {
    // One more directory than xv6 has inodes in memory: a reference lost per round shows.
    const ROUNDS: usize = 51;
    for _ in 0..ROUNDS {
        fs::create_dir("d")?;
        env::set_current_dir("d")?;
        fails("mkdir of an empty name", sys::mkdir(""))?;
        fails("link to an empty name", sys::link("/echo", ""))?;
        fails("creating an empty name", sys::open("", OpenFlags::CREATE))?;
        file("x", b"")?;
        fs::remove_file("x")?;
    }
    for _ in 0..ROUNDS {
        env::set_current_dir("..")?;
        fs::remove_file("d")?;
    }
    Ok(())
}

fn directory_with_indirect_blocks() -> Check {
    const LINKS: usize = 1000;
    file("b", b"")?;
    for number in 0..LINKS {
        fs::hard_link("b", &name('x', number)).named(&format!("link {number}"))?;
    }
    same("entries", fs::read_dir(".")?.len(), LINKS + 1)?;
    same(
        "links",
        usize::from(fs::metadata("b")?.0.nlink.unsigned_abs()),
        LINKS + 1,
    )?;
    fs::remove_file("b")?;
    for number in 0..LINKS {
        fs::remove_file(&name('x', number))?;
    }
    ensure!(fs::read_dir(".")?.is_empty(), "names are left");
    Ok(())
}
