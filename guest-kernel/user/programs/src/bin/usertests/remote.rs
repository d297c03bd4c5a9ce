//! Files on the server, by the paths `server:/export/...`.

use crate::check::{Check, Named, Needs, Test, refused, same, with};
use crate::ensure;
use ulib::abi::OpenFlags;
use ulib::io::AsFd;
use ulib::prelude::*;

pub const TESTS: &[Test] = &[
    with(Needs::Server, "remotefile", remote_files),
    with(Needs::Server, "remotedir", remote_directories),
    with(Needs::Server, "remoterefused", what_remote_paths_refuse),
    with(Needs::Server, "remotebig", large_remote_file),
    with(Needs::Server, "remotebehind", writes_behind),
];

/// A folder below the export `home` that no other machine uses.
fn folder() -> Result<String> {
    let folder = format!("server:/home/utest{}", ulib::time::tsc().1);
    fs::create_dir(&folder)?;
    Ok(folder)
}

fn remote_files() -> Check {
    let folder = folder()?;
    let path = format!("{folder}/f");
    let mut file = fs::File::create(&path)?;
    file.write_all(b"0123456789")?;
    file.seek(4)?;
    file.write_all(b"xy")?;
    file.seek(0)?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    same("content", content.as_slice(), b"0123xy6789")?;
    file.set_len(5)?;
    same("size", file.metadata()?.size(), 5)?;
    file.sync_all()?;
    drop(file);
    fs::File::append(&path)?.write_all(b"END")?;
    same("after append", fs::read(&path)?.as_slice(), b"0123xEND")?;
    fs::remove_file(&path)?;
    fs::remove_file(&folder)
}

/// What is written is seen by others at once, and what goes wrong is said by fsync or close, once.
fn writes_behind() -> Check {
    let folder = folder()?;
    let path = format!("{folder}/f");
    let mut file = fs::File::create(&path)?;
    let mut other = fs::File::open(&path)?;
    let mut content = vec![0; 4000];
    for round in 0..50u8 {
        file.write_all(&[round; 4000])?;
        other.read_exact(&mut content)?;
        ensure!(
            content.iter().all(|byte| *byte == round),
            "round {round} is not seen by another descriptor"
        );
        same(
            "size",
            fs::metadata(&path)?.size(),
            4000 * (u64::from(round) + 1),
        )?;
    }
    file.sync_all()?;
    // Larger than any server lets a file become.
    file.seek(1 << 60)?;
    let tried = file.write_all(b"x");
    ensure!(tried.is_ok(), "a write at an offset waits for its answer");
    ensure!(file.sync_all().is_err(), "fsync hides an error");
    ensure!(file.sync_all().is_ok(), "an error is told twice");
    let tried = file.write_all(b"x");
    ensure!(tried.is_ok(), "an error is told after fsync has told it");
    ensure!(sys::close(file.into_raw()).is_err(), "close hides an error");
    same("size", fs::metadata(&path)?.size(), 200_000)?;
    fs::remove_file(&path)?;
    fs::remove_file(&folder)
}

fn remote_directories() -> Check {
    let folder = folder()?;
    for number in 0..50 {
        fs::write(&format!("{folder}/name{number}"), b"x")?;
    }
    same("names", fs::read_dir(&folder)?.len(), 50)?;
    fs::create_dir(&format!("{folder}/sub"))?;
    fs::rename(&format!("{folder}/name0"), &format!("{folder}/sub/renamed"))?;
    env::set_current_dir(&format!("{folder}/sub"))?;
    same("by a relative path", fs::read("renamed")?.as_slice(), b"x")?;
    fs::remove_file("renamed")?;
    env::set_current_dir("/")?;
    refused(
        "a full directory",
        sys::unlink(&folder),
        &[Errno::ENOTEMPTY],
    )?;
    fs::remove_file(&format!("{folder}/sub"))?;
    for number in 1..50 {
        fs::remove_file(&format!("{folder}/name{number}"))?;
    }
    fs::remove_file(&folder)?;
    let exports = fs::read_dir("server:/")?;
    ensure!(
        exports.iter().any(|entry| entry.name == "home"),
        "server:/ lists no export home"
    );
    Ok(())
}

fn what_remote_paths_refuse() -> Check {
    let folder = folder()?;
    let path = format!("{folder}/f");
    fs::write(&path, b"x")?;
    refused(
        "link across",
        sys::link("/echo", &format!("{folder}/echo")),
        &[Errno::EXDEV],
    )?;
    refused(
        "link on the server",
        sys::link(&path, &format!("{folder}/g")),
        &[Errno::EXDEV],
    )?;
    refused(
        "mknod",
        sys::mknod(&format!("{folder}/d"), 1, 0),
        &[Errno::EXDEV],
    )?;
    refused("rename across", sys::rename(&path, "/x"), &[Errno::EXDEV])?;
    let directory = fs::File::open(&folder).named("opening a directory")?;
    refused(
        "read of a directory",
        sys::read(directory.fd(), &mut [0]),
        &[Errno::EISDIR],
    )?;
    drop(directory);
    refused(
        "a file that is not there",
        fs::File::open(&format!("{folder}/n")),
        &[Errno::ENOENT],
    )?;
    refused(
        "an export that is not there",
        fs::File::open("server:/nowhere/x"),
        &[Errno::ENOENT],
    )?;
    let create = OpenFlags::CREATE | OpenFlags::WRONLY;
    let read_only = sys::open("server:/catalogue/x", create);
    refused(
        "writing to a read-only export",
        read_only,
        &[Errno::EROFS, Errno::EACCES],
    )?;
    let above = fs::File::open(&format!("{folder}/../../../../etc/passwd"));
    ensure!(above.is_err(), "a path left its export");
    fs::remove_file(&path)?;
    fs::remove_file(&folder)
}

fn large_remote_file() -> Check {
    const BYTES: usize = 3_000_000;
    let folder = folder()?;
    let path = format!("{folder}/big");
    let piece: Vec<u8> = (0..60_000).map(|index| (index % 249) as u8).collect();
    let mut file = fs::File::create(&path)?;
    for _ in 0..BYTES / piece.len() {
        file.write_all(&piece)?;
    }
    same("size", file.metadata()?.size(), BYTES as u64)?;
    file.seek(0)?;
    let mut read = vec![0; piece.len()];
    for _ in 0..BYTES / piece.len() {
        file.read_exact(&mut read)?;
        ensure!(read == piece, "a piece came back changed");
    }
    drop(file);
    fs::remove_file(&path)?;
    fs::remove_file(&folder)
}
