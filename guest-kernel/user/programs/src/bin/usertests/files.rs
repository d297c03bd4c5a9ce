//! Reading and writing local files, and their names.

use crate::check::{
    Check, Named, Test, child, child_succeeds, fails, file, name, quick, refused, same, slow,
};
use crate::ensure;
use ulib::abi::OpenFlags;
use ulib::io::AsFd;
use ulib::prelude::*;

pub const TESTS: &[Test] = &[
    quick("truncate1", truncation_is_seen_by_all),
    quick("truncate2", write_behind_the_end),
    quick("truncate3", truncation_while_others_write),
    quick("opentest", open_what_exists),
    quick("writetest", small_pieces),
    quick("writebig", largest_file),
    quick("createtest", many_creations),
    quick("sharedfd", two_writers_one_descriptor),
    quick("fourfiles", four_writers_four_files),
    quick("createdelete", four_creators_one_directory),
    quick("unlinkread", unlinked_file_lives_on),
    quick("linktest", second_names),
    quick("concreate", creations_and_links_at_once),
    quick("linkunlink", links_and_removals_at_once),
    quick("bigwrite", writes_larger_than_the_log),
    quick("bigfile", odd_pieces_come_back),
    slow("manywrites", many_writers),
    slow("diskfull", no_blocks_left),
    slow("outofinodes", no_inodes_left),
];

/// Bytes in a block.
const BLOCK: usize = 1024;
/// Blocks in the largest file.
const FILE_BLOCKS: usize = 12 + 256;

fn truncation_is_seen_by_all() -> Check {
    file("t", b"abcd")?;
    let mut buffer = [0; 32];
    let second = fs::File::open("t")?;
    same("before", sys::read(second.fd(), &mut buffer), Ok(4))?;
    let mut first = fs::File::with_flags("t", OpenFlags::WRONLY | OpenFlags::TRUNC)?;
    let third = fs::File::open("t")?;
    same(
        "new descriptor, empty file",
        sys::read(third.fd(), &mut buffer),
        Ok(0),
    )?;
    same(
        "old descriptor, empty file",
        sys::read(second.fd(), &mut buffer),
        Ok(0),
    )?;
    first.write_all(b"abcdef")?;
    same("new descriptor", sys::read(third.fd(), &mut buffer), Ok(6))?;
    same(
        "old descriptor, from its offset",
        sys::read(second.fd(), &mut buffer),
        Ok(2),
    )?;
    fs::remove_file("t")
}

fn write_behind_the_end() -> Check {
    let mut first = fs::File::create("t")?;
    first.write_all(b"abcd")?;
    let second = fs::File::with_flags("t", OpenFlags::WRONLY | OpenFlags::TRUNC)?;
    fails(
        "a write 4 bytes behind the end",
        sys::write(first.fd(), b"x"),
    )?;
    same("size", second.metadata()?.size(), 0)?;
    fs::remove_file("t")
}

fn truncation_while_others_write() -> Check {
    file("t", b"")?;
    let writer = child(|| {
        for _ in 0..100 {
            let file = fs::File::with_flags("t", OpenFlags::WRONLY)?;
            same("write", sys::write(file.fd(), b"1234567890"), Ok(10))?;
            sys::read(fs::File::open("t")?.fd(), &mut [0; 32])?;
        }
        Ok(())
    })?;
    for _ in 0..150 {
        let file = fs::File::with_flags(
            "t",
            OpenFlags::WRONLY | OpenFlags::CREATE | OpenFlags::TRUNC,
        )?;
        same("write", sys::write(file.fd(), b"xxx"), Ok(3))?;
    }
    same("the other writer", writer.wait()?, 0)?;
    fs::remove_file("t")
}

fn open_what_exists() -> Check {
    fs::File::open("/echo")?;
    refused(
        "open of nothing",
        fs::File::open("missing"),
        &[Errno::ENOENT],
    )?;
    let file = fs::File::with_flags("/echo", OpenFlags::WRONLY)?;
    refused(
        "reading a write-only file",
        sys::read(file.fd(), &mut [0]),
        &[Errno::EBADF],
    )?;
    let file = fs::File::open("/echo")?;
    refused(
        "writing a read-only file",
        sys::write(file.fd(), b"x"),
        &[Errno::EBADF],
    )
}

fn small_pieces() -> Check {
    let mut file = fs::File::create("small")?;
    for _ in 0..100 {
        file.write_all(b"aaaaaaaaaa")?;
        file.write_all(b"bbbbbbbbbb")?;
    }
    drop(file);
    let content = fs::read("small")?;
    same("size", content.len(), 2000)?;
    ensure!(
        content
            .chunks(20)
            .all(|piece| piece == b"aaaaaaaaaabbbbbbbbbb"),
        "wrong content"
    );
    fs::remove_file("small")
}

fn numbered_block(number: usize) -> [u8; BLOCK] {
    let mut block = [number as u8; BLOCK];
    block[..4].copy_from_slice(&(number as u32).to_le_bytes());
    block
}

fn largest_file() -> Check {
    let mut file = fs::File::create("big")?;
    for number in 0..FILE_BLOCKS {
        file.write_all(&numbered_block(number))
            .named(&format!("block {number}"))?;
    }
    refused(
        "one block more",
        sys::write(file.fd(), &[0; BLOCK]),
        &[Errno::EFBIG],
    )?;
    same(
        "size",
        file.metadata()?.size(),
        (FILE_BLOCKS * BLOCK) as u64,
    )?;
    drop(file);
    let mut file = fs::File::open("big")?;
    let mut block = [0; BLOCK];
    for number in 0..FILE_BLOCKS {
        file.read_exact(&mut block)
            .named(&format!("block {number}"))?;
        ensure!(
            block == numbered_block(number),
            "block {number} has wrong content"
        );
    }
    same("the end", file.read(&mut block)?, 0)?;
    fs::remove_file("big")
}

fn many_creations() -> Check {
    for number in 0..52 {
        file(&name('a', number), b"")?;
    }
    same("entries", fs::read_dir(".")?.len(), 52)?;
    (0..52).try_for_each(|number| fs::remove_file(&name('a', number)))
}

fn two_writers_one_descriptor() -> Check {
    const ROUNDS: usize = 1000;
    let mut file = fs::File::create("s")?;
    let fd = file.fd();
    let other = child(|| {
        for _ in 0..ROUNDS {
            same("write", sys::write(fd, b"cccccccccc"), Ok(10))?;
        }
        Ok(())
    })?;
    for _ in 0..ROUNDS {
        file.write_all(b"pppppppppp")?;
    }
    same("the other writer", other.wait()?, 0)?;
    drop(file);
    let content = fs::read("s")?;
    let count = |letter| content.iter().filter(|&&byte| byte == letter).count();
    same(
        "bytes of both",
        (count(b'c'), count(b'p')),
        (ROUNDS * 10, ROUNDS * 10),
    )?;
    fs::remove_file("s")
}

fn four_writers_four_files() -> Check {
    let content = |index: usize| vec![b'0' + index as u8; 12 * 500];
    for index in 0..4 {
        child(|| {
            let mut file = fs::File::create(&name('f', index))?;
            content(index)
                .chunks(500)
                .try_for_each(|piece| file.write_all(piece))
        })?;
    }
    for _ in 0..4 {
        same("status of a writer", sys::wait()?.1, 0)?;
    }
    for index in 0..4 {
        let name = name('f', index);
        ensure!(
            fs::read(&name)? == content(index),
            "{name} has wrong content"
        );
        fs::remove_file(&name)?;
    }
    Ok(())
}

fn four_creators_one_directory() -> Check {
    const FILES: usize = 20;
    let letters = ['p', 'q', 'r', 's'];
    for letter in letters {
        child(|| {
            for number in 0..FILES {
                file(&name(letter, number), b"")?;
                if number > 0 && number % 2 == 0 {
                    fs::remove_file(&name(letter, number / 2))?;
                }
            }
            Ok(())
        })?;
    }
    for _ in letters {
        same("status of a creator", sys::wait()?.1, 0)?;
    }
    for letter in letters {
        for number in 0..FILES {
            let name = name(letter, number);
            let wanted = number == 0 || number >= FILES / 2;
            same(&name, fs::metadata(&name).is_ok(), wanted)?;
            if wanted {
                fs::remove_file(&name)?;
            }
        }
    }
    Ok(())
}

fn unlinked_file_lives_on() -> Check {
    file("u", b"hello")?;
    let mut old = fs::File::with_flags("u", OpenFlags::RDWR)?;
    fs::remove_file("u")?;
    same("links", old.metadata()?.0.nlink, 0)?;
    file("u", b"yyy")?;
    let mut buffer = [0; 16];
    same("old content", sys::read(old.fd(), &mut buffer), Ok(5))?;
    same("old bytes", &buffer[..5], b"hello")?;
    old.write_all(&[0; 10]).named("writing to the old file")?;
    same("new content", fs::read("u")?.as_slice(), b"yyy")?;
    fs::remove_file("u")
}

fn second_names() -> Check {
    file("l1", b"hello")?;
    fs::hard_link("l1", "l2")?;
    same("links", fs::metadata("l1")?.0.nlink, 2)?;
    same(
        "inodes",
        fs::metadata("l1")?.0.ino,
        fs::metadata("l2")?.0.ino,
    )?;
    fs::remove_file("l1")?;
    refused(
        "open of the removed name",
        fs::File::open("l1"),
        &[Errno::ENOENT],
    )?;
    same(
        "content by the second name",
        fs::read("l2")?.as_slice(),
        b"hello",
    )?;
    refused("link to itself", sys::link("l2", "l2"), &[Errno::EEXIST])?;
    fs::remove_file("l2")?;
    refused("link of nothing", sys::link("l2", "l1"), &[Errno::ENOENT])?;
    refused(
        "link of a directory",
        sys::link(".", "l1"),
        &[Errno::EPERM, Errno::EISDIR],
    )
}

fn creations_and_links_at_once() -> Check {
    const FILES: usize = 40;
    for number in 0..FILES {
        let name = name('C', number);
        let make = |link: bool| -> Check {
            if link {
                // The other process may have been first.
                let _ = sys::link("C0", &name);
            } else {
                let flags = OpenFlags::CREATE | OpenFlags::RDWR;
                drop(fs::File::with_flags(&name, flags).named("creating")?);
            }
            Ok(())
        };
        let other = child(|| make(number % 5 == 1))?;
        make(number % 3 == 1)?;
        same("the other process", other.wait()?, 0)?;
    }
    let mut names: Vec<String> = fs::read_dir(".")?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    same("names", names.len(), FILES)?;
    names.dedup();
    same("different names", names.len(), FILES)?;
    for number in 0..FILES {
        let name = name('C', number);
        let disturb = |open: bool| {
            for _ in 0..6 {
                match open {
                    true => drop(fs::File::open(&name)),
                    false => drop(fs::remove_file(&name)),
                }
            }
        };
        let other = child(|| {
            disturb(number % 3 == 0);
            Ok(())
        })?;
        disturb(number % 3 == 1);
        same("the other process", other.wait()?, 0)?;
    }
    // One of the two removed each file unless both only opened it, which no number does.
    same("names left", fs::read_dir(".")?.len(), 0)
}

fn links_and_removals_at_once() -> Check {
    file("cat", b"meow")?;
    let disturb = |mut state: u32| -> Check {
        for _ in 0..100 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let flags = OpenFlags::RDWR | OpenFlags::CREATE;
            match (state >> 16) % 3 {
                0 => drop(fs::File::with_flags("x", flags)),
                1 => drop(fs::hard_link("cat", "x")),
                _ => drop(fs::remove_file("x")),
            }
        }
        Ok(())
    };
    let other = child(|| disturb(97))?;
    disturb(1)?;
    same("the other process", other.wait()?, 0)?;
    let _ = fs::remove_file("x");
    same("links of cat", fs::metadata("cat")?.0.nlink, 1)?;
    fs::remove_file("cat")
}

fn writes_larger_than_the_log() -> Check {
    const LARGEST: usize = 12 * BLOCK;
    let bytes: Vec<u8> = (0..LARGEST).map(|index| (index / 7) as u8).collect();
    for size in (499..LARGEST).step_by(471) {
        let mut file = fs::File::create("b")?;
        for _ in 0..2 {
            same("one write", file.write(&bytes[..size])?, size)?;
        }
        drop(file);
        let content = fs::read("b")?;
        ensure!(
            content == [&bytes[..size]; 2].concat(),
            "two writes of {size} bytes"
        );
        fs::remove_file("b")?;
    }
    Ok(())
}

fn odd_pieces_come_back() -> Check {
    let mut file = fs::File::create("big.dat")?;
    for number in 0..20u8 {
        file.write_all(&[number; 600])?;
    }
    drop(file);
    let mut file = fs::File::open("big.dat")?;
    let mut piece = [0; 300];
    for number in 0..40u8 {
        same("a half piece", file.read(&mut piece)?, 300)?;
        ensure!(
            piece == [number / 2; 300],
            "half piece {number} has wrong content"
        );
    }
    same("the end", file.read(&mut piece)?, 0)?;
    fs::remove_file("big.dat")
}

fn many_writers() -> Check {
    let bytes = vec![0x5a; 12 * BLOCK];
    for index in 0..4 {
        child(|| {
            let name = name('b', index);
            for _ in 0..30 {
                for _ in 0..=index {
                    let mut file = fs::File::create(&name)?;
                    same("one write", file.write(&bytes)?, bytes.len())?;
                }
                fs::remove_file(&name)?;
            }
            Ok(())
        })?;
    }
    for _ in 0..4 {
        same("status of a writer", sys::wait()?.1, 0)?;
    }
    Ok(())
}

fn no_blocks_left() -> Check {
    let mut files = 0;
    let refusal = 'full: loop {
        let name = name('g', files);
        let Ok(mut file) = fs::File::create(&name) else {
            break None;
        };
        files += 1;
        for _ in 0..FILE_BLOCKS {
            if let Err(error) = file.write_all(&[1; BLOCK]) {
                break 'full error.errno();
            }
        }
        ensure!(files < 1000, "1000 files of the largest size");
    };
    ensure!(
        matches!(refusal, None | Some(Errno::ENOSPC)),
        "a full disk gives {refusal:?}"
    );
    // No block for a longer directory: names stop fitting, and nothing worse happens.
    let mut names = 0;
    while names < 128 && fs::File::create(&name('z', names)).is_ok() {
        names += 1;
    }
    refused("mkdir on a full disk", sys::mkdir("d"), &[Errno::ENOSPC])?;
    (0..names).try_for_each(|number| fs::remove_file(&name('z', number)))?;
    (0..files).try_for_each(|number| fs::remove_file(&name('g', number)))?;
    child_succeeds("writing when there is space again", || {
        file("again", &[2; 20 * BLOCK])
    })?;
    fs::remove_file("again")
}

fn no_inodes_left() -> Check {
    let mut files = 0;
    let refusal = loop {
        match fs::File::create(&name('z', files)) {
            Ok(_) => files += 1,
            Err(error) => break error,
        }
        ensure!(files < 5000, "5000 inodes");
    };
    refused(
        "creating without inodes",
        Err::<(), _>(refusal),
        &[Errno::ENOSPC],
    )?;
    refused("mkdir without inodes", sys::mkdir("d"), &[Errno::ENOSPC])?;
    (0..files).try_for_each(|number| fs::remove_file(&name('z', number)))?;
    file("again", b"x")?;
    fs::remove_file("again")
}
