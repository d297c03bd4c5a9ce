//! Long random workloads against a model in memory: same answers, same tree, nothing lost.

mod common;

use abi::Errno;
use common::model::Model;
use common::{Random, Recorder, Subject, random_op, tree_of};
use kcore::fs::FileSystem;
use kcore::{fsck, mkfs};

fn image(size: u32, inodes: u32) -> Vec<u8> {
    mkfs::build(
        &mkfs::Parameters {
            size,
            inodes,
            log_blocks: 30,
        },
        &[],
    )
    .unwrap()
}

/// Runs `count` operations and compares after each. Returns how many failed for want of space.
fn compare(seed: u64, image: &[u8], count: usize, largest: usize) -> usize {
    let mut random = Random(seed);
    let mut disk = Recorder::new(image);
    let mut subject = Subject::new(FileSystem::mount(&mut disk).unwrap());
    let empty = subject.fs.usage().unwrap();
    let mut model = Model::new();
    let mut refused = 0;
    for step in 0..count {
        let op = random_op(&mut random, largest);
        let answer = subject.run(&op);
        if answer == Err(Errno::ENOSPC) {
            refused += 1;
        } else {
            let expected = model.run(&op, answer.unwrap_or(0));
            assert_eq!(answer, expected, "seed {seed}, step {step}: {op:?}");
        }
        // Inodes in use are inode 1 and those the model knows: failures took none.
        let usage = subject.fs.usage().unwrap();
        assert_eq!(
            (usage.inodes - usage.free_inodes) as usize,
            model.inodes(),
            "seed {seed}, step {step}: {op:?}"
        );
        if step % 16 == 0 || answer == Err(Errno::ENOSPC) {
            let tree = tree_of(&mut subject.fs);
            assert_eq!(tree, model.tree(), "seed {seed}, step {step}: {op:?}");
        }
    }
    let (most, capacity) = subject.fs.log_use();
    assert!(most <= capacity);
    subject.release_all();
    assert_eq!(subject.fs.references(), 0);
    // Files first, then directories from the leaves on: everything must come back.
    for path in model.tree().keys().rev().filter(|path| *path != "/") {
        subject
            .fs
            .unlink(kcore::fs::Inum::ROOT, path.as_bytes())
            .unwrap();
    }
    // What mkfs rounded up in the root may have become a block of its own.
    let usage = subject.fs.usage().unwrap();
    assert_eq!(usage, empty, "seed {seed}");
    drop(subject);
    assert_eq!(fsck::check(&mut disk), [], "seed {seed}");
    refused
}

#[test]
fn answers_and_trees_agree() {
    for seed in 0..40 {
        let refused = compare(seed, &image(2000, 200), 600, 40_000);
        assert_eq!(refused, 0, "seed {seed}: there was room");
    }
}

#[test]
fn a_disk_that_is_full_most_of_the_time_loses_nothing() {
    let refused: usize = (100..130)
        .map(|seed| compare(seed, &image(90, 60), 800, 30_000))
        .sum();
    assert!(refused > 300, "only {refused} operations met a full disk");
}

#[test]
fn an_inode_table_that_is_full_most_of_the_time_loses_nothing() {
    let refused: usize = (200..230)
        .map(|seed| compare(seed, &image(2000, 12), 800, 4_000))
        .sum();
    assert!(refused > 300, "only {refused} operations met a full table");
}

#[test]
fn an_image_with_several_blocks_of_free_map_works_up_to_its_last_block() {
    let image = image(20_000, 2000);
    let mut disk = Recorder::new(&image);
    let mut fs = FileSystem::mount(&mut disk).unwrap();
    let before = fs.usage().unwrap();
    let root = kcore::fs::Inum::ROOT;
    let data = vec![3; 268 * 1024];
    let mut files = 0;
    loop {
        let inum = fs
            .open(root, format!("f{files}").as_bytes(), abi::OpenFlags::CREATE)
            .unwrap();
        let outcome = fs.write_at(inum, 0, &data);
        fs.put(inum).unwrap();
        files += 1;
        if outcome != Ok(data.len()) {
            break;
        }
    }
    assert_eq!(fs.usage().unwrap().free_blocks, 0);
    assert_eq!(files, before.free_blocks / 269 + 1); // 268 blocks and the indirect one
    drop(fs);
    assert_eq!(fsck::check(&mut disk), []);
    let mut fs = FileSystem::mount(&mut disk).unwrap();
    for file in 0..files {
        fs.unlink(root, format!("f{file}").as_bytes()).unwrap();
    }
    let after = fs.usage().unwrap();
    // The root's second block of entries stays.
    assert_eq!(
        (before.free_inodes, before.free_blocks - 1),
        (after.free_inodes, after.free_blocks)
    );
    drop(fs);
    assert_eq!(fsck::check(&mut disk), []);
}
