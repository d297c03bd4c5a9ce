//! The power fails after every single block write of long random workloads, and again during the
//! recovery from that. The next mount must find a clean file system that holds the state before the
//! interrupted operation or after it.

mod common;

use common::model::Model;
use common::{Entry, Op, Random, Recorder, Shared, Subject, Tree, random_op, tree_of};
use kcore::fs::FileSystem;
use kcore::{fsck, mkfs};
use std::cell::RefCell;
use std::rc::Rc;

type Blocks = Vec<[u8; 1024]>;

/// How many cuts of a kind were tried; a test that tries none proves nothing.
#[derive(Debug, Default)]
struct Tally {
    cuts: usize,
    cuts_in_recovery: usize,
    replays: usize,
    orphans: usize,
}

fn base_image() -> Vec<u8> {
    let shape = mkfs::Parameters {
        size: 260,
        inodes: 40,
        log_blocks: 30,
    };
    let files = [mkfs::File {
        name: b"a",
        content: &[1; 3000],
    }];
    mkfs::build(&shape, &files).unwrap()
}

/// Mounts what a cut left; it must be clean afterwards. Returns the tree and the writes of recovery.
fn recover(blocks: &Blocks, tally: &mut Tally, what: &str) -> (Tree, Vec<(u32, [u8; 1024])>) {
    let mut disk = Recorder::with_blocks(blocks.clone());
    let before = fsck::check(&mut disk);
    assert!(
        before.iter().all(fsck::Finding::is_note),
        "{what}: {before:?}"
    );
    let mut fs = FileSystem::mount(&mut disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    tally.replays += usize::from(fs.recovery().replayed_blocks > 0);
    tally.orphans += fs.recovery().freed_inodes;
    let tree = tree_of(&mut fs);
    drop(fs);
    assert_eq!(fsck::check(&mut disk), [], "{what}");
    (tree, disk.writes)
}

/// Whether `found` lies between two transactions of one long write: the same tree, where one file has
/// grown and holds a prefix of what the write brings over what was there, zeros behind its old end.
fn is_part_of_a_write(op: &Op, before: &Tree, found: &Tree, after: &Tree) -> bool {
    if !matches!(op, Op::Write(..) | Op::WriteHeld(..) | Op::Truncate(..)) {
        return false;
    }
    let same_names = found.keys().eq(after.keys()) && found.keys().eq(before.keys());
    same_names
        && found
            .iter()
            .all(|(path, entry)| match (entry, &before[path], &after[path]) {
                (Entry::File(now, first), Entry::File(old, _), Entry::File(new, new_first)) => {
                    let from_new = now
                        .iter()
                        .zip(new)
                        .take_while(|(now, new)| now == new)
                        .count();
                    let rest = now.iter().enumerate().skip(from_new);
                    first == new_first
                        && now.len() >= old.len()
                        && rest
                            .into_iter()
                            .all(|(at, byte)| byte == old.get(at).unwrap_or(&0))
                }
                _ => *entry == after[path],
            })
}

/// Runs a workload and cuts it everywhere.
fn cut_everywhere(seed: u64, count: usize, largest: usize, tally: &mut Tally) {
    let mut random = Random(seed);
    let base = base_image();
    let disk = Rc::new(RefCell::new(Recorder::new(&base)));
    let mut subject = Subject::new(FileSystem::mount(Shared(disk.clone())).unwrap());
    let mut model = Model::new();
    model.run(&Op::Open("/a".into()), 0).unwrap();
    model
        .run(&Op::Write("/a".into(), 0, vec![1; 3000]), 3000)
        .unwrap();
    assert_eq!(tree_of(&mut subject.fs), model.tree());
    // The blocks as they are on the disk at each moment of the story.
    let mut blocks = disk.borrow().blocks.clone();
    for step in 0..count {
        let op = random_op(&mut random, largest);
        let before = model.tree();
        if let Ok(written) = subject.run(&op) {
            model.run(&op, written).unwrap();
        }
        let after = model.tree();
        let writes = std::mem::take(&mut disk.borrow_mut().writes);
        let mut is_after = before == after;
        for (index, (block, content)) in writes.iter().enumerate() {
            blocks[*block as usize] = *content;
            tally.cuts += 1;
            let what = format!("seed {seed}, step {step}, {op:?}, cut after write {index}");
            let (tree, recovery) = recover(&blocks, tally, &what);
            if tree == after {
                is_after = true;
            } else {
                let is_between = is_part_of_a_write(&op, &before, &tree, &after);
                assert!(
                    tree == before || is_between,
                    "{what}:\n{before:?}\n{tree:?}\n{after:?}"
                );
                assert!(!is_after || is_between, "{what}: back to the state before");
            }
            if random.below(4) == 0 {
                let mut again = blocks.clone();
                for (index, (block, content)) in recovery.iter().enumerate() {
                    again[*block as usize] = *content;
                    tally.cuts_in_recovery += 1;
                    let what = format!("{what}, cut after write {index} of recovery");
                    assert_eq!(recover(&again, tally, &what).0, tree, "{what}");
                }
            }
        }
        assert!(
            is_after,
            "seed {seed}, step {step}: {op:?} never became durable"
        );
        assert!(disk.borrow().blocks == blocks);
    }
}

#[test]
fn every_cut_leaves_the_state_before_or_after() {
    let mut tally = Tally::default();
    for seed in 0..20 {
        cut_everywhere(seed, 300, 6_000, &mut tally);
    }
    assert!(tally.cuts > 5_000, "{tally:?}");
    assert!(tally.cuts_in_recovery > 1_000, "{tally:?}");
    assert!(tally.replays > 1_000 && tally.orphans > 50, "{tally:?}");
}

#[test]
fn long_writes_on_a_nearly_full_disk_survive_every_cut() {
    let mut tally = Tally::default();
    for seed in 100..106 {
        cut_everywhere(seed, 150, 100_000, &mut tally);
    }
    assert!(tally.cuts > 2_000, "{tally:?}");
}

/// The same with a disk that starts to refuse writes instead: the operation fails, everything after
/// it fails, and the next mount finds the state before or after.
#[test]
fn a_disk_that_dies_is_like_a_cut() {
    let mut died = 0;
    for writes_left in 0..400 {
        let mut random = Random(77);
        let disk = Rc::new(RefCell::new(Recorder::new(&base_image())));
        let mut subject = Subject::new(FileSystem::mount(Shared(disk.clone())).unwrap());
        disk.borrow_mut().writes_left = writes_left;
        let mut model = Model::new();
        model.run(&Op::Open("/a".into()), 0).unwrap();
        model
            .run(&Op::Write("/a".into(), 0, vec![1; 3000]), 3000)
            .unwrap();
        let mut last = None;
        for _ in 0..300 {
            let op = random_op(&mut random, 2_000);
            let before = model.tree();
            let answer = subject.run(&op);
            if let Ok(written) = answer {
                model.run(&op, written).unwrap();
            } else if answer == Err(abi::Errno::EIO) {
                let _ = model.run(&op, usize::MAX);
                last = Some((op, before));
                break;
            }
        }
        let Some((op, before)) = last else { continue };
        died += 1;
        let after = model.tree();
        assert_eq!(
            subject.run(&Op::Mkdir("/late".into())),
            Err(abi::Errno::EIO)
        );
        let blocks = disk.borrow().blocks.clone();
        let what = format!("{writes_left} writes, {op:?}");
        let (tree, _) = recover(&blocks, &mut Tally::default(), &what);
        let is_between = is_part_of_a_write(&op, &before, &tree, &after);
        assert!(
            tree == before || tree == after || is_between,
            "{what}:\n{before:?}\n{tree:?}\n{after:?}"
        );
    }
    assert!(died > 200, "the disk died only {died} times");
}

/// One write fails, the next would succeed: by then nobody knows what the log holds, so nothing may be
/// written before a new mount has looked.
#[test]
fn a_disk_that_hiccups_is_not_trusted_until_the_next_mount() {
    for writes_left in 0.. {
        let disk = Rc::new(RefCell::new(Recorder::new(&base_image())));
        let mut subject = Subject::new(FileSystem::mount(Shared(disk.clone())).unwrap());
        let before = tree_of(&mut subject.fs);
        disk.borrow_mut().writes_left = writes_left;
        disk.borrow_mut().heals = true;
        let outcome = subject.run(&Op::Mkdir("/d".into()));
        if outcome == Ok(0) {
            assert!(writes_left > 4, "the disk never failed");
            break;
        }
        assert_eq!(outcome, Err(abi::Errno::EIO));
        assert_eq!(
            disk.borrow().writes_left,
            usize::MAX,
            "the disk works again"
        );
        assert_eq!(subject.run(&Op::Mkdir("/e".into())), Err(abi::Errno::EIO));
        assert_eq!(
            disk.borrow().writes.len(),
            writes_left,
            "nothing was written since"
        );
        let blocks = disk.borrow().blocks.clone();
        let (tree, _) = recover(
            &blocks,
            &mut Tally::default(),
            &format!("{writes_left} writes"),
        );
        let mut after = before.clone();
        after.insert("/d/".into(), Entry::Dir(1));
        after.insert("/".into(), Entry::Dir(2));
        assert!(tree == before || tree == after, "{tree:?}");
    }
}
